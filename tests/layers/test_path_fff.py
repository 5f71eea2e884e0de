"""PathFFF against the second paper's algorithm and against the masked dense formulation, forward and backward."""

from dataclasses import replace

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fffref import DenseFF, PathFFF, algorithms
from fffref.layers import activations

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@settings(deadline=None, max_examples=150)
@given(cases.layers_and_inputs("PathFFF"))
def test_forward_is_the_papers_ties_included(drawn):
    layer, x = drawn
    expected, nodes = algorithms.FFF_I(x, layer)
    y, tape = layer.forward(x)
    np.testing.assert_allclose(y, np.array(expected).reshape(y.shape), **CLOSE)
    np.testing.assert_array_equal(layer.route(x), np.array(nodes, int).reshape(layer.route(x).shape))
    assert tape.node.shape == tape.logit.shape == (len(x), layer.neurons_engaged)


def masked_dense(layer, x, dy):
    """All logits, activated, times the 0/1 mask of the path; and the gradients of that, written out densely."""
    K, M = layer.in_bias.shape
    _, nodes = algorithms.FFF_I(x, layer)
    mask = np.array([algorithms.path_mask(layer, paths) for paths in nodes], float).reshape(len(x), K * M)
    in_weight, out_weight = layer.in_weight.reshape(K * M, -1), layer.out_weight.reshape(K * M, -1)
    function, derivative = activations.get(layer.activation)
    logit = x @ in_weight.T + layer.in_bias.ravel()
    hidden = function(logit) * mask
    dlogit = (dy @ out_weight.T) * mask * derivative(logit)
    grads = {
        "in_weight": (dlogit.T @ x).reshape(layer.in_weight.shape),
        "in_bias": dlogit.sum(0).reshape(K, M),
        "out_weight": (hidden.T @ dy).reshape(layer.out_weight.shape),
    }
    return hidden @ out_weight, grads, dlogit @ in_weight


@settings(deadline=None, max_examples=150)
@given(cases.layers_and_inputs("PathFFF"), st.integers(0, 2**32 - 1))
def test_forward_and_backward_are_the_masked_dense_formulation(drawn, seed):
    layer, x = drawn
    dy = np.random.default_rng(seed).standard_normal((len(x), layer.n_out))
    y, tape = layer.forward(x)
    grads, dx = layer.backward(tape, dy)
    expected_y, expected_grads, expected_dx = masked_dense(layer, x, dy)
    np.testing.assert_allclose(y, expected_y, **CLOSE)
    np.testing.assert_allclose(dx, expected_dx, **CLOSE)
    for name, expected in expected_grads.items():
        np.testing.assert_allclose(getattr(grads, name), expected, **CLOSE)


def test_only_visited_neurons_receive_gradients(rng):
    layer = cases.make("PathFFF", rng, depth=5, width=2)
    x, dy = rng.standard_normal((3, 5)), rng.standard_normal((3, 3))
    grads, _ = layer.backward(layer.forward(x)[1], dy)
    nodes = layer.route(x)
    for k in range(2):
        for name, gradient in grads.arrays().items():
            rows = gradient[k].reshape(63, -1)
            assert set(np.flatnonzero(np.abs(rows).sum(1))) == set(nodes[:, k].ravel()), name


def test_a_tie_goes_left(rng):
    layer = cases.make("PathFFF", rng).map(np.zeros_like)
    assert layer.route(np.ones((1, 5)))[0].tolist() == [[0, 1, 3]] * 3


def test_depth_0_is_a_dense_net_without_output_bias(rng):
    layer = cases.make("PathFFF", rng, depth=0, width=4)
    dense = DenseFF(layer.in_weight[:, 0], layer.in_bias[:, 0], layer.out_weight[:, 0], np.zeros(3), "gelu")
    x = rng.standard_normal((7, 5))
    np.testing.assert_allclose(layer.forward(x)[0], dense.forward(x)[0], **CLOSE)


def test_trees_add_up(rng):
    layer, x = cases.make("PathFFF", rng, width=3), rng.standard_normal((7, 5))
    each = [layer.map(lambda array, k=k: array[k : k + 1]).forward(x)[0] for k in range(3)]
    np.testing.assert_allclose(layer.forward(x)[0], sum(each), **CLOSE)


def test_ultrafastbert_1x11_stores_4095_neurons_and_engages_12(rng):
    layer = PathFFF.init(rng, 8, 8, depth=11, n_trees=1)
    assert (layer.neurons_stored, layer.neurons_engaged) == (4095, 12)
    _, tape = layer.forward(np.zeros((1, 8), np.float32))
    assert len(set(tape.node[0])) == 12


def test_the_initial_scale_is_the_authors(rng):
    layer = PathFFF.init(rng, 100, 50, depth=4, n_trees=5)
    for array, bound in ((layer.in_weight, 0.1), (layer.in_bias, 0.1), (layer.out_weight, 0.2)):
        assert bound * 0.95 < np.abs(array).max() <= bound and abs(array.mean()) < 0.05 * bound


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda layer: layer.map(lambda array: array[:, :6]), r"2\*\*depth - 1 nodes .* got 6"),
        (lambda layer: layer.map(lambda array: array[:, :0]), "at least one tree of one neuron"),
        (lambda layer: layer.map(lambda array: array[:0]), "at least one tree of one neuron"),
        (lambda layer: replace(layer, in_bias=layer.in_bias[:1]), r"in_bias must have shape \(3, 7\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message, rng):
    with pytest.raises(ValueError, match=message):
        change(cases.make("PathFFF", rng))
