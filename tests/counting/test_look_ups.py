"""Counts of look-ups, held against the arrays and against what the oracle's recursion really does."""

import numpy as np
import pytest

from fffref import algorithms
from fffref.counting import look_ups
from fffref.layers.maddness import Maddness


class Watched(list):
    """A row that counts how often its entries are read."""

    reads = 0

    def __getitem__(self, i):
        self.reads += 1
        return super().__getitem__(i)


@pytest.mark.parametrize(("D", "M", "codebooks"), [(7, 3, 2), (16, 10, 16), (5, 1, 1)])
def test_counts_are_those_of_the_arrays_and_of_the_recursion(rng, D, M, codebooks):
    A = rng.standard_normal((30, D)).astype(np.float32)
    m = Maddness.learn(A, rng.standard_normal((D, M)).astype(np.float32), codebooks)
    count = look_ups.of(m)
    assert count == look_ups.maddness(D, M, codebooks)
    assert count.table_bytes == m.bytes_table.value.nbytes
    assert count.tree_bytes == m.threshold.nbytes + 4 * m.split_column.size
    row = Watched(A[0])
    for tree in zip(m.split_column, m.threshold, strict=True):
        algorithms.MADDNESSHASH(row, *tree)
    assert count.comparisons == row.reads
    assert count.look_ups == m.encode(A[:1]).size * M and count.exact.multiply_adds == D * M
    assert count.multiply_adds_a_look_up == D / codebooks


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 1, 1), "n_in must be at least 1"),
        ((4, 1, 5), "codebooks must be at most 4"),
        ((4, 1.5, 2), "n_out must be"),
    ],
)
def test_absurd_sizes_are_refused(sizes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        look_ups.maddness(*sizes)
