"""`LeafFFF`, compiled: hard inference, route first, then one leaf; and soft training that leaves out what has no mass.

# B batch, I inputs, O outputs, N nodes, L leaves, l leaf width, P pairs of a sample and a leaf that it reaches
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import checks
from ..layers import activations, tapes
from ..layers.leaf_fff import LeafFFF
from ..layers.leaf_tape import LeafTape, NodeTape
from . import kernels
from .base import CompiledLayer, jit, plain
from .visits import Visits, sums_by_sample


@dataclass(frozen=True, eq=False)
class ReachedTape(NodeTape):
    """A `NodeTape`, and the pairs of a sample and a leaf that it reaches.

    Attributes
    ----------
    sample, leaf : ndarray of int (P,)
        Which sample reaches which leaf, by samples.
    leaf_logit, hidden : ndarray (P, l)
        The neurons of these leaves, before and after the activation.
    """

    sample: np.ndarray
    leaf: np.ndarray
    leaf_logit: np.ndarray
    hidden: np.ndarray

    SHAPES: ClassVar[dict[str, str]] = NodeTape.SHAPES | {
        "sample": "P:int", "leaf": "P:int", "leaf_logit": "Pl", "hidden": "Pl",
    }  # fmt: skip


WIDE, ROWS_A_LEAF = 64, 40  # neurons of a leaf, and rows for each: from there on, BLAS is quicker than our kernel
MANY = 1 / 10  # of all pairs of a sample and a leaf: from there on, matrix products of all leaves are quicker


@jit.register(LeafFFF)
class FastLeaf(CompiledLayer):
    """Compiled `LeafFFF`: hard inference, and the soft passes of training where most leaves have no mass."""

    single_kernel = staticmethod(kernels.leaf_one_jit)

    def kernel_weights(self):
        """The layer's arrays as they are."""
        return kernels.LeafWeights(*self.arrays.values(), kernels.KINDS[activations.named(self.layer.activation)])

    def route(self, x):
        """Return the leaf that each sample reaches, as the layer's `route`: `(...)`."""
        x, lead = self.rows(x)
        leaf = np.empty(len(x), np.intp)
        trees = kernels.Trees(self.weights.node_weight, self.weights.node_bias, 1, True)
        self.share_out(lambda first, last: kernels.leaf_routes_jit(trees, x[first:last], leaf[first:last]), len(x))
        return leaf.reshape(lead)

    def forward_rows(self, x, y):
        """Fill the rows of `y`."""
        L, l = self.layer.leaf_in_bias.shape  # noqa: E741
        if l >= WIDE and len(x) >= ROWS_A_LEAF * L:
            self._leaf_by_leaf(x, y)
            return
        leaf = np.empty(len(x), np.intp)

        def work(first, last):
            kernels.leaf_rows_jit(self.weights, x[first:last], leaf[first:last], y[first:last])

        self.share_out(work, len(x))

    def _leaf_by_leaf(self, x, y):
        """As `forward_rows`, a leaf's rows at a time by BLAS, which reads wide leaves once for many rows."""
        weights, leaf = self.weights, self.route(x)
        L = len(weights.out_bias)
        start, order = np.empty(L + 1, np.intp), np.empty(len(x), np.intp)
        kernels.sort_by_key_jit(leaf, start, order)
        for j in range(L):
            rows = order[start[j] : start[j + 1]]  # (b,)
            hidden = x[rows] @ weights.in_weight[j].T  # (b, I) -> (b, l)
            kernels.activate_rows_jit(weights.in_bias[j], weights.kind, hidden)
            y[rows] = hidden @ weights.out_weight[j] + weights.out_bias[j]  # (b, l) -> (b, O)

    # ------------------------------------------------------------------ soft: training

    def forward(self, x, choices=None, rng=None):
        """As `LeafFFF.forward`; with smooth steps, leaves whose mass is exactly 0 are not computed.

        Such a leaf adds nothing to the output, and gets no gradient. Nor does a choice that shut it out: where a smooth
        step is 0 or 1, it is flat. With sigmoids, whose mass is nowhere 0, or with rounded choices, which are not flat,
        this is the layer's own pass.

        Returns
        -------
        y : ndarray (..., n_out)
        tape : ReachedTape or LeafTape
        """
        if choices is None or not choices.smooth_step or choices.straight_through:
            return self.layer.forward(x, choices, rng)
        x, lead = self.layer.as_rows(x)
        chosen = self.layer.choose(x, choices, rng)
        sample, leaf = np.nonzero(chosen.mixture)  # (P,), (P,), by samples; NaN counts
        if len(sample) > MANY * chosen.mixture.size:
            return self.layer.mix_leaves(x, lead, chosen)
        return self.mix_reached(x, lead, chosen, sample, leaf)

    def mix_reached(self, x, lead, chosen, sample, leaf):
        """As `LeafFFF.mix_leaves`, of the leaves that have mass: `sample` and `leaf` (P,) name them, by samples."""
        neuron = self._neurons(leaf)  # (P, l)
        leaf_logit = self._dots(x, sample, self.weights.in_weight, neuron)
        leaf_logit += self.layer.leaf_in_bias[leaf]
        hidden = activations.get(self.layer.activation).function(leaf_logit)
        folded = hidden * chosen.mixture[sample, leaf][:, None]  # (P, l)
        y = self._sums_by_sample(folded, neuron, sample, self.weights.out_weight, len(x))
        y += chosen.mixture @ self.layer.leaf_out_bias  # (B, L) -> (B, O)
        return y.reshape(*lead, self.n_out), ReachedTape(x, lead, *chosen, sample, leaf, leaf_logit, hidden)

    def backward(self, tape, dy, dlogit=None, dchoice=None, dmixture=None, input_gradient=True):
        """As `LeafFFF.backward`; of a `ReachedTape`, gradients of the leaves' neurons are `Rows` of those reached."""
        if type(tape) is LeafTape:
            return self.layer.backward(tape, dy, dlogit, dchoice, dmixture, input_gradient)
        self.check_reached(tape)
        layer = self.layer
        dy = plain(layer.gradient_rows(dy, tape.lead))  # (B, O)
        leaves, dmix, dleaf_logit = self.mix_reached_backward(tape, dy)
        dnode = layer.choose_backward(tape, dmix, dlogit, dchoice, dmixture)  # (B, N)
        dx = self.gradient_of_x(tape, dnode, dleaf_logit) if input_gradient else None
        return layer.with_nodes(leaves, dnode, tape), dx

    def mix_reached_backward(self, tape, dy):
        """As `LeafFFF.mix_leaves_backward`, of `mix_reached`: arrays' gradients are `Rows`, the neurons' are (P, l)."""
        sample, leaf, mass = tape.sample, tape.leaf, tape.mixture[tape.sample, tape.leaf][:, None]
        neuron, x = self._neurons(leaf), plain(tape.x)
        dfolded = self._dots(dy, sample, self.weights.out_weight, neuron)  # (P, l)
        dmix = np.zeros_like(tape.mixture)
        dmix[sample, leaf] = np.einsum("pl,pl->p", dfolded, tape.hidden)
        dmix += dy @ self.layer.leaf_out_bias.T
        dleaf_logit = dfolded * mass * activations.get(self.layer.activation).derivative(tape.leaf_logit)
        leaves = self._leaf_gradients(x, dy, sample, neuron, dleaf_logit, tape.hidden * mass)
        return leaves | {"leaf_out_bias": tape.mixture.T @ dy}, dmix, dleaf_logit

    def gradient_of_x(self, tape, dnode, dleaf_logit):
        """By way of the leaves, and of the choices: (B, N), (P, l) -> (..., n_in)."""
        in_weight = self.weights.in_weight
        dx = self._sums_by_sample(dleaf_logit, self._neurons(tape.leaf), tape.sample, in_weight, len(tape.x))
        dx += dnode @ self.layer.node_weight
        return dx.reshape(*tape.lead, self.n_in)

    def check_reached(self, tape):
        """Refuse a tape that does not fit: kernels trust indices."""
        pairs = getattr(tape, "leaf", ())
        tapes.check(self.layer, tape, ReachedTape, P=len(pairs))
        L = len(self.layer.leaf_out_bias)
        tapes.check_range("leaf", tape.leaf, L)
        tapes.check_range("sample", tape.sample, len(tape.x))
        if (np.diff(tape.sample * L + tape.leaf) <= 0).any():
            raise checks.InputError(f"the tape's pairs must ascend, each once; {tapes.ADVICE}")

    def _neurons(self, leaf):
        """The numbers of the leaves' neurons, counted over all leaves: (P,) -> (P, l)."""
        l = self.layer.leaf_in_bias.shape[1]  # noqa: E741
        return leaf[:, None] * l + np.arange(l)

    def _dots(self, x, sample, weight, neuron):
        """Products of samples with the neurons of their pairs: (P, l)."""
        weight, products = weight.reshape(-1, weight.shape[-1]), np.empty(neuron.shape, self.dtype)  # (Ll, I)
        x = plain(x)

        def work(first, last):
            part = slice(first, last)
            kernels.pair_dots_jit(x, sample[part], weight, neuron[part], products[part])

        self.share_out(work, len(sample))
        return products

    def _sums_by_sample(self, value, neuron, sample, weight, B):
        """Sums of the neurons' rows over each sample's pairs: value, neuron (P, l) -> (B, n)."""
        start = np.searchsorted(sample, np.arange(B + 1)) * neuron.shape[1]  # of each sample's first visit
        rows = weight.reshape(-1, weight.shape[-1])  # (L, l, n) -> (Ll, n)
        return sums_by_sample(self.share_out, value.reshape(-1), neuron.reshape(-1), rows, start)

    def _leaf_gradients(self, x, dy, sample, neuron, dleaf_logit, folded):
        """Gradients of the leaves' neurons, as `Rows`, by the names of their arrays."""
        arrays, width = self.layer.arrays(), neuron.shape[1]
        visits = Visits.of(neuron.reshape(-1), lambda visit: sample[visit // width], self.layer.leaf_in_bias.size)
        dlogit = dleaf_logit.reshape(-1)
        in_weight, out_weight = visits.sums(self.share_out, [(dlogit, x), (folded.reshape(-1), dy)])
        values = {"leaf_in_weight": in_weight, "leaf_in_bias": visits.numbers(dlogit), "leaf_out_weight": out_weight}
        return {name: visits.rows(value, arrays[name].shape) for name, value in values.items()}
