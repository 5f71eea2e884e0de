"""The n-gram model against its formula, written as recursion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fffref.experiments.ngram import witten_bell


def plain(train, context, token, n_tokens):
    """P(token | context), from the definition."""
    followers = [
        train[i + len(context)] for i in range(len(train) - len(context)) if train[i : i + len(context)] == context
    ]
    below = plain(train, context[1:], token, n_tokens) if context else 1 / n_tokens
    if not followers:
        return below
    return (followers.count(token) + len(set(followers)) * below) / (len(followers) + len(set(followers)))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.lists(st.integers(0, 3), min_size=1, max_size=12),
       st.integers(1, 4))  # fmt: skip
def test_it_is_the_formula(train, held, order):
    expected = [plain(train, held[max(0, i - order + 1) : i], token, 4) for i, token in enumerate(held)]
    got = witten_bell(np.array(train), np.array(held), 4, order)
    assert got == pytest.approx(-np.log(expected).mean(), rel=1e-12)


def test_probabilities_sum_to_one():
    train = np.random.default_rng(0).integers(0, 3, 50)
    for context in ([0, 1], [2, 2]):
        mass = [np.exp(-3 * witten_bell(train, np.array([*context, t]), 3, 3)) for t in range(3)]
        first = np.exp(-2 * witten_bell(train, np.array(context), 3, 3))
        assert sum(mass) == pytest.approx(first, rel=1e-12)
