"""The fast path's kernels: conditional matrix multiplication (CMM) and what belongs to it, compiled by Numba.

Plain functions of flat typed arrays, each compiled in the line after it, so that it can be read, and run, as
Python. A kernel fills the arrays it is given and returns nothing; `fast.py` checks, allocates and calls. All
kernels live in this one file, because Numba's cache does not see edits in another.

# B batch, I inputs, O outputs, K trees, D neurons on a path, M neurons of a tree, l leaf width, w dense width
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from ..layers.record import CACHE_LINE

FLAGS = {"reassoc", "nsz", "contract"}  # sums may be reordered; NaN and inf keep their meaning (fastmath=True loses it)
OPTIONS = {"cache": True, "fastmath": FLAGS, "nogil": True, "error_model": "numpy"}
KINDS = {"identity": 0, "relu": 1, "tanh": 2, "gelu": 3}
ABREAST = 4  # samples that walk side by side: while one decides, the others' rows are read


# ---------------------------------------------------------------------- kernels: pieces


def prefetch(rows, i, every):
    """Ask for row `i` of `rows` ahead, `every`-th cache line of it; a hint to the cache, nothing in plain Python."""


@intrinsic
def _prefetch_item(typing, rows, i, j):
    """llvm.prefetch of the address of rows[i, j] into the second-level cache."""

    def generate(context, builder, signature, args):
        """Emit the call."""
        kind = signature.args[0]
        array = context.make_array(kind)(context, builder, args[0])
        at = cgutils.get_item_pointer(context, builder, kind, array, args[1:], wraparound=False)
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        form = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        hint = builder.module.declare_intrinsic("llvm.prefetch", [byte], form)
        read, second_level, data = number(0), number(2), number(1)
        builder.call(hint, [builder.bitcast(at, byte), read, second_level, data])
        return context.get_dummy_value()

    return types.void(rows, types.intp, types.intp), generate


@overload(prefetch, inline="always")
def _prefetch_compiled(rows, i, every):
    step = CACHE_LINE // (rows.dtype.bitwidth // 8)

    def lines(rows, i, every):
        """Ask for the lines of the row; beyond the last row, for none."""
        if i < rows.shape[0]:
            for j in range(0, rows.shape[1], every * step):
                _prefetch_item(rows, i, j)

    return lines


def _dot(a, b):
    """Inner product of two rows, summed in their own dtype."""
    total = a.dtype.type(0)
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


_dot_jit = njit(**OPTIONS)(_dot)


def _add_twelve(y, h, n, rows):
    """y += sum of h[j] rows[n[j]], j < 12, in one sweep over y."""
    h0, h1, h2, h3, h4, h5 = h[0], h[1], h[2], h[3], h[4], h[5]
    h6, h7, h8, h9, h10, h11 = h[6], h[7], h[8], h[9], h[10], h[11]
    r0, r1, r2, r3, r4, r5 = rows[n[0]], rows[n[1]], rows[n[2]], rows[n[3]], rows[n[4]], rows[n[5]]
    r6, r7, r8, r9, r10, r11 = rows[n[6]], rows[n[7]], rows[n[8]], rows[n[9]], rows[n[10]], rows[n[11]]
    for o in range(len(y)):
        first = h0 * r0[o] + h1 * r1[o] + h2 * r2[o] + h3 * r3[o] + h4 * r4[o] + h5 * r5[o]
        y[o] += first + h6 * r6[o] + h7 * r7[o] + h8 * r8[o] + h9 * r9[o] + h10 * r10[o] + h11 * r11[o]


_add_twelve_jit = njit(**OPTIONS)(_add_twelve)


def _add_six(y, h, n, rows):
    """y += sum of h[j] rows[n[j]], j < 6, in one sweep over y."""
    h0, h1, h2, h3, h4, h5 = h[0], h[1], h[2], h[3], h[4], h[5]
    r0, r1, r2, r3, r4, r5 = rows[n[0]], rows[n[1]], rows[n[2]], rows[n[3]], rows[n[4]], rows[n[5]]
    for o in range(len(y)):
        y[o] += h0 * r0[o] + h1 * r1[o] + h2 * r2[o] + h3 * r3[o] + h4 * r4[o] + h5 * r5[o]


_add_six_jit = njit(**OPTIONS)(_add_six)


def _add_two(y, h, n, rows):
    """y += sum of h[j] rows[n[j]], j < 2."""
    h0, h1, r0, r1 = h[0], h[1], rows[n[0]], rows[n[1]]
    for o in range(len(y)):
        y[o] += h0 * r0[o] + h1 * r1[o]


_add_two_jit = njit(**OPTIONS)(_add_two)


def _add_one(y, h, n, rows):
    """y += h[0] rows[n[0]]."""
    h0, r0 = h[0], rows[n[0]]
    for o in range(len(y)):
        y[o] += h0 * r0[o]


_add_one_jit = njit(**OPTIONS)(_add_one)


def _combine(h, n, rows, y):
    """y = sum of h[j] rows[n[j]]: many rows to a sweep, so that y is read and written less often."""
    y[:] = 0  # (O,)
    j, end = 0, len(n)
    while j + 12 <= end:
        _add_twelve_jit(y, h[j : j + 12], n[j : j + 12], rows)
        j += 12
    while j + 6 <= end:
        _add_six_jit(y, h[j : j + 6], n[j : j + 6], rows)
        j += 6
    while j + 2 <= end:
        _add_two_jit(y, h[j : j + 2], n[j : j + 2], rows)
        j += 2
    if j < end:
        _add_one_jit(y, h[j:], n[j:], rows)


_combine_jit = njit(**OPTIONS)(_combine)


def _activate(kind, logit, hidden):
    """hidden = activation(logit), elementwise over a row; `kind` as in KINDS."""
    half, root = logit.dtype.type(0.5), logit.dtype.type(math.sqrt(0.5))
    zero = logit.dtype.type(0)
    for j in range(len(logit)):
        z = logit[j]
        if kind == 3:
            hidden[j] = half * z * math.erfc(-z * root)
        elif kind == 2:
            hidden[j] = math.tanh(z)
        elif kind == 1:
            hidden[j] = zero if z <= zero else z  # so that NaN stays NaN
        else:
            hidden[j] = z


_activate_jit = njit(**OPTIONS)(_activate)


def _goes_right(z, tie_right):
    """Right iff z > 0, or z >= 0 where a tie goes right; NaN goes left."""
    return (z > 0) | (tie_right & (z == 0))


_goes_right_jit = njit(**OPTIONS)(_goes_right)


# ---------------------------------------------------------------------- kernels: one sample


def _cmm_plain(in_weight, in_bias, out_weight, n_trees, kind, x, y):
    """Conditional matrix multiplication as the paper has it: at every level a dot product and an axpy."""
    M = len(in_weight) // n_trees
    logit, hidden = np.empty(1, x.dtype), np.empty(1, x.dtype)
    y[:] = 0
    for k in range(n_trees):
        n = 0
        while n < M:
            row = k * M + n
            logit[0] = _dot_jit(x, in_weight[row]) + in_bias[row]
            _activate_jit(kind, logit, hidden)
            for o in range(len(y)):
                y[o] += hidden[0] * out_weight[row, o]
            n = 2 * n + 1 + (logit[0] > 0)


_cmm_plain_jit = njit(**OPTIONS)(_cmm_plain)


def _walk(weight, bias, n_trees, tie_right, x, node, logit):
    """Walk one sample down the trees: at every level a dot product, and its sign says where to go.

    weight (KM, I), bias (KM,), x (I,) -> node, logit (KD,); nodes are counted over all trees.
    """
    M, D = len(weight) // n_trees, len(node) // n_trees
    for k in range(n_trees):
        n = 0
        for t in range(k * D, (k + 1) * D):
            row = k * M + n
            z = _dot_jit(x, weight[row]) + bias[row]
            node[t], logit[t] = row, z
            n = 2 * n + 1 + _goes_right_jit(z, tie_right)


_walk_jit = njit(**OPTIONS)(_walk)


def _levels(M):
    """Number of levels of a tree of M nodes: M = 2^levels - 1."""
    levels = 0
    while M > 0:
        M >>= 1
        levels += 1
    return levels


_levels_jit = njit(**OPTIONS)(_levels)


def _cmm(in_weight, in_bias, out_weight, n_trees, kind, x, y):
    """The same in two passes: walk down, then add up all the output rows, y being swept once for twelve of them."""
    length = n_trees * _levels_jit(len(in_weight) // n_trees)
    node, logit = np.empty(length, np.intp), np.empty(length, x.dtype)
    _walk_jit(in_weight, in_bias, n_trees, False, x, node, logit)
    _activate_jit(kind, logit, logit)
    _combine_jit(logit, node, out_weight, y)


_cmm_jit = njit(**OPTIONS)(_cmm)


def _dense_row(in_weight, in_bias, out_weight, out_bias, kind, every, x, hidden, y):
    """A dense layer on one sample: every neuron a dot product, then all output rows.

    every (w,), the numbers 0 to w - 1; x (I,) -> hidden (w,), y (O,)
    """
    for n in range(len(in_weight)):
        hidden[n] = _dot_jit(x, in_weight[n]) + in_bias[n]
    _activate_jit(kind, hidden, hidden)
    _combine_jit(hidden, every, out_weight, y)
    for o in range(len(y)):
        y[o] += out_bias[o]


_dense_row_jit = njit(**OPTIONS)(_dense_row)


def _dense_one(in_weight, in_bias, out_weight, out_bias, kind, x, y):
    """`_dense_row` with memory of its own for the neurons."""
    every, hidden = np.arange(len(in_bias)), np.empty(len(in_bias), x.dtype)
    _dense_row_jit(in_weight, in_bias, out_weight, out_bias, kind, every, x, hidden, y)


_dense_one_jit = njit(**OPTIONS)(_dense_one)


def _leaf_one(node_weight, node_bias, in_weight, in_bias, out_weight, out_bias, kind, x, y):
    """The first paper's hard inference: walk down, a tie goes right; then the one leaf, a small dense layer."""
    N, n = len(node_weight), 0
    while n < N:
        z = _dot_jit(x, node_weight[n]) + node_bias[n]
        n = 2 * n + 1 + _goes_right_jit(z, True)
    j = n - N
    _dense_one_jit(in_weight[j], in_bias[j], out_weight[j], out_bias[j], kind, x, y)


