"""Each activation against the oracle, and each derivative against both numerical ones."""

import numpy as np
import pytest

from fffref import algorithms, gradcheck
from fffref.layers import activations

NAMES = tuple(activations.ACTIVATIONS)
EXTREME = np.array([-np.inf, -1000, -40, -1e-30, -0.0, 0, 1e-30, 40, 1000, np.inf])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_values_are_the_oracles(name, dtype, rng):
    z = np.concatenate((rng.normal(0, 3, 200), EXTREME[np.isfinite(EXTREME)])).astype(dtype)
    expected = [algorithms.Activation(name, float(v)) for v in z]
    found = activations.get(name).function(z)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=20 * np.finfo(dtype).eps, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_is_the_oracles(dtype, rng):
    z = np.concatenate((rng.normal(0, 3, 200), EXTREME[np.isfinite(EXTREME)])).astype(dtype)
    found = activations.sigmoid(z)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [algorithms.sigma(float(v)) for v in z], rtol=4 * np.finfo(dtype).eps, atol=1e-44)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_smooth_step_is_the_oracles_and_exact_outside_its_band(dtype, rng):
    z = np.concatenate((rng.normal(0, 3, 200), EXTREME, [-3, 3])).astype(dtype)
    found, slope = activations.smooth_step(z), activations.smooth_step_derivative(z)
    assert found.dtype == slope.dtype == dtype
    expected = [algorithms.smooth_step(float(v)) for v in z]
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * np.finfo(dtype).eps)
    outside = abs(z) >= 3
    assert (found[outside] == (z > 0)[outside]).all() and (slope[outside] == 0).all() and (slope[~outside] > 0).all()
    np.testing.assert_allclose(found + activations.smooth_step(-z), 1, rtol=4 * np.finfo(dtype).eps)
    assert np.isnan(activations.smooth_step(np.array([np.nan], dtype)))


def test_smooth_step_touches_sigmoid_at_0():
    zero = np.zeros(1)
    assert activations.smooth_step(zero) == activations.sigmoid(zero) == 0.5
    assert activations.smooth_step_derivative(zero) == 0.25


@pytest.mark.parametrize("method", gradcheck.METHODS)
def test_the_derivative_of_smooth_step(method, rng):
    z = rng.normal(0, 3, 200)
    slope = activations.smooth_step_derivative(z)
    assert (slope == 0).any()
    gradcheck.check(activations.smooth_step, z, slope, np.ones_like(z), method).expect()


@pytest.mark.parametrize("method", gradcheck.METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_derivatives(name, method, rng):
    z = rng.normal(0, 2, 100)
    function, derivative = activations.get(name)
    gradcheck.check(function, z, derivative(z), np.ones_like(z), method).expect()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_limits_and_nan(name, dtype):
    function, derivative = activations.get(name)
    with np.errstate(invalid="ignore"):  # gelu(-inf) = -inf * 0
        for pieces in (function(EXTREME.astype(dtype)), derivative(EXTREME.astype(dtype))):
            assert pieces.dtype == dtype and np.isfinite(pieces[1:-1]).all()
    assert np.isnan(function(np.array([np.nan], dtype)))
    assert np.isnan(function(np.array([complex(np.nan, 1)])).real)


def test_the_derivative_of_relu_at_its_kink_is_the_left_one():
    assert activations.relu_derivative(np.array([-1.0, 0.0, 1.0])).tolist() == [0, 0, 1]


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation must be one of 'relu', 'gelu', 'tanh', 'identity', got 'swish'"):
        activations.get("swish")
