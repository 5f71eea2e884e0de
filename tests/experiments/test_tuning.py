"""The search: every arm gets the same grid, held-out samples judge, and the best in the mean is taken."""

from dataclasses import replace

import pytest

from fffref import training
from fffref.experiments import searched, sweep, tables, tuning, variants
from fffref.experiments.runs import SEARCHED, Run

OURS = variants.bases(epochs=8)[variants.OURS]
TREE = Run("mnist", "LeafFFF", {"depth": 4, "leaf_width": 8}, OURS, rates=SEARCHED)
DENSE = Run("mnist", "DenseFF", {"width": 12}, variants.for_dense(OURS), rates=SEARCHED)
LESS = next(v for v in variants.variants(epochs=8) if (v.sign, v.ingredient) == ("less", "leaf balance"))
PUBLISHED = Run("mnist", "DenseFF", {"width": 12}, variants.for_dense(variants.bases(epochs=8)["paper1"]))


def pretend(run):
    """Accuracies with one best: a tree's at 0.02 and decay 0.3, a dense net's at 0.04 and 0.03, SGD's at 0.4."""
    best = {"LeafFFF": (0.02, 0.3), "DenseFF": (0.04, 0.03)}[run.layer]
    values = variants.knobs(run.recipe)
    rate, decay = values["learning_rate"], values.get("weight_decay")
    if decay is None:
        best = (0.4, None)
    off = abs(rate - best[0]) + (0.01 * abs(decay - best[1]) if decay is not None else 0)
    assert run.held_out
    return run.labels() | {"weight_decay": None} | values | {
        "seed": run.seed, "validation_accuracy": 0.9 - off, "seconds": 1.0
    }  # fmt: skip


def search(path, arms, **options):
    return tuning.search(arms, path, execute=pretend, progress=False, **options)


def test_every_arm_gets_the_same_grid_and_its_own_best(tmp_path):
    rows = search(tmp_path / "search.jsonl", [TREE, DENSE, PUBLISHED])
    grid = tuning.GRIDS["Adam"]
    for layer, (rate, _) in {"LeafFFF": (0.02, 0.3), "DenseFF": (0.04, 0.03)}.items():
        tried = [
            (r["learning_rate"], r["weight_decay"]) for r in rows if r["layer"] == layer and r["base"] == "hardening"
        ]
        assert set(tried) == {(value, 0.1) for value in grid["learning_rate"]} | {
            (rate, value) for value in grid["weight_decay"]
        }
    choice = tuning.Choice(rows)
    assert choice(TREE) == variants.turned(TREE.recipe, 0.02, 0.3)
    assert choice(DENSE) == variants.turned(DENSE.recipe, 0.04, 0.03)
    assert choice(PUBLISHED) == replace(PUBLISHED.recipe, learning_rate=0.4)


def test_a_search_goes_on_and_computes_nothing_twice(tmp_path):
    file = tmp_path / "search.jsonl"
    rows = search(file, [TREE])
    assert len(sweep.read(file, tuning.FIELDS)) == len({row["key"] for row in rows}) == 6 + 2
    assert {row["key"] for row in search(file, [TREE])} == {row["key"] for row in rows}
    assert len(sweep.read(file)) == 8
    search(file, [TREE], seeds=2)
    assert len(sweep.read(file)) == 16


def test_a_variant_keeps_the_decay_of_its_base_and_gets_the_rates(tmp_path):
    file = tmp_path / "search.jsonl"
    search(file, [TREE])
    rows = search(file, [replace(TREE, variant=LESS)])
    assert {(row["learning_rate"], row["weight_decay"]) for row in rows} == {
        (rate, 0.3) for rate in tuning.GRIDS["Adam"]["learning_rate"]
    }
    without = next(v for v in variants.variants(epochs=8) if v.ingredient == variants.DECAY)
    rows = search(file, [replace(TREE, variant=without)])
    assert {row["weight_decay"] for row in rows} == {0.0}  # the ingredient that is left out stays out


