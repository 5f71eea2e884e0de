"""LeafFFF, the fast feedforward network of the first paper: a soft tree over small feedforward nets.

Plain NumPy, forward and backward written out. A few GEMMs each: the mixture of leaves is folded into the
leaves' activations, so no array of shape (B, L, O) ever exists.

# B batch, I inputs, O outputs, N = 2^d - 1 nodes, L = 2^d leaves, l leaf width

Reference: P. Belcak and R. Wattenhofer, "Fast Feedforward Networks", arXiv 2308.14711, 2023.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import checks
from . import activations, tapes, tree
from .choices import Choices, goes_right, mix, mix_backward
from .leaf_tape import Chosen, LeafTape
from .record import Layer, uniform


@dataclass(frozen=True, eq=False)
class LeafFFF(Layer):
    """A binary tree of choices whose 2^d leaves are feedforward nets of `leaf_width` neurons.

    Soft (training): a mixture of all leaves, differentiable. Hard (inference): the one leaf reached.

    Parameters
    ----------
    node_weight, node_bias : ndarray (N, n_in), (N,)
        The routing neurons, in level order.
    leaf_in_weight, leaf_in_bias : ndarray (L, l, n_in), (L, l)
    leaf_out_weight, leaf_out_bias : ndarray (L, l, n_out), (L, n_out)
        The leaves, from left to right. A neuron is a row.
    activation : {"relu", "gelu", "tanh", "identity"}

    Raises
    ------
    TypeError, ValueError
        If the arrays differ in dtype or do not fit together. So do the methods, if what they are given does not fit.

    Notes
    -----
    With z_n = (w_n . x + b_n) / temperature and c_n = sigmoid(z_n),

        y = sum_j m_j f_j(x),   m_j = product over the nodes n on the way to leaf j of (c_n or 1 - c_n),

    where c_n belongs to the right child and 1 - c_n to the left, as in the authors' package. Hard inference
    turns right iff c_n >= 1/2, that is z_n >= 0.
    """

    node_weight: np.ndarray
    node_bias: np.ndarray
    leaf_in_weight: np.ndarray
    leaf_in_bias: np.ndarray
    leaf_out_weight: np.ndarray
    leaf_out_bias: np.ndarray
    activation: str = "relu"

    SHAPES: ClassVar[dict[str, str]] = {
        "node_weight": "NI", "node_bias": "N",
        "leaf_in_weight": "LlI", "leaf_in_bias": "Ll",
        "leaf_out_weight": "LlO", "leaf_out_bias": "LO",
    }  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        depth = tree.depth_of(len(self.node_weight))  # refuses what is no complete tree
        if len(self.leaf_in_weight) != 2**depth:
            raise checks.InputError(f"{2**depth - 1} nodes lead to {2**depth} leaves, got {len(self.leaf_in_weight)}")

    @classmethod
    def init(cls, rng, n_in, n_out, depth, leaf_width, activation="relu", dtype=np.float32):
        """Draw a layer: uniform within 1/sqrt(fan in), biases included, as in the authors' package.

        Parameters
        ----------
        rng : numpy.random.Generator
        n_in, n_out, leaf_width : int, at least 1
        depth : int, at least 0
        activation : {"relu", "gelu", "tanh", "identity"}
        dtype : float32 or float64
        """
        checks.generator("rng", rng)
        n_in, n_out, l = (  # noqa: E741
            checks.integer(name, value, 1)
            for name, value in (("n_in", n_in), ("n_out", n_out), ("leaf_width", leaf_width))
        )
        N, L = tree.n_nodes(depth), tree.n_leaves(depth)
        inward, outward = 1 / np.sqrt(n_in), 1 / np.sqrt(l)  # fan in of nodes and neurons, of outputs
        return cls(
            node_weight=uniform(rng, inward, (N, n_in), dtype),
            node_bias=uniform(rng, inward, (N,), dtype),
            leaf_in_weight=uniform(rng, inward, (L, l, n_in), dtype),
            leaf_in_bias=uniform(rng, inward, (L, l), dtype),
            leaf_out_weight=uniform(rng, outward, (L, l, n_out), dtype),
            leaf_out_bias=uniform(rng, outward, (L, n_out), dtype),
            activation=activation,
        )

    @property
    def depth(self):
        """Number of choices on the way to a leaf."""
        return tree.depth_of(len(self.node_weight))

    @property
    def neurons_stored(self):
        """2^d - 1 nodes and 2^d leaves of l neurons."""
        return len(self.node_weight) + self.leaf_in_bias.size  # N + L l

    @property
    def neurons_engaged(self):
        """d nodes and l neurons of one leaf: what hard inference computes for one sample."""
        return self.depth + self.leaf_in_bias.shape[1]

    # ------------------------------------------------------------------ soft: training

    def forward(self, x, choices=None, rng=None):
        """Mix all leaves: FORWARD_T.

        Parameters
        ----------
        x : ndarray (..., n_in)
        choices : Choices, optional
            Temperature, noise and the like; by default `Choices()`, the paper's.
        rng : numpy.random.Generator, needed for noise and transposition

        Returns
        -------
        y : ndarray (..., n_out)
        tape : LeafTape
        """
        x, lead = self.as_rows(x)  # (B, I)
        return self.mix_leaves(x, lead, self.choose(x, choices, rng))

    def mix_leaves(self, x, lead, chosen):
        """Return output and tape, given what `choose` returned: the second half of FORWARD_T."""
        B, L, l = len(x), *self.leaf_in_bias.shape  # noqa: E741
        mixture = chosen.mixture  # (B, L)

        leaf_logit = product(x, self._neurons(self.leaf_in_weight)).reshape(B, L, l)  # (B, I) -> (B, L, l)
        leaf_logit += self.leaf_in_bias  # in place: fresh memory costs more than the sum
        hidden = activations.get(self.activation).function(leaf_logit)  # (B, L, l), all leaves of all samples
        folded = (hidden * mixture[:, :, None]).reshape(B, L * l)  # sum_j m_j (h_j V_j) = (m_j h_j)_j V: one GEMM
        y = folded @ self._neurons(self.leaf_out_weight) + mixture @ self.leaf_out_bias  # (B, Ll) -> (B, O)
        return y.reshape(*lead, self.n_out), LeafTape(x, lead, *chosen, leaf_logit, hidden)

    def choose(self, x, choices, rng):
        """Return what every node decides and how the leaves are mixed: the first half of FORWARD_T, as `Chosen`.

        Parameters
        ----------
        x : ndarray (B, n_in)
        choices, rng
            As in `forward`.
        """
        choices = checks.instance("choices", Choices() if choices is None else choices, Choices, "a Choices record")
        scale = choices.logit_scale((len(x), len(self.node_bias)), self.dtype, rng)  # (B, N) or a number
        logit = scale * (product(x, self.node_weight) + self.node_bias)  # (B, I) -> (B, N)
        logit = choices.disturb(logit, rng)  # after the scale: noise is not cooled with the logits
        choice, other, slope = choices.choose(logit)  # c, 1 - c, dc / d logit: (B, N) each
        right, left = choices.rounded(logit, choice, other)  # the same, unless straight-through
        return Chosen(scale, logit, choice, slope, right, left, mix(right, left))  # mix: (B, N), (B, N) -> (B, L)

    def backward(self, tape, dy, dlogit=None, dchoice=None, dmixture=None, input_gradient=True):
        """Gradients of a loss, given its gradient with respect to the output.

        Parameters
        ----------
        tape : LeafTape
            As `forward` returned it.
        dy : ndarray (..., n_out)
        dlogit, dchoice : ndarray (B, N), optional
        dmixture : ndarray (B, L), optional
            Gradients of further losses with respect to `tape.logit` (node entropy), `tape.choice`
            and `tape.mixture` (leaf balance); they add up.
        input_gradient : bool
            False saves the GEMM behind `dx`, a first layer does not need it.

        Returns
        -------
        grads : LeafFFF
            The gradient of every array: a record of the layer's own class.
        dx : ndarray (..., n_in), or None
        """
        self.check_tape(tape)
        dy = self.gradient_rows(dy, tape.lead)  # (B, O)
        leaves, dmix, dleaf_logit = self.mix_leaves_backward(tape, dy)
        dnode = self.choose_backward(tape, dmix, dlogit, dchoice, dmixture)  # (B, N)
        dx = self.gradient_of_x(tape, dnode, dleaf_logit) if input_gradient else None
        return self.with_nodes(leaves, dnode, tape), dx

    def check_tape(self, tape):
        """Refuse a tape that `forward` of this layer did not return."""
        tapes.check(self, tape, LeafTape)
        tapes.check_origin(tape, self.leaf_in_weight[0, 0], self.leaf_in_bias[0, 0], tape.leaf_logit)

    def with_nodes(self, leaves, dnode, tape):
        """All gradients, a record: those of the leaves' arrays by name, and of the nodes' arrays by way of dnode."""
        # (N, B) @ (B, I)
        return self.with_arrays({"node_weight": dnode.T @ tape.x, "node_bias": dnode.sum(0), **leaves})

    def gradient_of_x(self, tape, dnode, dleaf_logit):
        """By way of the choices, and of the leaves: (B, N), (B, L l) -> (..., n_in)."""
        dx = dnode @ self.node_weight + dleaf_logit @ self._neurons(self.leaf_in_weight)  # (B, I)
        return dx.reshape(*tape.lead, self.n_in)

    def mix_leaves_backward(self, tape, dy):
        """The backward pass of `mix_leaves`: gradients of the leaves' arrays, of the mixture, and of their neurons.

        Parameters
        ----------
        tape : LeafTape
        dy : ndarray (B, n_out)

        Returns
        -------
        arrays : dict of str to ndarray
            By the names of the leaves' fields.
        dmix : ndarray (B, L)
        dleaf_logit : ndarray (B, L l)
        """
        B, L, l = tape.hidden.shape  # noqa: E741
        mixture = tape.mixture[:, :, None]  # (B, L, 1)

        folded = (tape.hidden * mixture).reshape(B, L * l)  # (B, L l); made again rather than kept
        dfolded = product(dy, self._neurons(self.leaf_out_weight)).reshape(B, L, l)  # (B, O) -> (B, L, l)
        # (B, L): dy . f_j, the leaf's own bias included
        dmix = np.einsum("bjl,bjl->bj", dfolded, tape.hidden) + dy @ self.leaf_out_bias.T
        dfolded *= mixture  # in place, from here on the gradient of the leaves' logits
        dfolded *= activations.get(self.activation).derivative(tape.leaf_logit)  # (B, L, l)
        dleaf_logit = dfolded.reshape(B, L * l)  # a leaf with no mass learns nothing
        arrays = {
            "leaf_in_weight": (dleaf_logit.T @ tape.x).reshape(self.leaf_in_weight.shape),  # (L l, B) @ (B, I)
            "leaf_in_bias": dleaf_logit.sum(0).reshape(L, l),
            "leaf_out_weight": (folded.T @ dy).reshape(self.leaf_out_weight.shape),  # (L l, B) @ (B, O)
            "leaf_out_bias": tape.mixture.T @ dy,  # (L, B) @ (B, O)
        }
        return arrays, dmix, dleaf_logit

    @staticmethod
    def choose_backward(tape, dmix, dlogit=None, dchoice=None, dmixture=None):
        """The backward pass of `choose`: gradients of the mixture (B, L) -> of the nodes' products x . w + b (B, N).

        Parameters
        ----------
        tape : LeafTape, or another with the fields of `Chosen`
        dmix : ndarray (B, L)
        dlogit, dchoice, dmixture
            As in `backward`.
        """
        dmix = dmix + tapes.further("dmixture", dmixture, tape.mixture)  # leaf balance
        # (B, L) -> (B, N), with respect to c
        dnode = mix_backward(tape.right, tape.left, tape.mixture, dmix) + tapes.further("dchoice", dchoice, tape.choice)
        # to the logit: the slope of the soft choice, also if rounded
        dnode = dnode * tape.slope + tapes.further("dlogit", dlogit, tape.logit)
        return dnode * tape.scale

    # ------------------------------------------------------------------ hard: inference

    def forward_hard(self, x):
        """Walk to one leaf per sample and compute that leaf alone: FORWARD_I.

        The published package forgets the leaf's output bias here; the paper does not, nor do we.

        Parameters
        ----------
        x : ndarray (..., n_in)
        """
        x, lead = self.as_rows(x)
        leaf = self.route(x)  # (B,)
        y = np.empty((len(x), self.n_out), self.dtype)
        for j in np.unique(leaf):  # a leaf at a time, with its b samples: its weights are read once
            mine = leaf == j
            y[mine] = self.leaf_output(j, x[mine])
        return y.reshape(*lead, self.n_out)

    def leaf_output(self, j, x):
        """What leaf j makes of rows: (b, n_in) -> (b, n_out)."""
        hidden = x @ self.leaf_in_weight[j].T + self.leaf_in_bias[j]  # (b, I) -> (b, l)
        hidden = activations.get(self.activation).function(hidden)
        return hidden @ self.leaf_out_weight[j] + self.leaf_out_bias[j]  # (b, l) -> (b, O)

    def route(self, x):
        """Return the leaf that each sample reaches.

        Parameters
        ----------
        x : ndarray (..., n_in)

        Returns
        -------
        leaf : ndarray of int (...)
            0 to 2^d - 1, from left to right. A logit of NaN turns left.
        """
        x, lead = self.as_rows(x)
        _, _, leaf = tree.descend(x, self.node_weight, self.node_bias, goes_right)
        return leaf.reshape(lead)

    # ------------------------------------------------------------------ helpers

    @staticmethod
    def _neurons(leaf_weight):
        """All leaves' neurons as rows of one matrix, (L, l, I) -> (Ll, I)."""
        return leaf_weight.reshape(-1, leaf_weight.shape[-1])


def product(x, neurons):
    """x W^T: (B, I), (n, I) -> (B, n), with the batch innermost in memory.

    So what follows, elementwise or along the leaves, runs over contiguous samples, which is faster.
    """
    return (neurons @ x.T).T  # (n, I) @ (I, B), seen from the side
