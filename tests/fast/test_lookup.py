"""The compiled MADDNESS equals the reference, by shuffle, by plain loop, and as plain Python."""

from dataclasses import replace

import numpy as np
import pytest
from numba import njit

from fffref.fast import lookup
from fffref.layers.lookup_tables import quantise
from fffref.layers.maddness import LEAVES, Maddness


def learned(rng, n=100, D=9, M=4, codebooks=3, dtype=np.float32):
    A = rng.integers(-2, 3, (n, D)).astype(dtype)
    return A, Maddness.learn(A, rng.standard_normal((D, M)).astype(dtype), codebooks)


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 300])
@pytest.mark.parametrize(("codebooks", "dtype"), [(1, np.float32), (5, np.float64), (9, np.float32)])
def test_compiled_equals_the_reference(rng, n, codebooks, dtype):
    _, m = learned(rng, codebooks=codebooks, dtype=dtype)
    fast, A = lookup.FastMaddness(m), rng.integers(-2, 3, (n, 9)).astype(dtype)
    codes = fast.encode(A)
    np.testing.assert_array_equal(codes[:, :n].T, m.encode(A))
    y = fast.apply(A)
    assert y.dtype == dtype and y.shape == (n, 4)
    np.testing.assert_allclose(y, m.apply(A), rtol=1e-5, atol=1e-5)


def test_layouts_and_ties(rng):
    A, m = learned(rng)
    fast = lookup.FastMaddness(m)
    for rows in (np.asfortranarray(A), A[::2], A[::-1]):
        np.testing.assert_array_equal(fast.encode(rows)[:, : len(rows)].T, m.encode(rows))


@pytest.mark.parametrize("block", [1, 2, 16])
def test_every_block_size(rng, block):
    A, m = learned(rng, codebooks=9)
    m = replace(m, bytes_table=quantise(m.table, block))
    np.testing.assert_allclose(lookup.FastMaddness(m).apply(A), m.apply(A), rtol=1e-5, atol=1e-5)


def test_kernels_are_valid_python(rng):
    A, m = learned(rng, n=40)
    fast = lookup.FastMaddness(m)
    codes, y = np.zeros((3, 64), np.uint8), np.empty((40, 4), np.float32)
    lookup.encode_rows(A, m.split_column, m.threshold, codes)
    lookup.scan_rows(fast._table, codes, fast._sizes, fast._unit, fast._offset, y)
    np.testing.assert_array_equal(codes, fast.encode(A))
    np.testing.assert_allclose(y, fast.apply(A), rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_a_block_by_shuffles_is_the_plain_loop(rng, size):
    @njit
    def compiled(table, m, first, size, codes, start, total):
        lookup.average_block(table, m, first, size, codes, start, total)

    table = rng.integers(0, 256, (2, 18, LEAVES), dtype=np.uint8)
    codes = rng.integers(0, LEAVES, (18, 70), dtype=np.uint8)
    by_shuffle, by_loop, plain = (np.full(32, 5, np.int32) for _ in range(3))
    compiled(table, 1, 2, size, codes, 7, by_shuffle)
    njit(lookup.average_block_plain)(table, 1, 2, size, codes, 7, by_loop)  # where there is no byte shuffle
    lookup.average_block_plain(table, 1, 2, size, codes, 7, plain)
    np.testing.assert_array_equal(by_shuffle, plain)
    np.testing.assert_array_equal(by_loop, plain)


def test_codes_that_name_no_leaf_never_reach_a_kernel(rng):
    A, m = learned(rng)
    fast = lookup.FastMaddness(m)
    codes = fast.encode(A)
    with pytest.raises(ValueError, match="codes must lie in 0 to 15"):
        fast.scan(codes + np.uint8(16), len(A))
    with pytest.raises(ValueError, match="codes must have shape"):
        fast.scan(codes, len(A) + 32)
    with pytest.raises(TypeError, match="codes must have dtype uint8"):
        fast.scan(codes.astype(np.int64), len(A))
    with pytest.raises(TypeError, match="A must have dtype float32"):
        fast.encode(A.astype(np.float64))