def test_the_mean_over_the_seeds_decides(tmp_path):
    rows = search(tmp_path / "search.jsonl", [DENSE])
    lucky = {"learning_rate": 0.005, "weight_decay": 0.1, "seed": 1, "validation_accuracy": 0.99}
    unlucky = lucky | {"seed": 2, "validation_accuracy": 0.5}
    assert tuning.Choice([*rows, rows[0] | lucky])(DENSE).learning_rate.peak == 0.005
    assert tuning.Choice([*rows, rows[0] | lucky, rows[0] | unlucky])(DENSE).learning_rate.peak == 0.04
    level = [row | {"validation_accuracy": 0.9} for row in rows]
    assert variants.knobs(tuning.Choice(level)(DENSE))["learning_rate"] == 0.0025  # of equals, the smallest


def test_what_was_not_searched_takes_the_nearest_of_its_kind(tmp_path):
    file = tmp_path / "search.jsonl"
    wide = replace(DENSE, sizes={"width": 128})
    rows = search(file, [DENSE, wide, TREE])
    low = [row | {"validation_accuracy": -row["learning_rate"]} for row in rows if row["sizes"] == {"width": 128}]
    choice = tuning.Choice([row for row in rows if row["sizes"] != {"width": 128}] + low)
    peak = lambda arm: choice(arm).learning_rate.peak  # noqa: E731
    assert [peak(replace(DENSE, sizes={"width": width})) for width in (5, 16, 60, 165)] == [0.04, 0.04, 0.0025, 0.0025]
    assert peak(replace(TREE, sizes={"depth": 2, "leaf_width": 2})) == 0.02
    longer = replace(DENSE, variant=replace(DENSE.variant, recipe=replace(DENSE.recipe, epochs=45)))
    assert peak(longer) == 0.04 and choice(longer).epochs == 45
    for stranger in (replace(TREE, data="fashion-mnist"), replace(TREE, variant=LESS), PUBLISHED):
        with pytest.raises(ValueError, match=r"no learning rate was searched for .* search first: fffref"):
            choice(stranger)


@pytest.mark.parametrize("data", ["mnist", "fashion-mnist"])
def test_every_searched_arm_of_the_tables_has_one_like_it_in_the_search(data):
    arms = {"table1": tables.table1(data), "longer": tables.longer(data, 45), "ablation": tables.ablation(data)}
    arms["table1"] += tables.table1(data, quoted=True)
    asked = tuning.table1(data) + tuning.longer(data, 45) + tuning.ablation(data)
    rows = [arm.labels() | {"learning_rate": 0.1, "weight_decay": 0.0, "validation_accuracy": 0.5} for arm in asked]
    choice = tuning.Choice(rows)
    for table in arms.values():
        for arm in table:
            if arm.rates == SEARCHED:
                other = choice.nearest(arm)
                assert other[2] == tuple(arm.sizes.values()) or arm in arms["table1"]


def test_the_search_is_listed_beside_the_tables(tmp_path):
    rows = search(tmp_path / "search.jsonl", [TREE, DENSE, PUBLISHED])
    text = searched.markdown(rows)
    assert "Adam: learning rate 0.0025 0.005 0.01 0.02 0.04 0.08, weight decay 0.03 0.1 0.3; SGD: " in text
    assert "1 seed a value" in text and "21 trials" in text
    (line,) = (line for line in text.splitlines() if "LeafFFF 4 x 8" in line)
    assert line.endswith("| 0.03: 89.73, 0.1: 89.80, 0.3: 90.00 | 0.02, decay 0.3 |")
    assert "| 0.0025: 88.05, 0.005: 88.30, 0.01: 88.80, 0.02: 89.80, 0.04: 87.80, 0.08: 83.80 |" in line
    (line,) = (line for line in text.splitlines() if "paper1" in line)
    assert line.endswith("| - | 0.4 |")
    assert searched.markdown([]) == ""


def test_the_recorded_search_is_of_todays_form():
    rows = tuning.read()
    keys = {row["key"] for row in rows}
    if not rows:
        pytest.skip("nothing recorded")
    choice = tuning.Choice(rows)
    for arm in tuning.longer("mnist", 45) + tuning.table1("mnist", epochs=8):
        tried = tuning._trials(arm, "learning_rate", rows) + tuning._trials(arm, "weight_decay", rows)
        assert {replace(trial, held_out=True).key() for trial in tried} <= keys, arm
        assert choice(arm) in [trial.recipe for trial in tried]
    assert isinstance(choice(TREE), training.Recipe)
