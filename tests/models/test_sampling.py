"""Sampling: keys and values that are kept give what the whole pass gives; temperature, seeds, and long texts."""

from dataclasses import replace

import numpy as np
import pytest

from fffref.models import sizes
from fffref.models.sampling import Reader, sample
from fffref.models.sizes import Sizes

SMALL = Sizes(vocabulary=11, layers=2, hidden=8, heads=2, context=6, width=5, depth=1, trees=2, leaf_width=3, experts=3)


def model_of(rng, **changes):
    """A model whose every array is random."""
    model = sizes.draw(rng, replace(SMALL, **changes), np.float64)
    return model.map(lambda a: a + 0.5 * rng.standard_normal(a.shape))


@pytest.mark.parametrize("ff", sizes.KINDS)
@pytest.mark.parametrize("cuts", [[6], [1] * 6, [3, 1, 2], [2, 4]])
def test_reading_in_pieces_is_reading_at_once(cuts, ff, rng):
    model, ids = model_of(rng, ff=ff), rng.integers(0, 11, 6)
    reader, place = Reader(model), 0
    for cut in cuts:
        logits = reader.read(ids[place : place + cut])
        place += cut
        np.testing.assert_allclose(logits, model(ids[:place])[-1], rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="at most 6 tokens, got 7"):
        reader.read(ids[:1])


def test_temperature_0_takes_the_likeliest(rng):
    model, ids = model_of(rng), [3, 1]
    taken = list(sample(model, ids, 3, temperature=0))
    for token in taken:
        assert token == model(np.array(ids))[-1].argmax()
        ids.append(token)
    assert list(sample(model.compiled(), [3, 1], 3, temperature=0)) == taken
    assert list(sample(model, [3], 0, temperature=0)) == []


def test_a_full_context_is_read_anew_from_its_second_half(rng):
    model = model_of(rng)
    text = [4, 2]
    for token in sample(model, [4, 2], 12, temperature=0):
        text.append(token)
    contexts = [text[:2], text[:3], text[:4], text[:5], text[:6], text[4:7], text[4:8], text[4:9], text[4:10]]
    for end, context in enumerate(contexts, 2):
        assert text[end] == model(np.array(context))[-1].argmax()
    long = list(np.arange(30) % 11)
    assert next(sample(model, long, 1, temperature=0)) == model(np.array(long[-6:]))[-1].argmax()


def test_tokens_come_as_often_as_they_are_likely(rng):
    model = model_of(rng)
    for temperature in (0.5, 2.0):
        logits = model(np.array([5]))[-1] / temperature
        expected = np.exp(logits) / np.exp(logits).sum()
        drawn = [next(sample(model, [5], 1, temperature, rng)) for _ in range(3000)]
        share = np.bincount(drawn, minlength=11) / 3000
        assert np.abs(share - expected).max() < 5 * np.sqrt(0.25 / 3000)


def test_a_seed_gives_a_text(rng):
    model = model_of(rng)
    first, again, other = (list(sample(model, [1], 20, 1.0, np.random.default_rng(seed))) for seed in (0, 0, 1))
    assert first == again != other


def test_what_cannot_go_on_is_refused(rng):
    model = model_of(rng)
    with pytest.raises(ValueError, match="the beginning is empty; give at least one token"):
        sample(model, [], 3, 0)
    with pytest.raises(ValueError, match="fills gaps and cannot go on with a text; use fffref fill-mask"):
        list(sample(replace(model, causal=False), [1], 3, 0))
    with pytest.raises(ValueError, match="ids must lie in 0 to 10, got 11"):
        list(sample(model, [11], 3, 0))
    with pytest.raises(TypeError, match=r"rng must be a numpy\.random\.Generator"):
        sample(model, [1], 3)
    with pytest.raises(ValueError, match="temperature must lie in"):
        sample(model, [1], 3, -1)
    with pytest.raises(ValueError, match="not finite: its weights hold NaN"):
        list(sample(model.map(lambda a: a * np.nan), [1], 3, 0))


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-11), (np.float32, 2e-4)])
@pytest.mark.parametrize("ff", ["none", "dense", "path", "leaf"])
@pytest.mark.parametrize("heads", [1, 2, 8])
def test_a_token_by_itself_compiled_is_the_same(ff, heads, dtype, tolerance, rng):
    model = model_of(rng, ff=ff, heads=heads, context=9).astype(dtype)
    ids = rng.integers(0, 11, 9)
    reader, fast = Reader(model), Reader(model, model.compiled().instead, compiled=True)
    for place in (0, 3, 4, 5, 6, 7, 8):  # three tokens at once, then one by one
        part = ids[:3] if place == 0 else ids[place : place + 1]
        expected, found = reader.read(part), fast.read(part)
        assert found.dtype == dtype and found.shape == (11,)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
        kept = [r.keys[:, :, : r.length] for r in (fast, reader)]
        np.testing.assert_allclose(*kept, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found, model(ids)[-1], rtol=tolerance, atol=tolerance)
    with pytest.raises(ValueError, match="at most 9 tokens, got 10"):
        fast.read(ids[:1])


def test_changed_weights_are_seen_by_the_compiled_reader(rng):
    model = model_of(rng)
    fast = Reader(model, model.compiled().instead, compiled=True)
    model.blocks[1].attention.out[...] *= 2
    model.final_norm.bias[...] += 1
    for token in (3, 1):
        found = fast.read(np.array([token]))
    np.testing.assert_allclose(found, model(np.array([3, 1]))[-1], rtol=1e-11, atol=1e-11)
