"""The benchmarks' tools work, their results are complete, and the documents quote them rightly."""

import importlib.util
import itertools
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


def test_a_whole_models_gain_stands_beside_its_limit():
    carved = pytest.importorskip("carved")
    dense, tree = np.array([[10.0, 3, 6]] * 5), np.array([[7.0, 3, 3]] * 5)  # ms: all, attention, FF layers
    rows = carved.model_rows({carved.DENSE: [dense / 1e3] * 2, "25 %": [tree / 1e3] * 2}, 1, 1)
    assert [row["limit"]["median"] for row in rows] == [1, pytest.approx(10 / (10 - 0.75 * 6))]
    assert rows[1]["dense"]["median"] == pytest.approx(10 / 7)
    found = {part: value["median"] for part, value in rows[1]["milliseconds"].items()}
    assert found == pytest.approx({"all": 7, "attention": 3, "FF": 3, "rest": 1})
    told = carved.model_table(rows)
    assert "| 1 | 1 | trees, 25 % of the multiply-adds | 7 (7-7) | 3 (3-3) | 3 (3-3) | 1 (1-1) | 1.43" in told
    assert "| 1.82x |" in told


@pytest.mark.skipif(not pathlib.Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_peak_memory_sees_what_is_freed_again():
    peak = measure.peak_memory(lambda: np.ones(8_000_000).sum())
    assert 60e6 < peak < 90e6


def test_the_machine_is_described():
    machine = measure.machine()
    assert machine["processor"] and machine["versions"]["numpy"] == np.__version__ and "blas" in machine["blas"]


def test_a_child_reports_and_its_failure_is_told(tmp_path, monkeypatch):
    """It has an unhindered BLAS, whatever this environment sets."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    script = tmp_path / "script.py"
    script.write_text(
        "import os, json; print('noise')\n"
        "found = os.environ['OMP_NUM_THREADS'], 'OPENBLAS_CORETYPE' in os.environ\n"
        "print(json.dumps(found))"
    )
    assert measure.in_child(script, [], 3) == ["3", False]
    script.write_text("raise SystemExit('no luck')")
    with pytest.raises(RuntimeError, match="no luck"):
        measure.in_child(script, [], 1)


def test_samples_come_as_asked():
    calls = []
    assert len(measure.samples(lambda: calls.append(1), seconds=0, least=4)) == 4 and len(calls) == 6


def test_the_state_of_the_machine_is_told():
    roofline = pytest.importorskip("roofline")
    speed = {"median": 1e11, "quartiles": [1e11, 1e11], "n": 3}
    rows = [{"roof": name, "bytes_per_second": speed} for name in roofline.SIZES]
    rows += [
        {"roof": "sgemm", "flops_per_second": speed, "blas_kernel": "Haswell"},
        {"roof": "second core", "slower": 1.9},
    ]
    text = roofline.text(rows, "avx512f")
    assert "BLAS kernel Haswell; large GEMM 100 GFLOP/s" in text and "L3 100" in text
    assert "WARNING: the second core is busy" in text and "slower than it could be" in text
    rows[-2]["blas_kernel"], rows[-1]["slower"] = "SkylakeX", 1.0
    assert "WARNING" not in roofline.text(rows, "avx512f")


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


def test_both_sides_of_the_training_step_agree():
    pytest.importorskip("torch")
    pytest.importorskip("fastfeedforward")
    pytest.importorskip("train_step").assert_equal()


def test_every_script_is_explained():
    text = (ROOT / "benchmarks" / "README.md").read_text()
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py")} - {
        "measure.py",
        "rivals.py",
        "figures.py",
        "cases.py",
        "battery.py",
    }
    assert scripts == set(re.findall(r"^\| `(\w+\.py)` \|", text, re.M))


@pytest.mark.parametrize("name", ["fast_path", "variants", "start_up"])
def test_tables_are_made_of_their_results(name):
    result = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    script = pytest.importorskip(name)
    if name != "start_up" and "kernels" not in result:
        pytest.skip("recorded before results named their kernels: record anew")
    rows = result["rows"]
    assert (ROOT / "benchmarks" / "results" / f"{name}.md").read_text() == script.table(rows)


@pytest.mark.parametrize("name", ["fast_path", "variants"])
def test_results_belong_to_the_kernels_that_are_shipped(name):
    """A figure may not be quoted that other kernels gave: whoever changes them records anew."""
    result = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    if "kernels" not in result:
        pytest.skip("recorded before results named their kernels: record anew")
    assert result["kernels"] == measure.kernels_digest(), f"record anew: python benchmarks/{name}.py"
    assert result["commit"]


def recorded_rows():
    """Rows of the recorded `fast_path`, if they are of its present form."""
    result = json.loads((ROOT / "benchmarks" / "results" / "fast_path.json").read_text())
    if "kernels" not in result:
        pytest.skip("recorded before results named their kernels: record anew")
    return result["rows"]


def test_the_readme_quotes_the_results_rightly():
    summary = pytest.importorskip("summary")
    assert summary.table() in (ROOT / "README.md").read_text()
    assert summary.others() in (ROOT / "benchmarks" / "README.md").read_text()


def test_figures_can_be_drawn_of_the_results(monkeypatch, tmp_path):
    figures = pytest.importorskip("figures")
    rows = recorded_rows()
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


def load_cases():
    """`benchmarks/cases.py`, whose name the tests' own module has too."""
    pytest.importorskip("rivals")
    spec = importlib.util.spec_from_file_location("benchmark_cases", ROOT / "benchmarks" / "cases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_contestants_compute_what_they_are_held_against(ultrafastbert):
    layer, x = ultrafastbert
    cases, without_activation = load_cases(), pytest.importorskip("rivals").without_activation
    for name, make in (cases.DENSE | cases.GATHER | cases.CONDITIONAL).items():
        call, truth = make(layer, 1), cases.truth_of(name, layer)
        cases.check(call, truth, x)
        with pytest.raises(AssertionError):
            cases.check(call, layer if "bare" in name else without_activation(layer), x)
    with pytest.raises(AssertionError):
        cases.check(lambda x: np.zeros_like(x), layer, x)


def test_the_masked_step_is_the_references(ultrafastbert):
    layer, x = ultrafastbert
    rivals = pytest.importorskip("rivals")
    _, grads, dx = rivals.masked_step(layer, x, x)()
    _, tape = layer.forward(x)
    expected, expected_dx = layer.backward(tape, x)
    for ours, theirs in zip((*expected.arrays().values(), expected_dx[None]), (*grads, dx), strict=True):
        np.testing.assert_allclose(ours[0], theirs, rtol=0, atol=1e-3 * np.abs(theirs).max())


def test_every_case_runs_and_names_its_contestants(monkeypatch):
    """On a small layer, each contestant once."""
    cases = load_cases()
    monkeypatch.setattr(cases, "WIDTH", 16)
    monkeypatch.setattr(cases, "DEPTH", 3)
    monkeypatch.setattr(cases, "LAYERS", 2)
    monkeypatch.setattr(measure, "samples", lambda call, **_: [float(call() is None), 1.0])
    for case in cases.CASES:
        if case.__name__ in ("depths", "leaves", "batches"):
            continue  # their sizes are fixed: minutes
        for contestant in case(False).values():
            for title, seconds, facts in contestant(1):
                assert title and len(seconds) > 1 and isinstance(facts, dict)


def test_a_tree_touches_few_of_its_weights():
    shares = list(load_cases().weights_touched())
    assert shares[0]["touched"] == 1 and shares[0]["tree"] == 12 / 4095 and abs(shares[0]["top"] - 0.05) < 0.001
    assert all(a["tree"] <= b["tree"] and a["top"] <= b["top"] for a, b in itertools.pairwise(shares))
    assert shares[-1]["top"] > 0.99


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
