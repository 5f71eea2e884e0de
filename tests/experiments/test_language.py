"""The language experiment: runs are data with keys, a run measures what it says, the report says what is recorded."""

import json
from dataclasses import replace

import numpy as np
import pytest
from terminal import refused, run

from fffref.experiments import language
from fffref.experiments.language import ARMS, RIVALS, Run
from fffref.experiments.language_arms import WHOLE
from fffref.models import sizes

TEXT = "the cat sat on the mat and the rat sat on the hat. " * 20


@pytest.fixture
def text(tmp_path):
    """A file with a text."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    language._text.cache_clear()
    return str(path)


def row(arm, loss, seed=0, rate=1e-3, initial="uniform", **changes):
    """A recorded result."""
    return {
        "arm": arm, "validation_loss": loss, "soft_loss": None, "seed": seed, "learning_rate": rate, "initial": initial,
        "steps": 2000, "batch_size": 12, "text": "tiny-shakespeare", "neurons_stored": 3, "neurons_engaged": 2,
        "leaves_used": [1, 2], "step_seconds": 0.01,
    } | changes  # fmt: skip


def test_keys_tell_runs_apart_and_nothing_else():
    base = Run("dense 67", 1e-3)
    others = [
        replace(base, arm="dense 80"), replace(base, learning_rate=3e-3), replace(base, initial="normal"),
        replace(base, seed=1), replace(base, steps=40), replace(base, batch_size=13), replace(base, text="shakespeare"),
        replace(base, masked=0.2), replace(base, text="python"),
    ]  # fmt: skip
    assert len({run.key() for run in [base, *others]}) == 10
    assert replace(base, folder="elsewhere").key() == base.key()


def test_a_text_that_changed_is_another_run(text):
    before = Run("none", 1e-3, text=text).key()
    assert Run("none", 1e-3, text=text).key() == before
    with open(text, "a") as file:
        file.write("and more")
    assert Run("none", 1e-3, text=text).key() != before


def test_rivals_engage_as_many_neurons():
    rng = np.random.default_rng(0)
    engaged = {
        arm: sizes.draw(rng, Run(arm, 1e-3).sizes(5)).blocks[0].ff.neurons_engaged for arm in ARMS if arm != "none"
    }
    assert set(RIVALS) == {arm for arm in ARMS if arm != "none" and not arm.startswith("dense")}
    for arm, rival in (RIVALS | WHOLE).items():  # a search needs a number of nodes that depends on the text
        assert abs(engaged[arm] - engaged[rival]) <= 3 or arm in RIVALS.keys() & WHOLE.keys(), arm
    assert all(abs(engaged[arm] - engaged[rival]) <= 3 for arm, rival in WHOLE.items())
    assert engaged["dense 512"] == 512


@pytest.mark.parametrize("arm", ["none", "dense 9", "LeafFFF depth 6, leaves of 8", "PathFFF 16 x 5 levels",
                                 "PathFFF 1 x 9 levels, activation behind the sum",
                                 "MoE 2 of 16, experts of 32", "TopLeaves 2 of 64, leaves of 16"])  # fmt: skip
def test_a_run_measures_what_it_says(arm, text):
    result = language.execute(Run(arm, 3e-3, steps=20, batch_size=2, text=text))
    assert json.loads(json.dumps(result)) == result
    assert 0 < result["validation_loss"] < 1.3 * np.log(len(set(TEXT)))
    assert (result["soft_loss"] is None) == (not arm.startswith("Leaf"))
    assert result["seed"] == 0 and len(result["training_loss"]) == 20
    assert len(result["leaves_used"]) == (0 if arm == "none" else 4)
    ends = {"dense 9": 1, "LeafFFF depth 6, leaves of 8": 64, "MoE 2 of 16, experts of 32": 16}
    ends = ends.get(arm, 64 if "of 64" in arm else 256)
    assert all(1 <= used <= ends for used in result["leaves_used"])
    assert len(result["ends_over_training"]) == len(result["validation_losses"]) == 4
    assert result["ends_over_training"][-1] == result["leaves_used"]
    assert ("nodes_needed" in result) == arm.startswith("Top")
    assert all(2 <= needed <= 63 for needed in result.get("nodes_needed", ()))


def test_a_masked_run_is_another_task(text):
    runs = [Run("dense 9", 3e-3, steps=40, batch_size=2, text=text, masked=share) for share in (None, 0.2)]
    causal, masked = map(language.execute, runs)
    assert masked["masked"] == 0.2 and masked["validation_loss"] != causal["validation_loss"]
    assert runs[1].sizes(5).causal is False
    report = language.report([masked])
    assert "filling gaps, 20% of the positions" in report and "Gate" not in report and "5-gram" not in report


def test_what_an_arm_costs():
    assert language.cost("none") is None
    assert language.cost("dense 9").inference.multiply_adds == 2 * 9 * 128
    plain, behind = (language.cost("PathFFF 1 x 9 levels" + what) for what in ("", ", activation behind the sum"))
    assert plain.inference.multiply_adds == behind.inference.multiply_adds
    assert behind.inference.elementwise - plain.inference.elementwise == 128


def test_the_best_of_seed_0_is_repeated():
    results = [
        row("none", 2.1),
        row("none", 2.0, rate=3e-3),
        row("none", 1.0, seed=1),
        row("dense 9", 1.9, initial="normal"),
    ]
    assert {arm: r["validation_loss"] for arm, r in language.best(results).items()} == {"none": 2.0, "dense 9": 1.9}
    runs = language.repeated(results, 2)
    assert [(r.arm, r.learning_rate, r.initial, r.seed) for r in runs] == [
        ("none", 3e-3, "uniform", 0), ("none", 3e-3, "uniform", 1),
        ("dense 9", 1e-3, "normal", 0), ("dense 9", 1e-3, "normal", 1),
    ]  # fmt: skip
    assert len(language.grid(["none", "dense 9"], 2)) == 2 * (2 + 4)


def test_the_report_has_every_arm_seed_and_verdict():
    gate = [row("dense 512", 1.87, initial="normal"), row("dense 512", 1.7, rate=3e-3)]
    trees = [row("PathFFF 1 x 9 levels", loss, seed) for seed, loss in enumerate((1.9, 2.0, 2.1))]
    report = language.report([row("none", 2.2), row("dense 9", 1.95), *gate, *trees])
    assert "* With nanoGPT's values and rate (normal, 0.001): 1.870 (1), reached." in report
    assert "* With its own best (uniform, 0.003): 1.700 (1), better." in report
    assert "| PathFFF 1 x 9 levels | 3 | 2 | 131327 | 2304 | 2.000 ± 0.100 (3) |" in report
    assert "PathFFF 1 x 9 levels less dense 9: +0.050 nat (3 and 1 seeds); 40% of the way" in report
    assert "| dense 512 | normal | 0.001 | 1.870 |" in report and "5-gram" not in report
    near = [row("none", loss, seed) for seed, loss in enumerate((2.0, 2.2, 1.8))]
    alike = language.report([*near, row("dense 512", 1.95), row("dense 9", 1.9), *trees])
    assert "dense 512, which these losses don't tell apart:" in alike and "of the way;" not in alike
    assert "less dense 9: +0.100 nat (3 and 1 seeds)\n" in alike + "\n"
    (top,) = WHOLE
    some = [row(top, 1.8, nodes_needed=[20.5, 19.5], neurons_engaged=95), row("dense 53", 1.9), row("dense 95", 1.85)]
    told = language.report(some)
    assert "| 95; by search 52.0 |" in told
    assert f"{top} less dense 53: -0.100" in told and f"{top} less dense 95: -0.050" in told
    missed = language.report([row("dense 512", 1.95, initial="normal")])
    assert missed.count("MISSED") == 2
    assert language.report([row("none", 2.0)]).count("not recorded yet") == 2
    with pytest.raises(ValueError, match="of one task, text, number of steps and batch size"):
        language.report([row("none", 2.0), row("none", 2.0, steps=40)])


def test_the_command_sweeps_goes_on_and_reports(text, tmp_path, capsys):
    out = tmp_path / "language.jsonl"
    options = ("reproduce", "language", "--quick", "--arms", "none; dense 9", "--rates", "0.003", "--seeds", 2,
               "--initial", "uniform", "--text", text, "--out", out)  # fmt: skip
    status, told, err = run(capsys, *options, "--json")
    assert status == 0, err
    results = json.loads(told)
    assert sorted((r["arm"], r["seed"]) for r in results) == [("dense 9", 0), ("dense 9", 1), ("none", 0), ("none", 1)]
    before = out.read_text()
    status, told, _ = run(capsys, *options)
    assert status == 0 and out.read_text() == before and "5-gram" in told
    refused(capsys, "--arms must be one of", *options[:3], "--arms", "dense 7", "--out", out)
    refused(capsys, "--rates must be numbers", *options[:3], "--rates", "a", "--out", out)
