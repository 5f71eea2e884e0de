# ruff: noqa: RUF005  # Numba takes `at + (o,)`, not `(*at, o)`
"""What the kernels do a register at a time: each a plain function to read, and its form in explicit vectors below it.

Left to itself, LLVM adds up a dot product in another order where four rows are taken together than where one is, and
keeps no output row in registers. Here the order is written down, so that a row's answer is the same bits in any
batch and by any number of threads.

Numba does not see edits in this file when it looks into its cache: `kernels.py` names its digest.
"""

import numpy as np
from numba import types
from numba.extending import overload

from ..layers.record import CACHE_LINE
from .instructions import (
    everywhere,
    lanes_of,
    load,
    multiply_add,
    plus,
    prefetch_item,
    store,
    stream,
    total,
    wait_for_stores,
)

ORDERED = {"fastmath": {"nsz", "contract"}, "error_model": "numpy"}

# ---------------------------------------------------------------------- hints


def prefetch(rows, i, first, last):
    """Ask for rows[i, first:last] ahead; a hint to the caches, nothing in plain Python."""


@overload(prefetch, inline="always")
def _prefetch(rows, i, first, last):
    line = 8 * CACHE_LINE // rows.dtype.bitwidth

    def lines(rows, i, first, last):
        for j in range(first, last, line):
            prefetch_item(rows, (i, j))

    return lines


def fence():
    """Wait until everybody sees what was written past the caches; nothing in plain Python."""


@overload(fence)
def _fence_compiled():
    return lambda: wait_for_stores()


# ---------------------------------------------------------------------- numbers


def number(rows, at):
    """rows[at]; uint16 are the upper halves of float32, as bfloat16 keeps them."""
    if rows.dtype != np.uint16:
        return rows[at]
    return (np.uint32(rows[at]) << np.uint32(16)).view(np.float32)


@overload(number, inline="always")
def _number(rows, at):
    if rows.dtype != types.uint16:
        return lambda rows, at: rows[at]
    return lambda rows, at: np.uint32(np.uint32(rows[at]) << np.uint32(16)).view(np.float32)


# ---------------------------------------------------------------------- dot products


def dot(a, b):
    """Inner product of two rows, summed in the dtype of the first."""
    result = a.dtype.type(0)
    for j in range(len(a)):
        result += a[j] * number(b, (j,))
    return result


@overload(dot, jit_options=ORDERED)
def _dot(a, b):
    lanes = lanes_of(a)

    def vectors(a, b):
        """Four running sums, for one would wait for itself."""
        s0 = s1 = s2 = s3 = everywhere(a.dtype.type(0))
        j = 0
        while j + 4 * lanes <= len(a):
            s0 = multiply_add(load(a, (j,)), load(b, (j,)), s0)
            s1 = multiply_add(load(a, (j + lanes,)), load(b, (j + lanes,)), s1)
            s2 = multiply_add(load(a, (j + 2 * lanes,)), load(b, (j + 2 * lanes,)), s2)
            s3 = multiply_add(load(a, (j + 3 * lanes,)), load(b, (j + 3 * lanes,)), s3)
            j += 4 * lanes
        while j + lanes <= len(a):
            s0 = multiply_add(load(a, (j,)), load(b, (j,)), s0)
            j += lanes
        result = total(plus(plus(s0, s1), plus(s2, s3)))
        while j < len(a):
            result += a[j] * number(b, (j,))
            j += 1
        return result

    return vectors


def dot_four(x, i, weight, n):
    """Four dot products at once, x[i[q]] . weight[n[q]]: while one waits for memory, the others go on."""
    return (
        dot(x[i[0]], weight[n[0]]),
        dot(x[i[1]], weight[n[1]]),
        dot(x[i[2]], weight[n[2]]),
        dot(x[i[3]], weight[n[3]]),
    )


