"""MADDNESS against the recursive hash, exact sums, and the product that it stands for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fffref import DenseFF, algorithms, datasets, training
from fffref.layers import lookup_tables
from fffref.layers.hash_trees import best_split, bucket_means, encode, learn_tree, refine, squared_error
from fffref.layers.maddness import LEAVES, Maddness


def learned(rng, n=60, D=7, M=3, codebooks=2, dtype=np.float64, whole=False):
    """Return rows, a matrix and what was learned of them; `whole` numbers make ties."""
    A = rng.integers(-2, 3, (n, D)) if whole else rng.standard_normal((n, D))
    A, B = A.astype(dtype), rng.standard_normal((D, M)).astype(dtype)
    return A, B, Maddness.learn(A, B, codebooks)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 9), st.booleans(),
    st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_codes_equal_the_recursion_ties_included(seed, n, D, whole, dtype):
    rng = np.random.default_rng(seed)
    A, _, maddness = learned(rng, n, D, 2, rng.integers(1, D + 1), dtype, whole)
    rows = np.concatenate([A, rng.permutation(A, axis=1)])
    trees = list(zip(maddness.split_column, maddness.threshold, strict=True))
    expected = [[algorithms.MADDNESSHASH(row, *tree) for tree in trees] for row in rows]
    codes = maddness.encode(rows)
    assert codes.dtype == np.uint8 and codes.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 4), st.booleans())
def test_the_split_is_the_best_of_all(seed, n, d, whole):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, (n, d)).astype(np.float32) if whole else rng.standard_normal((n, d)).astype(np.float32)
    error, threshold = best_split(rows, 0)

    def left_over(threshold):
        right = rows[:, 0] >= threshold
        return squared_error(rows[right]).sum() + squared_error(rows[~right]).sum()

    np.testing.assert_allclose(error, left_over(threshold), rtol=1e-9, atol=1e-9)
    assert error <= min(left_over(value) for value in rows[:, 0]) + 1e-9


def test_a_level_takes_the_column_that_parts_the_rows_best(rng):
    """Column 2 says which of two far groups a row is of; the others are noise."""
    rows = 0.01 * rng.standard_normal((50, 4))
    rows[:25, 2] += 5
    columns, threshold = learn_tree(rows)
    assert columns[0] == 2 and 0.5 < threshold[0] < 4.5


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0, 10))
def test_the_ridge_is_never_worse_than_the_means_on_training_data(seed, n, ridge):
    rng = np.random.default_rng(seed)
    A, parts = rng.standard_normal((n, 6)), np.array_split(np.arange(6), 3)
    trees = [learn_tree(A[:, columns]) for columns in parts]
    codes = encode(A, np.stack([parts[c][trees[c][0]] for c in range(3)]), np.stack([tree[1] for tree in trees]))
    means = bucket_means(A, codes, parts)

    def error(prototype):
        return ((A - sum(prototype[c, codes[:, c]] for c in range(3))) ** 2).sum()

    assert error(refine(A, codes, means, ridge)) <= error(means) * (1 + 1e-9) + 1e-12
    assert refine(A, codes, means, np.inf) is means


def test_refined_prototypes_are_where_the_gradient_vanishes(rng):
    A, _, m = learned(rng, n=80, D=6, codebooks=3)
    codes, parts = m.encode(A), np.array_split(np.arange(6), 3)
    means = bucket_means(A, codes, parts)
    residual = A - sum(m.prototype[c, codes[:, c]] for c in range(3))
    for c in range(3):
        pull = np.stack([residual[codes[:, c] == leaf].sum(0) for leaf in range(LEAVES)])
        np.testing.assert_allclose(pull, m.prototype[c] - means[c], atol=1e-9)


def test_a_codebook_is_a_leaf_fff_with_one_hot_nodes_and_constant_leaves(rng):
    A, _, m = learned(rng, whole=True)
    parts = [m.as_leaf_fff(c) for c in range(m.codebooks)]
    assert all(np.array_equal(part.route(A), codes) for part, codes in zip(parts, m.encode(A).T, strict=True))
    np.testing.assert_allclose(sum(part.forward_hard(A) for part in parts), m.scan(m.encode(A), exact=True), rtol=1e-12)


@pytest.mark.parametrize("codebooks", [1, 3, 4, 16, 21])
@pytest.mark.parametrize("block", [1, 4, 16])
def test_averaged_sums_are_unbiased_within_a_step(rng, codebooks, block):
    value = rng.integers(0, 256, (codebooks, LEAVES, 5), dtype=np.uint8)
    codes = rng.integers(0, LEAVES, (20_000, codebooks), dtype=np.uint8)
    exact = sum(value[c, codes[:, c]].astype(int) for c in range(codebooks))
    off = lookup_tables.averaged_sum(value, codes, block) - exact
    assert abs(off.mean()) < 1  # a step of the table
    assert np.abs(off).max() <= codebooks * np.log2(max(block, 2))
    assert block > 1 or not off.any()
    assert sum(lookup_tables.blocks(codebooks, block)) == codebooks


def test_bytes_hold_the_tables_to_half_a_step(rng):
    table = rng.standard_normal((4, LEAVES, 3)).astype(np.float32)
    held = lookup_tables.quantise(table)
    values = held.value / held.scale + table.min(1, keepdims=True)
    assert np.abs(values - table).max() <= 0.5001 / held.scale
    assert held.value.max() == 255  # the range is used
    constant = lookup_tables.quantise(np.full((2, LEAVES, 3), 7.0))
    np.testing.assert_allclose(constant.total(np.zeros((4, 2), np.uint8)), 14)


def digits():
    """Hidden activations of a trained 784-128-10 net on the embedded digits, and its last matrix and bias."""
    data = datasets.load("mnist-small")
    net = DenseFF.init(np.random.default_rng(0), 784, 10, 128)
    net, _ = training.train(
        net, training.Classification(data.x_train, data.y_train), training.Recipe(epochs=10), progress=False
    )
    train, test = (np.maximum(x @ net.in_weight.T + net.in_bias, 0) for x in (data.x_train, data.x_test))
    return train, test, net.out_weight, net.out_bias, data.y_test


def test_errors_on_digits_are_what_is_promised():
    train, test, B, bias, labels = digits()
    exact = test @ B
    assert ((exact + bias).argmax(1) == labels).mean() > 0.94

    def nmse(y):
        return ((y - exact) ** 2).sum() / (exact**2).sum()

    for codebooks, most in ((16, 0.10), (64, 0.02)):
        m = Maddness.learn(train, B, codebooks)
        by_means = Maddness.learn(train, B, codebooks, ridge=np.inf)
        codes = m.encode(test)
        in_float, in_bytes = nmse(m.scan(codes, exact=True)), nmse(m.scan(codes))
        assert in_bytes <= most and abs(in_bytes - in_float) <= 1e-3
        assert in_float < nmse(by_means.scan(by_means.encode(test), exact=True))


def test_empty_one_row_and_layouts(rng):
    A, B, m = learned(rng, dtype=np.float32)
    assert m.apply(A[:0]).shape == (0, 3) and m.apply(A).dtype == np.float32
    np.testing.assert_array_equal(m.apply(np.asfortranarray(A)), m.apply(A))
    np.testing.assert_array_equal(m.apply(A[::2]), m.apply(A)[::2])
    A.flags.writeable = B.flags.writeable = False
    again = Maddness.learn(A, B, 2)
    np.testing.assert_array_equal(again.table, m.table)
    one = Maddness.learn(A[:1], B, 1)  # one row alone is its own prototype
    np.testing.assert_allclose(one.scan(one.encode(A[:1]), exact=True), A[:1] @ B, rtol=1e-5)
    assert one.encode(np.full((1, 7), np.nan, np.float32)).tolist() == [[0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((3, 4)), np.ones((5, 2)), 1), "B must have shape"),
        ((np.ones((3, 4)), np.ones((4, 2)), 5), "codebooks must be at most 4"),
        ((np.ones((0, 4)), np.ones((4, 2)), 1), "at least one row"),
        ((np.full((3, 4), np.nan), np.ones((4, 2)), 1), r"A must be finite, got nan at \[0, 0\]"),
        ((np.ones((3, 4)), np.ones((4, 2), np.float32), 1), "B must have dtype float64"),
        ((np.ones((3, 4), complex), np.ones((4, 2)), 1), "A must be float32 or float64"),
        ((np.ones((3, 4)), np.ones((4, 2)), 1, -1.0), "ridge must lie in"),
    ],
)
def test_what_cannot_be_learned_is_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Maddness.learn(*arguments)


def test_codes_and_tables_refuse_what_they_cannot_hold(rng):
    _, _, m = learned(rng)
    for codes, message in (
        (np.full((2, 2), 16, np.uint8), "codes must lie in 0 to 15, got 16"),
        (np.zeros((2, 2), np.int64), "codes must have dtype uint8"),
        (np.zeros((2, 3), np.uint8), "codes must have shape"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            m.scan(codes)
    wide = np.where(np.arange(LEAVES) % 2, 1.7e308, -1.7e308).reshape(1, LEAVES, 1)
    for table in (np.full((1, LEAVES, 1), np.inf), wide):
        with pytest.raises(ValueError, match="finite"):
            lookup_tables.quantise(table)
    with pytest.raises(ValueError, match="block must be one of"):
        lookup_tables.quantise(np.ones((1, LEAVES, 1)), block=3)
