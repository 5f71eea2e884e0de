"""The compiled GELU of training against the exact forms, in value and slope, at any layout."""

import numpy as np
import pytest

from fffref import DenseFF, LeafFFF, checks, jit
from fffref.fast import gelu
from fffref.formats import checkpoints
from fffref.layers import activations


@pytest.mark.parametrize("function", [gelu.slopes, gelu.slopes_jit], ids=["plain", "compiled"])
def test_slopes_are_right_to_four_millionths(function):
    z = np.concatenate([np.linspace(-12, 12, 2001), [0.0, -0.0, 1e-30, -1e-30, 30, -30]]).astype(np.float32)
    exact = activations.gelu_derivative(z.astype(np.float64))
    slope = np.empty_like(z)
    function(z, slope)
    np.testing.assert_allclose(slope, exact, atol=4e-6)
    assert np.abs(slope - np.roll(exact, 5)).max() > 1e-3


def test_values_and_slopes_keep_layout_and_nan():
    z = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    for array in (z, z.T, np.asfortranarray(z), z[::2, 1:]):
        before = array.copy()
        value, slope = gelu.gelu(array), gelu.gelu_derivative(array)
        np.testing.assert_allclose(value, activations.gelu(array), rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(slope, activations.gelu_derivative(array), atol=5e-6)
        np.testing.assert_array_equal(array, before)
    broken = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    assert np.isnan(gelu.gelu_derivative(broken)[0]) and gelu.gelu(broken)[1] == np.inf


def test_other_dtypes_are_the_references():
    z = np.linspace(-3, 3, 7)
    np.testing.assert_array_equal(gelu.gelu(z), activations.gelu(z))
    np.testing.assert_array_equal(gelu.gelu_derivative(z), activations.gelu_derivative(z))


def test_a_quick_layer_shares_its_arrays_and_computes_nearly_the_same(rng):
    for layer in (DenseFF.init(rng, 5, 3, 40, "gelu"), LeafFFF.init(rng, 5, 3, 2, 4, "gelu")):
        x = rng.standard_normal((9, 5)).astype(np.float32)
        quick = gelu.quick(layer)
        assert quick.arrays()[next(iter(layer.arrays()))] is next(iter(layer.arrays().values()))
        (y, tape), (expected, kept) = quick.forward(x), layer.forward(x)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
        grads, dx = quick.backward(tape, y)
        right, dright = layer.backward(kept, y)
        for name, array in right.arrays().items():
            np.testing.assert_allclose(grads.arrays()[name], array, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(dx, dright, rtol=1e-3, atol=1e-5)
    plain = DenseFF.init(rng, 5, 3, 4)
    assert gelu.quick(plain) is plain


def test_a_pair_of_functions_is_neither_saved_nor_compiled(rng, tmp_path):
    quick = gelu.quick(DenseFF.init(rng, 5, 3, 4, "gelu"))
    for use in (lambda: checkpoints.save(tmp_path / "layer", quick), lambda: jit(quick)):
        with pytest.raises(checks.InputError, match="activation must be one of"):
            use()