_leaf_one_jit = njit(**OPTIONS)(_leaf_one)


# ---------------------------------------------------------------------- kernels: batches


def _descend(weight, bias, n_trees, tie_right, x, node, logit):
    """Walk all rows, a few abreast: x (B, I) -> node, logit (B, KD).

    A walk alone waits at every level for a row of weights that nobody could ask for before.
    """
    M, D = len(weight) // n_trees, node.shape[1] // n_trees
    at = np.empty(ABREAST, np.intp)
    for first in range(0, len(x), ABREAST):
        last = min(first + ABREAST, len(x))
        for k in range(n_trees):
            at[:] = 0
            for t in range(k * D, (k + 1) * D):
                for i in range(first, last):
                    row = k * M + at[i - first]
                    z = _dot_jit(x[i], weight[row]) + bias[row]
                    node[i, t], logit[i, t] = row, z
                    at[i - first] = 2 * at[i - first] + 1 + _goes_right_jit(z, tie_right)
                    if t + 1 < (k + 1) * D:
                        prefetch(weight, k * M + at[i - first], 2)


_descend_jit = njit(**OPTIONS)(_descend)


def _path_rows(in_weight, in_bias, out_weight, n_trees, kind, x, node, logit, hidden, y):
    """All rows walk before any is summed, so that one weight array at a time fills the cache.

    x (B, I) -> node, logit, hidden (B, KD), y (B, O)
    """
    _descend_jit(in_weight, in_bias, n_trees, False, x, node, logit)
    for i in range(len(x)):
        prefetch(y, i + 1, 1)
        _activate_jit(kind, logit[i], hidden[i])
        _combine_jit(hidden[i], node[i], out_weight, y[i])


