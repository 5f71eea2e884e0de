"""Controls beside carving: exact where they can be, in the order that planted structure gives."""

import numpy as np
import pytest
from carving_error import error

from fffref import DenseFF, LeafFFF
from fffref.models import carving_controls as controls
from fffref.models.carve import Carving, carve_rows
from fffref.models.fitting import Rows


def test_all_of_everything_is_the_layer(rows):
    full = [
        controls.random_tree(rows, Carving(2, 24, ridge=1e-9), np.random.default_rng(0)),
        controls.oracle(rows, 24, 1e-9),
        controls.low_rank(rows, 4 * (8 * 32 + 6 * 30), 1e-9),
    ]
    for layer in full:
        assert error(rows, layer) < 1e-9, layer


def test_a_linear_layer_is_a_matrix(rng):
    layer = DenseFF.init(rng, 8, 6, 24, activation="identity", dtype=np.float64)
    rows = Rows.of(layer, rng.standard_normal((800, 8)) + 3)
    assert error(rows, controls.linear(rows, 6 * 14, 1e-9)) < 1e-9
    few = [error(rows, controls.linear(rows, rank * 14, 1e-9)) for rank in (1, 2, 4, 6)]
    assert few == sorted(few, reverse=True) and few[0] > 0.05


def test_logits_of_low_rank_are_found_whatever_the_weights_say(rng):
    """Inputs of rank 2, weights of full rank: two numbers are enough, if they are the inputs' and not the weights'."""
    layer = DenseFF.init(rng, 8, 6, 24, activation="gelu", dtype=np.float64)
    x = rng.standard_normal((800, 2)) @ rng.standard_normal((2, 8)) + rng.standard_normal(8)
    rows = Rows.of(layer, x)
    into = controls._into(rows, 2)
    assert into.in_weight.shape == (2, 8)
    np.testing.assert_allclose(into.forward_hard(x), x @ layer.in_weight.T + layer.in_bias, atol=1e-8)
    weights_alone = np.linalg.svd(layer.in_weight, full_matrices=False)[2][:2]
    assert np.abs(x - x @ weights_alone.T @ weights_alone).max() > 0.1


def test_low_rank_keeps_within_its_budget(rows):
    for budget in (60, 100, 200):
        found = controls.low_rank(rows, budget, 0.01)
        r_in, r_out = found.into.width, found.out_of.width
        assert found.multiply_adds == r_in * (8 + 24) + r_out * (24 + 6) <= max(budget, 62)
        assert found.n_parameters == found.multiply_adds + r_in + r_out + 24 + 6


def test_the_oracle_keeps_what_adds_most():
    hidden, size = np.array([[1.0, -3.0, 2.0, 0.5], [4.0, 0.0, -0.9, 0.1]]), np.array([1.0, 1.0, 1.0, 10.0])
    np.testing.assert_array_equal(controls.largest(hidden, size, 2), [[0, -3, 0, 0.5], [4, 0, 0, 0.1]])
    assert controls.largest(hidden, size, 4) is hidden


def test_the_order_of_the_arms_on_groups_of_neurons(rng):
    """Neurons that answer to one of four groups of inputs: the oracle and the tree know them, the others cannot."""
    centres = 3 * rng.standard_normal((4, 8))
    weight = np.repeat(centres, 8, 0) + 0.3 * rng.standard_normal((32, 8))
    layer = DenseFF.init(rng, 8, 5, 32, activation="relu", dtype=np.float64)
    layer = DenseFF(weight, np.full(32, -20.0), layer.out_weight, layer.out_bias, "relu")
    rows = Rows.of(layer, centres[rng.integers(0, 4, 800)] + 0.3 * rng.standard_normal((800, 8)))
    errors = {
        "oracle": error(rows, controls.oracle(rows, 8, 0.03)),
        "tree": error(rows, carve_rows(rows, Carving(2, 8))),
        "parted": error(rows, carve_rows(rows, Carving(2, 8, parted=True))),
        "same": error(rows, carve_rows(rows, Carving(0, 8))),
    }
    assert max(errors["oracle"], errors["tree"], errors["parted"]) < 1e-6 < 0.02 < errors["same"], errors


def test_random_groups_are_halves_and_worse_than_a_grown_tree(rng):
    layer = DenseFF.init(rng, 16, 6, 48, activation="relu", dtype=np.float64)
    rows = Rows.of(layer, rng.standard_normal((2000, 16)) * np.array([4.0, 3.0, *np.full(14, 0.5)]))
    random = [controls.random_tree(rows, Carving(3, 12), np.random.default_rng(seed)) for seed in range(5)]
    assert all(isinstance(tree, LeafFFF) and tree.depth == 3 for tree in random)
    counts = np.bincount(random[0].route(rows.x), minlength=8)
    assert counts.min() >= 245 and counts.max() <= 255
    assert error(rows, carve_rows(rows, Carving(3, 12))) < np.mean([error(rows, tree) for tree in random])


def test_the_oracle_keeps_no_more_than_there_is(rows):
    with pytest.raises(ValueError, match="at most"):
        controls.oracle(rows, 25, 0.1)
