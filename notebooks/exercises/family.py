"""Checkers of notebook 13: the relatives of the soft tree, and products by look-ups."""

import numpy as np

from . import compare, exercise


@exercise("13.1")
def experts_by_hand(answer):
    """A function (gates, experts) that mixes four experts, gates being the three choices of a tree of depth 2."""
    rng = np.random.default_rng(13)
    gates, experts = rng.uniform(0.1, 0.9, 3), rng.standard_normal((4, 5))
    root, left, right = gates
    weight = np.array(
        [(1 - root) * (1 - left), (1 - root) * left, root * (1 - right), root * right]
    )
    exchanged = np.array(
        [root * left, root * (1 - left), (1 - root) * right, (1 - root) * (1 - right)]
    )
    mistakes = {
        "A choice is the weight of the right child; here it weighs the left one.": exchanged
        @ experts,
        "The experts of both subtrees use the left node's choice.": np.array(
            [(1 - root) * (1 - left), (1 - root) * left, root * (1 - left), root * left]
        )
        @ experts,
        "This is the mean of the experts, whatever the gates say.": experts.mean(0),
    }
    return compare(
        answer(gates, experts),
        weight @ experts,
        mistakes,
        "Multiply the choices on the way to each expert.",
    )


@exercise("13.2")
def bytes_and_look_ups(answer):
    """Bytes of the tables, and look-ups a row, for a product with a matrix (768, 3072) by 64 codebooks."""
    codebooks, n_out = 64, 3072
    mistakes = {
        "A table has 16 entries for each column, of one byte: the first number is too small by that factor.": (
            codebooks * n_out, codebooks * n_out,
        ),
        "An entry is one byte, not four.": (4 * 16 * codebooks * n_out, codebooks * n_out),
        "Encoding takes 4 comparisons a codebook; a look-up is needed for each codebook and each column.": (
            16 * codebooks * n_out, 4 * codebooks,
        ),
        "The exact product needs that many multiply-adds; how many look-ups replace them?": (
            16 * codebooks * n_out, 768 * n_out,
        ),
    }  # fmt: skip
    return compare(
        answer,
        (16 * codebooks * n_out, codebooks * n_out),
        mistakes,
        "Count one codebook and one column first.",
    )
