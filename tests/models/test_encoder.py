"""A small BERT made on the spot: read in every form that folders have, run against plain loops, refused by name."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from fffref.formats import bert as form
from fffref.models.encoder import Encoder

CONFIG = form.Config(
    num_hidden_layers=2, hidden_size=12, num_attention_heads=3, intermediate_size=20, vocab_size=30,
    max_position_embeddings=16, type_vocab_size=2, layer_norm_eps=1e-12,
)  # fmt: skip
JSON = {**vars(CONFIG), "model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}


def write(folder, tensors, prefix="", parts=None, **changes):
    """Write a model's folder; in `parts` files if asked."""
    (folder / "config.json").write_text(json.dumps(JSON | changes))
    tensors = {prefix + name: array for name, array in tensors.items()}
    if parts is None:
        save_file(tensors, folder / "model.safetensors")
        return folder
    names, places = list(tensors), {}
    for part in range(parts):
        file = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        save_file({name: tensors[name] for name in names[part::parts]}, folder / file)
        places |= {name: file for name in names[part::parts]}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


@pytest.fixture
def tensors(rng):
    return form.draw(rng, CONFIG, np.float64)


def by_loops(tensors, ids, mask):
    """Hidden states of one sequence: every sum spelled out."""

    def linear(x, name):
        return tensors[f"{name}.weight"] @ x + tensors[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean()
        return (
            x / math.sqrt((x @ x) / len(x) + CONFIG.layer_norm_eps) * tensors[f"{name}.weight"]
            + tensors[f"{name}.bias"]
        )

    words, positions, types = (tensors[f"embeddings.{k}_embeddings.weight"] for k in ("word", "position", "token_type"))
    rows = [norm(words[t] + positions[s] + types[0], "embeddings.LayerNorm") for s, t in enumerate(ids)]
    for i in range(CONFIG.num_hidden_layers):
        name, d = form.LAYER.format(i), CONFIG.hidden_size // CONFIG.num_attention_heads
        q, k, v = ([linear(x, f"{name}attention.self.{part}") for x in rows] for part in ("query", "key", "value"))
        mixed = []
        for s in range(len(rows)):
            heads = []
            for h in range(CONFIG.num_attention_heads):
                of = slice(h * d, h * d + d)
                weight = [math.exp(q[s][of] @ k[t][of] / math.sqrt(d)) * bool(mask[t]) for t in range(len(rows))]
                heads.append(sum(w * v[t][of] for t, w in enumerate(weight)) / sum(weight))
            mixed.append(np.concatenate(heads))
        rows = [
            norm(x + linear(m, f"{name}attention.output.dense"), f"{name}attention.output.LayerNorm")
            for x, m in zip(rows, mixed, strict=True)
        ]
        gelu = lambda z: np.array([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in z])  # noqa: E731
        rows = [
            norm(
                x + linear(gelu(linear(x, f"{name}intermediate.dense")), f"{name}output.dense"),
                f"{name}output.LayerNorm",
            )
            for x in rows
        ]
    return np.array(rows)


def test_hidden_states_and_embeddings_are_those_of_plain_loops(rng, tensors):
    model = Encoder.of(CONFIG, tensors)
    ids, mask = rng.integers(0, 30, (3, 5)), np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    expected = [by_loops(tensors, *row) for row in zip(ids, mask, strict=True)]
    hidden = model.hidden(ids, mask)
    for b in range(3):
        real = mask[b] > 0
        np.testing.assert_allclose(hidden[b, real], expected[b][real], rtol=1e-10, atol=1e-12)
        mean = expected[b][real].mean(0)
        np.testing.assert_allclose(model.embed(ids, mask)[b], mean / np.linalg.norm(mean), rtol=1e-10, atol=1e-12)


def test_padding_changes_nothing_and_many_sentences_are_embedded_in_parts(rng, tensors, monkeypatch):
    model = Encoder.of(CONFIG, tensors)
    ids = rng.integers(0, 30, (7, 4))
    whole = model.embed(ids, np.ones_like(ids))
    padded = np.pad(ids, ((0, 0), (0, 3)))
    mask = np.pad(np.ones_like(ids), ((0, 0), (0, 3)))
    np.testing.assert_allclose(model.embed(padded, mask), whole, rtol=1e-10, atol=1e-12)
    monkeypatch.setattr("fffref.models.encoder.ROWS_AT_ONCE", 8)
    np.testing.assert_allclose(model.embed(ids, np.ones_like(ids)), whole, rtol=1e-12, atol=1e-14)
    assert model.embed(ids[:0], ids[:0]).shape == (0, 12)


def test_ff_layers_can_be_watched_replaced_and_compiled(rng):
    model = Encoder.of(CONFIG, form.draw(rng, CONFIG))
    ids, seen = rng.integers(0, 30, (2, 3)), {}
    hidden = model.hidden(ids, watch=seen.__setitem__)
    assert sorted(seen) == [0, 1] and seen[0].shape == (6, 12)
    np.testing.assert_allclose(model.compiled().hidden(ids), hidden, rtol=1e-4, atol=1e-5)
    silent = model.with_ffs([block.ff.map(np.zeros_like) for block in model.blocks])
    assert np.abs(silent.hidden(ids) - hidden).max() > 1e-2
    with pytest.raises(ValueError, match="layers must be 2"):
        model.with_ffs([])


@pytest.mark.parametrize("prefix", ["", "bert.", "_orig_mod.module.bert."])
@pytest.mark.parametrize("parts", [None, 1, 3])
def test_folders_of_every_form_give_the_same_model(tmp_path, rng, tensors, prefix, parts):
    extra = {"pooler.dense.weight": np.zeros((12, 12)), "embeddings.position_ids": np.arange(16)}
    model = Encoder.load(write(tmp_path, tensors | extra, prefix, parts))
    ids = rng.integers(0, 30, (2, 3))
    np.testing.assert_array_equal(model.hidden(ids), Encoder.of(CONFIG, tensors).hidden(ids))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "roberta"}, "model_type must be 'bert'"),
        ({"hidden_act": "gelu_new"}, "hidden_act must be 'gelu'"),
        ({"hidden_size": 13}, "multiple of num_attention_heads"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers must be at most"),
        ({"num_hidden_layers": 3}, "missing encoder.layer.2"),
        ({"num_hidden_layers": 1}, "unknown encoder.layer.1"),
        ({"vocab_size": 31}, "word_embeddings.weight must have shape"),
        ({"vocab_size": "30"}, "vocab_size must be an integer"),
    ],
)
def test_other_models_are_refused_by_name(tmp_path, tensors, changes, message):
    with pytest.raises(ValueError, match=message):
        Encoder.load(write(tmp_path, tensors, **changes))


