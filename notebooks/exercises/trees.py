"""Checkers of notebooks 00 to 03: trees, their derivative, their hardening."""

from dataclasses import replace

import numpy as np
from fffref import LeafFFF, gradcheck
from fffref.layers.choices import mix

from . import compare, exercise


def sigmoid(z):
    """The choice of a logit."""
    return 1 / (1 + np.exp(-z))


@exercise("00.1")
def counts_of_a_tree(answer):
    """Leaves of a tree of depth 5, and choices that one input makes."""
    mistakes = {
        "You have counted the nodes of the whole tree as choices; one input meets one node on each level.": (
            32,
            31,
        ),
        "A level more doubles the leaves. Depth 1 has two of them.": (10, 5),
        "2^(d+1) - 1 counts all neurons of a tree without separate leaves.": (63, 5),
    }
    return compare(answer, (32, 5), mistakes, "Draw depth 1, 2 and 3, and count.")


@exercise("00.2")
def a_choice(answer):
    """sigmoid(0.5 * 2 - 1 * 1) for w = (0.5, -1), x = (2, 1), b = 0."""
    mistakes = {
        "That is the logit. The choice is its sigmoid.": 0.0,
        "Mind the sign: the second weight is negative.": sigmoid(2.0),
    }
    return compare(
        answer, 0.5, mistakes, "First the logit, w . x + b; then 1 / (1 + exp(-logit))."
    )


@exercise("00.3")
def a_product(answer):
    """Shape of X @ W.T and the multiply-adds that it takes."""
    mistakes = {
        "The product has a row for each input and a column for each neuron.": (
            768,
            3072,
            32 * 768 * 3072,
        ),
        "Each number of the result takes 768 multiply-adds.": (32, 3072, 32 * 3072),
    }
    return compare(
        answer,
        (32, 3072, 32 * 768 * 3072),
        mistakes,
        "Rows, columns, and rows * columns * inner size.",
    )


@exercise("00.4")
def a_slope(answer):
    """d sigmoid(3 t) / dt at t = 0."""
    mistakes = {
        "That is the slope of the sigmoid. The chain rule has one more factor.": 0.25,
        "The slope of the sigmoid at 0 is not 1.": 3.0,
    }
    return compare(
        answer,
        0.75,
        mistakes,
        "The chain rule: the slope of the sigmoid, times that of 3 t.",
    )


@exercise("00.5")
def engaged_share(answer):
    """12 of 4095, in percent."""
    mistakes = {
        "This is the share, not the percentage.": 12 / 4095,
        "This is the ratio the other way round.": 4095 / 12,
        "The eleven choices are made by neurons, too; and the last neuron makes none.": 100
        * 11
        / 4095,
    }
    return compare(
        answer, 100 * 12 / 4095, mistakes, "Engaged by stored, times 100.", rtol=0.03
    )


@exercise("01.1")
def colder(answer):
    """A function (layer, T) that returns the layer which computes at temperature 1 what `layer` computes at T."""
    rng = np.random.default_rng(11)
    layer = LeafFFF.init(rng, n_in=4, n_out=3, depth=3, leaf_width=2, dtype=np.float64)
    x, T = rng.standard_normal((5, 4)), 0.4
    c = sigmoid((x @ layer.node_weight.T + layer.node_bias) / T)
    mass = mix(c, 1 - c)
    leaves = np.stack([_leaf(layer, x, j) for j in range(8)], axis=1)
    right = (mass[:, :, None] * leaves).sum(axis=1)

    def like(weight, bias):
        return replace(
            layer,
            node_weight=weight * layer.node_weight,
            node_bias=bias * layer.node_bias,
        ).forward(x)[0]

    mistakes = {
        "The layer is as it was: at temperature 1 it computes what it computed before.": like(
            1, 1
        ),
        "Dividing by T makes a logit larger if T is below 1; you have made it smaller.": like(
            T, T
        ),
        "The bias is part of the logit, too.": like(1 / T, 1),
        "Only the weights and the bias together make the logit.": like(1, 1 / T),
    }
    given = answer(layer, T)
    if not isinstance(given, LeafFFF):
        return f"The function should return a LeafFFF; it returns a {type(given).__name__}."
    return compare(
        given.forward(x)[0],
        right,
        mistakes,
        "The outputs differ. Do the leaves stay as they are?",
    )


def _leaf(layer, x, j):
    """What leaf j answers."""
    hidden = np.maximum(x @ layer.leaf_in_weight[j].T + layer.leaf_in_bias[j], 0)
    return hidden @ layer.leaf_out_weight[j] + layer.leaf_out_bias[j]


@exercise("01.2")
def torn(answer):
    """Three choices of a tree of depth 2 whose reached leaf is not the heaviest."""
    c = np.asarray(answer, float)
    if c.shape != (3,) or np.any((c < 0) | (c > 1)):
        return "Give three numbers between 0 and 1: the choices of nodes 0, 1 and 2."
    mass = mix(c[None], 1 - c[None])[0]
    side = int(c[0] >= 0.5)
    reached = 2 * side + int(c[1 + side] >= 0.5)
    if np.isclose(mass[reached], mass.max()):
        return f"Leaf {reached} is reached, and no leaf has more mass: {np.round(mass, 3)}."
    return None