@overload(dot_four, jit_options=ORDERED)
def _dot_four(x, i, weight, n):
    lanes = lanes_of(x)

    def vectors(x, i, weight, n):
        """The running sums of `dot`, for four pairs of rows."""
        zero = everywhere(x.dtype.type(0))
        s0 = s1 = s2 = s3 = (zero, zero, zero, zero)
        j, end = 0, x.shape[1]
        while j + 4 * lanes <= end:
            s0 = _step_four(x, i, weight, n, j, s0)
            s1 = _step_four(x, i, weight, n, j + lanes, s1)
            s2 = _step_four(x, i, weight, n, j + 2 * lanes, s2)
            s3 = _step_four(x, i, weight, n, j + 3 * lanes, s3)
            j += 4 * lanes
        while j + lanes <= end:
            s0 = _step_four(x, i, weight, n, j, s0)
            j += lanes
        r0, r1, r2, r3 = _totals(s0, s1, s2, s3)
        while j < end:
            r0 += x[i[0], j] * number(weight, (n[0], j))
            r1 += x[i[1], j] * number(weight, (n[1], j))
            r2 += x[i[2], j] * number(weight, (n[2], j))
            r3 += x[i[3], j] * number(weight, (n[3], j))
            j += 1
        return r0, r1, r2, r3

    return vectors


def _totals(s0, s1, s2, s3):
    """Of four products, each of which has four running sums."""


@overload(_totals, inline="always")
def _totals_compiled(s0, s1, s2, s3):
    return lambda s0, s1, s2, s3: (
        total(plus(plus(s0[0], s1[0]), plus(s2[0], s3[0]))),
        total(plus(plus(s0[1], s1[1]), plus(s2[1], s3[1]))),
        total(plus(plus(s0[2], s1[2]), plus(s2[2], s3[2]))),
        total(plus(plus(s0[3], s1[3]), plus(s2[3], s3[3]))),
    )


def _step_four(x, i, weight, n, j, sums):
    """One vector of each of four pairs of rows."""


@overload(_step_four, inline="always")
def _step_four_compiled(x, i, weight, n, j, sums):
    return lambda x, i, weight, n, j, sums: (
        multiply_add(load(x, (i[0], j)), load(weight, (n[0], j)), sums[0]),
        multiply_add(load(x, (i[1], j)), load(weight, (n[1], j)), sums[1]),
        multiply_add(load(x, (i[2], j)), load(weight, (n[2], j)), sums[2]),
        multiply_add(load(x, (i[3], j)), load(weight, (n[3], j)), sums[3]),
    )


def dot_pairs(x, i, weight, n):
    """Two rows with two others, each read once: x[i[p]] . weight[n[q]] for p, q of (0, 0), (1, 0), (0, 1), (1, 1)."""
    return (
        dot(x[i[0]], weight[n[0]]),
        dot(x[i[1]], weight[n[0]]),
        dot(x[i[0]], weight[n[1]]),
        dot(x[i[1]], weight[n[1]]),
    )


@overload(dot_pairs, jit_options=ORDERED)
def _dot_pairs(x, i, weight, n):
    lanes = lanes_of(x)

    def vectors(x, i, weight, n):
        """The running sums of `dot`, for four products."""
        zero = everywhere(x.dtype.type(0))
        s0 = s1 = s2 = s3 = (zero, zero, zero, zero)
        j, end = 0, x.shape[1]
        while j + 4 * lanes <= end:
            s0 = _step_pairs(x, i, weight, n, j, s0)
            s1 = _step_pairs(x, i, weight, n, j + lanes, s1)
            s2 = _step_pairs(x, i, weight, n, j + 2 * lanes, s2)
            s3 = _step_pairs(x, i, weight, n, j + 3 * lanes, s3)
            j += 4 * lanes
        while j + lanes <= end:
            s0 = _step_pairs(x, i, weight, n, j, s0)
            j += lanes
        r0, r1, r2, r3 = _totals(s0, s1, s2, s3)
        while j < end:
            r0 += x[i[0], j] * number(weight, (n[0], j))
            r1 += x[i[1], j] * number(weight, (n[0], j))
            r2 += x[i[0], j] * number(weight, (n[1], j))
            r3 += x[i[1], j] * number(weight, (n[1], j))
            j += 1
        return r0, r1, r2, r3

    return vectors


