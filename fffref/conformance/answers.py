"""What is expected of a port, computed from `algorithms`: plain recursion over plain numbers."""

import math
from types import SimpleNamespace

from .. import algorithms, checks
from .arrays import Array, flat, nested, rounded

STEPS = 10  # of gradient descent, at level 5
PARAMETERS = {
    "leaf": ("node_weight", "node_bias", "leaf_in_weight", "leaf_in_bias", "leaf_out_weight", "leaf_out_bias"),
    "path": ("in_weight", "in_bias", "out_weight"),
}


def expected(case, spec, level):
    """The answers to a case, arrays by name.

    Parameters
    ----------
    case : dict of str to Array
    spec : Spec
    level : int, 1 to 5

    Returns
    -------
    dict of str to Array
        Numbers are rounded to the case's dtype at the very end. ValueError if a dyadic answer is not exact in it.
    """
    B, _, O, depth, width = spec.sizes  # noqa: E741
    layer, rows = layer_of(case, spec), nested(case["x"])
    # each level asks for one thing more, so that a port can grow from one to the next
    if level == 1 and spec.layer == "leaf":
        return {"leaf": Array("int32", (B,), [leaf_of(row, layer) for row in rows])}
    if level == 1:
        return {"node": Array("int32", (B, width, depth + 1), flat(algorithms.FFF_I(rows, layer)[1]))}
    if level == 2:
        return {"y": _array(spec, (B, O), hard(rows, layer, spec))}
    if level == 3:
        trees = scaled_trees(case, layer)
        # soft: (B, O), temperature and transposition in the trees
        answer = {"y": _array(spec, (B, O), soft(rows, trees))}
        # the sum over all rows would be NaN
        entropies = {} if "nan" in spec.options else {"entropy": Array(spec.dtype, (), [entropy(rows, trees)])}
        return answer | {name: _rounded(array) for name, array in entropies.items()}
    if level == 4:
        found = gradients(case, spec, layer, nested(case["dy"]))
        return {f"d_{name}": _array(spec, case[name].shape, value) for name, value in found.items()}
    losses = descend(case, spec, layer)  # changes `layer` in place: its arrays are answers, too
    after = {name: _array(spec, case[name].shape, getattr(layer, name)) for name in PARAMETERS[spec.layer]}
    return {"loss": _array(spec, (STEPS,), losses)} | after


def margins(case, spec):
    """The smallest |logit| that decides a row's way, inf if none does; NaN always turns left and is left out."""
    layer, rows = layer_of(case, spec), nested(case["x"])
    return [min((abs(z) for z in _logits(row, layer, spec) if not math.isnan(z)), default=math.inf) for row in rows]


def layer_of(case, spec):
    """The layer as an object whose arrays are nested lists, as `algorithms` reads it; empty where the case has none."""
    found = {name: nested(case[name]) if name in case else None for name in PARAMETERS[spec.layer]}
    if spec.layer == "leaf" and found["leaf_out_bias"] is None:
        # leaves of no neurons and no outputs: only the way is walked
        found |= {name: [[]] * (len(found["node_bias"]) + 1) for name in PARAMETERS["leaf"][2:]}
    if spec.layer == "path" and found["out_weight"] is None:
        found["out_weight"] = [[[] for _ in biases] for biases in found["in_bias"]]
    return SimpleNamespace(activation=spec.activation, **found)


def leaf_of(row, layer):
    """The leaf that a row reaches."""
    return algorithms.FORWARD_I(row, layer)[1]


def _logits(row, layer, spec):
    """The logits that decide a row's way."""
    if spec.layer == "path":  # the last level's decide nothing
        trees = zip(layer.in_weight, layer.in_bias, strict=True)
        return [z for tree in trees for z in algorithms.CMM([row], *tree)[0][0][:-1]]
    node, logits = len(layer.node_bias) + leaf_of(row, layer), []  # the leaf, counted on behind the nodes
    while node:  # up to the root
        node = (node - 1) // 2  # the parent
        logits.append(algorithms.dot(row, layer.node_weight[node]) + layer.node_bias[node])
    return logits


def hard(rows, layer, spec):
    """Outputs of inference."""
    if spec.layer == "path":
        return algorithms.FFF_I(rows, layer)[0]
    return [algorithms.FORWARD_I(row, layer)[0] for row in rows]


