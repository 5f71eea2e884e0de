"""Weights in bfloat16: the answers of the layer whose weights are rounded so, in any batch, and what is refused."""

import copy
import pickle
from dataclasses import replace

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fffref
from fffref.fast import registers
from fffref.fast.path import upper_halves


def widened(halves):
    """Upper halves as float32."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def rounded(layer):
    """The layer with weights, not biases, that bfloat16 can hold."""
    return replace(layer, **{name: widened(upper_halves(getattr(layer, name))) for name in ("in_weight", "out_weight")})


@given(st.floats(width=32))
@settings(deadline=None)
def test_rounding_is_to_the_nearest(value):
    """Of the two neighbours with 8 bits, the nearer; NaN stays NaN, infinity infinity."""
    number = np.array([value], np.float32)
    (found,) = widened(upper_halves(number))
    if not np.isfinite(value):
        np.testing.assert_array_equal(found, number[0])
        return
    bits = number.view(np.uint32) & np.uint32(0xFFFF0000)  # towards 0
    below, above = (np.float64(b.view(np.float32)[0]) for b in (bits, bits + np.uint32(1 << 16)))
    above = above if np.isfinite(above) else np.copysign(2.0**128, value)
    distances = abs(below - float(value)), abs(above - float(value))
    expected = below if distances[0] < distances[1] else above
    if distances[0] == distances[1]:  # a tie: the even one
        expected = below if (bits[0] >> 16) % 2 == 0 else above
    assert np.float64(found) == expected or (abs(expected) == 2.0**128 and np.isinf(found))


@pytest.mark.parametrize("n_in, n_out", [(64, 64), (33, 17), (5, 3), (1, 1)])
@pytest.mark.parametrize("depth, trees", [(0, 1), (3, 2), (6, 1)])
@pytest.mark.parametrize("batch", [0, 1, 3, 40, 2000])
def test_it_is_the_rounded_layer(n_in, n_out, depth, trees, batch, rng):
    layer = cases.make("PathFFF", rng, n_in, n_out, depth, trees, dtype=np.float32)
    fast, truth = fffref.jit(layer).bfloat16(), rounded(layer)
    x = rng.standard_normal((batch, n_in)).astype(np.float32)
    np.testing.assert_array_equal(fast.route(x), fffref.jit(truth).route(x))  # sums in the same order
    np.testing.assert_array_equal(fast(x), fffref.jit(truth)(x))
    np.testing.assert_allclose(fast(x), truth.forward_hard(x), rtol=0, atol=2e-5)
    for row, y in zip(x[:5], fast(x), strict=False):
        np.testing.assert_array_equal(fast(row), y)


def test_threads_copies_and_changes(rng):
    layer = cases.make("PathFFF", rng, 32, 32, 5, dtype=np.float32)
    x = rng.standard_normal((1000, 32)).astype(np.float32)
    fast = fffref.jit(layer).bfloat16()
    y = fast(x)
    copies = pickle.loads(pickle.dumps(fast)), copy.deepcopy(fast), fast.bfloat16()
    for other in (fffref.jit(layer, threads=3).bfloat16(), *copies):
        np.testing.assert_array_equal(other(x), y)
    layer.out_weight[...] = 0
    np.testing.assert_array_equal(fast(x), y)  # a copy, as it says
    assert not fffref.jit(layer).bfloat16()(x).any()


def test_refusals(rng):
    with pytest.raises(TypeError, match="bfloat16 rounds float32, the layer has float64"):
        fffref.jit(cases.make("PathFFF", rng)).bfloat16()
    fast = fffref.jit(cases.make("PathFFF", rng, dtype=np.float32)).bfloat16().warm_up()
    with pytest.raises(ValueError, match="for inference"):
        fast.forward(np.zeros((2, 5), np.float32))
    y, tape = fffref.jit(fast.layer).forward(np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match="for inference"):
        fast.backward(tape, y, input_gradient=False)
    with pytest.raises(TypeError, match="x must have dtype float32"):
        fast(np.zeros((2, 5)))


def test_plain_python_reads_the_same_numbers(rng):
    whole = rng.standard_normal((4, 7)).astype(np.float32)
    halves = upper_halves(whole)
    assert registers.number(halves, (2, 3)) == widened(halves)[2, 3] and registers.number(whole, (2, 3)) == whole[2, 3]
    assert registers.dot(whole[0], halves[1]) == pytest.approx(whole[0] @ widened(halves)[1], rel=1e-5)


@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("lead", [(1,), (1, 1), (1, 1, 1)])
def test_one_sample_with_axes_of_length_1_is_that_sample(kind, lead, rng):
    layer = cases.make(kind, rng, 9, 4, dtype=np.float32)
    fast, x = fffref.jit(layer), rng.standard_normal(9).astype(np.float32)
    y = fast(x.reshape(*lead, 9))
    assert y.shape == (*lead, 4)
    np.testing.assert_array_equal(y.ravel(), fast(x))
