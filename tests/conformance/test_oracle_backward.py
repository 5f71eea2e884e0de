"""The oracle's derivatives, plain recursion, against central differences of the oracle's own outputs."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

from fffref import algorithms
from fffref.conformance import arrays

STEP = 1e-5
ACTIVATIONS = ("relu", "gelu", "tanh", "identity")


def leaf_layer(rng, depth, activation, I=3, O=2, l=2):  # noqa: E741
    N, L = 2**depth - 1, 2**depth
    shapes = {"node_weight": (N, I), "node_bias": (N,), "leaf_in_weight": (L, l, I), "leaf_in_bias": (L, l),
              "leaf_out_weight": (L, l, O), "leaf_out_bias": (L, O)}  # fmt: skip
    return SimpleNamespace(activation=activation, **{n: rng.uniform(-1, 1, s).tolist() for n, s in shapes.items()})


def path_layer(rng, depth, activation, I=3, O=2, K=2):  # noqa: E741
    M = 2 ** (depth + 1) - 1
    shapes = {"in_weight": (K, M, I), "in_bias": (K, M), "out_weight": (K, M, O)}
    return SimpleNamespace(activation=activation, **{n: rng.uniform(-1, 1, s).tolist() for n, s in shapes.items()})


def numerical(value, layer, x):
    """Central differences of value(layer, x), keyed as the oracle keys: (name, index...) to a flat list."""
    found = {}
    parts = {name: part for name, part in vars(layer).items() if name != "activation"} | {"x": [list(x)]}

    def difference(name, at):
        ends = []
        for sign in (1, -1):
            moved, place = copy.deepcopy(parts), None
            place = moved[name]
            for index in at[:-1]:
                place = place[index]
            place[at[-1]] += sign * STEP
            changed = SimpleNamespace(activation=layer.activation, **{n: p for n, p in moved.items() if n != "x"})
            ends.append(value(changed, moved["x"][0]))
        return (ends[0] - ends[1]) / (2 * STEP)

    for name, part in parts.items():
        for at in np.ndindex(np.shape(part)):
            deep = 2 if "leaf" not in name and name not in ("x", "node_weight", "node_bias") else 1
            found.setdefault((name, *at[:deep]), []).append(difference(name, at))
    return found


def agree(found, expected):
    for key, derivatives in expected.items():
        ours = arrays.flat(found.get(key, [0.0] * len(derivatives)))
        np.testing.assert_allclose(ours, derivatives, rtol=0, atol=2e-9, err_msg=str(key))
    assert set(found) <= set(expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_of_the_soft_tree(activation, depth, weight, rng):
    layer, x, g = leaf_layer(rng, depth, activation), rng.uniform(-1, 1, 3).tolist(), [0.6, -1.1]

    def value(layer, x):
        nodes = zip(layer.node_weight, layer.node_bias, strict=True)
        entropy = sum(algorithms.Entropy(algorithms.dot(x, w) + b) for w, b in nodes)
        return algorithms.dot(g, algorithms.FORWARD_T(x, layer)) + weight * entropy

    agree(algorithms.BACKWARD_T(x, layer, g, weight), numerical(value, layer, x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_of_the_path(activation, depth, rng):
    layer, x, g = path_layer(rng, depth, activation), rng.uniform(-1, 1, 3).tolist(), [0.6, -1.1]
    agree(
        algorithms.FFF_B(x, layer, g),
        numerical(lambda layer, x: algorithms.dot(g, algorithms.FFF_I([x], layer)[0][0]), layer, x),
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("z", [-2.5, -0.3, 0.4, 3.0])
def test_of_activations(name, z):
    difference = (algorithms.Activation(name, z + STEP) - algorithms.Activation(name, z - STEP)) / (2 * STEP)
    assert algorithms.dActivation(name, z) == pytest.approx(difference, abs=1e-9)


def test_relu_has_no_slope_at_its_kink():
    assert algorithms.dActivation("relu", 0.0) == 0


@pytest.mark.parametrize("z", [0.0, 1e-9, -0.7, 5.0, -30.0, 36.0])
def test_entropy_is_the_formula_of_the_choice(z):
    c, other = algorithms.sigma(z), algorithms.sigma(-z)
    assert algorithms.Entropy(z) == pytest.approx(-c * np.log(c) - other * np.log(other), rel=1e-12, abs=1e-15)
    assert algorithms.Entropy(900.0) == 0 == algorithms.Entropy(-900.0)
