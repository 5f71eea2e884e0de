"""Layers of every kind and option, for the tests that hold for all of them; and hypothesis's ways to draw them."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from fffref import DenseFF, LeafFFF, MoE, PathFFF
from fffref.layers.activations import ACTIVATIONS

KINDS = ("LeafFFF", "PathFFF", "DenseFF")  # those with a compiled form
LAYERS = (*KINDS, "MoE")
GATE = ("gate_weight", "noise_weight")


def make(kind, rng, n_in=5, n_out=3, depth=2, width=3, activation="gelu", dtype=np.float64):
    """Return a layer; `width` is that of a leaf, the number of trees, that of the dense net, or that of an expert."""
    if kind == "LeafFFF":
        return LeafFFF.init(rng, n_in, n_out, depth, width, activation, dtype)
    if kind == "PathFFF":
        return PathFFF.init(rng, n_in, n_out, depth, width, activation, dtype)
    if kind == "MoE":
        return with_gate(MoE.init(rng, n_in, n_out, 2**depth, width, min(2, 2**depth), activation, dtype), rng)
    return DenseFF.init(rng, n_in, n_out, width, activation, dtype)


def with_gate(layer, rng):
    """Return the mixture of experts with a gate that is not 0, so that it prefers some experts."""
    gate = {name: rng.uniform(-1, 1, layer.gate_weight.shape) / np.sqrt(layer.n_in) for name in GATE}
    return replace(layer, **{name: array.astype(layer.dtype) for name, array in gate.items()})


@st.composite
def layers_and_inputs(draw, kind):
    """A layer of random shape and activation, and rows for it; sometimes all on small integers, so that ties occur."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    layer = make(
        kind, rng, n_in=draw(st.integers(1, 6)), n_out=draw(st.integers(1, 5)), depth=draw(st.integers(0, 4)),
        width=draw(st.integers(1, 5)), activation=draw(st.sampled_from(tuple(ACTIVATIONS))),
    )  # fmt: skip
    x = rng.standard_normal((draw(st.integers(0, 6)), layer.n_in))
    if draw(st.booleans()):
        layer = layer.map(lambda array: rng.integers(-1, 2, array.shape).astype(np.float64))
        x = rng.integers(-1, 2, x.shape).astype(np.float64)
    return layer, x
