"""The carving experiment: texts kept apart, runs as data, arms of equal cost, a report of what is recorded."""

import json
from dataclasses import replace

import numpy as np
import pytest
from terminal import refused, run

from fffref import training
from fffref.experiments import carving, carving_inputs, carving_report
from fffref.experiments import carving_texts as texts
from fffref.experiments.carving import ARMS, ORACLE, SAME, TREE, Run

SMALL = {"model": "small", "tokens": 1500}


def row(arm, share, seed=0, error=0.2, cosine=0.9, **changes):
    """A recorded result."""
    found = {"errors": {"plays": [error, error + 0.02], "documentation": [0.5, 0.5]},
             "cosine": {"plays": cosine, "documentation": 0.7}}  # fmt: skip
    return {
        "arm": arm, "share": share, "seed": seed, "model": "a model", "tokens": 20_000, "calibration": "plays",
        "parameters": 200, "dense_parameters": 100, "multiply_adds": None if arm == ORACLE else 25,
        "dense_multiply_adds": 100, "seconds": 1.0,
    } | found | changes  # fmt: skip


# ---------------------------------------------------------------------- texts


def test_passages_hold_the_text_in_pieces_of_like_length():
    text = "one line of a play\n" * 40
    found = texts.passages(text)
    assert all(200 <= len(passage) < 230 for passage in found)
    assert " ".join(found).split() == text.split()[: 5 * 12 * len(found)]


def test_what_is_judged_on_is_fitted_to_nowhere():
    for name in ("plays", "mixture"):
        fitted = {passage for part in texts.calibration(name) for passage in part}
        judged = texts.judged()
        assert {"plays", "documentation"} <= judged.keys()
        assert len(judged["plays"]) > 150 and len(judged["documentation"]) > 150
        for passages in judged.values():
            assert not fitted & set(passages)
    with pytest.raises(ValueError, match="calibration must be one of"):
        texts.calibration("news")


def test_documentation_is_prose():
    found = texts.docstrings(("json", "heapq"))
    assert len(found) == len(set(found)) > 3
    assert all(100 <= len(text) <= 800 and ">>>" not in text and "\n" not in text for text in found)


def test_glosses_are_what_follows_the_bar(tmp_path):
    assert texts.glosses(tmp_path) == []
    lines = ["  1 This software and database is being provided", "00001740 03 n 01 entity 0 000 | " + "what is " * 9]
    (tmp_path / "data.noun").write_text("\n".join([*lines, "00001930 03 n 01 thing 0 000 | too short"]) + "\n")
    assert texts.glosses(tmp_path) == [("what is " * 9).strip()]


# ---------------------------------------------------------------------- runs


def test_keys_tell_runs_apart_and_nothing_else(monkeypatch):
    base = Run(TREE, 0.25)
    others = [
        replace(base, arm=SAME), replace(base, share=0.12), replace(base, seed=1), replace(base, model="x"),
        replace(base, tokens=5), replace(base, calibration="mixture"),
    ]  # fmt: skip
    assert len({run.key() for run in [base, *others]}) == 7
    assert replace(base, folder="elsewhere").key() == base.key()
    before = base.key()
    monkeypatch.setattr(carving.training, "NUMERICS", training.NUMERICS + 1)
    assert base.key() != before


@pytest.mark.parametrize("share", [0.5, 0.25, 0.12])
def test_every_arm_keeps_within_its_share(share):
    for arm in ARMS:
        result = carving.execute(Run(arm, share, **SMALL))
        assert json.loads(json.dumps(result)) == result
        assert {len(errors) for errors in result["errors"].values()} == {2}
        assert all(0 < error < 1.2 for errors in result["errors"].values() for error in errors), arm
        assert all(0.3 < cosine <= 1 for cosine in result["cosine"].values())
        work = result["multiply_adds"]
        assert (work is None) == (arm == ORACLE)
        least = 0 if arm == "linear, low rank" else 0.8  # of full rank it is cheaper
        assert work is None or least * share < work / result["dense_multiply_adds"] <= share + 1e-9, (arm, work)
        if "parted" in arm:
            assert result["parameters"] < 1.1 * result["dense_parameters"]


