"""Look-up tables in 8 bits, and sums of them that never leave 8 bits: averages, rounded up, in blocks.

A processor averages bytes in one instruction, (a + b + 1) >> 1, and cannot overflow; a sum would need 16 bits. Rounding
up makes the average too large by 1/4 in the mean, which is subtracted again.

# n rows, C codebooks, M columns of the product, U tables a block

Reference: D. Blalock and J. Guttag, "Multiplying Matrices Without Multiplying", arXiv 2106.10860, section 4.4.
"""

from dataclasses import dataclass

import numpy as np

from .. import checks

BLOCK = 4  # tables whose average is taken before it is widened; the paper has 16, which is less exact
LARGEST = 255
ROWS_AT_ONCE = 1024  # bounds memory: (rows, M, U) bytes


@dataclass(frozen=True, eq=False)
class ByteTables:
    """Tables in 8 bits with one scale, so that their entries can be added: T[c, k, m] ~ value / scale + offset of c, m.

    Parameters
    ----------
    value : ndarray of uint8 (C, 16, M)
    offset : ndarray (M,)
        Sum over the codebooks of each table's smallest entry.
    scale : float
        Steps a unit; infinity where no table varies.
    block : int
        U, a power of 2: how many tables are averaged before the average is widened.
    """

    value: np.ndarray
    offset: np.ndarray
    scale: float
    block: int = BLOCK

    def total(self, codes):
        """Return the sums over the codebooks, by averages: (n, C) -> (n, M)."""
        y = np.empty((len(codes), self.value.shape[2]), self.offset.dtype)
        for start in range(0, len(codes), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            y[rows] = self.offset + averaged_sum(self.value, codes[rows], self.block) / self.scale  # (M,) + (rows, M)
        return y


def quantise(table, block=BLOCK):
    """Put tables into 8 bits.

    Parameters
    ----------
    table : ndarray (C, 16, M)
        Finite.
    block : int, a power of 2 from 1 to 64
        U of the averages to come.

    Returns
    -------
    ByteTables
        One scale for all, such that the widest table fills the range: value = round((T - min_k T) scale).

    Raises
    ------
    ValueError
        If an entry is not finite, or the entries' range overflows: 8 bits cannot hold that.
    """
    checks.floating("table", table)
    checks.one_of("block", block, (1, 2, 4, 8, 16, 32, 64))
    least = table.min(1, keepdims=True)  # (C, 1, M); every table from 0: the offset is added once, at the end
    with np.errstate(over="ignore", invalid="ignore"):
        width = float((table - least).max(initial=0))  # of the widest table: one scale, so that steps can be added
    if not np.isfinite(width):
        raise checks.InputError("tables must be finite, and so must be the range of each, to be put into 8 bits")
    scale = LARGEST / width if width > 0 else np.inf  # constant tables: the offset says it all
    steps = (table - least) * table.dtype.type(scale) if width > 0 else np.zeros_like(table)
    value = np.rint(steps).clip(0, LARGEST).astype(np.uint8)  # clip: rounding of the product may pass 255
    return ByteTables(value, least.sum((0, 1)), scale, block)


def averaged_sum(value, codes, block=BLOCK):
    """Sum of each row's entries in steps, from averages of blocks: (C, 16, M), (n, C) -> (n, M).

    The sum of a block of U tables is U times its average, less the mean error of rounding up: 1/4 at each of log2(U)
    levels, hence U log2(U) / 4. Half of all pairs have an odd sum, and rounding up adds 1/2 to the average of those.
    """
    total, start = np.zeros((len(codes), value.shape[2])), 0  # (n, M), in steps
    for size in blocks(len(value), block):
        tables = range(start, start + size)
        entries = np.stack([value[c, codes[:, c]] for c in tables])  # (U, n, M)
        total += size * (average(entries).astype(np.float64) - np.log2(size) / 4)  # widened only here, once a block
        start += size
    return total


def blocks(codebooks, block=BLOCK):
    """Sizes of the blocks: as many of `block` as there are, then the powers of 2 of what is left."""
    whole, rest = divmod(codebooks, block)
    # 7 tables in blocks of 4: 4, 2, 1
    return [block] * whole + [2**bit for bit in reversed(range(block.bit_length() - 1)) if rest >> bit & 1]


def average(entries):
    """Average over the first axis, pair by pair, each rounded up as the processor does: (U, ...) -> (...), uint8."""
    while len(entries) > 1:
        a, b = entries[0::2].astype(np.uint16), entries[1::2].astype(np.uint16)
        entries = ((a + b + 1) >> 1).astype(np.uint8)  # (U / 2, ...)
    return entries[0]
