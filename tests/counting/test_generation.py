"""A step of generation by counting: the published sizes, the cache, and what a share of the FF layers saves."""

import pytest

from fffref import counting
from fffref.counting import presets
from fffref.counting.generation import bytes_a_token, engaging, tokens_a_second

LLAMA, MISTRAL = presets.get("llama-2-7b"), presets.get("mistral-7b")


def test_a_dense_model_reads_all_but_the_other_tokens_embeddings():
    for model in (LLAMA, MISTRAL):
        read = bytes_a_token(model, 1)
        assert sum(read.values()) - read["cache"] == 2 * (model.n_parameters - (32000 - 1) * 4096)
        assert read["feedforward"] == 2 * 32 * 3 * 4096 * model.ff.neurons_stored


def test_the_cache_is_of_two_vectors_a_layer_and_token():
    assert bytes_a_token(LLAMA, 100)["cache"] == 2 * 32 * 2 * 4096 * 100
    assert bytes_a_token(MISTRAL, 100)["cache"] == 2 * 32 * 2 * 1024 * 100  # 8 heads of 128
    assert bytes_a_token(MISTRAL, 10**6) == bytes_a_token(MISTRAL, 4096)  # its window
    assert bytes_a_token(LLAMA, 100, "float32")["cache"] == 2 * bytes_a_token(LLAMA, 100)["cache"]


@pytest.mark.parametrize(("model", "dense", "quarter"), [(LLAMA, 3.71, 7.15), (MISTRAL, 3.50, 8.57)])
def test_tokens_a_second_of_a_memory_of_50_gigabytes(model, dense, quarter):
    carved = model.with_ff(engaging(model.ff, 0.25, stored=2))
    assert tokens_a_second(model, 50, 512) == pytest.approx(dense, abs=0.005)
    assert tokens_a_second(carved, 50, 512) == pytest.approx(quarter, abs=0.005)
    assert tokens_a_second(carved, 100, 512) == 2 * tokens_a_second(carved, 50, 512)
    assert carved.n_parameters - model.n_parameters == 32 * model.ff.parameters  # stored twice


def test_a_layer_that_engages_all_is_the_layer():
    ff = counting.dense_ff(768, 768, 3072)
    whole = engaging(ff, 1.0)
    assert (whole.inference, whole.parameters_engaged, whole.parameters) == (ff.inference, ff.parameters, ff.parameters)
    assert engaging(ff, 0.25).speed_up() == pytest.approx(4)


def test_what_cannot_be_counted_is_refused():
    for message, call in {
        "share must": lambda: engaging(LLAMA.ff, 0),
        "stored must": lambda: engaging(LLAMA.ff, 0.5, stored=0.5),
        "ff must be a Count": lambda: engaging("dense", 0.5),
        "only a causal model": lambda: bytes_a_token(presets.get("bert-base"), 1),
        "context must": lambda: bytes_a_token(LLAMA, 0),
        "gigabytes must": lambda: tokens_a_second(LLAMA, 0, 1),
        "dtype must": lambda: bytes_a_token(LLAMA, 1, "int3"),
    }.items():
        with pytest.raises((TypeError, ValueError), match=message):
            call()
