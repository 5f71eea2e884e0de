"""What is trained towards a layer's outputs: better than where it began, by no change of what is to stay."""

from dataclasses import replace

import numpy as np
import pytest
from carving_error import error

from fffref import DenseFF, PathFFF, training
from fffref.models import carving_trained as trained
from fffref.models.carve import Carving, carve_rows
from fffref.models.fitting import Rows
from fffref.training.schedules import OneCycle

RECIPE = training.Recipe(epochs=15, batch_size=32, learning_rate=OneCycle(3e-3))


def test_tuning_moves_leaves_and_not_the_routing(rows):
    carved = carve_rows(rows, Carving(1, 6))
    tuned = trained.tuned(rows, carved, RECIPE)
    assert error(rows, tuned) < 0.9 * error(rows, carved)
    np.testing.assert_array_equal(tuned.node_weight, carved.node_weight)
    np.testing.assert_array_equal(tuned.route(rows.x), carved.route(rows.x))
    again = trained.tuned(rows, carved, RECIPE)
    np.testing.assert_array_equal(again.leaf_out_weight, tuned.leaf_out_weight)


def test_tuning_that_does_harm_is_not_kept(rows):
    carved = carve_rows(rows, Carving(1, 6))
    wild = training.Recipe(epochs=1, batch_size=32, learning_rate=0.5)
    assert error(rows, trained.tuned(rows, carved, wild)) <= error(rows, carved) * 1.001


def test_a_dense_layer_is_trained_from_scratch(rows):
    found = trained.from_scratch(rows, 12, RECIPE, seed=1)
    assert isinstance(found, DenseFF) and (found.width, found.activation) == (12, "gelu")
    assert error(rows, found) < 0.3


# ---------------------------------------------------------------------- PathFFF


def test_activations_on_paths_give_the_layer(rows):
    layer = PathFFF.init(np.random.default_rng(0), 8, 6, 3, 4, "gelu", np.float64)
    hidden = trained.on_paths(layer, rows.x)
    assert hidden.shape == (800, 60) and ((hidden != 0).sum(1) == 16).all()
    np.testing.assert_allclose(hidden @ layer.out_weight.reshape(60, 6), layer.forward_hard(rows.x), atol=1e-12)


def test_a_path_fff_is_distilled(rows):
    """It ends better than it began, and than trees whose paths nobody follows: the mean of all outputs."""
    found = trained.distilled(rows, 2, 4, RECIPE, seed=1)
    assert isinstance(found, PathFFF) and (found.depth, found.n_trees, found.activation) == (2, 4, "gelu")
    still = trained.distilled(rows, 2, 4, replace(RECIPE, learning_rate=0.0), seed=1)
    assert error(rows, found) < 0.9 * error(rows, still) < 0.9
    again = trained.distilled(rows, 2, 4, RECIPE, seed=1)
    np.testing.assert_array_equal(again.in_weight, found.in_weight)
    fast = trained.distilled(rows, 2, 4, replace(RECIPE, fast=True), seed=1)
    assert error(rows, fast) == pytest.approx(error(rows, found), rel=0.05)


def test_a_path_fff_begins_with_an_output_bias(rows):
    """Outputs far from 0, which no sum over paths gives by chance."""
    far = Rows.of(replace(rows.layer, out_bias=rows.layer.out_bias + 50), rows.x)
    start = trained.distilled(far, 2, 4, replace(RECIPE, learning_rate=0.0))
    assert error(far, start) < 1e-3
    np.testing.assert_array_equal(start.in_weight[0, 0], 0)
