"""`TopLeaves` in training, compiled: of each sample, the k leaves that are mixed are computed, and no others.

# B batch, L leaves, k leaves a sample
"""

from dataclasses import dataclass, replace

import numpy as np

from .. import checks
from ..layers import tapes
from ..layers.top_leaves import TopLeaves, top, top_backward
from .base import plain
from .leaf import FastLeaf, ReachedTape


@dataclass(frozen=True, eq=False)
class TopReachedTape:
    """What the forward pass keeps: as `TopTape`, but of the leaves that are mixed alone.

    Attributes
    ----------
    inner : ReachedTape
        Its mixture is the gates.
    mass : ndarray (B, L)
        Of all leaves, before the k were chosen.
    """

    inner: ReachedTape
    mass: np.ndarray

    @property
    def gates(self):
        """How the leaves are mixed, (B, L)."""
        return self.inner.mixture


class FastTop:
    """Compiled passes of a `TopLeaves` for training; the layer's own `forward_hard` is its inference."""

    def __init__(self, layer):
        self.layer = checks.instance("layer", layer, TopLeaves, "a TopLeaves")
        self.fast = FastLeaf(layer.layer)

    def forward(self, x):
        """As `TopLeaves.forward`: y (..., n_out), and a `TopReachedTape`."""
        leaves = self.layer.layer
        x, lead = leaves.as_rows(x)
        chosen = leaves.choose(x, None, None)
        gates = top(chosen.mixture, self.layer.k)
        reached = np.nonzero(gates)  # by samples; NaN counts
        y, inner = self.fast.mix_reached(x, lead, chosen._replace(mixture=gates), *reached)
        return y, TopReachedTape(inner, chosen.mixture)

    def backward(self, tape, dy, dgates=None, input_gradient=True):
        """As `TopLeaves.backward`; gradients of the leaves' neurons are `Rows` of those reached."""
        checks.instance("tape", tape, TopReachedTape, "the TopReachedTape that forward returned")
        inner, leaves = tape.inner, self.layer.layer
        self.fast.check_reached(inner)
        mass = checks.array("the tape's mass", tape.mass, inner.mixture.shape, leaves.dtype)
        dy = plain(leaves.gradient_rows(dy, inner.lead))
        arrays, dgate, dleaf_logit = self.fast.mix_reached_backward(inner, dy)
        dgate = dgate + tapes.further("dgates", dgates, inner.mixture)
        dnode = leaves.choose_backward(replace(inner, mixture=mass), top_backward(mass, inner.mixture, dgate))
        nodes = {"node_weight": dnode.T @ plain(inner.x), "node_bias": dnode.sum(0)}
        grads = TopLeaves(leaves.with_arrays(nodes | arrays), self.layer.k)
        return grads, self.fast.reached_input_gradient(inner, dnode, dleaf_logit) if input_gradient else None

    def forward_hard(self, x):
        """As the layer's."""
        return self.layer.forward_hard(x)
