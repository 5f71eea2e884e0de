"""The fast path's kernels: conditional matrix multiplication (CMM) and what belongs to it, compiled by Numba.

Plain functions of flat typed arrays, to be read and run as Python; the loop at the end of the file makes `NAME_jit`
of each `NAME`. A kernel fills the arrays that it is given and trusts them; `base.py` and its neighbours check,
allocate and call. Sums are added up in one order (`registers.py`), so that a row's answer is the same bits alone, in a
batch, and by any number of threads.

The ladder, from what the paper says to what is shipped:

1. `cmm_by_level`: at every level a dot product and an axpy, Algorithm 1 of the second paper.
2. `cmm`: first walk down, then add up all output rows, so that y is swept once.
3. `descend`: four rows walk side by side; while one decides, the weights of the others are read.
4. `path_rows`: half-way down and at the end, rows are sorted by where they are: neighbours need the same weights,
   which are then in the nearest cache; rows that end together are added up four at a time, in registers; large
   outputs are written past the caches.

# B batch, I inputs, O outputs, K trees, D neurons on a path, M neurons of a tree, l leaf width, w dense width
"""

import functools
import math
import types
import warnings
from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from .registers import combine, combine_four, dot, dot_four, dot_pairs, fence, prefetch

REGISTERS = "00bbed1e19e5"  # digest of registers.py and instructions.py: Numba's cache sees edits in this file alone
FLAGS = {"nsz", "contract"}  # a product and a sum may be fused, sums keep their order, NaN and inf their meaning
OPTIONS = {"fastmath": FLAGS, "nogil": True, "error_model": "numpy"}
IDENTITY, RELU, TANH, GELU = range(4)
KINDS = {"identity": IDENTITY, "relu": RELU, "tanh": TANH, "gelu": GELU}
FEW_ROWS = 32  # up to so many are walked in the order they come
FAR_ROWS = 1536  # from so many on, x and the output rows are out of the nearer caches: ask for them ahead
FAR_BYTES = 2**22  # of y: from so many on, it is written past the caches


class PathWeights(NamedTuple):
    """A `PathFFF`, its trees one below the other: (KM, I), (KM,), (KM, O), K, and a number of KINDS."""

    in_weight: np.ndarray
    in_bias: np.ndarray
    out_weight: np.ndarray
    n_trees: int
    kind: int


class LeafWeights(NamedTuple):
    """A `LeafFFF`: (N, I), (N,), (L, l, I), (L, l), (L, l, O), (L, O), and a number of KINDS."""

    node_weight: np.ndarray
    node_bias: np.ndarray
    in_weight: np.ndarray
    in_bias: np.ndarray
    out_weight: np.ndarray
    out_bias: np.ndarray
    kind: int


class DenseWeights(NamedTuple):
    """A `DenseFF`, or one leaf: (w, I), (w,), (w, O), (O,), and a number of KINDS."""

    in_weight: np.ndarray
    in_bias: np.ndarray
    out_weight: np.ndarray
    out_bias: np.ndarray
    kind: int


class Trees(NamedTuple):
    """The nodes that decide: (KM, I), (KM,), K, and whether a logit of 0 goes right."""

    weight: np.ndarray
    bias: np.ndarray
    n_trees: int
    tie_right: bool


# ---------------------------------------------------------------------- pieces

ERFCX = tuple(map(np.float32, (
    -0.029552120715379715, 0.14589011669158936, -0.25954219698905945, 0.16337233781814575, -0.025865618139505386,
    0.10661155730485916, 0.11957083642482758, 0.1398954540491104, 0.1396196335554123,
)))  # fmt: skip
EXP = tuple(map(np.float32, (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1, 1)))  # its series, at most log(2) / 2 from 0
LOG2_E, LOG_2 = np.float32(1.4426950408889634), np.float32(0.6931471805599453)


