"""Checkers of notebooks 04, 06 and 08: what is counted, what is measured, what is claimed."""

import numpy as np
from fffref import counting

from . import compare, exercise

SHARES = np.array([0.3, 0.6, 0.9])


@exercise("04.1")
def needed(answer):
    """A function (s, S): how many times as fast a share s must become for the whole to be S times as fast."""
    S = np.array([1.2, 2.0, 4.0])
    right = SHARES / (1 / S - (1 - SHARES))
    mistakes = {
        "The rest of the time does not shrink: it stands in the denominator, too.": SHARES
        * S,
        "That is the whole's gain for a k of S. Solve for k.": 1
        / (1 - SHARES + SHARES / S),
        "This divides by s. Write S (1 - s + s / k) = 1 and solve for k.": S / SHARES,
    }
    given = np.array([answer(s, wanted) for s, wanted in zip(SHARES, S, strict=True)])
    return compare(
        given, right, mistakes, "Write S (1 - s + s / k) = 1 and solve for k."
    )


@exercise("04.2")
def crossing(answer):
    """Tokens from which LLaMA-2 7B and 70B read more cache than FF weights, by the table in the text."""
    shapes = {
        "7b": (4096, 11008, 32, 32),
        "70b": (8192, 28672, 80, 8),
    }  # width, FF width, layers, KV heads of 128
    right = [3 * w * f * n / (2 * n * h * 128) for w, f, n, h in shapes.values()]
    mistakes = {
        "The cache holds keys and values: two numbers, not one.": [
            2 * right[0],
            2 * right[1],
        ],
        "70B has 8 heads of keys and values, not 64.": [right[0], right[1] / 8],
        "A gated layer has three matrices, not two.": [
            2 / 3 * right[0],
            2 / 3 * right[1],
        ],
    }
    otherwise = "Both sides: numbers for each layer, FF weights against 2 * heads * 128 for each token."
    return compare(answer, right, mistakes, otherwise, rtol=2e-3)


@exercise("04.3")
def cheapest_first(answer):
    """Two orders of "leaf", "moe", "path": multiply-adds of inference, of training; the cheapest first."""
    layers = {
        "leaf": counting.leaf_fff(768, 768, 7, 8), "moe": counting.moe(768, 768, 16, 2, 64),
        "path": counting.path_fff(768, 768, 9),
    }  # fmt: skip
    cost = [{n: c.inference.multiply_adds for n, c in layers.items()}]
    cost += [
        {
            n: c.forward.multiply_adds + c.backward.multiply_adds
            for n, c in layers.items()
        }
    ]
    given = [list(order) for order in answer]
    if [sorted(order) for order in given] != [["leaf", "moe", "path"]] * 2:
        return "Give two orders, each of 'leaf', 'moe' and 'path'."
    right = [sorted(layers, key=costs.get) for costs in cost]
    wrong = [
        what
        for what, order, best in zip(
            ("inference", "training"), given, right, strict=True
        )
        if order != best
    ]
    hints = {
        "inference": "In inference the gate of the mixture looks at each expert, and two of 64 neurons are engaged.",
        "training": "In training LeafFFF is soft: it computes all leaves.",
    }
    return " ".join(hints[what] for what in wrong) or None


@exercise("06.1")
def largest_claim(answer):
    """A function of all seconds (slow, fast): the largest ratio that can be claimed."""
    rng = np.random.default_rng(61)
    slow, fast = 5 + rng.random(9), 1 + rng.random(9)
    mistakes = {
        "This is the smallest claim.": slow.min() / fast.max(),
        "Best against best is popular, but a larger claim can be made.": slow.min()
        / fast.min(),
        "This is the honest one: the median of neighbours.": np.median(slow / fast),
        "Rounds need not be the same on both sides.": (slow / fast).max(),
    }
    return compare(
        answer(slow, fast),
        slow.max() / fast.min(),
        mistakes,
        "Which round of each side would you pick?",
    )


@exercise("06.2")
def limit(answer):
    """A function of the depth: the limit of the speed-up of one tree."""
    d = np.array([3, 5, 8])
    mistakes = {
        "The bottom level has 2^d neurons; the tree has more.": 2**d / (d + 1),
        "A path of d choices has d + 1 neurons.": (2 ** (d + 1) - 1) / d,
        "This is the share engaged, the inverse of the limit.": (d + 1)
        / (2 ** (d + 1) - 1),
    }
    return compare(
        [answer(int(n)) for n in d],
        (2 ** (d + 1) - 1) / (d + 1),
        mistakes,
        "Stored by engaged.",
    )


@exercise("08.1")
def share_for_ten(answer):
    """Share of the time that must become 78 times as fast for the whole to be 10 times as fast."""
    mistakes = {
        "With this share free, the model would be 10 times as fast; but 78 times as fast is not free.": 0.9,
        "Amdahl's law is not a quotient of the two factors.": 10 / 78,
        "Give a share between 0 and 1, not a percentage.": 100
        * (1 - 1 / 10)
        / (1 - 1 / 78),
    }
    right = (1 - 1 / 10) / (1 - 1 / 78)
    return compare(
        answer, right, mistakes, "Solve 1 / (1 - s + s / 78) = 10 for s.", rtol=2e-3
    )


@exercise("08.2")
def best_of_ten(answer):
    """How many standard deviations the best of ten normal draws lies above the mean, on average."""
    value = float(answer)
    if 1.45 <= value <= 1.63:
        return None
    if value <= 0:
        return "The best is above the mean."
    if value < 1.45:
        return "That is too little: for the best of three it would be 0.85."
    return "That is too much. Did you divide by the standard deviation, and take the mean over many draws?"