@exercise("01.3")
def mirror(answer):
    """The order of seven nodes that exchanges left and right everywhere."""
    order = np.asarray(answer).tolist()
    if sorted(order) != list(range(7)):
        return "Each of the nodes 0 to 6 has to be there once."
    mistakes = {
        "These are the nodes as they were.": list(range(7)),
        "The root has to stay the root: reverse each level by itself.": list(
            range(6, -1, -1)
        ),
        "Nodes 1 and 2 have changed places, but their children came along in the old order.": [
            0,
            2,
            1,
            5,
            6,
            3,
            4,
        ],
    }
    otherwise = "Which node does a point that turns right at the root meet next?"
    return compare(order, [0, 2, 1, 6, 5, 4, 3], mistakes, otherwise)


@exercise("02.1")
def without_gradient(answer):
    """Nodes of a tree of depth 3 that get no gradient if leaves 0 to 5 have g = 5, leaf 6 has 7 and leaf 7 has 9."""
    nodes, right = set(answer), {1, 3, 4, 5}
    if not nodes <= set(range(7)):
        return "The nodes are numbered from 0 to 6."
    if nodes == right:
        return None
    if nodes == set(range(7)) - right:
        return "These are the nodes that do get a gradient."
    if 6 in nodes or 2 in nodes or 0 in nodes:
        return "One of your nodes has leaves of different worth on its two sides, so it gets a gradient."
    return "At least one more node has the same worth on both of its sides."


@exercise("02.2")
def found_in_float32(answer):
    """Names of the bugs that central differences find in float32; all are larger than its error bars."""
    bugs = {
        "children exchanged",
        "slope of the sigmoid forgotten",
        "mean for sum",
        "tanh not squared",
        "0.05 % too much",
    }
    names = set(answer)
    if not names <= bugs:
        return f"The bugs are called {sorted(bugs)}."
    if len(bugs - names) > 1:
        return f"There are more: you have {len(names)}. Four of the five are errors of order 1."
    if bugs - names != {"0.05 % too much"} and names != bugs:
        return "An error of order 1 is larger than any error bar."
    return (
        None
        if names == bugs
        else "Try it: error bars tell rounding from a mistake, even from a small one."
    )


@exercise("02.3")
def absolute_sum(answer):
    """A function that is the sum of |x|, and stays so when x takes a complex step."""
    x = np.array([-2.0, 0.5, 3.0])
    if not np.isclose(answer(x), 5.5):
        return f"For {x} the sum of the absolute values is 5.5; the function gives {answer(x)}."
    try:
        result = gradcheck.check(answer, x, np.sign(x), method="complex")
    except ValueError:
        return "The values are right, but the imaginary part is gone, and with it the derivative."
    return (
        None
        if result.passed
        else "The values are right, but the complex step gives other slopes than -1 and 1."
    )


@exercise("03.1")
def leaf_entropy(answer):
    """A function from choices (B, N) to the entropy of each sample's leaf, as a sum over the nodes."""
    choice = np.random.default_rng(31).uniform(0.05, 0.95, (6, 7))
    mass = mix(choice, 1 - choice)
    right = -(mass * np.log(mass)).sum(axis=1)
    each = -choice * np.log(choice) - (1 - choice) * np.log(1 - choice)
    mistakes = {
        "This adds up all choices alike. A node counts by the mass that arrives there.": each.sum(
            axis=1
        ),
        "This is the mean over the nodes. A node counts by the mass that arrives there.": each.mean(
            axis=1
        ),
        "The sign is wrong: an entropy is not negative.": -right,
    }
    return compare(
        answer(choice),
        right,
        mistakes,
        "The root counts with weight 1, its right child with c_0.",
    )


@exercise("03.2")
def straight_through(answer):
    """Predictions (small gap?, small entropy?) for straight-through training."""
    small_gap, small_entropy = (bool(value) for value in answer)
    if not small_gap:
        return "The leaves are trained with rounded choices. What do soft and hard then differ by?"
    if small_entropy:
        return "Nothing in the loss asks for sharp choices: the forward pass rounds them anyway."
    return None


@exercise("03.3")
def gini_pull(answer):
    """A function: minus the derivative of 2 c (1 - c) with respect to the logit."""
    z = np.linspace(-4, 4, 33)
    c = sigmoid(z)
    right = 2 * (2 * c - 1) * c * (1 - c)
    mistakes = {
        "The sign is wrong: this is the derivative, and descending goes against it.": -right,
        "This is the derivative with respect to c. The chain rule has a factor dc/dz.": 2
        * (2 * c - 1),
        "A factor of 2 is missing: G = 2 c (1 - c).": right / 2,
    }
    return compare(
        answer(z),
        right,
        mistakes,
        "Compare with a difference: (G(z - h) - G(z + h)) / 2h.",
        1e-5,
        1e-7,
    )


@exercise("03.4")
def layer_norm(answer):
    """A function from inputs (B, I) to the same with mean 0 and variance 1 in each row."""
    x = np.random.default_rng(34).gamma(2, size=(5, 40)) + np.arange(40) / 10
    centred = x - x.mean(axis=1, keepdims=True)
    mistakes = {
        "This normalises each feature over the samples. A layer norm looks at one sample alone.": (
            (x - x.mean(axis=0)) / x.std(axis=0)
        ),
        "The mean is right; the variance is not 1 yet.": centred,
        "The variance is 1, but the mean is not 0.": x / x.std(axis=1, keepdims=True),
    }
    right = centred / x.std(axis=1, keepdims=True)
    return compare(
        answer(x),
        right,
        mistakes,
        "Each row should have mean 0 and variance 1.",
        rtol=1e-3,
        atol=1e-3,
    )