def _step_pairs(x, i, weight, n, j, sums):
    """One vector of each of four rows, in four products."""


@overload(_step_pairs, inline="always")
def _step_pairs_compiled(x, i, weight, n, j, sums):
    def products(x, i, weight, n, j, sums):
        a, b, v, w = load(x, (i[0], j)), load(x, (i[1], j)), load(weight, (n[0], j)), load(weight, (n[1], j))
        return (
            multiply_add(a, v, sums[0]),
            multiply_add(b, v, sums[1]),
            multiply_add(a, w, sums[2]),
            multiply_add(b, w, sums[3]),
        )

    return products


# ---------------------------------------------------------------------- sums of rows

AT_A_TIME = 16  # rows that are added up before y goes back to memory


def combine(h, n, rows, y, at, past_caches):
    """y[at] = sum of h[at][j] rows[n[at][j]]; `at` is () where h, n and y are one row, else (row,).

    `past_caches`: y starts on a cache line, and nobody needs it soon.
    """
    h, n, y = h[at], n[at], y[at]
    y[:] = 0
    for j in range(len(n)):
        for o in range(len(y)):
            y[o] += h[j] * number(rows, (n[j], o))


@overload(combine, inline="always")
def _combine(h, n, rows, y, at, past_caches):
    def vectors(h, n, rows, y, at, past_caches):
        if n.shape[-1] <= AT_A_TIME:
            _combine_few(h, n, rows, y, at, past_caches)
        else:
            for first in range(0, n.shape[-1], AT_A_TIME):
                last = min(first + AT_A_TIME, n.shape[-1])
                _combine_span(h, n, rows, y, at, (first, last, past_caches and last == n.shape[-1]))

    return vectors


def _combine_few(h, n, rows, y, at, past_caches):
    """All rows of a short list. That the first is row 0 is known when this is compiled."""


@overload(_combine_few, jit_options=ORDERED)
def _combine_few_compiled(h, n, rows, y, at, past_caches):
    lanes = lanes_of(y)

    def vectors(h, n, rows, y, at, past_caches):
        whole = y.shape[-1] - y.shape[-1] % (4 * lanes)
        for o in range(0, whole, 4 * lanes):
            _combine_registers(h, n, rows, y, at, (0, n.shape[-1], o, past_caches))
        for o in range(whole, y.shape[-1]):
            _combine_column(h, n, rows, y, at, (0, n.shape[-1], o))

    return vectors


def _combine_span(h, n, rows, y, at, span):
    """Rows `span[0]` to `span[1]` of a long list, added to what is there already."""


@overload(_combine_span, jit_options=ORDERED)
def _combine_span_compiled(h, n, rows, y, at, span):
    lanes = lanes_of(y)

    def vectors(h, n, rows, y, at, span):
        first, last, streamed = span
        whole = y.shape[-1] - y.shape[-1] % (4 * lanes)
        for o in range(0, whole, 4 * lanes):
            _combine_registers(h, n, rows, y, at, (first, last, o, streamed))
        for o in range(whole, y.shape[-1]):
            _combine_column(h, n, rows, y, at, (first, last, o))

    return vectors


def _combine_column(h, n, rows, y, at, span):
    """One number of y, where what remains fills no register."""


@overload(_combine_column, inline="always")
def _combine_column_compiled(h, n, rows, y, at, span):
    def column(h, n, rows, y, at, span):
        first, last, o = span
        value = y[at + (o,)] if first > 0 else y.dtype.type(0)
        for j in range(first, last):
            value += h[at + (j,)] * number(rows, (n[at + (j,)], o))
        y[at + (o,)] = value

    return column


def _combine_registers(h, n, rows, y, at, span):
    """The same for the four registers of y that begin at `span[2]`: they stay where they are meanwhile."""


