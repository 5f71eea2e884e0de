"""Known models: parameters as published, and as their files' arrays have it."""

import math
import re
from dataclasses import replace

import pytest

from fffref.counting import presets
from fffref.counting.presets import PRESETS


def size(shapes):
    return sum(map(math.prod, shapes))


@pytest.mark.parametrize("name", [name for name, model in PRESETS.items() if model.published])
def test_totals_agree_with_what_was_published(name):
    model = PRESETS[name]
    assert model.published.agrees(model.n_parameters)
    assert model.published.source
    if model.published.unit > 1:
        assert not model.published.agrees(round(1.005 * model.n_parameters))  # the rounding hides no half per cent


def test_exact_figures():
    exact = {
        name: model.n_parameters for name, model in PRESETS.items() if model.published and model.published.unit == 1
    }
    assert exact == {
        "bert-base": 109_482_240, "llama-2-7b": 6_738_415_616, "llama-2-70b": 68_976_648_192,
        "mistral-7b": 7_241_732_096,
    }  # fmt: skip
    assert round(PRESETS["gpt-3"].n_parameters, -9) == 175_000_000_000  # as the paper's abstract has it
    assert round(PRESETS["bert-base"].n_parameters, -6) == 109_000_000  # the paper's 110M is rounded to ten million


def test_berts_arrays():
    """By the names of the files' arrays, transformers.BertModel."""
    w, f = 768, 3072
    embeddings = [(30522, w), (512, w), (2, w), (w,), (w,)]  # word, position, token type, LayerNorm
    attention = [(w, w), (w,)] * 4  # query, key, value, output.dense
    block = [*attention, (w,), (w,), (f, w), (f,), (w, f), (w,), (w,), (w,)]
    pooler = [(w, w), (w,)]
    parts = PRESETS["bert-base"].parameters()
    assert sum(parts.values()) == size(embeddings) + 12 * size(block) + size(pooler) == 109_482_240
    assert parts["attention"] == 12 * size(attention) and parts["pooler"] == size(pooler)


def test_bert_with_the_head_for_masked_words():
    """transformers.BertForMaskedLM: no pooler; a dense layer, a norm, the tied matrix, a bias."""
    model = replace(PRESETS["bert-base"], pooler=False, head="tied", head_transform=True)
    assert model.n_parameters == 109_514_298


@pytest.mark.parametrize(
    "name, layers, w, f, kv", [
        ("llama-2-7b", 32, 4096, 11008, 4096), ("llama-2-70b", 80, 8192, 28672, 1024),
        ("mistral-7b", 32, 4096, 14336, 1024),
    ],
)  # fmt: skip
def test_llamas_arrays(name, layers, w, f, kv):
    block = [(w, w), (kv, w), (kv, w), (w, w), (f, w), (f, w), (w, f), (w,), (w,)]  # q k v o gate up down, norms
    assert PRESETS[name].n_parameters == layers * size(block) + size([(32000, w), (32000, w), (w,)])


def test_ultrafastberts_arrays():
    """By the authors' module: linear_in with bias, linear_out without; attention without biases."""
    w = 768
    for trees, depth in presets.ULTRAFASTBERTS:
        neurons = trees * (2 ** (depth + 1) - 1)
        block = [(w, w)] * 4 + [(neurons, w), (neurons,), (w, neurons)] + [(w,)] * 4
        ends = [(32768, w), (), (w,), (w,), (w,), (w,)]  # tied embedding, scale of the sines, two norms
        model = PRESETS[f"ultrafastbert-{trees}x{depth}"]
        assert model.n_parameters == 16 * size(block) + size(ends)
        assert model.ff.neurons_stored == neurons and model.ff.neurons_engaged == trees * (depth + 1)


def test_table_1_goes_from_dense_to_one_tree():
    names = [name for name in PRESETS if name.startswith("ultrafastbert-")]
    assert len(names) == 12 and names[0].endswith("-3072x0") and names[-1].endswith("-1x11")
    for name in names:
        trees, depth = map(int, re.fullmatch(r"ultrafastbert-(\d+)x(\d+)", name).groups())
        assert PRESETS[name].ff.name == f"PathFFF 768 -> 768, {trees} tree{'s' * (trees > 1)} of depth {depth}"
    engaged = [PRESETS[name].ff.neurons_engaged / PRESETS[name].ff.neurons_stored for name in names]
    assert engaged == sorted(engaged, reverse=True) and engaged[0] == 1
    last = PRESETS["ultrafastbert-1x11"].ff
    assert (last.neurons_stored, last.neurons_engaged, round(100 * engaged[-1], 2)) == (4095, 12, 0.29)


def test_an_unknown_name_is_refused_with_all_known_ones():
    assert presets.get("gpt-3") is PRESETS["gpt-3"]
    with pytest.raises(ValueError, match=r"model must be one of 'bert-base', .*, got 'gpt-5'"):
        presets.get("gpt-5")
