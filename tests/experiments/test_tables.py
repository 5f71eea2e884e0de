"""What the tables are made of: the paper's grid, rivals that engage or store as much, and no run twice."""

import json

import numpy as np
import pytest
from terminal import refused
from terminal import run as run_command

from fffref import DenseFF, LeafFFF, MoE
from fffref.commands import reproduce
from fffref.experiments import runs, sweep, tables, tuning, variants
from fffref.experiments.runs import GIVEN, SEARCHED, THE_TREES

RNG = np.random.default_rng(0)


def keys(arms):
    return {arm.key() for arm in arms}


def as_given(arm):
    """A choice without a search."""
    return arm.recipe


def test_the_grid_is_the_papers():
    arms = tables.table1("mnist")
    trees = [arm for arm in arms if arm.layer == "LeafFFF"]
    assert len(trees) == 16 * 3 and len(keys(arms)) == len(arms)
    assert {2 ** arm.sizes["depth"] * arm.sizes["leaf_width"] for arm in trees} == {16, 32, 64, 128}
    assert {arm.sizes["leaf_width"] for arm in trees} == {1, 2, 4, 8}
    assert {(arm.variant.base, arm.rates) for arm in trees} == {
        ("paper1", GIVEN), (variants.MILD, GIVEN), ("hardening", SEARCHED)
    }  # fmt: skip
    dense = [arm for arm in arms if arm.layer == "DenseFF"]
    assert {(arm.variant.base, arm.rates) for arm in dense} == {("paper1", SEARCHED), ("hardening", SEARCHED)}
    assert {arm.variant.base for arm in tables.table1("mnist", bases=["hardening"])} == {"hardening"}


@pytest.mark.parametrize("width", tables.WIDTHS)
@pytest.mark.parametrize("leaf_width", tables.LEAF_WIDTHS)
def test_every_tree_has_its_three_dense_rivals(width, leaf_width):
    sizes = tables.tree_sizes(width, leaf_width)
    rivals = tables.dense_widths(**sizes)
    tree = LeafFFF.init(RNG, 784, 10, **sizes)
    dense = {name: DenseFF.init(RNG, 784, 10, width) for name, width in rivals.items()}
    assert dense["training width"].width == tree.leaf_in_bias.size == width
    assert dense["engaged size"].width == tree.neurons_engaged
    assert abs(dense["parameters"].n_parameters - tree.n_parameters) <= 795 / 2  # a neuron has 795
    for base in ("hardening", "paper1"):
        arms = [arm for arm in tables.table1("mnist") if arm.layer == "DenseFF" and arm.variant.base == base]
        assert set(rivals.values()) <= {arm.sizes["width"] for arm in arms}


@pytest.mark.parametrize("width, leaf_width", tables.QUOTED)
def test_a_quoted_tree_has_experts_that_engage_as_much(width, leaf_width):
    sizes = tables.tree_sizes(width, leaf_width)
    tree = LeafFFF.init(RNG, 784, 10, **sizes)
    experts = {name: MoE.init(RNG, 784, 10, **each) for name, each in tables.experts_sizes(**sizes).items()}
    free, counted = experts[tables.GATE_FREE], experts[tables.GATE_COUNTED]
    assert free.neurons_engaged == tree.neurons_engaged
    assert abs(free.neurons_stored - width) <= tree.neurons_engaged / 4  # to the nearest expert
    assert counted.n_experts + counted.neurons_engaged == tree.neurons_engaged
    arms = tables.table1("mnist", quoted=True)
    assert {str(each) for each in tables.experts_sizes(**sizes).values()} <= {str(arm.sizes) for arm in arms}


def test_the_quoted_trees_are_some_of_the_grid_and_all_of_the_ablation():
    whole, quoted = tables.table1("mnist"), tables.table1("mnist", quoted=True)
    more = keys(quoted) - keys(whole)
    assert more == keys(
        arm for arm in quoted if arm.layer == "MoE" or (arm.variant.base == variants.MILD and arm.rates == SEARCHED)
    )
    cases = {tuple(arm.sizes.values()) for arm in quoted if arm.layer == "LeafFFF"}
    assert cases == {case[1:] for case in tables.cases("mnist")}


def test_table_and_ablation_share_their_bases():
    quoted, ablation = tables.table1("mnist", quoted=True), tables.ablation("mnist")
    assert tables.cases("mnist") + tables.cases("fashion-mnist") == [
        ("mnist", 4, 8), ("mnist", 7, 1), ("fashion-mnist", 4, 8)
    ]  # fmt: skip
    bases = [arm for arm in ablation if not arm.variant.sign]
    assert len(bases) == 2 * 2 and keys(bases) <= keys(quoted)
    assert not keys(arm for arm in ablation if arm.variant.sign) & keys(quoted)
    assert {arm.rates for arm in ablation} == {SEARCHED}


def test_longer_training_is_ours_beside_what_engages_no_more():
    arms = tables.longer("mnist", 45)
    assert {arm.recipe.epochs for arm in arms} == {45} and len(keys(arms)) == len(arms) == 8
    found = [(arm.layer, *arm.sizes.values(), arm.rates) for arm in arms]
    assert found[:2] == [("LeafFFF", 4, 8, SEARCHED), ("LeafFFF", 7, 1, SEARCHED)]
    assert found[2:6] == [("DenseFF", width, rates) for width in (12, 8) for rates in (SEARCHED, THE_TREES)]
    assert found[6:] == [("MoE", 4, 4, 2, SEARCHED), ("MoE", 4, 2, 2, SEARCHED)]


