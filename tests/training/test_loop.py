"""The loop: it learns, hardens, is repeatable, and a killed run ends like one that was not."""

import cases
import numpy as np
import pytest

from fffref import DenseFF, LeafFFF, PathFFF, training
from fffref.formats import checkpoints
from fffref.training import evaluation, optim, penalties, schedules, tasks

LAYERS = {
    "leaf": lambda rng: LeafFFF.init(rng, 4, 3, 2, 3),
    "path": lambda rng: PathFFF.init(rng, 4, 3, 2, 2),
    "dense": lambda rng: DenseFF.init(rng, 4, 3, 8),
}
QUICK = {"epochs": 4, "batch_size": 16, "learning_rate": 0.02}


@pytest.fixture
def clusters(rng):
    """Three clusters in four dimensions, far enough apart to be learnt."""
    labels = rng.integers(3, size=200)
    centres = 3 * np.eye(3, 4)
    return (centres[labels] + 0.5 * rng.standard_normal((200, 4))).astype(np.float32), labels


def train(layer, data, *args, progress=False, **options):
    """`training.train` on x and labels, in silence."""
    return training.train(layer, training.Classification(*data), *args, progress=progress, **options)


def assert_same(a, b):
    for name, array in a.arrays().items():
        np.testing.assert_array_equal(array, getattr(b, name), err_msg=name)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("optimizer", [optim.SGD(0.9), optim.Adam()])
def test_every_layer_learns(kind, optimizer, clusters, rng):
    recipe = training.Recipe(optimizer=optimizer, **QUICK | {"epochs": 12})
    layer = LAYERS[kind](rng)
    before = training.evaluate(layer, *clusters)["hard_accuracy"]
    trained, history = train(layer, clusters, recipe)
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert training.evaluate(trained, *clusters)["hard_accuracy"] > max(0.9, before)


def test_a_recipe_shows_what_differs_from_the_default_and_is_read_back_from_that():
    assert repr(training.Recipe()) == "Recipe()"
    for recipe in (training.hardening(epochs=7), training.paper1()):
        assert eval(repr(recipe), vars(training) | vars(schedules) | vars(optim)) == recipe


def test_the_layer_and_data_given_are_not_changed(clusters, rng):
    layer, (x, labels) = LAYERS["leaf"](rng), clusters
    kept = layer.map(np.copy), x.copy(), labels.copy()
    training.train(layer, training.Classification(x, labels), training.hardening(**QUICK))
    assert_same(layer, kept[0])
    np.testing.assert_array_equal(x, kept[1])
    np.testing.assert_array_equal(labels, kept[2])


def test_same_seed_same_weights_other_seed_others(clusters, rng):
    layer, recipe = LAYERS["leaf"](rng), training.Recipe(transpose_prob=0.1, **QUICK)
    first, again, other = (train(layer, clusters, recipe, s)[0] for s in (1, 1, 2))
    assert_same(first, again)
    assert not np.array_equal(first.node_weight, other.node_weight)


