"""Carving: exact where it can be, better than its controls where the layer is one that a tree can be carved from."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fffref import DenseFF, LeafFFF
from fffref.models.carve import Carving, carve, leaf_width_for, part_neurons
from fffref.models.fitting import relative_error, ridge_fit


def clustered(rng, n=600, width=32):
    """A dense layer whose neurons each answer to one of four groups of inputs, and such inputs."""
    centres = 3 * rng.standard_normal((4, 8))
    layer = DenseFF.init(rng, 8, 5, width, activation="relu", dtype=np.float64)
    weight = np.repeat(centres, width // 4, 0) + 0.3 * rng.standard_normal((width, 8))
    layer = DenseFF(weight, np.full(width, -20.0), layer.out_weight, layer.out_bias, "relu")
    return layer, centres[rng.integers(0, 4, n)] + 0.3 * rng.standard_normal((n, 8))


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "identity"])
def test_leaves_that_hold_all_neurons_are_the_layer(rng, depth, activation):
    layer = DenseFF.init(rng, 6, 4, 10, activation=activation, dtype=np.float64)
    x = rng.standard_normal((300, 6))
    carved = carve(layer, x, Carving(depth, 10, ridge=1e-6))
    assert isinstance(carved, LeafFFF) and carved.depth == depth
    fresh = rng.standard_normal((50, 6))
    np.testing.assert_allclose(carved.forward_hard(fresh), layer.forward_hard(fresh), rtol=1e-6, atol=1e-7)


def test_a_tree_finds_the_groups_that_a_dense_cut_cannot(rng):
    layer, x = clustered(rng)
    fresh = clustered_like(rng, layer)
    tree = carve(layer, x, Carving(2, 8))
    cut = carve(layer, x, Carving(0, 8))  # the same neurons for every input
    y = layer.forward_hard(fresh)
    assert relative_error(tree.forward_hard(fresh), y) < 0.1 < relative_error(cut.forward_hard(fresh), y)
    assert len(np.unique(tree.route(fresh))) == 4


def clustered_like(rng, layer):
    """New inputs near the groups of a layer's neurons."""
    centres = layer.in_weight.reshape(4, -1, 8).mean(1)
    return centres[rng.integers(0, 4, 200)] + 0.3 * rng.standard_normal((200, 8))


def test_refitting_does_not_make_it_worse_on_what_it_is_fitted_to(rng):
    layer = DenseFF.init(rng, 6, 4, 24, activation="gelu", dtype=np.float64)
    x = rng.standard_normal((2000, 6)) * [3, 1, 1, 1, 1, 1]
    y = layer.forward_hard(x)
    errors = [relative_error(carve(layer, x, Carving(2, 8, rounds)).forward_hard(x), y) for rounds in (0, 3)]
    assert errors[1] <= errors[0]


def test_rows_count_by_their_relative_error(rng):
    """Ten rows of outputs 1,000 times larger must not take the leaves' neurons from the other 990."""
    layer, x = clustered(rng, n=1000)
    loud = np.zeros((1, 8))
    loud[0, 0] = 20  # one more neuron: it answers to one direction alone, and loudly
    layer = DenseFF(
        np.concatenate([layer.in_weight, loud]), np.append(layer.in_bias, -300.0),
        np.concatenate([layer.out_weight, np.full((1, 5), 300.0)]), layer.out_bias, "relu",
    )  # fmt: skip
    x[:10, 0] = 20
    tree = carve(layer, x, Carving(3, 8))
    y = layer.forward_hard(x)
    assert np.linalg.norm(y[:10], axis=1).min() > 1000 * np.median(np.linalg.norm(y[10:], axis=1))
    assert relative_error(tree.forward_hard(x)[10:], y[10:]) < 0.1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-4, 10))
