"""Registers the compiled steps at visited rows with `optim.move_rows`: the same bits in one pass over memory."""

import numpy as np

from ..fast import updates
from .optim import SGD, Adam, move_rows, move_rows_by_blocks

NAMES = ("float32", "float64")


@move_rows.register
def _(optimizer: Adam, array, gradient, moments, constants):
    """Kernels take C-contiguous matrices; the rest goes the way of the reference."""
    rows = _matrices(gradient, array, *moments)
    if rows is None:
        move_rows_by_blocks(optimizer, array, gradient, moments, constants)
        return
    of, rate, unbias2, shrink = constants
    b1, b2 = optimizer.beta1, optimizer.beta2
    factors = (of(b1), of(1 - b1), of(b2), of(1 - b2), rate, of(unbias2), of(optimizer.epsilon), shrink)
    updates.adam_rows_jit(updates.AdamFactors(*factors), *rows[:3], gradient.index, rows[3])


@move_rows.register
def _(optimizer: SGD, array, gradient, moments, constants):
    rows = _matrices(gradient, array)
    if rows is None:
        move_rows_by_blocks(optimizer, array, gradient, moments, constants)
        return
    updates.sgd_rows_jit(constants[1], rows[0], gradient.index, rows[1])


def _matrices(gradient, *arrays):
    """The arrays (..., I) as rows (n, I), and the gradient's values (V, I); None if a kernel cannot take them."""
    arrays = (*arrays, gradient.values)
    if not all(a.flags.carray and a.dtype.name in NAMES and a.dtype.isnative for a in arrays):
        return None
    width = int(np.prod(gradient.values.shape[1:]))  # of a bias: 1
    return [a.reshape(-1, width) for a in arrays]
