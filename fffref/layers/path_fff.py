"""PathFFF, the fast feedforward network of the second paper (UltraFastBERT): every neuron routes and speaks.

Plain NumPy, forward and backward written out. There are no leaves: the output is the sum over the neurons on
the path, and only visited neurons receive gradients. The choice is hard in training too.

# B batch, I inputs, O outputs, K trees, D = depth + 1 neurons on a path, M = 2^D - 1 neurons of a tree

Reference: P. Belcak and R. Wattenhofer, "Exponentially Faster Language Modelling", arXiv 2311.10770, 2023.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import checks
from . import activations, tree
from .record import Layer, uniform


@dataclass(frozen=True, eq=False)
class PathTape:
    """What the forward pass keeps for the backward pass.

    Attributes
    ----------
    x : ndarray (B, I)
        The input, leading axes flattened into B.
    lead : tuple of int
        Those leading axes.
    node : ndarray of int (B, K D)
        The neurons visited, counted over all trees: neuron n of tree k is k M + n.
    logit, hidden : ndarray (B, K D)
        Those neurons before and after the activation.
    """

    x: np.ndarray
    lead: tuple
    node: np.ndarray
    logit: np.ndarray
    hidden: np.ndarray


@dataclass(frozen=True, eq=False)
class PathFFF(Layer):
    """`n_trees` binary trees of neurons; an input engages one path from root to bottom in each.

    Parameters
    ----------
    in_weight, in_bias : ndarray (K, M, n_in), (K, M)
        The neurons of each tree, in level order.
    out_weight : ndarray (K, M, n_out)
        What each contributes to the output. There is no output bias.
    activation : {"gelu", "relu", "tanh", "identity"}

    Raises
    ------
    TypeError, ValueError
        If the arrays differ in dtype or do not fit together.

    Notes
    -----
    On the path n_0 = 0, n_{t+1} = 2 n_t + 1 + [z_t > 0], with z_t = w_{n_t} . x + b_{n_t},

        y = sum over trees and t = 0 .. depth of act(z_t) v_{n_t},

    which equals the dense layer (all logits, activated) times the 0/1 mask of the path. Right iff z > 0, as in
    the paper's Algorithm 1: a tie goes left here, and right in the first paper. A depth of 11 means 12 levels,
    4095 neurons.

    References
    ----------
    Belcak and Wattenhofer, "Exponentially Faster Language Modelling", arXiv 2311.10770, Algorithm 1.
    """

    in_weight: np.ndarray
    in_bias: np.ndarray
    out_weight: np.ndarray
    activation: str = "gelu"

    SHAPES: ClassVar[dict[str, str]] = {"in_weight": "KMI", "in_bias": "KM", "out_weight": "KMO"}

    def __post_init__(self):
        super().__post_init__()
        if tree.depth_of(self.in_bias.shape[1]) == 0 or self.in_bias.shape[0] == 0:
            raise ValueError(f"a PathFFF has at least one tree of one neuron, got {self.in_bias.shape}")

    @classmethod
    def init(cls, rng, n_in, n_out, depth, n_trees=1, activation="gelu", dtype=np.float32):
        """Draw a layer: uniform within 1/sqrt(n_in), and 1/sqrt(n_trees (depth + 1)) for the output.

        Parameters
        ----------
        rng : numpy.random.Generator
        n_in, n_out, n_trees : int, at least 1
        depth : int, at least 0
            Number of choices; a path has one neuron more.
        activation : {"gelu", "relu", "tanh", "identity"}
        dtype : float32 or float64

        Returns
        -------
        PathFFF

        Raises
        ------
        TypeError, ValueError
            If a size is no whole number or too small, or the activation or dtype is unknown.
        """
        checks.generator("rng", rng)
        n_in, n_out, K = (
            checks.integer(name, value, 1) for name, value in (("n_in", n_in), ("n_out", n_out), ("n_trees", n_trees))
        )
        D = checks.integer("depth", depth, 0, tree.DEEPEST - 1) + 1
        inward, M = 1 / np.sqrt(n_in), tree.n_nodes(D)
        return cls(
            in_weight=uniform(rng, inward, (K, M, n_in), dtype),
            in_bias=uniform(rng, inward, (K, M), dtype),
            out_weight=uniform(rng, 1 / np.sqrt(K * D), (K, M, n_out), dtype),
            activation=activation,
        )

    @property
    def depth(self):
        """Number of choices on a path; the path has one neuron more."""
        return tree.depth_of(self.in_bias.shape[1]) - 1

    @property
    def n_trees(self):
        """Number of trees."""
        return len(self.in_bias)

    @property
    def neurons_stored(self):
        """n_trees (2^(depth + 1) - 1)."""
        return self.in_bias.size

    @property
    def neurons_engaged(self):
        """n_trees (depth + 1)."""
        return self.n_trees * (self.depth + 1)

    def forward(self, x):
        """Sum over the neurons on each tree's path.

        Parameters
        ----------
        x : ndarray (..., n_in)

        Returns
        -------
        y : ndarray (..., n_out)
        tape : PathTape

        Raises
        ------
        TypeError, ValueError
            If `x` has another dtype or last axis than the layer.
        """
        x, lead = self.as_rows(x)  # (B, I)
        node, logit = self._visit(x)  # (B, I) -> (B, KD), (B, KD)
        hidden = activations.get(self.activation).function(logit)
        y = self._on_path(node, hidden) @ self._neurons(self.out_weight)  # (B, KM) @ (KM, O)
        return y.reshape(*lead, self.n_out), PathTape(x, lead, node, logit, hidden)

    def backward(self, tape, dy, input_gradient=True):
        """Gradients of a loss, given its gradient with respect to the output; zero for neurons not visited.

        Parameters
        ----------
        tape : PathTape
            As `forward` returned it.
        dy : ndarray (..., n_out)
        input_gradient : bool
            False saves the work behind `dx`, a first layer does not need it.

        Returns
        -------
        grads : PathFFF
            The gradient of every array.
        dx : ndarray (..., n_in), or None

        Raises
        ------
        TypeError, ValueError
            If `dy` has another dtype or shape than the output had.
        """
        dy = self.gradient_rows(dy, tape.lead)  # (B, O)
        out_weight = self._neurons(self.out_weight)
        dhidden = np.empty_like(tape.hidden)
        for t, node in enumerate(tape.node.T):
            dhidden[:, t] = np.einsum("bo,bo->b", dy, out_weight[node])
        dlogit = dhidden * activations.get(self.activation).derivative(tape.logit)

        dlogit = self._on_path(tape.node, dlogit)  # (B, KM), sparse
        grads = PathFFF(
            in_weight=(dlogit.T @ tape.x).reshape(self.in_weight.shape),
            in_bias=(dlogit.T @ np.ones(len(dy), self.dtype)).reshape(self.in_bias.shape),
            out_weight=(self._on_path(tape.node, tape.hidden).T @ dy).reshape(self.out_weight.shape),
            activation=self.activation,
        )
        if not input_gradient:
            return grads, None
        return grads, (dlogit @ self._neurons(self.in_weight)).reshape(*tape.lead, self.n_in)

    def forward_hard(self, x):
        """The output of `forward`: this layer is hard from the start.

        Parameters
        ----------
        x : ndarray (..., n_in)

        Returns
        -------
        y : ndarray (..., n_out)
        """
        return self.forward(x)[0]

    def route(self, x):
        """Return the neurons on each sample's path.

        Parameters
        ----------
        x : ndarray (..., n_in)

        Returns
        -------
        node : ndarray of int (..., n_trees, depth + 1)
            Numbers within each tree, in level order, from the root down. A logit of NaN turns left.
        """
        x, lead = self.as_rows(x)
        node = self._visit(x)[0].reshape(*lead, self.n_trees, self.depth + 1)
        return node - self.in_bias.shape[1] * np.arange(self.n_trees)[:, None]

    def _visit(self, x):
        """Descend every tree; nodes are counted over all trees: (B, I) -> (B, KD), (B, KD)."""
        K, M = self.in_bias.shape
        visits = [tree.descend(x, self.in_weight[k], self.in_bias[k], goes_right) for k in range(K)]
        nodes = [k * M + nodes for k, (nodes, _, _) in enumerate(visits)]
        return np.concatenate(nodes, axis=1), np.concatenate([logits for _, logits, _ in visits], axis=1)

    def _on_path(self, node, value):
        """The sparse matrix (B, KM) with `value` at the visited neurons: a masked dense layer, zeros unstored."""
        from scipy.sparse import csr_array  # imported where needed: `import fffref` stays quick

        B, visited = node.shape
        starts = np.arange(B + 1) * visited
        return csr_array((value.ravel(), node.ravel(), starts), shape=(B, self.neurons_stored))

    @staticmethod
    def _neurons(weight):
        """All trees' neurons as rows of one matrix, (K, M, I) -> (KM, I)."""
        return weight.reshape(-1, weight.shape[-1])


def goes_right(logit):
    """Logit > 0: Algorithm 1 of the second paper. A tie goes left, and so does NaN."""
    return logit.real > 0