def test_the_runs_of_a_table_take_what_was_searched_and_nothing_else():
    def choose(arm):
        rate = 0.03 if arm.layer == "LeafFFF" else 0.07
        return variants.turned(arm.recipe, rate, 0.2)

    arms = tables.longer("mnist", 2)
    todo = tables.seeded(arms, 3, choose, "/data")
    assert [run.seed for run in todo] == 8 * [0, 1, 2] and {run.folder for run in todo} == {"/data"}
    expected = {("LeafFFF", SEARCHED): 0.03, ("DenseFF", SEARCHED): 0.07, ("DenseFF", THE_TREES): 0.03}
    for run in todo:
        rate = expected.get((run.layer, run.rates), 0.07)
        assert variants.knobs(run.recipe) == {"learning_rate": rate, "weight_decay": 0.2}
    published = [arm for arm in tables.table1("mnist") if arm.rates == GIVEN]
    assert [run.recipe for run in tables.seeded(published, 1, choose)] == [arm.recipe for arm in published]


@pytest.fixture
def small(monkeypatch):
    """A grid of two trees, and a search of two values."""
    monkeypatch.setattr(tables, "WIDTHS", (16,))
    monkeypatch.setattr(tables, "LEAF_WIDTHS", (8, 4))
    monkeypatch.setattr(tables, "QUOTED", ((16, 8),))
    monkeypatch.setattr(tables, "cases", lambda data: [(data, 1, 8)])
    monkeypatch.setattr(tuning, "DENSE_WIDTHS", (8,))
    monkeypatch.setattr(tuning, "GRIDS", {"Adam": {"learning_rate": (0.01, 0.02)}, "SGD": {"learning_rate": (0.2,)}})
    monkeypatch.setattr(reproduce, "LONGER", 2)


def test_the_commands_search_sweep_and_go_on(small, capsys, tmp_path):
    search, out = tmp_path / "search.jsonl", tmp_path / "quick.jsonl"
    common = ["--quick", "--epochs", 1, "--out"]
    status, text, err = run_command(capsys, "reproduce", "search", "--for", "table1", *common, search)
    assert status == 0 and "trials in" in text and "search for table1, learning rate: 100%" in err
    assert {row["seed"] for row in sweep.read(search)} == {0}
    command = ["reproduce", "table1", "--search", search, "--seeds", 1, *common, out]
    status, text, err = run_command(capsys, *command)
    assert status == 0 and "table1 (quick): 16 results in" in text and "16 of 16 runs" in err
    rows = sweep.read(out)
    assert {row["data"] for row in rows} == {"mnist-small"} and {row["epochs"] for row in rows} == {1}
    status, text, err = run_command(capsys, *command, "--json")
    assert status == 0 and err == "" and sorted(map(str, json.loads(text))) == sorted(map(str, rows))
    assert len(sweep.read(out)) == len(rows)
    status, text, _ = run_command(capsys, *command, "--recipes", "hardening")
    assert status == 0 and "table1 (quick): 7 results in" in text


def test_the_commands_do_ablation_and_longer_training(small, capsys, tmp_path):
    search, out = tmp_path / "search.jsonl", tmp_path / "quick.jsonl"
    assert run_command(capsys, "reproduce", "search", "--quick", "--epochs", 1, "--out", search)[0] == 0
    ask = ["--search", search, "--quick", "--seeds", 1, "--out", out]
    assert run_command(capsys, "reproduce", "ablation", *ask, "--epochs", 1)[0] == 0
    found = {(row["base"], row["sign"], row["ingredient"]) for row in sweep.read(out)}
    expected = {(v.base, v.sign, v.ingredient) for v in variants.variants() if v.base != variants.PUBLISHED}
    assert found == expected
    assert run_command(capsys, "reproduce", "longer", *ask)[0] == 0
    rows = [row for row in sweep.read(out) if row["epochs"] == 2]
    assert sorted((row["layer"], row["rates"]) for row in rows) == [
        ("DenseFF", SEARCHED), ("DenseFF", THE_TREES), ("LeafFFF", SEARCHED), ("MoE", SEARCHED)
    ]  # fmt: skip
    refused(capsys, "unrecognized arguments: --epochs", "reproduce", "longer", "--epochs", 3)


def test_bad_input_is_one_line(capsys, tmp_path):
    refused(capsys, "data set must be one of", "reproduce", "table1", "--data", "mnist,cifar")
    refused(capsys, "--seeds must be at least 1, got 0", "reproduce", "table1", "--seeds", 0)
    refused(capsys, "--epochs must be at least 1, got 0", "reproduce", "ablation", "--epochs", 0)
    refused(capsys, "jobs must be at least 1", "reproduce", "search", "--quick", "--jobs", 0)
    refused(capsys, "recipe must be one of", "reproduce", "table1", "--recipes", "paper2")
    refused(capsys, "--for must be one of", "reproduce", "search", "--for", "table2")
    refused(capsys, "lacks train-images", "reproduce", "search", "--data", "mnist", "--data-folder", tmp_path)
    refused(capsys, "cannot write", "reproduce", "search", "--quick", "--out", tmp_path)
    refused(capsys, "cannot read", "reproduce", "table1", "--search", tmp_path / "nowhere")
    (tmp_path / "empty").touch()
    refused(capsys, "search first: fffref reproduce search --data mnist-small", "reproduce", "table1", "--quick",
            "--search", tmp_path / "empty")  # fmt: skip


def test_recorded_runs_of_todays_commands_are_found(tmp_path):
    """What a table asks for twice, once in another file, is the same run."""
    arms = tables.seeded(tables.table1("mnist", quoted=True, epochs=8), 2, as_given)
    again = tables.seeded(tables.ablation("mnist", epochs=8), 2, as_given)
    assert len({run.key() for run in arms + again}) == len(arms) + len(again) - 2 * 2 * 2
    assert all(isinstance(run, runs.Run) for run in arms)
