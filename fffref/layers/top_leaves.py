"""A tree of leaves that mixes, for each sample, the k leaves of the largest mass, and computes no others.

With k = 2^d it is the soft mixture of `LeafFFF`. With fewer, it is conditional in training as in use: a sample
computes, and trains, k leaves, and still choices have gradients, for they weigh one of the k leaves against another
(with k = 1, they have none). Nothing has to be hardened. To the gate of `MoE` this is what a tree of decisions is to a
list of scores: a leaf's mass is at most that of the nodes above it, so that a search that follows the largest mass
first finds the k leaves from a few of the nodes.

# B batch, I inputs, N = 2^d - 1 nodes, L = 2^d leaves, l leaf width
"""

from dataclasses import dataclass, replace

import numpy as np

from .. import checks
from . import tapes
from .leaf_fff import LeafFFF
from .leaf_tape import LeafTape
from .record import Record


@dataclass(frozen=True, eq=False)
class TopTape:
    """What the forward pass keeps.

    Attributes
    ----------
    inner : LeafTape
        Of all nodes and leaves, as the soft pass of the tree keeps it.
    gates : ndarray (B, L)
        How the leaves are mixed: 0 but for k of them, every row sums to 1.
    """

    inner: LeafTape
    gates: np.ndarray


@dataclass(frozen=True, eq=False)
class TopLeaves(Record):
    """A `LeafFFF` that mixes the k leaves of the largest mass.

    Parameters
    ----------
    layer : LeafFFF
    k : int from 1 to the number of leaves

    Raises
    ------
    TypeError, ValueError
        If `layer` is no `LeafFFF`, or k is out of its range. So do the methods, if what they are given does not fit.

    Notes
    -----
    With m_j the mass of leaf j, the product of the choices on the way to it as in `LeafFFF`, and K the k leaves whose
    masses are largest (of equals, those on the left),

        y = sum_{j in K} g_j f_j(x),   g_j = m_j / sum_{i in K} m_i

        dm_j = (dg_j - sum_i g_i dg_i) / sum_{i in K} m_i,   dg_j = dy . f_j(x)

    and from the masses to the choices as in `LeafFFF`. Which leaves are in K has no gradient.

    References
    ----------
    M. I. Jordan and R. A. Jacobs, "Hierarchical mixtures of experts and the EM algorithm", Neural Computation 6, 1994,
    for the masses; Shazeer et al., arXiv 1701.06538, equations 3 and 5, for the k that share all of the weight.
    """

    layer: LeafFFF
    k: int = 2

    def __post_init__(self):
        checks.instance("layer", self.layer, LeafFFF, "a LeafFFF")
        checks.integer("k", self.k, 1, most=2**self.layer.depth)
        super().__post_init__()

    @classmethod
    def init(cls, rng, n_in, n_out, depth, leaf_width, k=2, activation="relu", dtype=np.float32):
        """Draw a layer: parameters as of `LeafFFF.init`, and k."""
        return cls(LeafFFF.init(rng, n_in, n_out, depth, leaf_width, activation, dtype), k)

    def forward(self, x):
        """Mix k leaves. All are computed here, which is simple; `forward_hard` computes those that are mixed.

        Parameters
        ----------
        x : ndarray (..., n_in)

        Returns
        -------
        y : ndarray (..., n_out)
        tape : TopTape
        """
        x, lead = self.layer.as_rows(x)  # (B, I)
        chosen = self.layer.choose(x, None, None)
        gates = top(chosen.mixture, self.k)
        y, inner = self.layer.mix_leaves(x, lead, chosen._replace(mixture=gates))
        return y, TopTape(replace(inner, mixture=chosen.mixture), gates)

    def backward(self, tape, dy, dgates=None, input_gradient=True):
        """Gradients of a loss, a `TopLeaves`, and dx, as `LeafFFF.backward` gives them.

        Parameters
        ----------
        tape : TopTape
        dy : ndarray (..., n_out)
        dgates : ndarray (B, L), optional
            Gradient of a further loss with respect to `tape.gates`; see `losses.expert_balance`.
        input_gradient : bool
        """
        inner, layer = self._checked(tape), self.layer
        dy = layer.gradient_rows(dy, inner.lead)  # (B, O)
        leaves, dgate, dleaf_logit = layer.mix_leaves_backward(replace(inner, mixture=tape.gates), dy)
        dgate = dgate + tapes.further("dgates", dgates, tape.gates)
        dnode = layer.choose_backward(inner, top_backward(inner.mixture, tape.gates, dgate))  # (B, N)
        dx = layer.gradient_of_x(inner, dnode, dleaf_logit) if input_gradient else None
        return TopLeaves(layer.with_nodes(leaves, dnode, inner), self.k), dx

    def forward_hard(self, x):
        """The output of `forward`, from the k leaves alone.

        Parameters
        ----------
        x : ndarray (..., n_in)
        """
        layer = self.layer
        x, lead = layer.as_rows(x)
        gates = top(layer.choose(x, None, None).mixture, self.k)  # (B, L)
        y = np.zeros((len(x), layer.n_out), layer.dtype)
        for j in np.flatnonzero(gates.any(0)):  # a leaf at a time, with the b samples that it is mixed for
            mine = gates[:, j] != 0
            y[mine] += gates[mine, j, None] * layer.leaf_output(j, x[mine])  # (b, O)
        return y.reshape(*lead, layer.n_out)

    def route(self, x):
        """Return the k leaves that are mixed, the heaviest first: (..., n_in) -> (..., k)."""
        x, lead = self.layer.as_rows(x)
        return largest(self.layer.choose(x, None, None).mixture, self.k).reshape(*lead, self.k)

    def nodes_needed(self, x):
        """How many nodes a search that follows the largest mass first has to compute: (..., n_in) -> (...).

        Those whose own mass is larger than that of the k-th leaf; no other node can lead to a leaf that is mixed.
        """
        x, lead = self.layer.as_rows(x)
        mass = self.layer.choose(x, None, None).mixture  # (B, L)
        least = np.take_along_axis(mass, largest(mass, self.k), 1)[:, -1:]  # (B, 1)
        needed = np.zeros(len(x), np.intp)
        while mass.shape[1] > 1:
            mass = mass[:, 0::2] + mass[:, 1::2]  # of the level above
            needed += (mass > least).sum(1)
        return needed.reshape(lead)

    @property
    def neurons_stored(self):
        """Of the layer."""
        return self.layer.neurons_stored

    @property
    def neurons_engaged(self):
        """All nodes, which are computed here, and k leaves of l neurons; a search needs fewer: `nodes_needed`."""
        return len(self.layer.node_bias) + self.k * self.layer.leaf_in_bias.shape[1]

    def _checked(self, tape):
        """The inner tape; refuses what `forward` of this layer did not return."""
        checks.instance("tape", tape, TopTape, "the TopTape that forward returned")
        self.layer.check_tape(tape.inner)
        checks.array("the tape's gates", tape.gates, tape.inner.mixture.shape, self.dtype)
        return tape.inner


def largest(mass, k):
    """Columns of the k largest of each row, the first of equals first; NaN last: (B, L) -> (B, k)."""
    return np.argsort(-mass.real, axis=1, kind="stable")[:, :k]


def top(mass, k):
    """The k largest masses of each row divided by their sum, 0 elsewhere: (B, L) -> (B, L)."""
    chosen = largest(mass, k)  # (B, k)
    kept = np.take_along_axis(mass, chosen, 1)
    gates = np.zeros_like(mass)
    # the heaviest of L leaves has 1 / L at least
    np.put_along_axis(gates, chosen, kept / kept.sum(1, keepdims=True), 1)
    return gates


def top_backward(mass, gates, dgates):
    """Gradient of `top` with respect to the masses: three of (B, L) -> (B, L)."""
    kept = gates != 0
    inner = (gates * dgates).sum(1, keepdims=True)  # (B, 1)
    return np.where(kept, (dgates - inner) / np.where(kept, mass, 0).sum(1, keepdims=True), 0)
