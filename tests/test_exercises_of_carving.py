"""The exercises of notebook 11: right answers pass, wrong ones each hear what is wrong."""

import answers
import numpy as np
import pytest
from answers import exercises


def energy(hidden, out_weight, scale, k, order=-1, weigh=True, scaled=True, square=True):
    hidden = hidden * scale[:, None] if scaled else hidden
    added = (hidden**2).sum(0) if square else np.abs(hidden.sum(0)) ** 2
    return np.argsort(order * added * ((out_weight**2).sum(1) if weigh else 1), kind="stable")[:k]


SHARE = 5_637_144_576 / (7_241_732_096 - 31_999 * 4096)
ANSWERS = {  # the right one, then wrong ones
    "11.1": [energy, lambda *a: energy(*a, order=1), lambda *a: energy(*a, weigh=False),
             lambda *a: energy(*a, scaled=False), lambda *a: energy(*a, square=False), lambda *a: range(4)],
    "11.2": [1 / (1 - 0.88 * SHARE), 1 / 0.12, 1 / (1 - SHARE), 1 - 0.88 * SHARE,
             1 / (1 - 0.88 * 5_637_144_576 / 7_241_732_096), 5],
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_the_right_answer_passes_and_wrong_ones_hear_why(name, capsys):
    assert sorted(ANSWERS) == [known for known in exercises.names() if known.startswith("11")]
    said = answers.said_of(*ANSWERS[name], name=name, capsys=capsys)
    assert len(set(said)) == len(ANSWERS[name]) - 1
