"""Faults planted in MADDNESS and its tables, one at a time, each found."""

import numpy as np
from mutants import make_tests, near

from fffref import algorithms


def verify_hash_trees(module):
    """Codes against the recursion, ties included; the best split; the refined prototypes against the means."""
    rng = np.random.default_rng(0)
    A, parts = rng.integers(-2, 3, (80, 6)).astype(float), [np.arange(3), np.arange(3, 6)]
    trees = [module.learn_tree(A[:, columns]) for columns in parts]
    trees = [(columns[splits], threshold) for columns, (splits, threshold) in zip(parts, trees, strict=True)]
    split_column, threshold = (np.stack(arrays) for arrays in zip(*trees, strict=True))
    codes = module.encode(A, split_column, threshold)
    assert codes.tolist() == [[algorithms.MADDNESSHASH(row, *tree) for tree in trees] for row in A]
    ties = A.copy()
    ties[:, split_column[0, 0]] = threshold[0, 0]
    found = module.encode(ties, split_column, threshold)[:, 0]
    assert found.tolist() == [algorithms.MADDNESSHASH(row, *trees[0]) for row in ties]
    near(module.best_split(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 9.0], [1.0, 9.0]]), 0)[0], 54)
    rows = np.array([[0.0, 5.0], [1.0, 5.0], [4.0, -5.0], [5.0, -5.0]])
    near(module.best_split(rows, 0)[0], 1.0), near(module.best_split(rows, 0)[1], 2.5)
    assert module.learn_tree(np.repeat(rows, 3, 0)[:, ::-1])[0][0] in (0, 1)
    wide = np.column_stack([rng.normal(0, 0.1, 40), np.repeat([0.0, 9.0], 20)])
    assert module.learn_tree(wide)[0][0] == 1
    means = module.bucket_means(A, codes, parts)
    fitted = module.refine(A, codes, means, 1.0)
    errors = [((A - sum(p[c, codes[:, c]] for c in range(2))) ** 2).sum() for p in (fitted, means)]
    assert errors[0] < errors[1]


def verify_maddness(module):
    """Sums of table entries against prototypes times B, and against the trees as layers."""
    rng = np.random.default_rng(0)
    A, B = rng.integers(-2, 3, (80, 6)).astype(float), rng.standard_normal((6, 2))
    learned = module.Maddness.learn(A, B, 2)
    codes = learned.encode(A)
    near(learned.scan(codes, exact=True), sum(learned.prototype[c, codes[:, c]] for c in range(2)) @ B)
    near(sum(learned.as_leaf_fff(c).forward_hard(A) for c in range(2)), learned.scan(codes, exact=True))
    sixteen = np.arange(16.0)[:, None] * np.ones((1, 2))
    near(
        module.Maddness.learn(sixteen, np.eye(2), 1, ridge=np.inf).scan(
            np.arange(16, dtype=np.uint8)[:, None], exact=True
        ),
        sixteen,
    )


def verify_lookup_tables(module):
    """Averaged sums are unbiased, bytes hold the tables to half a step."""
    rng = np.random.default_rng(0)
    value = rng.integers(0, 256, (7, 16, 3), dtype=np.uint8)
    codes = rng.integers(0, 16, (20_000, 7), dtype=np.uint8)
    exact = sum(value[c, codes[:, c]].astype(int) for c in range(7))
    for block in (1, 4):
        off = module.averaged_sum(value, codes, block) - exact
        assert abs(off.mean()) < 0.2 * block and np.abs(off).max() <= 7 * block
    table = rng.standard_normal((4, 16, 3))
    held = module.quantise(table)
    assert np.abs(held.value / held.scale + table.min(1, keepdims=True) - table).max() <= 0.5001 / held.scale
    near(held.offset, table.min(1).sum(0))
    (
        near(module.average(np.array([[1], [2]], np.uint8)), [2]),
        near(module.average(np.full((4, 1), 255, np.uint8)), [255]),
    )


FAULTS = {
    "a tie goes left in MADDNESS": ("hash_trees", "A[:, split_column[:, level]] >= threshold", "A[:, split_column[:, level]] > threshold"),
    "rows part at equal values": ("hash_trees", "x[:-1] < x[1:]", "x[:-1] <= x[1:]"),
    "the widest split is the best": ("hash_trees", "at = parts[errors.argmin()]", "at = parts[errors.argmax()]"),
    "a level takes the worst column": ("hash_trees", "best = min(candidates", "best = max(candidates"),
    "prototypes are fitted, not the rest": ("hash_trees", "G.T @ (A - G @ means)", "G.T @ A"),
    "a node's bias has the threshold's sign": ("maddness", "node_bias=-self.threshold", "node_bias=self.threshold"),
    "averages keep their bias": ("lookup_tables", " - np.log2(size) / 4", ""),
    "averages are rounded down": ("lookup_tables", "entries = ((a + b + 1) >> 1)", "entries = ((a + b) >> 1)"),
    "bytes are 2 % too small": ("lookup_tables", "np.rint(steps)", "np.rint(0.98 * steps)"),
    "an average overflows": ("lookup_tables", "entries[0::2].astype(np.uint16), entries[1::2].astype(np.uint16)", "entries[0::2], entries[1::2]"),
}  # fmt: skip

test_the_source_as_it_is_passes, test_a_planted_fault_is_found = make_tests(globals(), FAULTS)
