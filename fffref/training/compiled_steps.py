"""Compiled steps of the optimisers, registered with `optim`: the same bits in one pass over memory instead of ten.

Importing this module registers them; fast training does.
"""

import numpy as np

from ..fast import updates
from .optim import SGD, Adam, move_array, move_array_by_blocks, move_rows, move_rows_by_blocks

NAMES = ("float32", "float64")
WHOLE = np.zeros(1, np.intp)  # the one row there is


def steps_of(kind, kernel):
    """Register a kernel for both ways of moving.

    Parameters
    ----------
    kind : class
        Of the optimiser.
    kernel : callable
        kernel(optimizer, constants, rows, index): moves rows of matrices (n, I), the last of which is the gradient.
    """
    move_rows.register(kind, _by(kernel, _of_rows, move_rows_by_blocks))
    move_array.register(kind, _by(kernel, _of_array, move_array_by_blocks))


def _by(kernel, parts, by_blocks):
    """The way of moving by a kernel; what it cannot take goes the way of the reference."""

    def move(optimizer, array, gradient, moments, constants):
        """Move what `parts` says: the gradient's values, the length of a row, and which rows."""
        values, width, index = parts(gradient)
        arrays = (array, *moments, values)
        if not _are_plain(arrays) or getattr(optimizer, "momentum", 0):
            by_blocks(optimizer, array, gradient, moments, constants)
            return
        kernel(optimizer, constants, [a.reshape(-1, width) for a in arrays], index)

    return move


def _of_rows(gradient):
    """Those of `Rows`; of a bias, a row is one number."""
    return gradient.values, int(np.prod(gradient.values.shape[1:])), gradient.index


def _of_array(gradient):
    """An array, as its one long row."""
    return gradient, gradient.size, WHOLE


def _are_plain(arrays):
    """Whether kernels can take them: C-contiguous, writeable, of a float dtype in native order, and not empty."""
    return all(a.flags.carray and a.dtype.name in NAMES and a.dtype.isnative and a.size for a in arrays)


def _adam(optimizer, constants, rows, index):
    """Adam's lines, in `updates.adam_rows`."""
    (of, rate, unbias2, shrink), (p, m, v, g) = constants, rows
    b1, b2 = optimizer.beta1, optimizer.beta2
    factors = (of(b1), of(1 - b1), of(b2), of(1 - b2), rate, of(unbias2), of(optimizer.epsilon), shrink)
    updates.adam_rows_jit(updates.AdamFactors(*factors), p, m, v, index, g)


def _sgd(optimizer, constants, rows, index):
    """The line of SGD without momentum, in `updates.sgd_rows`."""
    (_, rate), (p, g) = constants, rows
    updates.sgd_rows_jit(rate, p, index, g)


steps_of(Adam, _adam)
steps_of(SGD, _sgd)
