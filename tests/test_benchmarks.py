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
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py")} - {"measure.py", "rivals.py", "figures.py"}
    assert scripts == set(re.findall(r"^\| `(\w+\.py)` \|", text, re.M))


@pytest.mark.parametrize("name", ["fast_path", "variants", "start_up"])
def test_tables_are_made_of_their_results(name):
    rows = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["rows"]
    script = pytest.importorskip(name)
    assert (ROOT / "benchmarks" / "results" / f"{name}.md").read_text() == script.table(rows)


def test_the_readme_quotes_the_fast_path_rightly():
    rows = json.loads((ROOT / "benchmarks" / "results" / "fast_path.json").read_text())["rows"]
    assert pytest.importorskip("fast_path").summary(rows).strip() in (ROOT / "README.md").read_text()


def test_figures_can_be_drawn_of_the_results(monkeypatch, tmp_path):
    figures = pytest.importorskip("figures")
    rows = json.loads((ROOT / "benchmarks" / "results" / "fast_path.json").read_text())["rows"]
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    figures.draw(rows)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (ROOT / "benchmarks" / "results").glob("fast_path-*.png")}


@pytest.fixture(scope="module")
def ultrafastbert():
    """The layer that the benchmarks time, and some rows."""
    from fffref import PathFFF

    rng = np.random.default_rng(0)
    return PathFFF.init(rng, 768, 768, depth=11), rng.standard_normal((64, 768), dtype=np.float32)


def test_rivals_compute_what_they_are_held_against(ultrafastbert):
    layer, x = ultrafastbert
    rivals, fast_path = pytest.importorskip("rivals"), pytest.importorskip("fast_path")
    for name, call in rivals.dense(layer).items():
        fast_path.check(name, call, layer, x)
        with pytest.raises(AssertionError):
            fast_path.check("conditional", call, layer, x)
    with pytest.raises(AssertionError):
        fast_path.check("zeros", lambda x: np.zeros_like(x), layer, x)
    if rivals.AVAILABLE["torch"]:
        fast_path.check("gather", rivals.torch_gather(layer), layer, x)
    _, grads, dx = rivals.masked_step(layer, x, x)()
    _, tape = layer.forward(x)
    expected, expected_dx = layer.backward(tape, x)
    for ours, theirs in zip((*expected.arrays().values(), expected_dx[None]), (*grads, dx), strict=True):
        np.testing.assert_allclose(ours[0], theirs, rtol=0, atol=1e-3 * np.abs(theirs).max())


def test_the_compiled_path_is_much_faster_than_dense_and_than_the_reference(ultrafastbert):
    """A guard against losing the point, with a wide margin for a busy machine."""
    import fffref

    layer, x = ultrafastbert
    dense = pytest.importorskip("rivals").numpy_dense(layer)
    fast = fffref.jit(layer).warm_up()
    contestants = {"dense": lambda: dense(x), "reference": lambda: layer.forward(x), "fast": lambda: fast(x)}
    times = measure.in_turn(contestants, 7, warm=0.01)
    assert measure.ratio(times, "dense", "fast")["median"] > 10
    assert measure.ratio(times, "reference", "fast")["median"] > 2
