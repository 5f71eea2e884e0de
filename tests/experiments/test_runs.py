"""The experiments: what is run, that a run is what it says, and that nothing is run twice."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from terminal import refused
from terminal import run as run_command

from fffref import DenseFF, LeafFFF, datasets, training
from fffref.commands import reproduce
from fffref.experiments import runs as experiments
from fffref.experiments import sweep
from fffref.training.optim import SGD, Adam

ONE = experiments.Run("mnist-small", "LeafFFF", {"depth": 2, "leaf_width": 4}, "x", training.hardening(epochs=1), 3)


def test_the_grid_is_the_papers():
    runs = experiments.table1(["mnist", "fashion-mnist"], 5)
    trees = [run for run in runs if run.layer == "LeafFFF"]
    assert len(trees) == 2 * 16 * 3 * 5 and len({run.key() for run in runs}) == len(runs)
    assert {2 ** run.sizes["depth"] * run.sizes["leaf_width"] for run in trees} == {16, 32, 64, 128}
    assert {run.sizes["leaf_width"] for run in trees} == {1, 2, 4, 8}
    assert {run.seed for run in runs} == set(range(5)) and {run.name for run in trees} == set(experiments.GRID)
    assert {run.name for run in runs if run.layer == "DenseFF"} == {"hardening", "paper1"}
    published = next(run.recipe for run in trees if run.name == "paper1")
    assert published.optimizer == SGD() and (published.learning_rate, published.batch_size) == (0.2, 256)
    assert (published.entropy_weight, published.entropy_reduction) == (3, "sum")


@pytest.mark.parametrize("width", experiments.WIDTHS)
@pytest.mark.parametrize("leaf_width", experiments.LEAF_WIDTHS)
def test_every_tree_has_its_three_dense_rivals(width, leaf_width):
    sizes = experiments.tree_sizes(width, leaf_width)
    rivals = experiments.dense_widths(**sizes)
    tree = LeafFFF.init(np.random.default_rng(0), 784, 10, **sizes)
    dense = {name: DenseFF.init(np.random.default_rng(0), 784, 10, width) for name, width in rivals.items()}
    assert dense["training width"].width == tree.leaf_in_bias.size == width
    assert dense["engaged size"].width == tree.neurons_engaged
    assert abs(dense["parameters"].n_parameters - tree.n_parameters) <= 795 / 2  # a neuron has 795
    for recipe in ("hardening", "paper1"):
        runs = experiments.table1(["mnist"], 1)
        found = {run.sizes["width"] for run in runs if run.layer == "DenseFF" and run.name == recipe}
        assert set(rivals.values()) <= found


def test_dense_nets_are_trained_by_the_same_optimiser_and_nothing_else():
    for run in experiments.table1(["mnist"], 1):
        if run.layer == "DenseFF":
            recipe = {"hardening": training.hardening(), "paper1": training.paper1()}[run.name]
            shared = {name: getattr(recipe, name) for name in experiments.SHARED}
            assert run.recipe == training.Recipe(**shared)


def test_the_ablation_changes_one_ingredient_at_a_time():
    found = experiments.variants(epochs=7)
    assert len({repr(recipe) for recipe in found.values()}) == len(found)  # each differs
    assert all(recipe.epochs == 7 for recipe in found.values())
    ours, published = training.hardening(epochs=7), training.paper1(epochs=7)
    mild = replace(published, entropy_reduction="mean")
    assert found["hardening"] == ours and found["paper1"] == published
    for name, without in experiments.INGREDIENTS.items():
        less, plus = found[f"hardening less {name}"], found[f"{experiments.MILD} plus {name}"]
        assert replace(less, **{field: getattr(ours, field) for field in without}) == ours
        assert replace(plus, **{field: getattr(mild, field) for field in without}) == mild
        assert less != ours and plus != mild
    assert replace(found[f"hardening less {experiments.DECAY}"], optimizer=ours.optimizer) == ours
    assert found[f"hardening less {experiments.DECAY}"].optimizer == Adam() != ours.optimizer
    for name, added in experiments.FURTHER.items():
        for base, text in ((ours, "hardening"), (mild, experiments.MILD)):
            assert found[f"{text} plus {name}"] == replace(base, **added) != base
    assert {experiments.base_of(name) for name in found} == set(experiments.GRID) <= set(found)


def test_the_quoted_trees_are_some_of_the_grid_and_all_of_the_ablation():
    whole, quoted = ({run.key() for run in experiments.table1(["mnist"], 2, quoted=q)} for q in (False, True))
    cases = {(run.sizes["depth"], run.sizes["leaf_width"])
             for run in experiments.table1(["mnist"], 1, quoted=True) if run.layer == "LeafFFF"}  # fmt: skip
    assert quoted < whole and cases == {case[1:] for case in experiments.cases("mnist")}


def test_table_and_ablation_share_their_runs():
    table = {run.key() for run in experiments.table1(["mnist", "fashion-mnist"], 2)}
    cases = experiments.cases("mnist") + experiments.cases("fashion-mnist")
    assert cases == [("mnist", 4, 8), ("mnist", 7, 1), ("fashion-mnist", 4, 8)]
    runs = experiments.ablation(cases, 2)
    shared = [run for run in runs if run.name in experiments.GRID]
    assert len(shared) == 3 * 4 * 2 and {run.key() for run in shared} <= table
    assert not {run.key() for run in runs if run not in shared} & table


def test_longer_is_some_epochs_of_all_recipes_and_many_of_ours():
    runs = experiments.longer(["mnist", "fashion-mnist"], 2, 15, 45)
    some = [run for run in runs if run.recipe.epochs == 15]
    many = [run for run in runs if run.recipe.epochs == 45]
    assert len(some) + len(many) == len(runs)
    assert some == experiments.table1(["mnist", "fashion-mnist"], 2, quoted=True, epochs=15)
    trees = [run for run in many if run.layer == "LeafFFF"]
    cases = experiments.cases("mnist") + experiments.cases("fashion-mnist")
    assert {(run.data, *run.sizes.values()) for run in trees} == set(cases) and len(trees) == 2 * len(cases)
    assert {run.recipe for run in trees} == {training.hardening(epochs=45)}
    dense = [run for run in many if run.layer == "DenseFF"]
    assert [run.sizes["width"] for run in dense] == [12, 12, 8, 8, 12, 12]
    assert {run.recipe for run in dense} == {experiments.for_dense(training.hardening(epochs=45))}


def test_a_run_is_its_data_sizes_recipe_and_seed():
    same = replace(ONE, name="another name", folder="/elsewhere")
    assert same.key() == ONE.key() == pickle.loads(pickle.dumps(ONE)).key()
    others = [
        replace(ONE, data="mnist"),
        replace(ONE, seed=4),
        replace(ONE, sizes=ONE.sizes | {"depth": 3}),
        replace(ONE, recipe=replace(ONE.recipe, balance_weight=0.4)),
        replace(ONE, layer="DenseFF", sizes={"width": 16}),
    ]
    assert len({run.key() for run in [ONE, *others]}) == 6


def test_a_result_is_what_train_and_evaluate_say():
    result = experiments.execute(ONE)
    data = datasets.load("mnist-small")
    task = training.Classification(data.x_train, data.y_train)
    layer, history = training.train(ONE.make(), task, ONE.recipe, seed=3, progress=False)
    test = training.evaluate(layer, data.x_test, data.y_test, training.last_choices(history))
    for name in ("hard_accuracy", "soft_accuracy", "entropy", "leaves_used"):
        assert result[name] == test[name]
    assert result["gap"] == test["soft_accuracy"] - test["hard_accuracy"]
    assert result["validation_accuracy"] == history[-1]["hard_accuracy"]
    assert sum(result["leaf_share"]) == pytest.approx(1, abs=1e-3) and len(result["leaf_share"]) == 4
    assert (result["parameters"], result["neurons_engaged"]) == (layer.n_parameters, 6)
    assert json.loads(json.dumps(result)) == result


def test_cost_grows_with_what_takes_longer():
    longer = [
        replace(ONE, recipe=replace(ONE.recipe, epochs=2)),
        replace(ONE, data="mnist"),
        replace(ONE, sizes=ONE.sizes | {"depth": 5}),
    ]
    assert all(run.cost > ONE.cost for run in longer)


@pytest.fixture
def few(monkeypatch):
    """A grid of two trees."""
    monkeypatch.setattr(experiments, "WIDTHS", (16,))
    monkeypatch.setattr(experiments, "LEAF_WIDTHS", (8, 4))


def test_the_command_sweeps_and_goes_on(few, capsys, tmp_path):
    command = ["reproduce", "table1", "--quick", "--seeds", 1, "--epochs", 1, "--out", tmp_path / "quick.jsonl"]
    status, out, err = run_command(capsys, *command)
    assert status == 0 and "table1 (quick): 16 results in" in out and "16 of 16 runs" in err
    rows = sweep.read(tmp_path / "quick.jsonl")
    assert {row["data"] for row in rows} == {"mnist-small"} and {row["epochs"] for row in rows} == {1}
    status, out, err = run_command(capsys, *command, "--json")
    assert status == 0 and err == "" and sorted(map(str, json.loads(out))) == sorted(map(str, rows))
    assert len(sweep.read(tmp_path / "quick.jsonl")) == len(rows)


def test_the_command_does_the_ablation(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "cases", lambda data: [(data, 2, 2)])
    command = ["reproduce", "ablation", "--quick", "--seeds", 1, "--epochs", 1, "--out", tmp_path / "quick.jsonl"]
    assert run_command(capsys, *command)[0] == 0
    names = {row["name"] for row in sweep.read(tmp_path / "quick.jsonl") if row["layer"] == "LeafFFF"}
    assert names == set(experiments.variants())


def test_the_command_trains_longer(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "QUOTED", ((16, 8),))
    monkeypatch.setattr(experiments, "cases", lambda data: [(data, 1, 8)])
    monkeypatch.setattr(reproduce, "LONGER", (1, 2))
    command = ["reproduce", "longer", "--quick", "--seeds", 1, "--out", tmp_path / "quick.jsonl"]
    assert run_command(capsys, *command)[0] == 0
    rows = sweep.read(tmp_path / "quick.jsonl")
    assert sorted(row["epochs"] for row in rows if row["layer"] == "LeafFFF") == [1, 1, 1, 2]
    refused(capsys, "unrecognized arguments: --epochs", "reproduce", "longer", "--epochs", 3)


def test_bad_input_is_one_line(capsys, tmp_path):
    refused(capsys, "data set must be one of", "reproduce", "table1", "--data", "mnist,cifar")
    refused(capsys, "--seeds must be at least 1, got 0", "reproduce", "table1", "--seeds", 0)
    refused(capsys, "--epochs must be at least 1, got 0", "reproduce", "ablation", "--epochs", 0)
    refused(capsys, "jobs must be at least 1", "reproduce", "table1", "--quick", "--jobs", 0)
    refused(capsys, "lacks train-images", "reproduce", "table1", "--data", "mnist", "--data-folder", tmp_path)
    refused(capsys, "cannot write", "reproduce", "table1", "--quick", "--out", tmp_path)