@register_jitable(fastmath=False, error_model="numpy")  # nothing fused: the same bits alone and in a vector
def gelu_single(z):
    """z Phi(z) in float32, to 4e-6 of its value down to z = -9 and to 1e-37 beyond; without branches.

    max(z, 0) - a Phi(-a) with a = |z|, where Phi(-a) exp(a^2 / 2) = u P(u) with u = 1 / (1 + 0.35 a), and
    exp(-v) = 2^-k exp(k log 2 - v), 2^-k by the bits of its exponent.
    """
    a = abs(z) if abs(z) < np.float32(13) else np.float32(13)  # there, Phi(-a) is 6e-39
    v = np.float32(0.5) * a * a
    k = np.int32(v * LOG2_E + np.float32(0.5))
    r = np.float32(k) * LOG_2 - v
    e = ((((EXP[0] * r + EXP[1]) * r + EXP[2]) * r + EXP[3]) * r + EXP[4]) * r * r + r + EXP[6]
    e *= np.int32((127 - k) << 23).view(np.float32)
    u = np.float32(1) / (np.float32(1) + np.float32(0.35) * a)
    p = (((ERFCX[0] * u + ERFCX[1]) * u + ERFCX[2]) * u + ERFCX[3]) * u + ERFCX[4]
    p = (((p * u + ERFCX[5]) * u + ERFCX[6]) * u + ERFCX[7]) * u + ERFCX[8]
    positive = np.float32(0) if z <= np.float32(0) else z  # so that NaN stays NaN
    return positive - a * (e * u * p)


def activate(kind, z):
    """z = activation(z), in place over a row; `kind` is a number of KINDS."""
    if kind == GELU and z.itemsize == 4:
        for j in range(len(z)):
            z[j] = gelu_single(np.float32(z[j]))
    elif kind == GELU:
        for j in range(len(z)):
            z[j] = 0.5 * z[j] * math.erfc(-z[j] * math.sqrt(0.5))
    elif kind == TANH:
        for j in range(len(z)):
            z[j] = math.tanh(z[j])
    elif kind == RELU:
        for j in range(len(z)):
            z[j] = 0 * z[j] if z[j] <= 0 else z[j]  # so that NaN stays NaN


def goes_right(z, tie_right):
    """Right iff z > 0, or z >= 0 where a tie goes right; NaN goes left."""
    return (z > 0) | (tie_right & (z == 0))


def bits_of(number):
    """How many bits a number has; a tree of M = 2^D - 1 nodes has bits_of(M) = D levels."""
    bits = 0
    while number > 0:
        number >>= 1
        bits += 1
    return bits


def sort_by_key(key, start, order):
    """Counting sort: what has key n is order[start[n] : start[n + 1]], in its old order.

    key (V,) -> start (number of keys + 1,), order (V,)
    """
    start[:] = 0
    for n in key:
        start[n + 1] += 1
    for n in range(len(start) - 1):
        start[n + 1] += start[n]
    put = start.copy()
    for v in range(len(key)):
        order[put[key[v]]] = v
        put[key[v]] += 1


# ---------------------------------------------------------------------- one sample


def cmm_by_level(weights, x, y):
    """Conditional matrix multiplication as the paper has it: at every level a dot product and an axpy."""
    in_weight, in_bias, out_weight, n_trees, kind = weights
    M = len(in_weight) // n_trees
    hidden = np.empty(1, x.dtype)
    y[:] = 0
    for k in range(n_trees):
        n = 0
        while n < M:
            row = k * M + n
            logit = dot(x, in_weight[row]) + in_bias[row]
            hidden[0] = logit
            activate(kind, hidden)
            for o in range(len(y)):
                y[o] += hidden[0] * out_weight[row, o]
            n = 2 * n + 1 + (logit > 0)


def walk(trees, x, node, logit):
    """Walk one sample down the trees: at every level a dot product, and its sign says where to go.

    x (I,) -> node, logit (KD,); nodes are counted over all trees.
    """
    weight, bias, n_trees, tie_right = trees
    M, D = len(weight) // n_trees, len(node) // n_trees
    for k in range(n_trees):
        n = 0
        for t in range(k * D, (k + 1) * D):
            row = k * M + n
            z = dot(x, weight[row]) + bias[row]
            node[t], logit[t] = row, z
            n = 2 * n + 1 + goes_right(z, tie_right)


