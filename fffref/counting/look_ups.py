"""What MADDNESS stores and does instead of multiplying: exact integers, from sizes or from what was learned.

    counting.look_ups.maddness(n_in=512, n_out=10, codebooks=16)
    counting.look_ups.of(maddness)

# D columns of A, M columns of the product, C codebooks
"""

from dataclasses import dataclass

from .. import checks
from ..layers.maddness import LEAVES, LEVELS
from .counts import Work, itemsize


@dataclass(frozen=True)
class LookUps:
    """Costs of one row of A B by trees and tables.

    Attributes
    ----------
    comparisons : int
        4 C: one a level of each codebook's tree.
    look_ups : int
        C M, of one byte each; so many bytes of tables are touched.
    additions : int
        (C - 1) M averages or sums, and M numbers scaled and shifted at the end.
    table_bytes : int
        16 C M: the tables in 8 bits.
    tree_bytes : int
        15 C thresholds, of the dtype that was asked for, and 4 C columns of 4 bytes.
    exact : Work
        The product's own work: D M multiply-adds.
    """

    comparisons: int
    look_ups: int
    additions: int
    table_bytes: int
    tree_bytes: int
    exact: Work

    @property
    def multiply_adds_a_look_up(self):
        """How many multiply-adds of the exact product one look-up stands for: D / C."""
        return self.exact.multiply_adds / self.look_ups


def maddness(n_in, n_out, codebooks, dtype="float32"):
    """Count MADDNESS for a product with a matrix (n_in, n_out).

    Parameters
    ----------
    n_in, n_out : int, at least 1
        D and M.
    codebooks : int, 1 to n_in
        C.
    dtype : {"float32", "float64"}
        Of the thresholds.

    Returns
    -------
    LookUps

    Raises
    ------
    TypeError, ValueError
        If a size is no whole number or out of its range.
    """
    D, M = checks.integer("n_in", n_in, 1), checks.integer("n_out", n_out, 1)  # columns of A, of the product
    C = checks.integer("codebooks", codebooks, 1, D)  # a codebook has one column at least
    return LookUps(
        comparisons=LEVELS * C,
        look_ups=C * M,
        additions=(C - 1) * M + 2 * M,  # sums of C entries; times 1 / scale, plus the offset
        table_bytes=LEAVES * C * M,
        # thresholds, and which columns they are held against
        tree_bytes=(LEAVES - 1) * C * itemsize(dtype) + LEVELS * C * 4,
        exact=Work(D * M),
    )


def of(maddness_record):
    """Count what was learned, from the shapes of its arrays.

    Parameters
    ----------
    maddness_record : Maddness

    Returns
    -------
    LookUps
    """
    C, _, D = maddness_record.prototype.shape
    return maddness(D, maddness_record.table.shape[2], C, maddness_record.threshold.dtype.name)