class Killed(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("optimizer", [optim.SGD(), optim.SGD(0.9), optim.Adam()], ids=str)
def test_a_run_killed_in_the_middle_of_an_epoch_and_resumed_ends_with_the_same_weights(
    kind, optimizer, clusters, rng, tmp_path, monkeypatch
):
    layer = LAYERS[kind](rng)
    options = {"transpose_prob": 0.1, "temperature": schedules.Geometric(2, 0.1)} if kind == "leaf" else {}
    recipe = training.Recipe(optimizer=optimizer, **QUICK, **options)
    whole, history = train(layer, clusters, recipe)

    file, steps, honest = tmp_path / "run.safetensors", [], tasks.regularised

    def mortal(*args, **kwargs):
        steps.append(1)
        if len(steps) == 30:  # in the third epoch of 12 batches
            raise Killed
        return honest(*args, **kwargs)

    monkeypatch.setattr(tasks, "regularised", mortal)
    with pytest.raises(Killed):
        train(layer, clusters, recipe, checkpoint=file)
    monkeypatch.setattr(tasks, "regularised", honest)
    assert len(checkpoints.load(file).info["history"]) == 2
    resumed, rest = training.train(
        layer, training.Classification(*clusters), recipe, checkpoint=file, resume=True, progress=False
    )
    assert_same(whole, resumed)
    assert rest == history


def test_resuming_something_else_is_refused(clusters, rng, tmp_path):
    layer, file = LAYERS["leaf"](rng), tmp_path / "run.safetensors"
    recipe = training.Recipe(**QUICK)
    train(layer, clusters, recipe, checkpoint=file)
    again = {"checkpoint": file, "resume": True}
    with pytest.raises(ValueError, match="another recipe"):
        train(layer, clusters, training.hardening(**QUICK), **again)
    with pytest.raises(ValueError, match="another seed"):
        train(layer, clusters, recipe, seed=5, **again)
    with pytest.raises(ValueError, match="expected a DenseFF"):
        train(LAYERS["dense"](rng), clusters, recipe, **again)
    with pytest.raises(ValueError, match="holds sizes"):
        train(LeafFFF.init(rng, 4, 3, 1, 3), clusters, recipe, **again)


def test_entropy_loss_and_annealing_both_harden(clusters, rng):
    layer = LAYERS["leaf"](rng)
    recipes = (training.Recipe(**QUICK), training.Recipe(entropy_weight=2.0, **QUICK), training.hardening(**QUICK))
    plain, pressed, annealed = (train(layer, clusters, r)[1][-1] for r in recipes)
    assert pressed["entropy"] < plain["entropy"] / 2
    assert annealed["entropy"] < plain["entropy"] / 2
    assert annealed["temperature"] < 0.06


def test_history_and_evaluation_add_up(clusters, rng):
    for kind in LAYERS:
        layer, history = training.train(
            LAYERS[kind](rng), training.Classification(*clusters), training.Recipe(**QUICK), progress=False
        )
        assert [row["epoch"] for row in history] == [1, 2, 3, 4]
        result = training.evaluate(layer, *clusters)
        assert sum(result["leaf_share"]) == pytest.approx(layer.n_trees if kind == "path" else 1)
        assert result["leaves_used"] == np.count_nonzero(result["leaf_share"])
        assert len(result["node_entropy"]) == (3 if kind == "leaf" else 0)
        assert (result["soft_accuracy"] is None) == (kind != "leaf")


def test_watching_less_often_changes_nothing_else(clusters, rng):
    layer, recipe = LAYERS["leaf"](rng), training.hardening(**QUICK | {"epochs": 5})
    often, every = train(layer, clusters, recipe)
    seldom, some = train(layer, clusters, recipe, progress=False, watch_every=2)
    assert_same(often, seldom)
    assert [row["epoch"] for row in some if "hard_accuracy" in row] == [2, 4, 5]
    assert all(row.items() <= whole.items() for row, whole in zip(some, every, strict=True)) and some[1] == every[1]
    with pytest.raises(ValueError, match="watch_every must be at least 1, got 0"):
        train(layer, clusters, recipe, progress=False, watch_every=0)


def test_evaluation_in_parts_equals_evaluation_at_once(clusters, rng, monkeypatch):
    layer = LAYERS["leaf"](rng)
    whole = training.evaluate(layer, *clusters)
    monkeypatch.setattr(evaluation, "ROWS_AT_ONCE", 7)
    parts = training.evaluate(layer, *clusters)
    assert parts["hard_accuracy"] == whole["hard_accuracy"] and parts["leaf_share"] == whole["leaf_share"]
    np.testing.assert_allclose(parts["node_entropy"], whole["node_entropy"], rtol=1e-5)


def test_compiled_training_touches_the_visited_neurons_alone(clusters, rng):
    """Weights and moments of all others stay as they are, bit for bit; the loss falls as with the dense optimiser."""
    layer = PathFFF.init(rng, 4, 3, depth=9)
    recipe = training.Recipe(epochs=4, batch_size=16, fast=True, optimizer=optim.Adam(weight_decay=0.1))
    moved, history = train(layer, clusters, recipe)
    changed = (moved.in_bias != layer.in_bias).ravel()
    assert 9 < changed.sum() < len(changed) / 2
    assert (moved.in_weight[0, ~changed] == layer.in_weight[0, ~changed]).all()
    assert (moved.out_weight[0, ~changed] == layer.out_weight[0, ~changed]).all()
    _, dense = train(layer, clusters, training.Recipe(epochs=4, batch_size=16))
    assert history[-1]["loss"] < history[0]["loss"] and abs(history[-1]["loss"] - dense[-1]["loss"]) < 0.2


def test_a_killed_compiled_run_goes_on(clusters, rng, tmp_path):
    layer, file = PathFFF.init(rng, 4, 3, depth=5), tmp_path / "run.safetensors"
    recipe = training.Recipe(fast=True, **QUICK)
    whole, history = train(layer, clusters, recipe, checkpoint=file)
    resumed, rest = train(layer, clusters, recipe, checkpoint=file, resume=True)
    assert_same(whole, resumed)
    assert rest == history


@pytest.mark.parametrize("kind", LAYERS)
def test_regression_learns_too(kind, clusters, rng):
    x, _ = clusters
    target = (x @ rng.standard_normal((4, 3)).astype(np.float32)) / 4
    layer = LAYERS[kind](rng)
    recipe = training.Recipe(**QUICK | {"epochs": 12})
    trained, history = training.train(layer, training.Regression(x, target), recipe, progress=False)
    assert history[-1]["hard_error"] < history[0]["hard_error"] and history[-1]["loss"] < history[0]["loss"] / 2
    soft = training.evaluate_regression(trained, x, target)["soft_error"]
    assert (soft is None) == (kind != "leaf")
    if kind == "leaf":
        np.testing.assert_allclose(soft, np.mean((trained.forward(x)[0] - target) ** 2), rtol=1e-5)


def test_decisions_may_be_trained_straight_through(clusters, rng):
    layer = LAYERS["path"](rng)
    recipe = training.Recipe(route_gradient="straight-through", **QUICK)
    routed, history = train(layer, clusters, recipe)
    plain, _ = train(layer, clusters, training.Recipe(**QUICK))
    assert history[-1]["loss"] < history[0]["loss"] and not np.array_equal(routed.in_bias, plain.in_bias)
    with pytest.raises(ValueError, match="a LeafFFF cannot use route_gradient"):
        train(LAYERS["leaf"](rng), clusters, recipe)
    with pytest.raises(ValueError, match="no route gradient"):
        training.Recipe(route_gradient="straight-through", fast=True)


def test_paper1_is_the_first_papers_setting():
    recipe = training.paper1()
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size) == (optim.SGD(), 0.2, 256)
    assert (recipe.entropy_weight, recipe.entropy_reduction) == (3.0, "sum")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"temperature": 0}, r"temperature must lie in \[1e-30, inf\), got 0"),
        ({"temperature": schedules.Linear(1, 0)}, r"temperature must lie in \[1e-30, inf\), got 0"),
        ({"transpose_prob": 1.5}, r"transpose_prob must lie in \[0, 1\], got 1.5"),
        ({"learning_rate": -1}, r"learning_rate must lie in \[0, inf\), got -1"),
        ({"balance": "even"}, "balance must be one of 'importance', 'switch', got 'even'"),
        ({"entropy_reduction": "max"}, "entropy_reduction must be one of 'sum', 'mean'"),
    ],
)
def test_bad_recipes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        training.Recipe(**changes)


