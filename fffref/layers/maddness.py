"""MADDNESS: a matrix product by trees and look-ups, without a multiplication at inference.

The columns of A are cut into C codebooks. In each, a tree of 16 leaves looks at one column a level; a leaf is a code of
four bits. What a code stands for is a row of prototypes, and their products with B are known beforehand: A B becomes C
look-ups a row. The tree is the hard tree of `LeafFFF` with one-hot nodes and constant leaves (see `as_leaf_fff`).

# n rows of A, D columns of A, M columns of B, C codebooks, T = 4 levels, 16 leaves a codebook

Reference: D. Blalock and J. Guttag, "Multiplying Matrices Without Multiplying", ICML 2021, arXiv 2106.10860.
"""

from dataclasses import dataclass

import numpy as np

from .. import checks
from . import tree
from .hash_trees import LEAVES, LEVELS, bucket_means, encode, learn_tree, refine
from .leaf_fff import LeafFFF
from .lookup_tables import ByteTables, quantise


@dataclass(frozen=True, eq=False)
class Maddness:
    """Hash trees and look-up tables that stand for the product with one matrix B.

    Parameters
    ----------
    split_column : ndarray of int (C, 4)
        The column of A that a codebook's tree looks at, level by level.
    threshold : ndarray (C, 15)
        One threshold a node, in level order: right iff `a >= threshold`.
    prototype : ndarray (C, 16, D)
        What a code stands for: a row of A is about the sum of its codes' prototypes.
    table : ndarray (C, 16, M)
        `prototype @ B`.
    bytes_table : ByteTables
        The same in 8 bits, which is what `scan` adds up.

    Notes
    -----
    With the code k_c(a) of row a in codebook c,

        a B  ~  sum_c table[c, k_c(a)].
    """

    split_column: np.ndarray
    threshold: np.ndarray
    prototype: np.ndarray
    table: np.ndarray
    bytes_table: ByteTables

    @classmethod
    def learn(cls, A, B, codebooks, ridge=1.0):
        """Learn the trees and prototypes from rows like those to come, and the tables from B.

        Parameters
        ----------
        A : ndarray (n, D)
            Training rows, float32 or float64; n at least 1.
        B : ndarray (D, M)
            The matrix that is always the right-hand one.
        codebooks : int, 1 to D
            C: more of them are more exact, and cost more.
        ridge : float, at least 0
            lambda of the refinement; infinity leaves the prototypes at their buckets' means.

        Returns
        -------
        Maddness

        Raises
        ------
        TypeError, ValueError
            If a matrix is not finite, has another dtype or shape, or there are more codebooks than columns.

        References
        ----------
        Blalock and Guttag, arXiv 2106.10860, Algorithm 2 and section 4.3.
        """
        A = _matrix("A", A, (None, None))
        B = _matrix("B", B, (A.shape[1], None), A.dtype)
        if len(A) == 0:
            raise checks.InputError("A must hold at least one row to learn from, got none")
        C = checks.integer("codebooks", codebooks, 1, A.shape[1])
        parts = np.array_split(np.arange(A.shape[1]), C)  # neighbouring columns, in parts of nearly one size
        trees = [learn_tree(A[:, columns]) for columns in parts]  # (4,) and (15,) each
        # (C, 4), counted over all of A
        split_column = np.stack([columns[splits] for columns, (splits, _) in zip(parts, trees, strict=True)])
        threshold = np.stack([threshold for _, threshold in trees])  # (C, 15)
        codes = encode(A, split_column, threshold)  # (n, C)
        prototype = refine(A, codes, bucket_means(A, codes, parts), ridge)  # (C, 16, D)
        table = prototype @ B  # (C, 16, D) -> (C, 16, M)
        return cls(split_column, threshold, prototype, table, quantise(table))

    @property
    def codebooks(self):
        """C."""
        return len(self.threshold)

    def encode(self, A):
        """Return the code of each row in each codebook: four comparisons each.

        Parameters
        ----------
        A : ndarray (n, D)

        Returns
        -------
        codes : ndarray of uint8 (n, C)
            0 to 15. A NaN turns left, as in the other trees.
        """
        A = checks.array("A", A, (None, self.prototype.shape[2]), self.threshold.dtype)
        return encode(A, self.split_column, self.threshold)

    def scan(self, codes, exact=False):
        """Add up the tables' entries of each row's codes.

        Parameters
        ----------
        codes : ndarray of uint8 (n, C)
        exact : bool
            By the tables in floating point, instead of those in 8 bits and their averaged sums.

        Returns
        -------
        y : ndarray (n, M)
        """
        codes = self._codes(codes)
        if not exact:
            return self.bytes_table.total(codes).astype(self.table.dtype)
        return sum(self.table[c, codes[:, c]] for c in range(self.codebooks))  # (n, M) each, C of them

    def apply(self, A):
        """Return about A B: `scan(encode(A))`, (n, D) -> (n, M)."""
        return self.scan(self.encode(A))

    def as_leaf_fff(self, codebook):
        """Return one codebook as a `LeafFFF`: one-hot nodes, constant leaves; `forward_hard` is its part of `a B`."""
        # neurons that give 0, so that a leaf is its output bias; nodes that read one column
        D, dtype = self.prototype.shape[2], self.table.dtype
        node_weight = np.zeros((LEAVES - 1, D), dtype)
        for level in range(LEVELS):
            # one column a level: its nodes differ in threshold
            node_weight[tree.level(level), self.split_column[codebook, level]] = 1
        return LeafFFF(
            node_weight=node_weight,
            node_bias=-self.threshold[codebook],  # a - threshold >= 0, exactly where a >= threshold
            leaf_in_weight=np.zeros((LEAVES, 1, D), dtype),
            leaf_in_bias=np.zeros((LEAVES, 1), dtype),
            leaf_out_weight=np.zeros((LEAVES, 1, self.table.shape[2]), dtype),
            leaf_out_bias=self.table[codebook],
            activation="identity",
        )

    def _codes(self, codes):
        """Refuse codes that name no leaf."""
        codes = checks.array("codes", codes, (None, self.codebooks), np.dtype(np.uint8))
        if codes.size and codes.max() >= LEAVES:
            raise checks.InputError(
                f"codes must lie in 0 to {LEAVES - 1}, got {codes.max()}; pass what encode returned"
            )
        return codes


def _matrix(name, value, shape, dtype=None):
    """Refuse a matrix that trees cannot be learnt from."""
    checks.floating(name, value)
    if value.dtype.kind == "c":
        raise checks.InputTypeError(f"{name} must be float32 or float64, got {value.dtype}; pass its real part")
    value = checks.array(name, value, shape, value.dtype if dtype is None else dtype)
    if not np.isfinite(value).all():
        at = [int(i) for i in np.argwhere(~np.isfinite(value))[0]]
        raise checks.InputError(f"{name} must be finite, got {value[tuple(at)]} at {at}; fill or drop it")
    return value