_path_rows_jit = njit(**OPTIONS)(_path_rows)


def _group(node, start, visit):
    """Counting sort of visits by node: those of node n are visit[start[n] : start[n + 1]].

    node (V,) -> start (number of nodes + 1,), visit (V,)
    """
    start[:] = 0
    for n in node:
        start[n + 1] += 1
    for n in range(len(start) - 1):
        start[n + 1] += start[n]
    put = start.copy()
    for v in range(len(node)):
        visit[put[node[v]]] = v
        put[node[v]] += 1


_group_jit = njit(**OPTIONS)(_group)


def _leaf_of(node, logit):
    """The leaf below the last node of a path, counted from the left: (d,), (d,) -> number."""
    if len(node) == 0:
        return 0
    return 2 * node[-1] + 2 - 2 ** len(node) + _goes_right_jit(logit[-1], True)


_leaf_of_jit = njit(**OPTIONS)(_leaf_of)


def _leaf_routes(node_weight, node_bias, x, node, logit, leaf):
    """The first paper's descent: ties go right.

    x (B, I) -> node, logit (B, d), leaf (B,)
    """
    _descend_jit(node_weight, node_bias, 1, True, x, node, logit)
    for i in range(len(x)):
        leaf[i] = _leaf_of_jit(node[i], logit[i])


