"""The benchmarks' tools work, their results are complete, and the documents quote them rightly."""

import json
import pathlib
import re
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
measure = pytest.importorskip("measure")
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def test_contestants_run_in_turn_as_often_as_asked():
    calls = []
    times = measure.in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 5 and {len(values) for values in times.values()} == {3}


def test_ratios_are_of_neighbours_and_spread_is_reported():
    times = {"slow": np.array([4.0, 8.0, 40.0]), "fast": np.array([2.0, 4.0, 20.0])}
    assert measure.ratio(times, "slow", "fast") == {"median": 2.0, "quartiles": [2.0, 2.0], "n": 3}
    assert measure.quartiles(times["slow"]) == {"median": 8.0, "quartiles": [6.0, 24.0], "n": 3}


@pytest.mark.skipif(not pathlib.Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_peak_memory_sees_what_is_freed_again():
    peak = measure.peak_memory(lambda: np.ones(8_000_000).sum())
    assert 60e6 < peak < 90e6


def test_the_machine_is_described():
    machine = measure.machine()
    assert machine["processor"] and machine["versions"]["numpy"] == np.__version__ and "blas" in machine["blas"]


def test_a_child_reports_and_its_failure_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os; print('noise'); print(os.environ['OMP_NUM_THREADS'])")
    assert measure.in_child(script, [], 3) == 3
    script.write_text("raise SystemExit('no luck')")
    with pytest.raises(RuntimeError, match="no luck"):
        measure.in_child(script, [], 1)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_name_their_command_and_machine(path):
    result = json.loads(path.read_text())
    assert result["command"].startswith(f"python benchmarks/{path.stem}.py")
    assert (ROOT / "benchmarks" / f"{path.stem}.py").exists() and result["machine"]["processor"]
    assert path.with_suffix(".md").exists()


def test_the_table_of_the_training_step_is_made_of_the_result():
    train_step = pytest.importorskip("train_step")
    result = json.loads((ROOT / "benchmarks" / "results" / "train_step.json").read_text())
    table = train_step.table(result["runs"])
    assert (ROOT / "benchmarks" / "results" / "train_step.md").read_text() == table
    assert table.strip() in (ROOT / "README.md").read_text()


def test_both_sides_of_the_training_step_agree():
    pytest.importorskip("torch")
    pytest.importorskip("fastfeedforward")
    pytest.importorskip("train_step").assert_equal()


def test_every_script_is_explained():
    text = (ROOT / "benchmarks" / "README.md").read_text()
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py")} - {"measure.py"}
    assert scripts == set(re.findall(r"`(\w+\.py)` \|", text))
