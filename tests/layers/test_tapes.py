"""Tapes: every field is checked before a backward pass trusts it, and another layer's tape is refused."""

from dataclasses import fields, replace

import cases
import numpy as np
import pytest

from fffref import PathFFF

kinds = pytest.mark.parametrize("kind", cases.LAYERS)


def passed(kind, rng, lead=(4,)):
    """A layer, what its forward pass returned, and the tape."""
    layer = cases.make(kind, rng)
    x = rng.standard_normal((*lead, 5))
    y, tape = layer.forward(x, rng=rng) if kind == "MoE" else layer.forward(x)
    return layer, y, tape


def arrays(tape):
    return {
        f.name: getattr(tape, f.name) for f in fields(tape) if np.ndim(getattr(tape, f.name)) > 0 and f.name != "lead"
    }


@kinds
def test_every_field_is_checked_for_shape_and_dtype(kind, rng):
    layer, y, tape = passed(kind, rng)
    assert set(arrays(tape)) | {"scale"} >= set(type(tape).SHAPES)  # no array goes unchecked
    for name, array in arrays(tape).items():
        with pytest.raises(ValueError, match=rf"the tape's {name} must have shape .*; the tape comes from"):
            layer.backward(replace(tape, **{name: array[:1]}), y)
        for nothing in (None, array.tolist(), np.ma.masked_array(array)):
            with pytest.raises((TypeError, ValueError), match=f"the tape('s {name} must be a plain| must have all of)"):
                layer.backward(replace(tape, **{name: nothing}), y)
        other = np.float32 if array.dtype.kind == "f" else np.float64
        with pytest.raises(TypeError, match=f"the tape's {name} must have dtype"):
            layer.backward(replace(tape, **{name: array.astype(other)}), y)


@kinds
@pytest.mark.parametrize("lead", [(1,), (5,), (2, 3), [4], 4, (4.0,), (-4,), (2, -2), ("4",)])
def test_a_lead_that_does_not_fit_is_refused(kind, lead, rng):
    layer, y, tape = passed(kind, rng)
    with pytest.raises(ValueError, match="the tape's"):
        layer.backward(replace(tape, lead=lead), y)


@kinds
def test_the_tape_of_another_layer_is_refused(kind, rng):
    layer, y, tape = passed(kind, rng)
    twin, _, _ = passed(kind, rng)
    with pytest.raises(ValueError, match="first logit is not that of these weights, or they"):
        twin.backward(tape, y)
    larger = cases.make(kind, rng, depth=3, width=4)
    with pytest.raises(ValueError, match="the tape's"):
        larger.backward(tape, y)
    for other in set(cases.LAYERS) - {kind}:
        with pytest.raises(TypeError, match=r"tape must be the \w+Tape that forward returned, got \w+Tape"):
            cases.make(other, rng).backward(tape, y)
    with pytest.raises(TypeError, match="got NoneType"):
        layer.backward(None, y)


@kinds
@pytest.mark.parametrize("lead", [(), (0,), (2, 0), (1,), (2, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_right_tapes_pass(kind, lead, dtype, rng):
    layer = cases.make(kind, rng, dtype=np.float64).astype(dtype)
    x = rng.standard_normal((*lead, 5)).astype(dtype)
    y, tape = layer.forward(x, rng=rng) if kind == "MoE" else layer.forward(x)
    layer.backward(tape, y)
    layer.aligned().backward(tape, y)  # a copy with the same weights is the same layer


def test_nodes_and_experts_stay_in_bounds(rng):
    for kind, name in (("PathFFF", "node"), ("MoE", "order")):
        layer, y, tape = passed(kind, rng)
        for wrong in (-1, 10**6):
            index = getattr(tape, name).copy()
            index[2, 1] = wrong
            with pytest.raises(ValueError, match=f"the tape's {name} must lie in 0 to"):
                layer.backward(replace(tape, **{name: index}), y)


def test_noise_is_all_there_or_not_at_all(rng):
    layer, y, tape = passed("MoE", rng)
    with pytest.raises(ValueError, match="all of noise_logit, noise and load, or none"):
        layer.backward(replace(tape, noise=None), y)


def test_rows_of_nan_say_nothing_about_the_origin(rng):
    layer = PathFFF.init(rng, 5, 3, 2)
    x = np.full((2, 5), np.nan, np.float32)
    y, tape = layer.forward(x)
    layer.backward(tape, y)