def soft(rows, trees):
    """Outputs of the mixture."""
    return [algorithms.FORWARD_T(row, tree) for row, tree in zip(rows, trees, strict=True)]


def entropy(rows, trees):
    """Entropy of all choices of all rows, summed, in nats."""
    return math.fsum(
        algorithms.Entropy(algorithms.dot(row, weight) + bias)
        for row, tree in zip(rows, trees, strict=True)
        for weight, bias in zip(tree.node_weight, tree.node_bias, strict=True)
    )


def scales(case):
    """What each row's logits are multiplied by, node by node: 1 / temperature, negative where transposed."""
    rows, nodes = case["x"].shape[0], case["node_bias"].shape[0]
    marks = nested(case["transposed"]) if "transposed" in case else [[0] * nodes] * rows
    # (B, N), as nested lists
    return [[(-1 if mark else 1) / case["temperature"].values[0] for mark in row] for row in marks]


def scaled_trees(case, layer):
    """One tree a row, its nodes multiplied by the row's scales: sigma(-z) = 1 - sigma(z) exchanges the children."""
    return [_scaled(layer, scale) for scale in scales(case)]


def _scaled(layer, scale):
    """The tree with its nodes multiplied."""
    weight = [[s * w for w in row] for s, row in zip(scale, layer.node_weight, strict=True)]
    bias = [s * b for s, b in zip(scale, layer.node_bias, strict=True)]
    return SimpleNamespace(**{**vars(layer), "node_weight": weight, "node_bias": bias})


def gradients(case, spec, layer, dy):
    """Gradients of sum(dy y) + entropy_weight entropy with respect to every array and to x, as nested lists."""
    # summed over rows, but for that of x
    total = {name: _zeros(getattr(layer, name)) for name in PARAMETERS[spec.layer]} | {"x": []}
    of_rows = scales(case) if spec.layer == "leaf" else [None] * len(dy)
    for row, g, scale in zip(nested(case["x"]), dy, of_rows, strict=True):
        if spec.layer == "path":
            found = algorithms.FFF_B(row, layer, g)
        else:
            found = algorithms.BACKWARD_T(row, _scaled(layer, scale), g, case["entropy_weight"].values[0])
        total["x"].append(found.pop(("x", 0)))
        for (name, *at), value in found.items():
            # the chain rule through the scale of a row's tree
            _add(total[name], at, value, scale[at[0]] if name.startswith("node") else 1)
    return total


def descend(case, spec, layer):
    """Ten steps down 1/2 sum (y - target)^2 + entropy_weight entropy, in place; the loss before each of them."""
    rows, target, losses = nested(case["x"]), nested(case["target"]), []
    for _ in range(STEPS):
        if spec.layer == "leaf":
            trees = scaled_trees(case, layer)
            y, further = soft(rows, trees), case["entropy_weight"].values[0] * entropy(rows, trees)
        else:
            y, further = hard(rows, layer, spec), 0.0
        dy = [[a - b for a, b in zip(*pair, strict=True)] for pair in zip(y, target, strict=True)]
        losses.append(math.fsum(d * d for d in flat(dy)) / 2 + further)
        # all taken before any is moved: a dict that is complete
        for name, gradient in gradients(case, spec, layer, dy).items():
            if name != "x":
                for i, part in enumerate(gradient):
                    _add(getattr(layer, name), [i], part, -case["rate"].values[0])  # p - rate g
    return losses


def _zeros(numbers):
    """Zeros in the shape of nested lists."""
    return [_zeros(part) for part in numbers] if isinstance(numbers, list) else 0.0


def _add(total, at, value, factor):
    """total[at] += factor * value, in place, for nested lists; `at` is a list of indices."""
    for index in at[:-1]:
        total = total[index]
    if isinstance(value, list):
        for i, part in enumerate(value):
            _add(total[at[-1]], [i], part, factor)
    else:
        total[at[-1]] += factor * value


def _array(spec, shape, numbers):
    """Nested lists as an array of the case's dtype."""
    array = _rounded(Array(spec.dtype, shape, flat(numbers)))
    if "dyadic" in spec.options and array.values != flat(numbers):  # rounding changed something: not exact
        raise checks.InputError("the answers of a dyadic case must be exact; take smaller sizes")
    return array


def _rounded(array):
    """An array with its numbers rounded to its dtype."""
    return array._replace(values=[rounded(array.dtype, value) for value in array.values])