def test_the_ridge_fit_is_where_its_gradient_vanishes(seed, ridge):
    rng = np.random.default_rng(seed)
    x, y, towards = rng.standard_normal((30, 4)), rng.standard_normal((30, 2)), rng.standard_normal((4, 2))
    scale = rng.uniform(0.1, 3, 30)
    slope, constant = ridge_fit(x, y, ridge, scale, towards)
    square = scale**2 / (scale**2).sum()
    residual = (x @ slope + constant - y) * square[:, None]
    centred = x - square @ x
    penalty = ridge * np.trace((centred * square[:, None]).T @ centred) / 4
    np.testing.assert_allclose(residual.sum(0), 0, atol=1e-10)
    np.testing.assert_allclose(centred.T @ residual + penalty * (slope - towards), 0, atol=1e-9)


def test_the_width_for_a_share_counts_the_routing(rng):
    for share, depth in ((0.25, 3), (0.12, 4), (0.06, 5)):
        width = leaf_width_for(share, 384, 384, 1536, depth)
        cost = depth * 384 + width * 768
        assert cost <= share * 1536 * 768 < cost + 768


def test_one_row_a_leaf_equal_rows_and_zeros(rng):
    layer = DenseFF.init(rng, 3, 2, 6, dtype=np.float64)
    for x in (rng.standard_normal((4, 3)), np.ones((20, 3)), np.zeros((20, 3))):
        carved = carve(layer, x, Carving(2, 3))
        assert np.isfinite(carved.forward_hard(x)).all()


@pytest.mark.parametrize(
    ("x", "how", "message"),
    [
        (np.ones((9, 4)), Carving(1, 2), "x must have shape"),
        (np.ones((9, 3)), Carving(1, 7), "leaf_width must be at most the layer's width, 6, got 7"),
        (np.ones((3, 3)), Carving(2, 2), "at least one row a leaf, 4, got 3"),
        (np.full((9, 3), np.nan), Carving(1, 2), "x must be finite"),
        (np.ones((9, 3), np.float32), Carving(1, 2), "x must have dtype float64"),
    ],
)
def test_what_cannot_be_carved_is_refused(rng, x, how, message):
    with pytest.raises((TypeError, ValueError), match=message):
        carve(DenseFF.init(rng, 3, 2, 6, dtype=np.float64), x, how)


def test_options_out_of_range_are_refused():
    good = {"depth": 1, "leaf_width": 1}
    for change in ({"depth": -1}, {"leaf_width": 0}, {"ridge": 0}, {"rounds": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(change))} must"):
            Carving(**good | change)


# ---------------------------------------------------------------------- neurons parted among leaves


def test_parted_neurons_are_stored_once_and_find_their_groups(rng):
    layer, x = clustered(rng)
    carved = carve(layer, x, Carving(2, 8, parted=True))
    neurons = [tuple(row) for row in carved.leaf_in_weight.reshape(-1, 8)]
    assert sorted(neurons) == sorted(tuple(row) for row in layer.in_weight)  # all 32, none twice
    fresh = clustered_like(rng, layer)
    assert relative_error(carved.forward_hard(fresh), layer.forward_hard(fresh)) < 0.1


def test_neurons_are_parted_so_that_what_they_add_is_largest(rng):
    energy = rng.uniform(size=(3, 6))
    energy /= energy.sum(1, keepdims=True)
    parted = part_neurons(energy, 2)
    assert sorted(parted.ravel()) == list(range(6))
    best = max(
        sum(energy[leaf, neuron] for neuron, leaf in enumerate(leaves))
        for leaves in set(itertools.permutations([0, 0, 1, 1, 2, 2]))
    )
    assert sum(energy[j, parted[j]].sum() for j in range(3)) == pytest.approx(best)
    with pytest.raises(ValueError, match="4 leaves of 2 neurons need more than the layer's 6, parted"):
        carve(DenseFF.init(rng, 3, 2, 6, dtype=np.float64), np.ones((9, 3)), Carving(2, 2, parted=True))
