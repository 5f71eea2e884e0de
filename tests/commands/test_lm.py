"""`fffref lm`: train, resume, evaluate, sample, fill gaps; and whatever it must refuse in one line."""

import json

import numpy as np
import pytest
from terminal import refused, run

from fffref.formats import checkpoints
from fffref.models.text import CausalText
from fffref.models.transformer import Transformer
from fffref.models.vocabulary import Characters

TEXT = "the cat sat on the mat and the rat sat on the hat. " * 12
SMALL = (
    "--layers 1 --hidden 8 --heads 2 --context 8 --width 8 --depth 1 --leaf-width 4 --steps 40 --batch-size 4".split()
)


@pytest.fixture
def text(tmp_path):
    """A file with a text."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def train(capsys, text):
    """A function that trains with these options, and returns what is printed as JSON."""

    def trained(folder, *options):
        status, out, err = run(capsys, "lm", "train", "--text", text, "--out", folder, "--json", *SMALL, *options)
        assert status == 0, err
        return json.loads(out)

    return trained


@pytest.mark.parametrize("ff", ["dense", "path", "leaf", "none"])
def test_a_model_is_trained_judged_and_writes(ff, train, text, tmp_path, capsys):
    told = train(tmp_path / "lm", "--ff", ff, "--learning-rate", 0.03)
    assert told["validation_loss"] < 2.4 < np.log(len(set(TEXT))) and len(told["history"]) == 20
    status, out, _ = run(capsys, "lm", "evaluate", tmp_path / "lm", "--text", text, "--json")
    judged = json.loads(out)
    assert status == 0 and judged["validation_loss"] == pytest.approx(told["validation_loss"], rel=1e-5)
    assert judged["tokens"] == len(TEXT) - int(len(TEXT) * 0.9)
    options = ("lm", "sample", tmp_path / "lm", "--prompt", "the ", "--characters", 30, "--seed", 3)
    status, out, _ = run(capsys, *options)
    assert status == 0 and out.startswith("the ") and len(out) == 35 and set(out) <= set(TEXT) | {"\n"}
    again = json.loads(run(capsys, *options, "--json")[1])
    assert "the " + again["text"] + "\n" == out


def test_the_loss_is_that_of_the_saved_model(train, text, tmp_path):
    told = train(tmp_path / "lm")
    saved = checkpoints.load(tmp_path / "lm" / "checkpoint.safetensors", Transformer)
    task = CausalText.of(Characters.of(TEXT).encode(TEXT), 8)
    total = sum(
        -np.log(np.exp(row - row.max())[t] / np.exp(row - row.max()).sum())
        for x, _, targets in task.held_out()
        for logits, ts in zip(saved.layer(x), targets, strict=True)
        for row, t in zip(logits.astype(float), ts, strict=True)
    )
    assert told["validation_loss"] == pytest.approx(total / (len(task.validation) - 1), rel=1e-4)


def test_a_stopped_run_goes_on_and_ends_the_same(train, tmp_path, monkeypatch):
    whole = train(tmp_path / "whole")
    save, calls = checkpoints.save, []

    def stopping(path, *arguments, **options):
        if "rehearsal" not in str(path) and len(calls) == 7:
            raise KeyboardInterrupt
        calls.append(path)
        save(path, *arguments, **options)

    monkeypatch.setattr(checkpoints, "save", stopping)
    with pytest.raises(AssertionError, match="stopped"):
        train(tmp_path / "lm")
    monkeypatch.undo()
    assert train(tmp_path / "lm", "--resume")["history"] == whole["history"]
    one, other = (checkpoints.load(tmp_path / name / "checkpoint.safetensors").layer for name in ("lm", "whole"))
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name])


@pytest.mark.parametrize("ff", ["path", "dense"])
def test_what_fills_gaps_is_read_by_fill_mask(ff, train, text, tmp_path, capsys):
    pytest.importorskip("tokenizers")
    told = train(tmp_path / "gaps", "--masked", 0.2, "--ff", ff)
    status, out, _ = run(capsys, "lm", "evaluate", tmp_path / "gaps", "--text", text, "--json")
    assert status == 0 and json.loads(out)["validation_loss"] == pytest.approx(told["validation_loss"], rel=1e-5)
    status, out, err = run(capsys, "fill-mask", tmp_path / "gaps", "the c[MASK]t", "--top", 3, "--json")
    assert status == 0, err
    (mask,) = json.loads(out)["masks"]
    model = checkpoints.load(tmp_path / "gaps" / "checkpoint.safetensors", Transformer).layer
    characters = Characters.of(TEXT, masked=True)
    ids = characters.encode("the c.t")
    ids[5] = characters.mask
    logits = model(ids)[5]
    best = np.argsort(-logits)[:3]
    assert mask["position"] == 5 and [word["id"] for word in mask["words"]] == best.tolist()


def test_a_tokenizers_tokens(train, text, tmp_path, capsys):
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(set(TEXT.split()))}))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "words.json"))
    told = train(tmp_path / "lm", "--tokenizer", tmp_path / "words.json", "--context", 4)
    assert told["validation_loss"] < np.log(12)
    status, out, _ = run(capsys, "lm", "sample", tmp_path / "lm", "--prompt", "the cat", "--characters", 5)
    assert status == 0 and out.startswith("the cat ") and len(out.split()) == 7


# ---------------------------------------------------------------------- what is refused


def test_bad_input_is_told_in_one_line(train, text, tmp_path, capsys):
    train(tmp_path / "lm")
    out = tmp_path / "other"
    common = ("lm", "train", "--text", text, "--out", out, *SMALL)
    refused(capsys, "exists already; --resume goes on from it", *common, "--out", tmp_path / "lm")
    refused(capsys, "shorter than a context of 200", *common, "--context", 200)
    refused(capsys, "heads must divide hidden, got 3 and 8", *common, "--heads", 3)
    refused(capsys, "share must lie in (0, 1], got 1.5", *common, "--masked", 1.5)
    refused(capsys, "--steps must be at least 20, got 5", *common, "--steps", 5)
    refused(capsys, "cannot read", *common, "--text", tmp_path / "none.txt")
    refused(capsys, "learning_rate must lie in", *common, "--learning-rate", -1)
    refused(capsys, "there is no", "lm", "sample", tmp_path / "none")
    refused(capsys, "does not know 1 of the text's characters: '7'", "lm", "sample", tmp_path / "lm", "--prompt", "7")
    refused(capsys, "--prompt is empty", "lm", "sample", tmp_path / "lm", "--prompt", "")
    refused(
        capsys, "--characters must be at least 1", "lm", "sample", tmp_path / "lm", "--prompt", "t", "--characters", 0
    )
    refused(capsys, "temperature must lie in", "lm", "sample", tmp_path / "lm", "--prompt", "t", "--temperature", -1)
    refused(capsys, "does not know", "lm", "evaluate", tmp_path / "lm")  # the embedded text has other characters
    train(tmp_path / "gaps", "--masked", 0.2)
    refused(capsys, "fills gaps and cannot go on with a text", "lm", "sample", tmp_path / "gaps", "--prompt", "t")