_leaf_routes_jit = njit(**OPTIONS)(_leaf_routes)


def _leaf_rows(node_weight, node_bias, in_weight, in_bias, out_weight, out_bias, kind, x, node, logit, leaf, y):
    """Walk all rows, then evaluate leaf by leaf, so that a leaf's weights are fetched once for all of its rows.

    x (B, I) -> node, logit (B, d), leaf (B,), y (B, O)
    """
    _leaf_routes_jit(node_weight, node_bias, x, node, logit, leaf)
    start, order = np.empty(len(in_weight) + 1, np.intp), np.empty(len(x), np.intp)
    _group_jit(leaf, start, order)
    every, hidden = np.arange(in_bias.shape[1]), np.empty(in_bias.shape[1], x.dtype)
    for r in range(len(x)):
        if r + 1 < len(x):
            prefetch(x, order[r + 1], 1)
        i, j = order[r], leaf[order[r]]
        _dense_row_jit(in_weight[j], in_bias[j], out_weight[j], out_bias[j], kind, every, x[i], hidden, y[i])


_leaf_rows_jit = njit(**OPTIONS)(_leaf_rows)


def _activate_rows(bias, kind, logit):
    """logit = activation(logit + bias), in place: bias (w,), logit (B, w)."""
    for i in range(len(logit)):
        logit[i] += bias
        _activate_jit(kind, logit[i], logit[i])


_activate_rows_jit = njit(**OPTIONS)(_activate_rows)


# ---------------------------------------------------------------------- kernels: backward


def _visit_dots(dy, out_weight, node, dhidden, visit):
    """dhidden[v] = dy[sample of v] . out_weight[node[v]], neuron by neuron: visits are in the order of their neurons.

    dy (B, O), node (BKD,), visit (BKD,) -> dhidden (BKD,)
    """
    length = len(node) // max(len(dy), 1)
    for v in visit:
        dhidden[v] = _dot_jit(dy[v // length], out_weight[node[v]])


_visit_dots_jit = njit(**OPTIONS)(_visit_dots)


def _combine_rows(h, n, rows, y, first, last, at):
    """y[at[r]] = sum of h[j] rows[n[j]] over first[r] <= j < last[r]."""
    for r in range(len(at)):
        _combine_jit(h[first[r] : last[r]], n[first[r] : last[r]], rows, y[at[r]])


_combine_rows_jit = njit(**OPTIONS)(_combine_rows)
