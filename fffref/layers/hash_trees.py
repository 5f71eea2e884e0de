"""What MADDNESS learns: one tree a codebook, which hashes a row to a code, and the rows that codes stand for.

A tree is grown greedily, a level at a time; all nodes of a level look at the same column. The prototypes are fitted
afterwards, all codebooks together.

# n rows of A, D columns of A, C codebooks, d columns of one codebook, b rows of one bucket, 16 leaves a codebook

Reference: D. Blalock and J. Guttag, "Multiplying Matrices Without Multiplying", ICML 2021, arXiv 2106.10860.
"""

import numpy as np

from .. import checks
from . import tree

LEVELS = 4
LEAVES = 2**LEVELS  # a code is four bits, so that 16 bytes of a table fit into one register
CANDIDATES = 4  # columns that are tried at each level: those of the largest squared error

# ---------------------------------------------------------------------- the trees


def encode(A, split_column, threshold):
    """Walk every row down every codebook's tree: Algorithm 1, (n, D) -> (n, C)."""
    node = np.zeros((len(A), len(threshold)), np.intp)  # (n, C), all at the root
    codebook = np.arange(len(threshold))
    for level in range(LEVELS):
        right = A[:, split_column[:, level]] >= threshold[codebook, node]  # (n, C); all codebooks at once
        node = 2 * node + 1 + right  # level order, as in `tree`
    return (node - (LEAVES - 1)).astype(np.uint8)  # leaves from 0


def learn_tree(rows):
    """Grow one codebook's tree greedily: Algorithm 2, level by level.

    A level has one column, the candidate whose best thresholds leave the least squared error in the buckets below.

    Parameters
    ----------
    rows : ndarray (n, d)
        The codebook's columns of the training rows.

    Returns
    -------
    columns : ndarray of int (4,)
    threshold : ndarray (15,)
    """
    columns, threshold = np.empty(LEVELS, np.intp), np.empty(LEAVES - 1, rows.dtype)
    bucket = np.zeros(len(rows), np.intp)  # of each row, from 0 along the level
    for level in range(LEVELS):
        members = [np.flatnonzero(bucket == b) for b in range(2**level)]  # rows of each bucket of the level
        spread = sum(squared_error(rows[rows_of]) for rows_of in members)  # (d,)
        # Algorithm 2: only the columns that vary most are tried
        candidates = np.argsort(-spread, kind="stable")[:CANDIDATES]
        # error and threshold a bucket
        splits = {j: [best_split(rows[rows_of], j) for rows_of in members] for j in candidates}
        # one column for all buckets of the level
        best = min(candidates, key=lambda j: sum(error for error, _ in splits[j]))
        columns[level], threshold[tree.level(level)] = best, [value for _, value in splits[best]]
        bucket = 2 * bucket + (rows[:, best] >= threshold[tree.level(level)][bucket])  # (n,), on the level below
    return columns, threshold


def squared_error(rows):
    """Sum over the rows of (x - mean)^2, column by column: (b, d) -> (d,), in float64."""
    rows = rows.astype(np.float64)  # float32 would lose digits over many rows
    return ((rows - rows.mean(0)) ** 2).sum(0) if len(rows) else np.zeros(rows.shape[1])


def best_split(rows, column):
    """The threshold on one column that leaves the least squared error on both sides, over all columns.

    Parameters
    ----------
    rows : ndarray (b, d)
        The rows of one bucket.
    column : int

    Returns
    -------
    error : float
        Of both sides together.
    threshold : scalar
        Halfway between two rows that differ in the column: equal values never part. Where none do, their own value.

    References
    ----------
    Blalock and Guttag, arXiv 2106.10860, appendix, Algorithm 3 (optimal split threshold).
    """
    if len(rows) == 0:
        return 0.0, rows.dtype.type(0)
    rows = rows[np.argsort(rows[:, column], kind="stable")]  # sorted: every split is a prefix
    x = rows[:, column]
    parts = np.flatnonzero(x[:-1] < x[1:]) + 1  # how many rows may go left
    if len(parts) == 0:  # all alike in this column: nothing parts them
        return squared_error(rows).sum(), x[0]
    centred = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)  # so that squares of sums do not cancel
    sums, squares = centred.cumsum(0), (centred**2).sum()  # (b, d), scalar: one pass for all splits
    left, n = sums[parts - 1], len(rows)  # (parts, d)
    # sum of squares - |sum left|^2 / n_left - |sum right|^2 / n_right; the sums of both sides are opposite
    errors = squares - (left**2).sum(1) * (1 / parts + 1 / (n - parts))
    at = parts[errors.argmin()]  # of equals, the first
    middle = x[at - 1] / 2 + x[at] / 2  # each halved: their sum may overflow
    return errors.min(), middle if middle > x[at - 1] else x[at]  # neighbouring floats have no middle


# ---------------------------------------------------------------------- the prototypes


def bucket_means(A, codes, parts):
    """Mean of a bucket's rows over its codebook's own columns, 0 elsewhere: (C, 16, D)."""
    prototype = np.zeros((len(parts), LEAVES, A.shape[1]), A.dtype)
    for c, columns in enumerate(parts):
        for leaf in np.unique(codes[:, c]):  # a bucket without rows stays 0
            prototype[c, leaf, columns] = A[np.ix_(codes[:, c] == leaf, columns)].mean(0)  # (b, columns) -> (columns,)
    return prototype


def refine(A, codes, prototype, ridge):
    """Fit all prototypes together, over all columns, to what the means leave.

    Parameters
    ----------
    A : ndarray (n, D)
    codes : ndarray of uint8 (n, C)
    prototype : ndarray (C, 16, D)
    ridge : float, at least 0

    Returns
    -------
    prototype : ndarray (C, 16, D)

    Notes
    -----
    With G the one-hot codes (n, 16 C) and P the prototypes as rows, this minimises |A - G P|^2 + ridge |P - means|^2.
    The paper's penalty is ridge |P|^2, which draws small buckets towards 0; towards their means, the training error
    can never be larger than that of the means themselves.

    References
    ----------
    Blalock and Guttag, arXiv 2106.10860, section 4.3 (optimising the prototypes), with lambda = 1.
    """
    ridge = checks.number("ridge", ridge, "[0, inf]")
    if ridge == np.inf:  # the means themselves
        return prototype
    from scipy.sparse import csr_array  # imported where needed: `import fffref` stays quick

    n, C = codes.shape
    columns = (codes + LEAVES * np.arange(C)).ravel()  # (n, C): where the ones of G are
    G = csr_array((np.ones(n * C), columns, np.arange(n + 1) * C), shape=(n, LEAVES * C))  # (n, 16 C), C ones a row
    means = prototype.reshape(LEAVES * C, -1).astype(np.float64)  # (16 C, D)
    # lstsq: without a ridge, codebooks share a constant, and buckets that no row reaches say nothing
    normal = (G.T @ G).toarray() + ridge * np.eye(LEAVES * C)  # (16 C, 16 C): how often two codes occur together
    # ridge regression of the residual: (16 C, D)
    change = np.linalg.lstsq(normal, G.T @ (A - G @ means), rcond=None)[0]
    return (means + change).reshape(prototype.shape).astype(A.dtype)
