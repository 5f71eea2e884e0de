"""The whole model against the authors' numbers, and whatever it must refuse."""

import json
import pathlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fffref.counting import presets
from fffref.formats import ultrafastbert
from fffref.formats.ultrafastbert import Arch
from fffref.layers.activations import gelu
from fffref.models import parts
from fffref.models.bert import Bert

ORACLES = pathlib.Path(__file__).parents[1] / "oracles"
NAMES = ("ultrafastbert-2x4", "crammed-dense")
TINY = Arch(layers=2, hidden=12, heads=3, vocabulary=30, max_length=9, n_trees=2, depth=2)
DENSE = replace(TINY, width=7)


def oracle(name, dtype=np.float64):
    """The authors' arrays, and our model of their weights."""
    arrays = dict(np.load(ORACLES / f"{name}.npz"))
    weights = {key.removeprefix("weight:"): a.astype(dtype) for key, a in arrays.items() if key.startswith("weight:")}
    arch = Arch.of({"arch": json.loads(str(arrays["arch"]))}, len(weights[ultrafastbert.WORDS]))
    return arrays, Bert.of(arch, weights)


def random_tensors(rng, arch, dtype=np.float64):
    """Every tensor random: norms, biases and scale, too, which an untrained model has at 1 and 0."""
    return {
        name: rng.standard_normal(shape).astype(dtype)
        for name, shape in arch.shapes().items()
        if name != ultrafastbert.OUT
    }


def close(got, expected, tolerance):
    """Relative to the largest entry; zeros and shuffled rows fail."""
    scale = np.abs(expected).max()
    assert got.shape == expected.shape and np.abs(got - expected).max() <= tolerance * scale
    assert np.abs(np.roll(got, 1, axis=-2) - expected).max() > 0.1 * scale


@pytest.fixture(params=[None, 1, 2], ids=["reference", "compiled", "2 threads"])
def version(request):
    """A function from a model to the model as it shall be tested."""
    return lambda bert: bert if request.param is None else bert.compiled(request.param)


# ---------------------------------------------------------------------- the authors' numbers


@pytest.mark.parametrize("name", NAMES)
def test_hidden_states_and_logits_are_the_authors(name, version):
    arrays, bert = oracle(name)
    bert = version(bert)
    close(bert.hidden(arrays["ids"]), arrays["hidden"], 1e-6)
    close(bert.hidden(arrays["ids"], arrays["mask"]), arrays["hidden_masked"], 1e-6)
    close(bert(arrays["ids"]), arrays["logits"], 1e-6)
    with pytest.raises(AssertionError):
        close(bert.hidden(arrays["ids"]), arrays["hidden_masked"], 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_float32_and_loses_only_rounding(name, version):
    arrays, bert = oracle(name, np.float32)
    hidden, logits = version(bert).hidden(arrays["ids"], arrays["mask"]), version(bert)(arrays["ids"])
    assert hidden.dtype == logits.dtype == np.float32
    close(hidden, arrays["hidden_masked"], 3e-6)  # some 20 roundings of 2^-24, one after the other
    close(logits, arrays["logits"], 3e-6)


def test_the_position_table_is_within_float32_of_the_authors():
    position, column = 127, 6  # by hand: cosine in odd columns
    table = parts.sinusoid(128, 768)
    angle = position * 10000 ** (-column / 768)
    np.testing.assert_allclose(table[position, column : column + 2], [np.sin(angle), np.cos(angle)], rtol=1e-12)
    assert parts.sinusoid(3, 5).shape == (3, 5)


# ---------------------------------------------------------------------- by another road


def plain(bert, ids):
    """The model as loops over heads and positions, in its own words: an independent formula."""
    arch, d = bert.arch, bert.arch.hidden // bert.arch.heads

    def norm(x, by):
        centred = x - sum(x) / len(x)
        return centred / np.sqrt(sum(centred**2) / len(x) + arch.eps) * by.weight + by.bias

    positions = bert.embedding.scale * parts.sinusoid(len(ids), arch.hidden)
    x = [norm(bert.embedding.words[n] + positions[s], bert.embedding.norm) for s, n in enumerate(ids)]
    for block in bert.blocks:
        projected = [block.attention.qkv @ norm(row, block.norm1) for row in x]
        mixed = [[] for _ in x]
        for head in range(arch.heads):
            q, k, v = (
                [row[(3 * head + part) * d : (3 * head + part + 1) * d] for row in projected] for part in range(3)
            )
            for s in range(len(x)):
                weight = np.exp([q[s] @ other * block.attention.factor for other in k])
                mixed[s].extend(sum(w * other for w, other in zip(weight, v, strict=True)) / sum(weight))
        x = [row + block.attention.out @ np.array(m) for row, m in zip(x, mixed, strict=True)]
        x = [row + block.ff.forward_hard(norm(row, block.norm2)) for row in x]
    return np.array([norm(row, bert.final_norm) for row in x])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), heads=st.integers(1, 3), d=st.integers(1, 5), length=st.integers(1, 9),
       depth=st.integers(0, 3), trees=st.integers(1, 3), width=st.none() | st.integers(1, 5))  # fmt: skip