@overload(_combine_registers, inline="always")
def _combine_registers_compiled(h, n, rows, y, at, span):
    lanes = lanes_of(y)

    def registers(h, n, rows, y, at, span):
        first, last, o, streamed = span
        o1, o2, o3 = o + lanes, o + 2 * lanes, o + 3 * lanes
        s0 = s1 = s2 = s3 = everywhere(y.dtype.type(0))
        if first > 0:
            s0, s1, s2, s3 = load(y, at + (o,)), load(y, at + (o1,)), load(y, at + (o2,)), load(y, at + (o3,))
        for j in range(first, last):
            weight, row = everywhere(h[at + (j,)]), n[at + (j,)]
            s0 = multiply_add(weight, load(rows, (row, o)), s0)
            s1 = multiply_add(weight, load(rows, (row, o1)), s1)
            s2 = multiply_add(weight, load(rows, (row, o2)), s2)
            s3 = multiply_add(weight, load(rows, (row, o3)), s3)
        if streamed:
            stream(y, at + (o,), s0)
            stream(y, at + (o1,), s1)
            stream(y, at + (o2,), s2)
            stream(y, at + (o3,), s3)
        else:
            store(y, at + (o,), s0)
            store(y, at + (o1,), s1)
            store(y, at + (o2,), s2)
            store(y, at + (o3,), s3)

    return registers


def combine_four(h, i, n, rows, y, past_caches):
    """Four rows of y that add up the same rows, those of n[i[0]]: each is read once for four."""
    for q in range(4):
        combine(h[i[q]], n[i[0]], rows, y[i[q]], (), past_caches)


@overload(combine_four, jit_options=ORDERED)
def _combine_four(h, i, n, rows, y, past_caches):
    lanes = lanes_of(y)

    def vectors(h, i, n, rows, y, past_caches):
        """Two registers of each row of y at a time stay where they are while all rows are added."""
        zero = everywhere(y.dtype.type(0))
        o = 0
        while o + 2 * lanes <= y.shape[1]:
            left = right = (zero, zero, zero, zero)
            for j in range(n.shape[1]):
                row = n[i[0], j]
                four = (everywhere(h[i[0], j]), everywhere(h[i[1], j]), everywhere(h[i[2], j]), everywhere(h[i[3], j]))
                left = _add_to_four(four, load(rows, (row, o)), left)
                right = _add_to_four(four, load(rows, (row, o + lanes)), right)
            _put_four(y, i, o, left, past_caches)
            _put_four(y, i, o + lanes, right, past_caches)
            o += 2 * lanes
        while o < y.shape[1]:
            for q in range(4):
                value = y.dtype.type(0)
                for j in range(n.shape[1]):
                    value += h[i[q], j] * number(rows, (n[i[0], j], o))
                y[i[q], o] = value
            o += 1

    return vectors


def _add_to_four(weights, row, sums):
    """Add one row's vector, four times weighted, to four sums."""


@overload(_add_to_four, inline="always")
def _add_to_four_compiled(weights, row, sums):
    return lambda weights, row, sums: (
        multiply_add(weights[0], row, sums[0]),
        multiply_add(weights[1], row, sums[1]),
        multiply_add(weights[2], row, sums[2]),
        multiply_add(weights[3], row, sums[3]),
    )


def _put_four(y, i, o, sums, past_caches):
    """Write a register to each of four rows."""


@overload(_put_four, inline="always")
def _put_four_compiled(y, i, o, sums, past_caches):
    def put(y, i, o, sums, past_caches):
        if past_caches:
            stream(y, (i[0], o), sums[0])
            stream(y, (i[1], o), sums[1])
            stream(y, (i[2], o), sums[2])
            stream(y, (i[3], o), sums[3])
        else:
            store(y, (i[0], o), sums[0])
            store(y, (i[1], o), sums[1])
            store(y, (i[2], o), sums[2])
            store(y, (i[3], o), sums[3])

    return put
