"""The straight-through gradient of a path's decisions: closed form at depth 1, and the surrogate by complex step."""

import cases
import numpy as np
import pytest

from fffref import PathFFF, algorithms, gradcheck
from fffref.layers.activations import ACTIVATIONS

ROUTED = {"route_gradient": "straight-through"}


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_closed_form_at_depth_1(activation, rng):
    """Three neurons: the root's logit gains sigmoid'(z) dy . (act(z_2) v_2 - act(z_1) v_1)."""
    layer = cases.make("PathFFF", rng, depth=1, width=1, activation=activation)
    x, dy = rng.standard_normal((9, 5)), rng.standard_normal((9, 3))
    _, tape = layer.forward(x)
    plain, routed = (layer.backward(tape, dy, **options) for options in ({}, ROUTED))
    w, b, v = layer.in_weight[0], layer.in_bias[0], layer.out_weight[0]
    z = x @ w.T + b  # (B, 3), all neurons
    outputs = ACTIVATIONS[activation].function(z)[..., None] * v  # (B, 3, O)
    slope = sigmoid(z[:, 0]) * sigmoid(-z[:, 0])
    gain = slope * (dy * (outputs[:, 2] - outputs[:, 1])).sum(1)  # (B,)
    expected = {"in_weight": np.zeros_like(layer.in_weight), "in_bias": np.zeros_like(layer.in_bias)}
    expected["in_weight"][0, 0], expected["in_bias"][0, 0] = gain @ x, gain.sum()
    for name, more in expected.items():
        found = getattr(routed[0], name) - getattr(plain[0], name)
        np.testing.assert_allclose(found, more, rtol=1e-12, atol=1e-12 * np.abs(more).max())
        assert np.abs(more).max() > 1e-3
    np.testing.assert_array_equal(routed[0].out_weight, plain[0].out_weight)
    np.testing.assert_allclose(routed[1] - plain[1], gain[:, None] * w[0], rtol=1e-11, atol=1e-13)


def subtree(layer, x, k, node):
    """The hard output of the subtree under a node, by recursion."""
    if node >= layer.in_bias.shape[1]:
        return np.zeros(layer.n_out)
    z = algorithms.dot(x, layer.in_weight[k, node]) + float(layer.in_bias[k, node])
    here = algorithms.Activation(layer.activation, z) * layer.out_weight[k, node]
    return here + subtree(layer, x, k, 2 * node + 1 + (z > 0))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth, n_trees", [(0, 2), (1, 1), (2, 3), (4, 2)])
def test_it_is_the_gradient_of_the_surrogate(activation, depth, n_trees, rng):
    layer = cases.make("PathFFF", rng, n_in=3, n_out=2, depth=depth, width=n_trees, activation=activation)
    x, dy = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    _, tape = layer.forward(x)
    route = layer.route(x)[..., :-1]  # (B, K, depth): the nodes that decide
    differences = np.zeros((*route.shape, 2))  # right less left, of each decision
    for b, k, t in np.ndindex(route.shape):
        left, right = (subtree(layer, x[b], k, 2 * route[b, k, t] + side) for side in (1, 2))
        differences[b, k, t] = right - left

    def decisions(layer, x):
        tree = np.arange(n_trees)[:, None]
        z = np.einsum("bi,bkti->bkt", x, layer.in_weight[tree, route]) + layer.in_bias[tree, route]
        return sigmoid(z)

    settled = decisions(layer, x)

    def surrogate(layer, x):
        y = layer.forward(x)[0] + ((decisions(layer, x) - settled)[..., None] * differences).sum((1, 2))
        return (dy * y).sum()

    grads, dx = layer.backward(tape, dy, **ROUTED)
    for name, report in gradcheck.check_layer(surrogate, layer, x, grads, dx, "complex").items():
        assert report.error <= 1e-12, f"{name}: {report}"
    if depth:
        assert not np.allclose(grads.in_bias, layer.backward(tape, dy)[0].in_bias)


def test_it_points_to_the_better_side(rng):
    """Two leaves of which the right one is what is wanted: the root's logit should rise, though it is negative."""
    layer = PathFFF(
        in_weight=np.zeros((1, 3, 2)), in_bias=np.array([[-0.5, 1.0, 1.0]]),
        out_weight=np.array([[[0.0], [-1.0], [1.0]]]), activation="identity",
    )  # fmt: skip
    y, tape = layer.forward(np.zeros((1, 2)))
    assert y == -1
    grads, _ = layer.backward(tape, np.array([[-1.0]]), **ROUTED)  # a larger output is better
    np.testing.assert_allclose(grads.in_bias[0, 0], -2 * sigmoid(0.5) * sigmoid(-0.5), rtol=1e-12)
    assert layer.backward(tape, np.array([[-1.0]]))[0].in_bias[0, 0] == 0


def test_shapes_dtypes_and_refusals(rng):
    for dtype in (np.float32, np.float64):
        layer = cases.make("PathFFF", rng, dtype=dtype)
        for lead in ((), (0,), (2, 3)):
            y, tape = layer.forward(rng.standard_normal((*lead, 5)).astype(dtype))
            grads, dx = layer.backward(tape, y, **ROUTED)
            assert grads.dtype == dx.dtype == dtype and dx.shape == (*lead, 5)
    with pytest.raises(ValueError, match="route_gradient must be one of None, 'straight-through', got 'soft'"):
        layer.backward(tape, y, route_gradient="soft")