def test_the_oracle_is_best_and_all_neurons_are_the_model():
    small = {arm: np.mean(carving.execute(Run(arm, 0.25, **SMALL))["errors"]["plays"]) for arm in (TREE, SAME, ORACLE)}
    assert small[ORACLE] < small[TREE] and small[ORACLE] < small[SAME]
    ready = carving_inputs.prepared("small", None, 1500, "plays", 0)
    same = [controls_free(rows) for rows in ready.rows]
    assert carving.cosine(ready.encoder.with_ffs(same), ready.judged["plays"]) == pytest.approx(1, abs=1e-4)


def controls_free(rows):
    """All the layer's neurons, by carving."""
    return carving.carve_rows(rows, carving.Carving(0, rows.layer.width, ridge=1e-6))


def test_rows_are_of_real_tokens_and_as_many_as_asked():
    ready = carving_inputs.prepared("small", None, 1500, "plays", 0)
    assert [rows.x.shape for rows in ready.rows] == [(1500, 32)] * 2
    other = carving_inputs.prepared("small", None, 1500, "plays", 1)
    assert not np.array_equal(ready.rows[0].x, other.rows[0].x)
    encoder, encode = carving_inputs._drawn()
    rows = encode(["short", "a longer passage"])
    together = carving_inputs.ff_inputs(encoder, carving_inputs._batches(rows))[0]
    alone = [carving_inputs.ff_inputs(encoder, [carving_inputs.sentences.padded([row])])[0] for row in rows]
    order = lambda x: x[np.argsort(x[:, 0])]  # noqa: E731
    np.testing.assert_allclose(order(together), order(np.concatenate(alone)), atol=1e-5)


# ---------------------------------------------------------------------- report and command


def test_the_report_has_every_arm_seed_and_verdict():
    trees = [row(TREE, 0.25, seed, error) for seed, error in enumerate((0.16, 0.17, 0.18))]
    told = carving_report.report([*trees, row(TREE, 0.12, 0, 0.3, 0.89), row(ORACLE, 0.25)])
    assert "| tree | 0.180 ± 0.010 (3) | 0.500 ± 0.000 (3) | 0.900 ± 0.000 (3) |" in told
    assert "25.0% | 2.00x | 1 |" in told and f"| {ORACLE} | 0.210 (1) |" in told
    assert "| tree | 0.170 | 0.190 |" in told  # by layer
    assert "* tree, 25%: error 0.180, at most 0.19: met; cosine 0.900, at least 0.92: MISSED" in told
    assert "* tree, 12%: error 0.310, at most 0.28: MISSED; cosine 0.890, at least 0.88: met" in told
    assert carving_report.curve([*trees, row(TREE, 0.12, 0, 0.3)])[TREE] == (
        [0.12, 0.25], [pytest.approx(0.31), pytest.approx(0.18)],
    )  # fmt: skip
    with pytest.raises(ValueError, match="of one model and number of tokens"):
        carving_report.report([row(TREE, 0.25), row(TREE, 0.25, tokens=5)])
    with pytest.raises(ValueError, match="got none"):
        carving_report.report([])


def test_the_command_sweeps_goes_on_and_reports(tmp_path, capsys):
    out = tmp_path / "carve.jsonl"
    options = ("reproduce", "carve", "--quick", "--arms", f"{TREE}; {SAME}", "--out", out)
    status, told, err = run(capsys, *options, "--json")
    assert status == 0, err
    assert sorted(r["arm"] for r in json.loads(told)) == [SAME, TREE]
    before = out.read_text()
    status, told, _ = run(capsys, *options)
    assert status == 0 and out.read_text() == before and "| tree |" in told
    status, again, _ = run(capsys, "reproduce", "carve", "--report", "--out", out)
    assert status == 0 and again == told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "carve takes either FOLDER"),
        (("--quick", "some"), "carve takes either FOLDER"),
        (("no-such-folder",), "there is no"),
        (("--quick", "--arms", "magic"), "--arms must be one of"),
        (("--quick", "--shares", "a"), "--shares must be numbers"),
        (("--quick", "--shares", "0.9"), "--shares must lie in"),
        (("--quick", "--seeds", "0"), "--seeds must be at least 1"),
        (("--quick", "--tokens", "5"), "--tokens must be at least 1000"),
        (("--report",), "cannot read"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(arguments, message, tmp_path, capsys):
    refused(capsys, message, "reproduce", "carve", *arguments, "--out", tmp_path / "none.jsonl")
