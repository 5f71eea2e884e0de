"""What each trick of the batch kernel is worth: the same computation, one trick less or one more at a time.

    python benchmarks/variants.py

PathFFF 768/4095/12, batch 16,384, float32, one thread, distinct rows. Every variant gives the kernel's answers.
"""

import measure
import numpy as np
from numba import njit

from fffref import PathFFF
from fffref.fast import kernels
from fffref.layers.record import aligned

WIDTH, LEVELS, BATCH = 768, 12, 16384
OPTIONS = {name: value for name, value in kernels.OPTIONS.items() if name != "cache"}


@njit(**OPTIONS)
def _axpy_a_level(in_weight, in_bias, out_weight, n_trees, kind, x, node, logit, hidden, y):
    for i in range(len(x)):
        kernels._cmm_plain_jit(in_weight, in_bias, out_weight, n_trees, kind, x[i], y[i])


@njit(**OPTIONS)
def _two_passes_a_row(in_weight, in_bias, out_weight, n_trees, kind, x, node, logit, hidden, y):
    for i in range(len(x)):
        kernels._cmm_jit(in_weight, in_bias, out_weight, n_trees, kind, x[i], y[i])


def variant(rows_in_turn=1, ahead_x=False, ahead_y=True, ahead_children=0, by_path=False):
    """The batch kernel with other choices; by default, one row after the other and nothing asked for but y."""

    @njit(**OPTIONS)
    def kernel(in_weight, in_bias, out_weight, n_trees, kind, x, node, logit, hidden, y):
        for first in range(0, len(x), rows_in_turn):
            last = min(first + rows_in_turn, len(x))
            node[first:last, 0] = 0
            for t in range(LEVELS):
                for i in range(first, last):
                    n = node[i, t]
                    if t + 1 < LEVELS:
                        for j in range(0, ahead_children, 16):
                            kernels._prefetch_item(in_weight, 2 * n + 1, j)
                            kernels._prefetch_item(in_weight, 2 * n + 2, j)
                    logit[i, t] = kernels._dot_jit(x[i], in_weight[n]) + in_bias[n]
                    if t + 1 < LEVELS:
                        node[i, t + 1] = 2 * n + 1 + (logit[i, t] > 0)
                    if ahead_x and t == 0:
                        kernels.prefetch(x, i + rows_in_turn, 1)
        order = np.arange(len(x))
        if by_path:
            kernels._group_jit(node[:, LEVELS - 1].copy(), np.empty(len(in_weight) + 1, np.intp), order)
        for r in range(len(x)):
            i = order[r]
            if ahead_y and r + 1 < len(x):
                kernels.prefetch(y, order[r + 1], 1)
            kernels._activate_jit(kind, logit[i], hidden[i])
            kernels._combine_jit(hidden[i], node[i], out_weight, y[i])

    return kernel


KERNELS = {
    "the library's": kernels._path_rows_jit,
    "dot and axpy a level": _axpy_a_level,
    "two passes a row": _two_passes_a_row,
    "one row after the other": variant(),
    "two rows in turn": variant(rows_in_turn=2),
    "four rows in turn": variant(rows_in_turn=4),
    "next row of x asked for ahead": variant(ahead_x=True),
    "next row of y not asked for ahead": variant(ahead_y=False),
    "both children asked for ahead, 512 bytes each": variant(ahead_children=128),
    "rows summed in the order of their paths": variant(by_path=True),
}


def shifted(array):
    """A copy that starts 16 bytes off a cache line, as NumPy's large arrays do."""
    memory = aligned(np.zeros(array.size + 16, array.dtype))
    memory[4 : 4 + array.size] = array.ravel()
    return memory[4 : 4 + array.size].reshape(array.shape)


def main():
    """Time all variants in turn; write JSON and table."""
    rng = np.random.default_rng(0)
    layer = PathFFF.init(rng, WIDTH, WIDTH, LEVELS - 1)
    weights = layer.in_weight[0], layer.in_bias[0], layer.out_weight[0]
    off_line = tuple(map(shifted, weights))
    x = rng.standard_normal((BATCH, WIDTH), dtype=np.float32)
    room = tuple(np.zeros((BATCH, LEVELS), kind) for kind in (np.intp, np.float32, np.float32))
    y, expected = np.zeros_like(x), layer.forward_hard(x)

    def caller(kernel, weights):
        return lambda: kernel(*weights, 1, kernels.KINDS["gelu"], x, *room, y)

    contestants = {name: caller(kernel, weights) for name, kernel in KERNELS.items()}
    contestants["weights 16 bytes off a cache line"] = caller(kernels._path_rows_jit, off_line)
    for call in contestants.values():
        y[...] = np.nan
        call()
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    times = measure.in_turn(contestants, 15)
    rows = [
        {
            "name": name,
            "microseconds": measure.quartiles(1e6 * values / BATCH),
            "slower": measure.ratio(times, name, "the library's"),
        }
        for name, values in times.items()
    ]
    measure.write("variants", {"rows": rows}, table(rows))
    print(table(rows))


def table(rows):
    """The result as Markdown."""
    lines = ["| variant | us per row | time against the library's |", "|---|---|---|"]
    for row in rows:
        cells = (measure.span(row[field]) for field in ("microseconds", "slower"))
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
