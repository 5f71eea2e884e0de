"""`fffref fill-mask`, whole: a tiny checkpoint and a tiny tokenizer, made here."""

import json

import numpy as np
import pytest
from terminal import refused, run

from fffref.formats import ultrafastbert
from fffref.formats.ultrafastbert import Arch
from fffref.models.bert import Bert

tokenizers = pytest.importorskip("tokenizers")
WORDS = ("paris", "is", "the", "capital", "of", "france", ".", "and", "berlin")
TEXT = "Paris is the [MASK] of France."


def tokenizer(mask):
    """Words to numbers, the special ones first, as BERT's: [CLS] text [SEP]."""
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", mask)
    found = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(special + WORDS)}, "[UNK]"))
    found.add_special_tokens(list(special))
    found.normalizer = tokenizers.normalizers.Lowercase()
    found.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    found.post_processor = tokenizers.processors.TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)]
    )
    found.enable_truncation(4)  # a tokenizer's file may say so; a mask beyond would be lost
    found.enable_padding(length=30)
    return found


@pytest.fixture(params=["[MASK]", "<mask>"])
def folder(request, tmp_path, rng):
    """A checkpoint of 15 words, one of which the tokenizer does not know."""
    arch = Arch(layers=2, hidden=12, heads=3, vocabulary=15, max_length=12, depth=2)
    ultrafastbert.save(tmp_path, arch, {n: 20 * t for n, t in ultrafastbert.draw(rng, arch).items()})
    tokenizer(request.param).save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_it_guesses_what_the_model_says(folder, capsys):
    status, out, _ = run(capsys, "fill-mask", folder, TEXT, "--json")
    result = json.loads(out)
    assert status == 0 and result["tokens"] == 9 and [mask["position"] for mask in result["masks"]] == [4]
    logits = Bert.load(folder)([2, 5, 6, 7, 4, 9, 10, 11, 3])[4].astype(np.float64)
    probability = np.exp(logits) / np.exp(logits).sum()
    guesses = result["masks"][0]["words"]
    assert [guess["id"] for guess in guesses] == np.argsort(-probability)[:5].tolist()
    np.testing.assert_allclose([g["probability"] for g in guesses], np.sort(probability)[:-6:-1], rtol=1e-4)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", None, *WORDS, "(number 14)"]
    assert all(guess["word"] == (names[guess["id"]] or guess["word"]) for guess in guesses)


def test_it_prints_a_line_a_guess(folder, capsys):
    status, out, _ = run(capsys, "fill-mask", folder, TEXT)
    lines = out.splitlines()
    assert status == 0 and len(lines) == 5 and all(" %  " in line for line in lines)
    shares = [float(line.split("%")[0]) for line in lines]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 100.1
    assert run(capsys, "fill-mask", folder, TEXT.replace("[MASK]", "<mask>"))[1] == out
    assert run(capsys, "fill-mask", folder, TEXT, "--reference", "--threads", 2)[1] == out


def test_several_masks_are_guessed_one_by_one(folder, capsys):
    status, out, _ = run(capsys, "fill-mask", folder, "[MASK] and <mask>", "--top", 15)
    assert status == 0 and out.count("mask ") == 2 and len(out.splitlines()) == 32
    assert "mask 1, token 1" in out and "mask 2, token 3" in out and "(number 14)" in out


def test_what_cannot_be_guessed_is_told_in_one_line(folder, capsys, tmp_path):
    refused(capsys, "holds no [MASK]; put one where a word is to be guessed", "fill-mask", folder, "Paris")
    refused(capsys, "holds no [MASK]", "fill-mask", folder, "")
    refused(capsys, "at most 12 tokens, got 13", "fill-mask", folder, TEXT + " " + "and " * 4)
    refused(capsys, "--top must be at least 1, got 0", "fill-mask", folder, TEXT, "--top", 0)
    refused(capsys, "--top must be at most 15, got 16", "fill-mask", folder, TEXT, "--top", 16)
    refused(capsys, "threads must be at least 1, got 0", "fill-mask", folder, TEXT, "--threads", 0)
    refused(capsys, "must hold config.json, model.safetensors and tokenizer.json", "fill-mask", tmp_path / "no", TEXT)


def test_files_that_do_not_fit_are_told_in_one_line(folder, capsys):
    tensors = {name: array.copy() for name, array in ultrafastbert.load(folder)[1].items()}
    tensors["encoder.final_norm.bias"][0] = np.nan
    ultrafastbert.save(folder, ultrafastbert.load(folder)[0], tensors)
    refused(capsys, "the model's answer is not finite", "fill-mask", folder, TEXT)
    path = folder / "tokenizer.json"
    other = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[MASK]": 40, "[UNK]": 1}, "[UNK]"))
    other.save(str(path))
    refused(capsys, "got 40; is the tokenizer this model's?", "fill-mask", folder, "[MASK]")
    tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[UNK]": 1}, "[UNK]")).save(str(path))
    refused(capsys, "knows neither [MASK] nor <mask>", "fill-mask", folder, TEXT)
    path.write_text("{}")
    refused(capsys, "no tokenizer that the package tokenizers can read", "fill-mask", folder, TEXT)
    (folder / "model.safetensors").unlink()
    tokenizer("[MASK]").save(str(path))
    refused(capsys, "there is no file", "fill-mask", folder, TEXT)


def test_without_the_package_it_says_what_to_install(folder, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    refused(capsys, 'pip install "fffref[text]"', "fill-mask", folder, TEXT)