def test_it_is_the_model_written_as_loops(seed, heads, d, length, depth, trees, width):
    rng = np.random.default_rng(seed)
    arch = replace(TINY, hidden=heads * d, heads=heads, depth=depth, n_trees=trees, width=width)
    bert, ids = Bert.of(arch, random_tensors(rng, arch)), rng.integers(0, 30, length)
    expected = plain(bert, ids)
    for version in (bert, bert.compiled()):
        np.testing.assert_allclose(version.hidden(ids), expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("arch", [TINY, DENSE], ids=["fff", "dense"])
def test_padding_changes_nothing_and_leading_axes_are_batch(arch, rng, version):
    bert = version(Bert.of(arch, random_tensors(rng, arch)))
    ids = rng.integers(0, 30, (2, 3, 6))
    whole = bert(ids)
    assert whole.shape == (2, 3, 6, 30)
    np.testing.assert_allclose(bert(ids[1, 2]), whole[1, 2], rtol=1e-9)
    padded = np.concatenate([ids, np.full((2, 3, 3), 7)], axis=-1)
    for mask in (np.arange(9) < 6, (np.arange(9) < 6).astype(np.uint8)):
        np.testing.assert_allclose(bert(padded, np.broadcast_to(mask, padded.shape))[..., :6, :], whole, rtol=1e-9)
    np.testing.assert_allclose(bert(ids, np.ones_like(ids)), whole, rtol=1e-12)
    assert not np.allclose(bert(padded)[..., :6, :], whole)


def test_the_masked_dense_form_is_the_same_model(rng):
    """What the authors' release computes: every neuron, then a mask of the path."""
    bert = Bert.of(TINY, random_tensors(rng, TINY))

    def masked(layer):
        def run(x):
            logit = x @ layer.in_weight.reshape(-1, 12).T + layer.in_bias.ravel()
            mask = np.zeros((len(x), *layer.in_bias.shape))
            np.put_along_axis(mask, layer.route(x), 1, axis=2)
            return (gelu(logit) * mask.reshape(len(x), -1)) @ layer.out_weight.reshape(-1, 12)

        return run

    ids = rng.integers(0, 30, (3, 9))
    instead = {f"blocks.{i}.ff": masked(block.ff) for i, block in enumerate(bert.blocks)}
    np.testing.assert_allclose(bert.hidden(ids, instead=instead), bert.hidden(ids), rtol=1e-9)


def test_counts_agree_with_the_census():
    model = presets.get("ultrafastbert-1x11")
    shapes = Arch().shapes()
    own = {name: np.prod(shape, dtype=int) for name, shape in shapes.items() if name != ultrafastbert.OUT}
    factors = sum(size for name, size in own.items() if name.endswith("norm_factor"))
    assert sum(own.values()) - factors == model.n_parameters  # a factor of attention is no parameter
    assert 4 * sum(np.prod(shape, dtype=int) for shape in shapes.values()) == pytest.approx(755e6, abs=0.5e6)


# ---------------------------------------------------------------------- what is refused, and what is not


@pytest.fixture
def tiny(rng):
    """A tiny model."""
    return Bert.init(rng, TINY)


@pytest.mark.parametrize(
    "ids, kind, message",
    [
        ([[3.0]], TypeError, "ids must be integers, got float64"),
        ([["Paris"]], TypeError, "ids must be integers"),
        ([[True]], TypeError, "ids must be integers"),
        (3, ValueError, "at least one token"),
        ([], ValueError, "at least one token, got \\(0,\\)"),
        (np.zeros((0, 4), int), ValueError, "at least one token, got \\(0, 4\\)"),
        (np.zeros((2, 0), int), ValueError, "at least one token, got \\(2, 0\\)"),
        ([[4, -1]], ValueError, "ids must lie in 0 to 29, got -1"),
        ([[4, 30]], ValueError, "ids must lie in 0 to 29, got 30; is the tokenizer"),
        (np.zeros(10, int), ValueError, "at most 9 tokens, got 10"),
    ],
)
def test_ids_that_are_none_are_refused(ids, kind, message, tiny, version):
    with pytest.raises(kind, match=message):
        version(tiny)(ids)


@pytest.mark.parametrize(
    "mask, kind, message",
    [
        ([[1.0, 1.0, 0.0]], TypeError, "mask must be boolean, or 0 and 1, got float64"),
        ([1, 1, 0], ValueError, "the shape of ids, \\(1, 3\\), got \\(3,\\)"),
        ([[1, 1]], ValueError, "the shape of ids"),
        ([[1, 2, 0]], ValueError, "mask must be 0 or 1, got 0 to 2"),
        ([[1, -1, 0]], ValueError, "mask must be 0 or 1, got -1 to 1"),
        ([[0, 0, 0]], ValueError, "mask hides all of sequence 0"),
    ],
)
def test_masks_that_are_none_are_refused(mask, kind, message, tiny):
    with pytest.raises(kind, match=message):
        tiny.hidden([[1, 2, 3]], mask)


def test_inputs_and_weights_are_left_alone(rng, version):
    model = Bert.init(rng, TINY)
    bert = version(model)
    ids, mask = rng.integers(0, 30, (2, 9)), np.arange(9) < np.array([[9], [4]])
    before = ids.copy(), mask.copy(), model.embedding.words.copy(), model.blocks[0].attention.qkv.copy()
    for array in (ids, mask, model.embedding.words, model.blocks[0].attention.qkv):
        array.flags.writeable = False
    first = bert(ids, mask)
    np.testing.assert_array_equal(bert(ids, mask), first)
    for array, copy in zip((ids, mask, model.embedding.words, model.blocks[0].attention.qkv), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_nan_reaches_what_its_weight_reaches_and_no_more(rng, version):
    tensors = random_tensors(rng, TINY)
    clean = Bert.of(TINY, tensors)
    tensors[ultrafastbert.WORDS] = tensors[ultrafastbert.WORDS].copy()
    tensors[ultrafastbert.WORDS][7] = np.nan
    ids = np.array([[1, 2, 3], [1, 7, 3]])
    hidden, logits = version(Bert.of(TINY, tensors)).hidden(ids), version(Bert.of(TINY, tensors))(ids)
    assert np.isnan(hidden[1]).all() and np.isnan(logits[1]).all()  # attention mixes it into the whole sequence
    np.testing.assert_allclose(hidden[0], clean.hidden(ids)[0], rtol=1e-12)
    np.testing.assert_array_equal(np.isnan(logits[0]), np.arange(30)[None] == np.full((3, 1), 7))


@pytest.mark.parametrize("name", ["ffn.linear_in.bias", "ffn.linear_out.weight", "attn.dense.weight"])
def test_nan_inside_a_block_comes_out(name, rng, version):
    tensors = random_tensors(rng, TINY)
    tensors[f"encoder.layers.1.{name}"][...] = np.nan
    assert np.isnan(version(Bert.of(TINY, tensors))(np.array([1, 2]))).all()


def test_large_scores_do_not_overflow(rng):
    tensors = random_tensors(rng, TINY, np.float32)
    for i in range(2):
        tensors[f"encoder.layers.{i}.attn.self_attention.query_key_value.weight"] *= 1e4
    assert np.isfinite(Bert.of(TINY, tensors).hidden(rng.integers(0, 30, (4, 9)))).all()


def test_a_seed_gives_a_model():
    one, same, other = (Bert.init(np.random.default_rng(seed), TINY)(np.arange(9)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other) and one.dtype == np.float32
    assert Bert.init(np.random.default_rng(0), DENSE, np.float64)(np.arange(3)).dtype == np.float64
    with pytest.raises(TypeError, match=r"numpy\.random\.Generator"):
        Bert.init(0, TINY)