def test_bad_data_is_refused(clusters, rng):
    layer, (x, labels) = LAYERS["leaf"](rng), clusters
    with pytest.raises(ValueError, match="labels must lie in 0 to 2, got 3"):
        training.train(layer, training.Classification(x, labels + 1))
    with pytest.raises(TypeError, match="labels must be integers, got float"):
        training.train(layer, training.Classification(x, labels.astype(float)))
    with pytest.raises(ValueError, match="nothing left to watch"):
        training.train(layer, training.Classification(x[:2], labels[:2]))
    with pytest.raises(ValueError, match="at least one sample"):
        training.evaluate(layer, x[:0], labels[:0])


def test_gate_noise_is_an_option_of_the_mixture_of_experts(rng):
    layer = cases.make("MoE", rng, dtype=np.float32)
    x = rng.standard_normal((40, 5)).astype(np.float32)
    noisy, calm = (training.Recipe(balance_weight=0.1, gate_noise=noise).at(0) for noise in (True, False))
    draws = [penalties.forward_training(layer, x, noisy, np.random.default_rng(seed))[0] for seed in (1, 2)]
    assert np.abs(draws[0] - draws[1]).max() > 1e-3
    for seed in (1, 2):
        y, tape = penalties.forward_training(layer, x, calm, np.random.default_rng(seed))
        np.testing.assert_array_equal(y, layer.forward_hard(x))
        value, extra = penalties.penalty(layer, tape, calm)
        assert value > 0 and set(extra) == {"dgates"}  # without noise there is no load
    dense = cases.make("DenseFF", rng)
    with pytest.raises(ValueError, match="a DenseFF cannot use gate_noise"):
        penalties.check_options(dense, training.Recipe(gate_noise=False))
