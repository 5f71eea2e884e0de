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


def wordnet(folder, n=400):
    """A folder like WordNet's: glosses of two categories, a verb's and a noun's, that share few words."""
    # long enough, each of them
    words = {"noun": ("03", "stone river tree leaf cloud"), "verb": ("38", "to run, to jump; to walk or to swim")}
    rng = np.random.default_rng(0)
    for part, (category, known) in words.items():
        drawn = [" ".join(rng.choice(known.split(), 16)) for _ in range(n // 2)]
        lines = [f"{i:08} {category} n 01 word 0 000 | {i} {gloss}  " for i, gloss in enumerate(drawn)]
        (folder / f"data.{part}").write_text("\n".join(["  1 This software and database is being provided", *lines]))
    return folder


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


@pytest.mark.parametrize("name", ["plays", "documentation", "glosses", "plays+glosses", "plays+documentation+glosses"])
def test_what_is_judged_by_is_fitted_to_nowhere(name, tmp_path):
    parts = texts.calibration(name, wordnet(tmp_path))
    held = texts.held_out(tmp_path)
    assert len(parts) == len(name.split("+")) and list(held) == list(texts.TEXTS)
    fitted = {passage for part in parts for passage in part}
    for passages in held.values():
        assert len(passages) > 150 and len(set(passages)) == len(passages)
        assert not fitted & set(passages)
    mine = [held[part] for part in name.split("+")]
    words = [set(" ".join(passages).split()) for passages in (fitted, [p for part in mine for p in part])]
    assert len(words[0] & words[1]) > 10  # of the same kind


def test_calibrations_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="calibration must be one of"):
        texts.calibration("news")
    with pytest.raises(ValueError, match="name a text once"):
        texts.calibration("plays+plays")
    with pytest.raises(ValueError, match=f"no glosses in {tmp_path}.*wordnet-base.*--wordnet"):
        texts.calibration("plays+glosses", tmp_path)


def test_without_wordnet_there_is_no_such_text(tmp_path):
    assert texts.held_out(tmp_path)["glosses"] == [] and texts.categories(tmp_path) == {}


def test_documentation_is_prose():
    found = texts.docstrings(("json", "heapq"))
    assert len(found) == len(set(found)) > 3
    assert all(100 <= len(text) <= 800 and ">>>" not in text and "\n" not in text for text in found)


def test_glosses_are_what_follows_the_bar_and_have_a_category(tmp_path):
    assert texts.glosses(tmp_path) == []
    licence, first = "  1 This software and database is being provided", "00001740 03 n 01 entity 0 000 | "
    lines = [licence, first + "what is " * 9, "00001930 03 n 01 thing 0 000 | too short"]
    (tmp_path / "data.noun").write_text("\n".join(lines) + "\n")
    again = [f"00002137 38 v 01 be 0 000 | {'what is ' * 9} ", f"00002137 29 v 01 do 0 000 | {'whatever ' * 9}"]
    (tmp_path / "data.verb").write_text("\n".join(again) + "\n")
    assert texts.categories(tmp_path) == {("what is " * 9).strip(): 3, ("whatever " * 9).strip(): 29}  # each once
    assert texts.glosses(tmp_path) == list(texts.categories(tmp_path))
    (tmp_path / "data.adj").write_text(f"some other file | {'whatever ' * 9}\n")
    with pytest.raises(ValueError, match=r"data\.adj is no data file of WordNet"):
        texts.glosses(tmp_path)


# ---------------------------------------------------------------------- runs


def test_keys_tell_runs_apart_and_nothing_else(monkeypatch, tmp_path):
    base = Run(TREE, 0.25, wordnet="nowhere")
    others = [
        replace(base, arm=SAME), replace(base, share=0.12), replace(base, seed=1), replace(base, model="x"),
        replace(base, tokens=5), replace(base, calibration="glosses"),
    ]  # fmt: skip
    assert len({run.key() for run in [base, *others]}) == 7
    assert replace(base, folder="elsewhere", wordnet="there").key() == base.key()
    before = base.key()
    (tmp_path / "data.noun").touch()
    assert texts.found("nowhere") == ["plays", "documentation"] and texts.found(tmp_path) == list(texts.TEXTS)
    assert replace(base, wordnet=tmp_path).key() != before  # it is judged by more
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


def test_a_forest_engages_what_it_may_and_stores_no_more():
    assert carving.forest(384, 1536) == (3, 96)  # 1440 neurons; of depth 4 it would be 2356
    assert carving.forest(184, 1536) == (4, 36)
    assert carving.forest(15, 128) == (4, 3)  # of depth 5 two trees would engage 12
    assert carving.forest(1, 1) == (0, 1)


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


def test_tuning_and_judging_have_texts_of_their_own(tmp_path):
    ready = carving_inputs.prepared("small", None, 1500, "glosses", 0, str(wordnet(tmp_path)))
    tried = carving_inputs.task("small", None, str(tmp_path))
    tuning = carving_inputs.others("tuning", "small", None, str(tmp_path))
    assert list(tuning) == list(ready.judged) == list(texts.TEXTS)
    assert tried.classifiers.labels.shape == (160 - 53,) and tried.answers.shape == (53,)
    used = [tried.batches, *([batch for batch, _ in text["glosses"].batches]
                                        for text in (tuning, ready.judged)), ready.batches]  # fmt: skip
    rows = [{tuple(row[mask > 0]) for ids, masks in batches for row, mask in zip(ids, masks, strict=True)}
            for batches in used]  # fmt: skip
    assert [len(part) for part in rows[:3]] == [53, 20, 20]
    assert sum(map(len, rows)) == len(set.union(*rows))  # no passage twice


def test_categories_are_told_apart_and_counted(tmp_path):
    run = Run(TREE, 0.25, **SMALL, calibration="plays+glosses", wordnet=str(wordnet(tmp_path)))
    result = carving.execute(run)
    assert set(result["errors"]) == set(texts.TEXTS) and set(result["tuning"]["cosine"]) == {"plays", "glosses"}
    assert min(result["original_accuracy"].values()) > 0.9  # verbs have commas
    assert 0.5 < result["accuracy"]["logistic"] <= 1
    ready = carving.ready_for(run)
    tried = carving_inputs.task("small", None, run.wordnet)
    assert carving.accuracy(ready.encoder, tried)["accuracy"] == result["original_accuracy"]
    assert carving_inputs.task("small", None, str(tmp_path / "nothing")) is None
    assert carving.accuracy(ready.encoder, None) == {}


@pytest.mark.parametrize("arm", carving.SEQUENCE)
def test_layers_fitted_in_sequence_are_others_from_the_second_on(arm):
    alone, sequence = (carving.fitted(Run(name, 0.25, **SMALL)) for name in (TREE, arm))
    np.testing.assert_allclose(alone[0].leaf_out_weight, sequence[0].leaf_out_weight, atol=1e-3)
    assert np.abs(alone[1].leaf_out_weight - sequence[1].leaf_out_weight).max() > 0.01


# ---------------------------------------------------------------------- report and command


def test_the_report_has_every_arm_seed_and_verdict():
    trees = [row(TREE, 0.25, seed, error) for seed, error in enumerate((0.16, 0.17, 0.18))]
    told = carving_report.report([*trees, row(TREE, 0.12, 0, 0.3, 0.89), row(ORACLE, 0.25)])
    assert "| tree | 0.180 ± 0.010 (3) | 0.500 ± 0.000 (3) | 0.900 ± 0.000 (3) |" in told
    assert "25.0% | 2.00x | 1 |" in told and f"| {ORACLE} | 0.210 (1) |" in told
    assert "| tree | 0.170 | 0.190 |" in told  # by layer
    assert "* tree, 25%, calibrated on plays: error 0.180, at most 0.19: met; cosine 0.900, at least 0.92: MI" in told
    assert "* tree, 12%, calibrated on plays: error 0.310, at most 0.28: MISSED; cosine 0.890, at least 0.88" in told
    assert "which is foreign" not in told  # that was asked of mixtures
    assert carving_report.curve([*trees, row(TREE, 0.12, 0, 0.3)])[TREE] == (
        [0.12, 0.25], [pytest.approx(0.31), pytest.approx(0.18)],
    )  # fmt: skip
    with pytest.raises(ValueError, match="of one model and number of tokens"):
        carving_report.report([row(TREE, 0.25), row(TREE, 0.25, tokens=5)])
    with pytest.raises(ValueError, match="got none"):
        carving_report.report([])


def test_the_report_has_categories_where_they_were_tried():
    scores = {"accuracy": {"nearest": 0.4, "logistic": 0.6}, "original_accuracy": {"nearest": 0.44, "logistic": 0.62}}
    told = carving_report.report([row(TREE, 0.25, 0, **scores), row(TREE, 0.25, 1), row(SAME, 0.25)])
    assert "| cosine, documentation | nearest | logistic | multiply-adds |" in told
    assert "| 40.0% (1) | 60.0% (1) | 25.0% |" in told  # of one seed of two
    assert "| 0.700 (1) | - | - | 25.0% |" in told
    assert "| the original | - | - | - | - | 44.0% | 62.0% | 100.0% |" in told
    assert "the original |" not in carving_report.report([row(TREE, 0.25)])


def test_of_a_run_with_and_without_wordnet_the_report_takes_what_was_judged_by_more():
    more = row(TREE, 0.25, error=0.3)
    more["cosine"], more["errors"] = ({**kind, "glosses": kind["plays"]} for kind in (more["cosine"], more["errors"]))
    found = [carving_report.groups(rows) for rows in ([row(TREE, 0.25), more], [more, row(TREE, 0.25)])]
    assert found == [{(0.25, "plays"): {TREE: [more]}}] * 2
    last = row(TREE, 0.25, error=0.4)
    assert carving_report.groups([row(TREE, 0.25), last])[0.25, "plays"][TREE] == [last]


def test_a_calibration_has_tables_of_its_own_and_its_own_text_by_layer():
    texts_of = {"errors": {"plays": [0.4, 0.5], "documentation": [0.6, 0.7], "glosses": [0.1, 0.2]},
                "cosine": {"plays": 0.8, "documentation": 0.91, "glosses": 0.95}}  # fmt: skip
    told = carving_report.report([
        row(TREE, 0.25), row(TREE, 0.25) | texts_of | {"calibration": "glosses"},
        row(TREE, 0.25) | texts_of | {"calibration": "plays+glosses"},
    ])  # fmt: skip
    assert "calibrated on glosses\n" in told and "Errors by layer, glosses:" in told
    assert "| tree | 0.100 | 0.200 |" in told and "| error, documentation | error, glosses |" in told
    assert "calibrated on glosses: error 0.150, at most 0.19: met; cosine 0.950" in told
    assert "calibrated on plays+glosses, judged by documentation, which is foreign: cosine 0.910, at least 0.9" in told


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
        (("--quick", "--calibration", "news"), "calibration must be one of"),
        (("--quick", "--calibration", "glosses", "--wordnet", "no-such-folder"), "no glosses in no-such-folder"),
        (("--quick", "--wordnet", "no-such-folder"), "no glosses in no-such-folder"),
        (("--report",), "cannot read"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(arguments, message, tmp_path, capsys):
    refused(capsys, message, "reproduce", "carve", *arguments, "--out", tmp_path / "none.jsonl")