def test_damaged_folders_are_refused_by_name(tmp_path, tensors):
    with pytest.raises(ValueError, match=r"there is no config\.json"):
        Encoder.load(tmp_path)
    write(tmp_path, tensors, parts=2)
    index = tmp_path / "model.safetensors.index.json"
    for text, message in (("{", "is no JSON"), ("[1]", "must hold a JSON object"), ("{}", "has no weight_map")):
        index.write_text(text)
        with pytest.raises(ValueError, match=message):
            Encoder.load(tmp_path)
    index.write_text(json.dumps({"weight_map": {"x": "../elsewhere.safetensors"}}))
    with pytest.raises(ValueError, match="no file of this folder"):
        Encoder.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({key: JSON[key] for key in ("model_type", "hidden_act")}))
    with pytest.raises(ValueError, match="does not say num_hidden_layers"):
        Encoder.load(tmp_path)


def test_bad_tokens_are_refused(tensors):
    model = Encoder.of(CONFIG, tensors)
    for ids, mask, message in (
        (np.zeros((1, 17), int), None, "at most 16 tokens"),
        (np.array([[30]]), None, "ids must lie in 0 to 29, got 30"),
        (np.array([[0.5]]), None, "ids must be integers"),
        (np.zeros((0, 3), int), None, "at least one token"),
        (np.array([[1, 2]]), np.array([[0, 0]]), "mask hides all of sequence 0"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            model.hidden(ids, mask)
    with pytest.raises(ValueError, match="one shape"):
        model.embed(np.zeros((2, 3), int), np.ones((2, 2), int))
