"""DenseFF, the baseline: its formula, written again with loops."""

import cases
import numpy as np
from hypothesis import given, settings

from fffref import algorithms


@settings(deadline=None)
@given(cases.layers_and_inputs("DenseFF"))
def test_forward_is_its_formula(drawn):
    layer, x = drawn
    y = layer.forward(x)[0]
    for row, outputs in zip(x, y, strict=True):
        hidden = [
            algorithms.Activation(layer.activation, algorithms.dot(row, weight) + bias)
            for weight, bias in zip(layer.in_weight, layer.in_bias, strict=True)
        ]
        expected = [algorithms.dot(hidden, layer.out_weight[:, o]) + layer.out_bias[o] for o in range(layer.n_out)]
        np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(layer.forward_hard(x), y)
    assert layer.route(x).tolist() == [0] * len(x)


def test_counts(rng):
    layer = cases.make("DenseFF", rng, width=9)
    assert layer.neurons_stored == layer.neurons_engaged == layer.width == 9
    assert layer.n_parameters == 9 * 5 + 9 + 9 * 3 + 3
