"""MADDNESS, compiled: four comparisons a codebook, then tables read 32 rows at a time by one byte shuffle.

The codes lie codebook by codebook, so that 32 rows' codes are 32 bytes in a row, and a table of 16 bytes fits into a
register: one instruction (pshufb) looks up all 32, another (pavgb) averages them. Numba has no byte shuffle;
`average_block` makes one. In plain Python, or on a processor without it, it is a loop. The kernels here call none of
`kernels.py`, for Numba's cache does not see edits in another file.

# n rows, D columns of A, M columns of the product, C codebooks, U tables a block
"""

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .. import checks
from ..layers.lookup_tables import blocks
from ..layers.maddness import LEAVES, LEVELS
from . import kernels

LANES = 32  # rows that one shuffle serves
MOST = 16  # tables a block that the shuffles are made for
ROWS = 64  # rows that go down one codebook's tree together: their columns stay in the nearest caches


def has_byte_shuffle():
    """Whether the processor has AVX2's pshufb, as LLVM sees it."""
    return bool(binding.get_host_cpu_features().get("avx2", False))


# ---------------------------------------------------------------------- kernels


def average_block(table, m, first, size, codes, start, total):
    """Add a block's tables for 32 rows: total[i] += size * average over the block of table[m, c, codes[c, start + i]].

    The average is taken pair by pair, each rounded up, in 8 bits.
    """
    entries = np.empty(MOST, np.uint8)
    for i in range(LANES):
        for u in range(size):
            entries[u] = table[m, first + u, codes[first + u, start + i]]
        left = size
        while left > 1:
            left //= 2
            for u in range(left):
                entries[u] = (np.int32(entries[2 * u]) + np.int32(entries[2 * u + 1]) + 1) >> 1
        total[i] += size * np.int32(entries[0])


average_block_plain = average_block  # what is compiled where there is no byte shuffle


def _shuffled(size):
    """Make `average_block` for one size, by llvm.x86.avx2.pshuf.b: all entries and averages stay in registers."""

    @intrinsic
    def average(typing, table, m, first, codes, start, total):
        def generate(context, builder, signature, args):
            """Emit, for each table: load it, load 32 codes, shuffle; then the averages, then one sum."""
            bytes_, words, sums = (ir.VectorType(ir.IntType(bits), LANES) for bits in (8, 16, 32))
            half = ir.VectorType(ir.IntType(8), LEAVES)
            both = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [i % LEAVES for i in range(LANES)])
            kind = ir.FunctionType(bytes_, [bytes_, bytes_])
            shuffle = builder.module.declare_intrinsic("llvm.x86.avx2.pshuf.b", (), kind)
            ones, zero = ir.Constant(words, [1] * LANES), context.get_constant(types.intp, 0)

            def address(which, indices, vector):
                """Where an array's element is, as the address of a vector."""
                array = context.make_array(signature.args[which])(context, builder, args[which])
                at = cgutils.get_item_pointer(context, builder, signature.args[which], array, indices, wraparound=False)
                return builder.bitcast(at, vector.as_pointer())

            def entries(u):
                """Entries of table first + u for 32 rows; the 16 bytes of the table stand in both halves."""
                c = builder.add(args[2], context.get_constant(types.intp, u))
                one = builder.load(address(0, [args[1], c, zero], half), align=1)
                twice = builder.shuffle_vector(one, ir.Constant(half, ir.Undefined), both)
                return builder.call(shuffle, [twice, builder.load(address(3, [c, args[4]], bytes_), align=1)])

            def mean(a, b):
                """(a + b + 1) >> 1, which LLVM knows as one instruction, pavgb."""
                a, b = builder.zext(a, words), builder.zext(b, words)
                return builder.trunc(builder.lshr(builder.add(builder.add(a, b), ones), ones), bytes_)

            left = [entries(u) for u in range(size)]
            while len(left) > 1:
                left = [mean(a, b) for a, b in zip(left[0::2], left[1::2], strict=True)]
            at = address(5, [zero], sums)
            scaled = builder.mul(builder.zext(left[0], sums), ir.Constant(sums, [size] * LANES))
            builder.store(builder.add(builder.load(at, align=1), scaled), at, align=1)
            return context.get_dummy_value()

        return types.void(table, types.intp, types.intp, codes, types.intp, total), generate

    return average


_average_1, _average_2, _average_4, _average_8, _average_16 = (_shuffled(2**bit) for bit in range(5))


@overload(average_block, inline="always")
def _average_block_compiled(table, m, first, size, codes, start, total):
    if not has_byte_shuffle():
        return average_block_plain

    def by_shuffle(table, m, first, size, codes, start, total):
        """Pick the size."""
        if size == 4:
            _average_4(table, m, first, codes, start, total)
        elif size == 16:
            _average_16(table, m, first, codes, start, total)
        elif size == 8:
            _average_8(table, m, first, codes, start, total)
        elif size == 2:
            _average_2(table, m, first, codes, start, total)
        else:
            _average_1(table, m, first, codes, start, total)

    return by_shuffle


