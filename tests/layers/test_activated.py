"""An activation behind a layer's sum: values, gradients, and what is refused."""

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fffref import PathFFF, counting, gradcheck
from fffref.layers.activated import Activated
from fffref.layers.activations import ACTIVATIONS


@settings(deadline=None)
@given(cases.layers_and_inputs("PathFFF"), st.sampled_from(tuple(ACTIVATIONS)))
def test_the_output_is_activated(case, behind):
    layer, x = case
    whole, function = Activated(layer, behind), ACTIVATIONS[behind].function
    np.testing.assert_array_equal(whole.forward(x)[0], function(layer.forward(x)[0]))
    np.testing.assert_array_equal(whole.forward_hard(x), function(layer.forward_hard(x)))
    np.testing.assert_array_equal(whole.route(x), layer.route(x))
    assert whole.neurons_stored == layer.neurons_stored and whole.neurons_engaged == layer.neurons_engaged
    assert counting.of(whole).parameters == whole.n_parameters


@pytest.mark.parametrize("behind", ACTIVATIONS)
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("method, limit", [("complex", 1e-12), ("central", 1e-6)])
def test_gradients(behind, depth, method, limit, rng):
    layer = Activated(cases.make("PathFFF", rng, depth=depth, width=2, activation="identity"), behind)
    x, dy = rng.standard_normal((6, 5)), rng.standard_normal((6, 3))

    def value(layer, x):
        return (layer.forward(x)[0] * dy).sum()

    grads, dx = layer.backward(layer.forward(x)[1], dy)
    assert type(grads) is Activated and grads.behind == behind
    for name, report in gradcheck.check_layer(value, layer, x, grads, dx, method).items():
        assert report.error <= limit, f"{name}: {report}"


def test_where_the_activation_stands_matters(rng):
    seed = np.random.default_rng
    inside, outside = (cases.make("PathFFF", seed(0), activation=name) for name in ("gelu", "identity"))
    x = rng.standard_normal((9, 5))
    assert np.abs(inside.forward_hard(x) - Activated(outside, "gelu").forward_hard(x)).max() > 0.01


def test_options_of_the_layer_go_through(rng):
    layer = Activated(cases.make("PathFFF", rng, activation="identity"))
    x, dy = rng.standard_normal((6, 5)), rng.standard_normal((6, 3))
    tape = layer.forward(x)[1]
    routed = layer.backward(tape, dy, route_gradient="straight-through")[1]
    assert np.abs(routed - layer.backward(tape, dy)[1]).max() > 1e-3
    assert layer.backward(tape, dy, input_gradient=False)[1] is None


def test_refusals(rng):
    layer = cases.make("PathFFF", rng)
    with pytest.raises(TypeError, match="layer must be"):
        Activated(np.ones(3))
    with pytest.raises(ValueError, match="activation"):
        Activated(layer, "swish2")
    whole = Activated(layer)
    _, tape = layer.forward(np.zeros((2, 5)))
    with pytest.raises(TypeError, match="tape must be"):
        whole.backward(tape, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="dy must have shape"):
        whole.backward(whole.forward(np.zeros((2, 5)))[1], np.zeros((1, 3)))
    assert isinstance(whole.astype(np.float32).layer, PathFFF)
