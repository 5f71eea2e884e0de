"""`fffref embed`: vectors that the library computes too, files, and what is refused in one line."""

import json
import sys

import numpy as np
import pytest
from terminal import refused, run

from fffref.formats import bert as form
from fffref.models.encoder import Encoder

tokenizers = pytest.importorskip("tokenizers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "tree", "of", "choices", "leaf"]
CONFIG = form.Config(2, 12, 3, 20, len(WORDS), 8, 2, 1e-12)


@pytest.fixture
def folder(tmp_path, rng):
    """A small model with a word tokenizer that pads and cuts by itself, as MiniLM's does."""
    from safetensors.numpy import save_file

    text = {**vars(CONFIG), "model_type": "bert", "hidden_act": "gelu"}
    (tmp_path / "config.json").write_text(json.dumps(text))
    save_file(form.draw(rng, CONFIG), tmp_path / "model.safetensors")
    words = tokenizers.models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_vectors_are_the_encoders(folder, capsys):
    status, out, _ = run(capsys, "embed", folder, "a tree of choices", "leaf", "--json")
    result = json.loads(out)
    ids = np.array([[2, 4, 5, 6, 7, 3], [2, 8, 3, 0, 0, 0]])
    expected = Encoder.load(folder).embed(ids, ids > 0)
    assert status == 0 and [s["tokens"] for s in result["sentences"]] == [6, 3]
    np.testing.assert_allclose([s["embedding"] for s in result["sentences"]], expected, rtol=1e-4, atol=1e-6)


def test_the_table_and_the_file(folder, capsys, tmp_path):
    out = tmp_path / "vectors.npy"
    status, text, _ = run(capsys, "embed", folder, "a tree", "a leaf", "--out", out)
    vectors = np.load(out)
    assert status == 0 and vectors.shape == (2, 12)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert f"{vectors[0] @ vectors[1]:6.3f}" in text.splitlines()[1]


def test_a_long_sentence_is_cut_and_said(folder, capsys):
    status, text, _ = run(capsys, "embed", folder, "a tree of choices a tree of choices a leaf")
    assert status == 0 and "sentence 0 was too long and is cut" in text
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 4}')
    status, out, _ = run(capsys, "embed", folder, "a tree of choices", "--json")
    assert json.loads(out)["cut"] == [0] and json.loads(out)["sentences"][0]["tokens"] == 4


def test_what_is_missing_is_said(folder, capsys, monkeypatch):
    (folder / "model.safetensors").rename(folder / "elsewhere")
    refused(capsys, "there is no file", "embed", folder, "a tree")
    (folder / "tokenizer.json").unlink()
    refused(capsys, "tokenizer.json", "embed", folder, "a tree")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    refused(capsys, "needs the package tokenizers", "embed", folder, "a tree")
