"""Checkers of notebooks 05, 07 and 09: the second paper's layer, and the model around it."""

import math

import numpy as np
from fffref import PathFFF, algorithms

from . import compare, exercise


def _forest(seed=5):
    """Three trees of depth 4, and an input."""
    rng = np.random.default_rng(seed)
    layer = PathFFF.init(rng, n_in=12, n_out=9, depth=4, n_trees=3, dtype=np.float64)
    return layer, rng.standard_normal(12)


@exercise("05.1")
def walk_forest(answer):
    """A function (W, b, V, x) that returns the output of several trees, weights (K, M, ...)."""
    layer, x = _forest()
    right = np.array(algorithms.FFF_I([x], layer)[0][0])
    each = [
        np.array(algorithms.FFF_I([x], layer.map(lambda a, k=k: a[k : k + 1]))[0][0])
        for k in range(3)
    ]
    mistakes = {
        "This is the first tree alone.": each[0],
        "This is the last tree alone: does something overwrite the sum?": each[2],
        "Outputs of trees are added up; this is their mean.": right / 3,
    }
    given = answer(layer.in_weight, layer.in_bias, layer.out_weight, x)
    return compare(
        given,
        right,
        mistakes,
        "Walk each tree by itself and add up.",
        rtol=1e-5,
        atol=1e-6,
    )


@exercise("05.2")
def what_they_say_of_nan(answer):
    """What `z != z` says of NaN, compiled with three flags and with all of them."""
    three, everything = (bool(value) for value in answer)
    if not three:
        return "None of the three permissions lets the compiler assume that a number is not NaN."
    if everything:
        return "With fastmath=True the compiler may assume that no number is NaN. What is z != z then?"
    return None


@exercise("05.3")
def addresses_known(answer):
    """A function (W, b, X, nodes, y) that fills y with the sums of the logits of given nodes."""
    layer, _ = _forest()
    W, b = layer.in_weight[0], layer.in_bias[0]
    X = np.random.default_rng(6).standard_normal((7, 12))
    nodes, y = layer.route(X)[:, 0], np.full(7, np.nan)
    answer(W, b, X, nodes, y)
    products = np.einsum("bdi,bi->bd", W[nodes], X)
    mistakes = {
        "y is as it was: the function should fill it.": np.full(7, np.nan),
        "The biases are missing.": products.sum(axis=1),
        "The last neuron of each path is missing.": (products + b[nodes])[:, :-1].sum(
            axis=1
        ),
    }
    if np.isnan(y).all():
        return "y is as it was: the function should fill it."
    return compare(
        y,
        (products + b[nodes]).sum(axis=1),
        mistakes,
        "Add up w_n . x + b_n over each row's nodes.",
    )


@exercise("07.1")
def neurons(answer):
    """Stored and engaged neurons of one tree of depth 11."""
    mistakes = {
        "A tree of depth 11 has twelve levels of neurons: level 0 to level 11.": (
            2047,
            11,
        ),
        "You have counted the bottom level alone.": (2048, 12),
        "Depth 11 means 11 choices; the neuron to which the last one leads is engaged, too.": (
            4095,
            11,
        ),
    }
    return compare(
        answer, (4095, 12), mistakes, "Put K = 1 and d = 11 into both formulas."
    )


@exercise("07.2")
def even_handed(answer):
    """Name of an activation with which left turns contribute as much as right ones."""
    functions = {
        "gelu": lambda z: z * 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2))),
        "relu": lambda z: np.maximum(z, 0),
        "identity": lambda z: z,
        "tanh": np.tanh,
    }
    if answer not in functions:
        return f"Choose one of {sorted(functions)}."
    z = np.linspace(-4, 4, 801)
    size = np.abs(functions[answer](z))
    share = size[z <= 0].sum() / size.sum()
    return (
        None
        if share > 0.4
        else f"With {answer}, negative logits get {share:.0%} of the total for even logits."
    )


@exercise("07.3")
def orders(answer):
    """Does the output stay the same if (the trees, the neurons of a tree) change their order?"""
    trees, inside = (bool(value) for value in answer)
    if not trees:
        return "Outputs of trees are added up. Does a sum depend on the order?"
    if inside:
        return "A neuron's place says whose child it is. What does the root do after its row was moved?"
    return None


@exercise("09.1")
def enough(answer):
    """A function of the share s: how many times as fast for nine tenths of the limit."""
    s = np.array([0.3, 0.6, 0.73, 0.9])
    mistakes = {
        "Nine tenths of the limit, not the whole of it less a tenth of the time: put S = 0.9 / (1 - s) into the law.": (
            s / (1 - s)
        ),
        "This is the limit of the model.": 1 / (1 - s),
        "This is nine tenths of the limit, the model's gain. The question is about the layer's.": 0.9
        / (1 - s),
    }
    given = np.array([answer(value) for value in s])
    return compare(
        given,
        9 * s / (1 - s),
        mistakes,
        "Solve 1 / (1 - s + s / k) = 0.9 / (1 - s) for k.",
    )


@exercise("09.2")
def different_neurons(answer):
    """A function (layer, x) that returns how many different neurons the rows of x visit."""
    layer, _ = _forest()
    x = np.random.default_rng(7).standard_normal((40, 12))
    path = layer.route(x)
    right = sum(len(np.unique(path[:, k])) for k in range(3))
    mistakes = {
        "These are all visits; a neuron that two rows visit counts once.": path.size,
        "These are all neurons of the layer; not all are visited.": layer.neurons_stored,
        "Neurons of the same place in two trees are two neurons.": len(np.unique(path)),
    }
    return compare(
        int(answer(layer, x)),
        right,
        mistakes,
        "Collect the visited neurons and count them once each.",
    )


@exercise("09.3")
def all_else_free(answer):
    """A function of the share s: the model's gain if all but the FF layers takes no time."""
    s = np.array([0.3, 0.6, 0.73, 0.9])
    mistakes = {
        "That is the limit with free FF layers. Here all else is free.": 1 / (1 - s),
        "That is the new time as a share of the old one; the gain is its inverse.": s,
        "The time that is saved is not the gain.": 1 - s,
    }
    given = np.array([answer(value) for value in s])
    return compare(
        given, 1 / s, mistakes, "What is left of the time if 1 - s of it goes away?"
    )
