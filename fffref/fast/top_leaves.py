"""`TopLeaves`, compiled: of each sample, the k leaves that are mixed are computed, and no others.

In training all nodes are, as all of them may have a gradient; in inference those that a search needs.

# B batch, I inputs, N nodes, L leaves, k leaves a sample
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from .. import checks
from ..layers import tapes
from ..layers.leaf_tape import Chosen
from ..layers.top_leaves import TopLeaves, top, top_backward
from . import kernels, registers
from .base import plain
from .leaf import FastLeaf, ReachedTape

KERNELS = "2ee7e1755ebd"  # digest of registers.py, instructions.py and kernels.py, see there


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


def search_rows(weight, bias, x, leaf, mass, computed):
    """Follow the largest mass first, to k leaves of each row, the heaviest first: `algorithms.SEARCH`.

    weight (N, I), bias (N,), x (B, I) -> leaf, mass (B, k), computed (B,)
    """
    N, k = len(bias), leaf.shape[1]
    place, weighs = np.empty(N + 2, np.intp), np.empty(N + 2, x.dtype)  # the frontier
    for i in range(len(x)):
        place[0], weighs[0], n, found = 0, 1, 1, 0  # all of the mass is at the root
        computed[i] = 0
        while found < k:
            best = 0
            for j in range(1, n):
                if weighs[j] > weighs[best] or (weighs[j] == weighs[best] and place[j] < place[best]):
                    best = j
            node, m = place[best], weighs[best]
            n -= 1
            place[best], weighs[best] = place[n], weighs[n]
            if node >= N:  # a leaf, and nothing on the frontier is heavier
                leaf[i, found], mass[i, found] = node - N, m
                found += 1
                continue
            z = registers.dot(x[i], weight[node]) + bias[node]
            place[n], weighs[n] = 2 * node + 1, m / (1 + math.exp(z))  # left: sigmoid(-z)
            place[n + 1], weighs[n + 1] = 2 * node + 2, m / (1 + math.exp(-z))
            n += 2
            computed[i] += 1


search_rows_jit = kernels.compiled(search_rows, fastmath=False)


class FastTop:
    """Compiled passes of a `TopLeaves`."""

    def __init__(self, layer):
        self.layer = checks.instance("layer", layer, TopLeaves, "a TopLeaves")
        self.fast = FastLeaf(layer.layer)

    def __call__(self, x):
        """The layer's output, from the leaves that a search finds: (..., n_in) -> (..., n_out)."""
        leaves = self.layer.layer
        leaf, mass, _ = self.search(x)
        x, lead = leaves.as_rows(x)
        gates = np.zeros((len(x), len(leaves.leaf_out_bias)), leaves.dtype)  # (B, L)
        np.put_along_axis(gates, leaf.reshape(len(x), -1), (mass / mass.sum(-1, keepdims=True)).reshape(len(x), -1), 1)
        chosen = Chosen(*[None] * 6, gates)
        return self.fast.mix_reached(x, lead, chosen, *np.nonzero(gates))[0]

    def search(self, x):
        """Return the k leaves that are mixed, the heaviest first, their masses, and how many nodes were computed.

        Parameters
        ----------
        x : ndarray (..., n_in)

        Returns
        -------
        leaf, mass : ndarray (..., k)
        computed : ndarray of int (...)
        """
        leaves, k = self.layer.layer, self.layer.k
        x, lead = leaves.as_rows(x)
        leaf, mass = np.empty((len(x), k), np.intp), np.empty((len(x), k), leaves.dtype)
        computed = np.empty(len(x), np.intp)
        search_rows_jit(plain(leaves.node_weight), plain(leaves.node_bias), plain(x), leaf, mass, computed)
        return leaf.reshape(*lead, k), mass.reshape(*lead, k), computed.reshape(lead)

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
        grads = TopLeaves(leaves.with_nodes(arrays, dnode, inner), self.layer.k)
        return grads, self.fast.gradient_of_x(inner, dnode, dleaf_logit) if input_gradient else None