def encode_rows(A, split_column, threshold, codes):
    """Walk blocks of rows down every tree, level by level: (n, D) -> codes (C, n)."""
    node, x = np.empty(ROWS, np.int32), np.empty(ROWS, A.dtype)
    for first in range(0, len(A), ROWS):
        size = min(ROWS, len(A) - first)
        for c in range(len(threshold)):
            node[:] = 0
            for level in range(LEVELS):
                column = split_column[c, level]
                for i in range(size):  # a column of the block: from here on, memory is read in order
                    x[i] = A[first + i, column]
                for i in range(size):
                    node[i] = 2 * node[i] + np.int32(1) + np.int32(x[i] >= threshold[c, node[i]])
            for i in range(size):
                codes[c, first + i] = node[i] - (LEAVES - 1)


def scan_rows(table, codes, sizes, scale, offset, y):
    """Average the entries in blocks and add the averages up: (M, C, 16), (C, n padded to 32) -> y (n, M)."""
    total = np.empty(LANES, np.int32)
    bias = (sizes * np.log2(sizes)).sum() / 4  # what rounding up adds in the mean
    for start in range(0, codes.shape[1], LANES):
        for m in range(len(table)):
            total[:] = 0
            first = 0
            for size in sizes:
                average_block(table, m, first, size, codes, start, total)
                first += size
            for i in range(min(LANES, len(y) - start)):
                y[start + i, m] = offset[m] + (total[i] - bias) * scale


def path_by_look_ups(tables, codes, in_bias, out_weight, y):
    """One tree of CMM, relu, whose dots are look-ups: the samples' codes choose the path, (n, C) -> y (n, O).

    A path depends on its sample, so that no shuffle serves 32 samples: the bytes are read one by one and summed.
    What the look-ups cannot replace are the output rows: their factors are the sample's own activations.
    """
    table, offset, unit = tables  # (M, C, 16), (M,), a number
    for i in range(len(codes)):
        node = 0
        y[i] = 0
        while node < len(table):
            steps = np.int32(0)
            for c in range(codes.shape[1]):
                steps += np.int32(table[node, c, codes[i, c]])
            logit = offset[node] + steps * unit + in_bias[node]
            if logit > 0:
                for o in range(y.shape[1]):
                    y[i, o] += logit * out_weight[node, o]
            node = 2 * node + 1 + (logit > 0)


encode_rows_jit, scan_rows_jit, path_by_look_ups_jit = (
    kernels.compiled(function, fastmath=False) for function in (encode_rows, scan_rows, path_by_look_ups)
)


# ---------------------------------------------------------------------- what checks, allocates and calls them


class FastMaddness:
    """Compiled `Maddness.encode`, `scan` and `apply`.

    Parameters
    ----------
    maddness : Maddness
    """

    def __init__(self, maddness):
        self.maddness = maddness
        held = maddness.bytes_table
        self._table = np.ascontiguousarray(held.value.transpose(2, 0, 1))  # (C, 16, M) -> (M, C, 16)
        self._sizes = np.array(blocks(maddness.codebooks, held.block))
        self._offset, self._unit = held.offset, maddness.table.dtype.type(1 / held.scale)

    def encode(self, A):
        """Return the codes codebook by codebook, (n, D) -> (C, n padded to a multiple of 32); see `Maddness.encode`."""
        trees = self.maddness
        A = checks.array("A", A, (None, trees.prototype.shape[2]), trees.threshold.dtype)
        codes = np.zeros((trees.codebooks, -(-len(A) // LANES) * LANES), np.uint8)
        encode_rows_jit(A, trees.split_column, trees.threshold, codes)
        return codes

    def scan(self, codes, n):
        """Add up the tables' entries of the first `n` rows, (C, padded n) -> (n, M).

        Raises
        ------
        TypeError, ValueError
            If the codes are not those that `encode` returned for so many rows.
        """
        checks.integer("n", n, 0)
        codes = checks.array("codes", codes, (self.maddness.codebooks, -(-n // LANES) * LANES), np.dtype(np.uint8))
        if codes.size and codes.max() >= LEAVES:
            raise checks.InputError(
                f"codes must lie in 0 to {LEAVES - 1}, got {codes.max()}; pass what encode returned"
            )
        y = np.empty((n, len(self._table)), self._offset.dtype)
        scan_rows_jit(self._table, np.ascontiguousarray(codes), self._sizes, self._unit, self._offset, y)
        return y

    def apply(self, A):
        """Return about A B, (n, D) -> (n, M)."""
        return self.scan(self.encode(A), len(A))

    __call__ = apply

    @property
    def tables(self):
        """What `path_by_look_ups` needs: tables (M, C, 16), their offsets (M,), and a step's size."""
        return self._table, self._offset, self._unit