def cmm(weights, x, y):
    """The same in two passes: walk down, then add up all the output rows, y being swept once."""
    length = weights.n_trees * bits_of(len(weights.in_weight) // weights.n_trees)
    node, logit = np.empty(length, np.intp), np.empty(length, x.dtype)
    walk(Trees(weights.in_weight, weights.in_bias, weights.n_trees, False), x, node, logit)
    activate(weights.kind, logit)
    combine(logit, node, weights.out_weight, y, (), False)


def products(weight, x, i, z):
    """Row i of x with every row of a matrix, four at a time: weight (n, I), x (B, I) -> z (n,)."""
    four = len(z) - len(z) % 4
    for n in range(0, four, 4):
        z[n], z[n + 1], z[n + 2], z[n + 3] = dot_four(x, (i, i, i, i), weight, (n, n + 1, n + 2, n + 3))
    for n in range(four, len(z)):
        z[n] = dot(x[i], weight[n])


def dense_row(weights, neurons, x, i, hidden, y):
    """A dense layer on row i of x: every neuron a dot product; then all output rows.

    neurons (w,), the numbers 0 to w - 1; x (B, I) -> hidden (w,), y (O,)
    """
    products(weights.in_weight, x, i, hidden)
    for n in range(len(neurons)):
        hidden[n] += weights.in_bias[n]
    activate(weights.kind, hidden)
    combine(hidden, neurons, weights.out_weight, y, (), False)
    for o in range(len(y)):
        y[o] += weights.out_bias[o]


def dense_four(weights, neurons, x, i, hidden, y):
    """`dense_row` on two to four rows of x, which share what is read: two neurons, and two rows, at a time.

    neurons (1, w), x (B, I), i (up to 4,) -> hidden (4, w), y (4, O)
    """
    width, last = neurons.shape[1], len(i) - 1
    for n in range(0, width, 2):
        m = min(n + 1, width - 1)  # of an odd number, the last neuron comes twice
        for q in range(0, last + 1, 2):
            p = min(q + 1, last)  # and so does the last row
            pairs = dot_pairs(x, (i[q], i[p]), weights.in_weight, (n, m))
            hidden[q, n], hidden[p, n], hidden[q, m], hidden[p, m] = pairs
    for q in range(last + 1):
        for n in range(width):
            hidden[q, n] += weights.in_bias[n]
        activate(weights.kind, hidden[q])
    combine_four(hidden, (0, 1, min(2, last), min(3, last)), neurons, weights.out_weight, y, False)
    for q in range(last + 1):
        for o in range(y.shape[1]):
            y[q, o] += weights.out_bias[o]


def dense_some(weights, order, x, scratch, y):
    """A dense layer on some rows of x, those in `order`, four at a time.

    scratch (1, w), (4, w), (4, O): the neurons' numbers, and memory; x (B, I) -> y (B, O)
    """
    neurons, hidden, four = scratch
    for r in range(0, len(order), 4):
        i = order[r : min(r + 4, len(order))]
        if r + 4 < len(order):
            prefetch(x, order[r + 4], 0, x.shape[1])
        if len(i) == 1:
            dense_row(weights, neurons[0], x, i[0], hidden[0], y[i[0]])
            continue
        dense_four(weights, neurons, x, i, hidden, four)
        for q in range(len(i)):
            y[i[q]] = four[q]


def scratch_for(weights, width):
    """What `dense_some` needs for layers of this width."""
    bias = weights.out_bias
    neurons = np.arange(width).reshape(1, width)
    return neurons, np.empty((4, width), bias.dtype), np.empty((4, bias.shape[-1]), bias.dtype)


def dense_rows(weights, x, y):
    """`dense_some` on all rows: x (B, I) -> y (B, O)."""
    dense_some(weights, np.arange(len(x)), x, scratch_for(weights, len(weights.in_bias)), y)


def dense_one(weights, x, y):
    """`dense_row` with memory of its own for the neurons: x (I,) -> y (O,)."""
    neurons, hidden = np.arange(len(weights.in_bias)), np.empty(len(weights.in_bias), x.dtype)
    dense_row(weights, neurons, x.reshape(1, len(x)), 0, hidden, y)


def leaf_of(weights, j):
    """Leaf j, a small dense layer."""
    in_weight, in_bias, out_weight, out_bias = weights[2:6]
    return DenseWeights(in_weight[j], in_bias[j], out_weight[j], out_bias[j], weights.kind)


def leaf_one(weights, x, y):
    """The first paper's hard inference: walk down, a tie goes right; then the one leaf."""
    N, n = len(weights.node_weight), 0
    while n < N:
        z = dot(x, weights.node_weight[n]) + weights.node_bias[n]
        n = 2 * n + 1 + goes_right(z, True)
    dense_one(leaf_of(weights, n - N), x, y)


# ---------------------------------------------------------------------- batches: the walk


def step(trees, place, row, product, node, logit):
    """Note one visit at `place` (sample, column, first node of the tree); return the node below."""
    i, t, base = place
    z = product + trees.bias[row]
    node[i, t], logit[i, t] = row, z
    return 2 * row + 1 + goes_right(z, trees.tie_right) - base


def stands(trees, place, node, logit):
    """The node that a sample has come to before it decides at `place`."""
    i, t, base = place
    if t % (node.shape[1] // trees.n_trees) == 0:
        return base
    return 2 * node[i, t - 1] + 1 + goes_right(logit[i, t - 1], trees.tie_right) - base


def walk_levels(trees, span, order, x, node, logit):
    """Walk rows through columns first to last of one tree, in this order, four side by side.

    A walk alone waits at every level for a row of weights that nobody could ask for before.
    span (first column, last column, first node of the tree), order (B,), x (B, I) -> node, logit (B, KD)
    """
    first, last, base = span
    B, n_in = x.shape
    whole = B - B % 4
    for r in range(0, whole, 4):
        i = order[r], order[r + 1], order[r + 2], order[r + 3]
        n = (
            stands(trees, (i[0], first, base), node, logit),
            stands(trees, (i[1], first, base), node, logit),
            stands(trees, (i[2], first, base), node, logit),
            stands(trees, (i[3], first, base), node, logit),
        )
        for t in range(first, last):
            if FAR_ROWS <= B and r + 8 <= B:  # a part of the next four rows of x
                begin, end = n_in * (t - first) // (last - first), n_in * (t + 1 - first) // (last - first)
                for q in range(r + 4, r + 8):
                    prefetch(x, order[q], begin, end)
            p = dot_four(x, i, trees.weight, n)
            n = (
                step(trees, (i[0], t, base), n[0], p[0], node, logit),
                step(trees, (i[1], t, base), n[1], p[1], node, logit),
                step(trees, (i[2], t, base), n[2], p[2], node, logit),
                step(trees, (i[3], t, base), n[3], p[3], node, logit),
            )
    for r in range(whole, B):
        i0 = order[r]
        n0 = stands(trees, (i0, first, base), node, logit)
        for t in range(first, last):
            n0 = step(trees, (i0, t, base), n0, dot(x[i0], trees.weight[n0]), node, logit)


def sort_rows(place, level, order):
    """Sort rows by their places in a level of the tree, or by the first bits of them, if rows are few.

    place (B,), numbers from 0 to 2^level - 1; it is changed -> order (B,)
    """
    bits = min(level, bits_of(len(place)))
    for i in range(len(place)):
        place[i] >>= level - bits
    sort_by_key(place, np.empty(2**bits + 1, np.intp), order)


def descend(trees, x, node, logit, order):
    """Walk all rows; many of them in two halves, sorted in between by where they have come, and sorted by their ends.

    x (B, I) -> node, logit (B, KD), order (B,)
    """
    B, M = len(x), len(trees.weight) // trees.n_trees
    D = node.shape[1] // trees.n_trees
    half = D // 2
    place = np.empty(B, np.intp)
    for k in range(trees.n_trees):
        base, first = k * M, k * D
        for i in range(B):
            order[i] = i
        if B <= FEW_ROWS or half == 0:
            walk_levels(trees, (first, first + D, base), order, x, node, logit)
            continue
        walk_levels(trees, (first, first + half, base), order, x, node, logit)
        for i in range(B):
            place[i] = stands(trees, (i, first + half, base), node, logit) - base - (2**half - 1)
        sort_rows(place, half, order)
        walk_levels(trees, (first + half, first + D, base), order, x, node, logit)
        for i in range(B):
            place[i] = node[i, first + D - 1] - base - (2 ** (D - 1) - 1)
        sort_rows(place, D - 1, order)


# ---------------------------------------------------------------------- batches: the sums


def on_cache_lines(y):
    """Whether every row of y starts on a cache line and ends with one, so that it can be written past the caches."""
    return y.ctypes.data % 64 == 0 and y.shape[1] * y.itemsize % 64 == 0


def path_rows(weights, x, node, logit, hidden, y):
    """All rows walk before any is summed, so that one weight array at a time fills the cache.

    x (B, I) -> node, logit, hidden (B, KD), y (B, O); logit and hidden may be one array.
    """
    order = np.empty(len(x), np.intp)
    descend(Trees(weights.in_weight, weights.in_bias, weights.n_trees, False), x, node, logit, order)
    hidden[:] = logit
    activate(weights.kind, hidden.reshape(-1))
    add_up(weights, order, node, hidden, y)


def add_up(weights, order, node, hidden, y):
    """y[i] = sum of hidden[i, t] out_weight[node[i, t]], in this order; four rows at once where they end together."""
    past_caches = len(y) * y.shape[1] * y.itemsize >= FAR_BYTES and on_cache_lines(y)
    B, far, r = len(y), len(y) >= FAR_ROWS, 0
    while r < B:
        i, count = order[r], 1
        if weights.n_trees == 1:
            while count < 4 and r + count < B and node[order[r + count], -1] == node[i, -1]:
                count += 1
        if far and r + count < B:
            ask_for_next(weights.out_weight, node, i, order[r + count])
        if count == 4:
            four = i, order[r + 1], order[r + 2], order[r + 3]
            combine_four(hidden, four, node, weights.out_weight, y, past_caches)
        else:
            for q in range(r, r + count):
                combine(hidden, node, weights.out_weight, y, (order[q],), past_caches)
        r += count
    if past_caches:
        fence()


def ask_for_next(rows, node, i, following):
    """Ask for the rows of the following path that sample i's does not have."""
    for t in range(node.shape[1] - 1, -1, -1):
        if node[following, t] == node[i, t]:
            break
        prefetch(rows, node[following, t], 0, rows.shape[1])


def leaf_routes(trees, x, leaf):
    """The first paper's descent, ties go right: x (B, I) -> leaf (B,), counted from the left."""
    N = len(trees.weight)
    d = bits_of(N)
    node, logit, order = np.empty((len(x), d), np.intp), np.empty((len(x), d), x.dtype), np.empty(len(x), np.intp)
    if d == 0:
        leaf[:] = 0
        return
    descend(trees, x, node, logit, order)
    for i in range(len(x)):
        leaf[i] = 2 * node[i, d - 1] + 1 + goes_right(logit[i, d - 1], True) - N


def leaf_rows(weights, x, leaf, y):
    """Walk all rows, then evaluate leaf by leaf, so that a leaf's weights are fetched once for all of its rows.

    x (B, I) -> leaf (B,), y (B, O)
    """
    leaf_routes(Trees(weights.node_weight, weights.node_bias, 1, True), x, leaf)
    L, width = weights.in_bias.shape
    start, order = np.empty(L + 1, np.intp), np.empty(len(x), np.intp)
    sort_by_key(leaf, start, order)
    scratch = scratch_for(weights, width)
    for j in range(L):
        if start[j] < start[j + 1]:  # else nobody came here
            dense_some(leaf_of(weights, j), order[start[j] : start[j + 1]], x, scratch, y)


def activate_rows(bias, kind, logit):
    """logit = activation(logit + bias), in place: bias (w,), logit (B, w)."""
    for i in range(len(logit)):
        for j in range(len(bias)):
            logit[i, j] += bias[j]
        activate(kind, logit[i])


# ---------------------------------------------------------------------- backward


def combine_rows(h, n, rows, start, y):
    """y[r] = sum of h[j] rows[n[j]] over start[r] <= j < start[r + 1]."""
    for r in range(len(y)):
        span = slice(start[r], start[r + 1])
        combine(h[span], n[span], rows, y[r], (), False)


def pair_dots(x, sample, weight, neuron, logit):
    """logit[p, j] = x[sample[p]] . weight[neuron[p, j]], four neurons of a pair at a time.

    x (B, I), sample (P,), weight (n, I), neuron (P, l) -> logit (P, l)
    """
    width = neuron.shape[1]
    four = width - width % 4
    for p in range(len(sample)):
        i, n, z = sample[p], neuron[p], logit[p]
        for j in range(0, four, 4):
            z[j], z[j + 1], z[j + 2], z[j + 3] = dot_four(
                x, (i, i, i, i), weight, (n[j], n[j + 1], n[j + 2], n[j + 3])
            )
        for j in range(four, width):
            z[j] = dot(x[i], weight[n[j]])


# ---------------------------------------------------------------------- compiled


def compiled(function, **options):
    """The function, compiled at its first call; kept on disk, if there is a folder for it."""
    options = OPTIONS | options
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # Numba found no folder that can be written
        _say_that_nothing_is_kept()
        return njit(**options)(function)


@functools.cache
def _say_that_nothing_is_kept():
    """Warn, once a process."""
    warnings.warn(
        "compiled kernels cannot be kept, so that every process compiles anew (some seconds): neither the "
        "package's folder nor the user's cache can be written; set NUMBA_CACHE_DIR to a folder that can",
        stacklevel=4,
    )


def compile_all(names):
    """Make NAME_jit of each function NAME, and let kernels call each other by their plain names."""
    for name, function in list(names.items()):
        if isinstance(function, types.FunctionType) and function.__module__ == names["__name__"]:
            if name == "gelu_single":
                continue
            register_jitable(**OPTIONS)(function)
            names[f"{name}_jit"] = compiled(function)


compile_all(globals())
