"""Compiled layers give the reference's answers, the same bits in any batch and by any number of threads."""

import threading

import cases
import numpy as np
import pytest
from closeness import decided, near
from hypothesis import given, settings
from hypothesis import strategies as st

import fffref
from fffref import algorithms
from fffref.fast import dense, kernels
from fffref.fast.base import CHUNK
from fffref.layers.activations import ACTIVATIONS

kinds = pytest.mark.parametrize("kind", cases.KINDS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
LEADS = [(), (1,), (2,), (7,), (2, 3), (0,), (2, 0), (8 * CHUNK + 3,)]
SIZES = [(0, 1, 5, 3), (1, 2, 17, 33), (4, 3, 40, 7), (6, 1, 64, 48)]  # depth, width, n_in, n_out


@kinds
@dtypes
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("threads", [1, 3])
def test_answers_and_routes_are_the_references(kind, dtype, activation, threads, rng):
    for depth, width, n_in, n_out in SIZES:
        layer = cases.make(kind, rng, n_in, n_out, depth, width, activation, dtype)
        fast = fffref.jit(layer, threads)
        for lead in LEADS:
            x = decided(layer, rng.standard_normal((*lead, n_in)).astype(dtype))
            expected, route = layer.forward_hard(x), layer.route(x)
            near(fast(x), expected, n_in)
            np.testing.assert_array_equal(fast.route(x), route, strict=True)
            out = np.full_like(expected, 7)
            assert fast(x, out=out) is out
            near(out, expected, n_in)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(cases.KINDS).flatmap(cases.layers_and_inputs))
def test_random_shapes_ties_included(drawn):
    """Half of the draws are small integers, whose sums are exact: ties go where the papers say."""
    layer, x = drawn
    fast = fffref.jit(layer.aligned())
    if np.array_equal(x, np.rint(x)):
        np.testing.assert_array_equal(fast.route(x), layer.route(x))
        near(fast(x), layer.forward_hard(x), layer.n_in)
        for row in x:
            np.testing.assert_array_equal(fast(row), fast(row[None])[0])
    else:
        x = decided(layer, x)
        np.testing.assert_array_equal(fast.route(x), layer.route(x))


def test_cmm_is_algorithm_1(rng):
    layer = cases.make("PathFFF", rng, n_in=6, n_out=4, depth=3, width=2)
    x = rng.standard_normal((9, 6))
    expected, _ = algorithms.FFF_I(x, layer)
    flat = [array.reshape(-1, *array.shape[2:]) for array in layer.arrays().values()]
    for kernel in (kernels.cmm_jit, kernels.cmm_by_level_jit):
        for row, wanted in zip(x, expected, strict=True):
            y = np.full(4, np.nan)
            kernel(kernels.PathWeights(*flat, 2, kernels.GELU), row, y)
            np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-13)


@kinds
def test_the_result_does_not_depend_on_the_number_of_threads(kind, rng):
    layer = cases.make(kind, rng, 33, 17, 5, 4, dtype=np.float32)
    x = rng.standard_normal((11 * CHUNK + 5, 33)).astype(np.float32)
    if kind == "DenseFF":  # BLAS decides
        near(fffref.jit(layer, 4)(x), fffref.jit(layer)(x), 33)
        return
    one = fffref.jit(layer, 1)(x)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(fffref.jit(layer, threads)(x), one)
    if kind == "PathFFF":
        dy = rng.standard_normal((len(x), 17)).astype(np.float32)
        grads = [fffref.jit(layer, n).backward(fffref.jit(layer, n).forward(x)[1], dy) for n in (1, 3)]
        np.testing.assert_array_equal(grads[0][1], grads[1][1])
        for name, rows in grads[0][0].arrays().items():
            np.testing.assert_array_equal(rows.values, getattr(grads[1][0], name).values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_in", [1, 16, 67, 128])
@pytest.mark.parametrize("width", [1, 2, 5, 40])
@pytest.mark.parametrize("kind", ["LeafFFF", "DenseFF"])
def test_rows_that_share_neurons_are_computed_together_to_the_same_bits(kind, width, n_in, dtype, rng):
    """One to four rows at a time, an odd neuron at the end: what is read once for several is added up as for one."""
    if kind == "LeafFFF":
        layer = fffref.LeafFFF.init(rng, n_in, 19, 2, width, "gelu", dtype)
    else:
        layer = fffref.DenseFF.init(rng, n_in, 19, width, "gelu", dtype)
    most = 9 if kind == "LeafFFF" else dense.FEW - 1  # beyond, dense layers are BLAS's
    fast, x = fffref.jit(layer), rng.standard_normal((most, n_in)).astype(dtype)
    alone = np.stack([fast(row) for row in x])
    for n in range(1, len(x) + 1):
        np.testing.assert_array_equal(fast(x[:n]), alone[:n])
    near(alone, layer.forward_hard(x), n_in + width)


@kinds
def test_several_python_threads_may_call_at_once(kind, rng):
    layer = cases.make(kind, rng, 33, 17, 5, 4)
    fast = fffref.jit(layer, 2)
    x = rng.standard_normal((16, 2 * CHUNK, 33))
    expected = [fast(rows) for rows in x]
    wrong = []

    def work(rows, y):
        for _ in range(20):
            if not np.array_equal(fast(rows), y):
                wrong.append(rows)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(x, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
