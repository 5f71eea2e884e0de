"""All FF layers at once: rows of real tokens, and each layer fitted to what those before it give."""

import numpy as np
import pytest

from fffref.formats import bert as form
from fffref.models import sentences
from fffref.models.carve import Carving, carve_rows
from fffref.models.carving_layers import ff_inputs, in_sequence
from fffref.models.encoder import Encoder
from fffref.models.fitting import Rows, relative_error

CONFIG = form.Config(3, 16, 2, 32, 40, 12, 1, 1e-12)


@pytest.fixture
def encoder(rng):
    return Encoder.of(CONFIG, form.draw(rng, CONFIG, np.float64))


@pytest.fixture
def batches(rng):
    """Two batches with padding, 690 real tokens."""
    parts = [[rng.integers(0, 40, length).tolist() for length in lengths * 15] for lengths in ((12, 5), (7, 12, 10))]
    return [sentences.padded(rows) for rows in parts]


@pytest.fixture
def rows(encoder, batches):
    """Rows of all but the last ten tokens."""
    inputs = ff_inputs(encoder, batches)
    return [Rows.of(block.ff, x[:-10]) for block, x in zip(encoder.blocks, inputs, strict=True)]


def few(rows):
    """A tree that is cheap, and not exact."""
    return carve_rows(rows, Carving(1, 6, rounds=0))


def test_rows_are_of_real_tokens_in_one_order(encoder, batches):
    found = ff_inputs(encoder, batches)
    assert [x.shape for x in found] == [(690, 16)] * 3
    halved = encoder.with_ffs([encoder.blocks[0].ff.map(lambda a: a / 2), *(b.ff for b in encoder.blocks[1:])])
    other = ff_inputs(halved, batches)
    np.testing.assert_array_equal(other[0], found[0])  # what enters the first layer is before all FF layers
    assert not np.allclose(other[1], found[1])
    (ids, mask), seen = batches[0], {}
    encoder.hidden(ids[:1], mask[:1], seen.__setitem__)  # a sentence by itself: all of its rows are among the others
    assert (np.abs(found[2][:, None] - seen[2][None]).max(2).min(0) < 1e-9).all()


@pytest.mark.parametrize("target", ["outputs", "stream"])
def test_each_layer_is_fitted_to_what_those_before_give(encoder, batches, rows, target):
    seen = []

    def fit(rows):
        seen.append(rows)
        return few(rows)

    layers = in_sequence(encoder, batches, rows, fit, target)
    assert len(layers) == len(seen) == 3
    inputs = ff_inputs(encoder.with_ffs(layers), batches)
    for got, own, x in zip(seen, rows, inputs, strict=True):
        np.testing.assert_allclose(got.x, x[:680], atol=1e-12)
        expected = own.y if target == "outputs" else own.x + own.y - x[:680]
        np.testing.assert_allclose(got.y, expected, atol=1e-12)
        np.testing.assert_allclose(got.scale * np.linalg.norm(got.y, axis=1), 1)
    np.testing.assert_allclose(layers[0].leaf_out_weight, few(rows[0]).leaf_out_weight, atol=1e-12)
    assert np.abs(seen[2].x - rows[2].x).max() > 1e-3


def test_layers_that_lose_nothing_are_the_layers(encoder, batches, rows):
    for target in ("outputs", "stream"):
        layers = in_sequence(encoder, batches, rows, lambda rows: carve_rows(rows, Carving(0, 32, ridge=1e-9)), target)
        for layer, own in zip(layers, rows, strict=True):
            assert relative_error(layer.forward_hard(own.x), own.y) < 1e-6


def test_what_is_fitted_to_is_checked(encoder, batches, rows):
    with pytest.raises(ValueError, match="target must be one of"):
        in_sequence(encoder, batches, rows, few, "nothing")
    with pytest.raises(ValueError, match="y must have shape"):
        Rows.of(rows[0].layer, rows[0].x, rows[0].y[:5])
    with pytest.raises(ValueError, match="y holds NaN"):
        Rows.of(rows[0].layer, rows[0].x, rows[0].y * np.nan)
