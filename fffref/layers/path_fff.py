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
from . import activations, tapes, tree
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

    SHAPES: ClassVar[dict[str, str]] = {"x": "BI", "node": "BV:int", "logit": "BV", "hidden": "BV"}  # V = K D visits


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
        If the arrays differ in dtype or do not fit together. So do the methods, if what they are given does not fit.

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
            raise checks.InputError(f"a PathFFF has at least one tree of one neuron, got {self.in_bias.shape}")

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
        """
        checks.generator("rng", rng)
        n_in, n_out, K = (
            checks.integer(name, value, 1) for name, value in (("n_in", n_in), ("n_out", n_out), ("n_trees", n_trees))
        )
        D = checks.integer("depth", depth, 0, tree.DEEPEST - 1) + 1
        inward, M = 1 / np.sqrt(n_in), tree.n_nodes(D)  # D levels of neurons: M = 2^D - 1
        return cls(
            in_weight=uniform(rng, inward, (K, M, n_in), dtype),
            in_bias=uniform(rng, inward, (K, M), dtype),
            # fan in of an output: what is engaged, not what is stored
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
        """
        x, lead = self.as_rows(x)  # (B, I)
        node, logit = self._visit(x)  # (B, I) -> (B, KD), (B, KD)
        hidden = activations.get(self.activation).function(logit)
        y = self._on_path(node, hidden) @ self._neurons(self.out_weight)  # (B, KM) @ (KM, O)
        return y.reshape(*lead, self.n_out), PathTape(x, lead, node, logit, hidden)

    def backward(self, tape, dy, input_gradient=True, route_gradient=None):
        """Gradients of a loss, as `LeafFFF.backward` gives them; zero for neurons not visited.

        Parameters
        ----------
        tape, dy, input_gradient
            As there; the tape is a `PathTape`.
        route_gradient : {None, "straight-through"}
            What a logit is to blame for beside its own neuron: nothing, or where it sends the sample.

        Notes
        -----
        A decision is a step, whose derivative is 0. Straight-through, the decision at node n_t of the path counts as
        the sigmoid of its logit: with R_t and L_t what the subtrees under its right and left child give for this
        sample, each by its own hard path,

            d y / d z_t += sigmoid'(z_t) (R_t - L_t).

        So it is the exact gradient, at the point itself, of the surrogate

            y + sum over trees and t < depth of (sigmoid(z_t) - s_t) (R_t - L_t),

        in which s_t, the value of sigmoid(z_t), and R_t and L_t are constants; neurons that are not visited have none.
        One of the two subtrees was visited, the other is now: depth (depth + 1) / 2 visits more for each tree.
        """
        checks.one_of("route_gradient", route_gradient, (None, "straight-through"))
        self.check_tape(tape)
        dy = self.gradient_rows(dy, tape.lead)  # (B, O)
        out_weight = self._neurons(self.out_weight)  # (K, M, O) -> (KM, O)
        dhidden = np.empty_like(tape.hidden)  # (B, KD)
        for t, node in enumerate(tape.node.T):  # a visit of every sample at a time: (B, O), (B, O) -> (B,)
            dhidden[:, t] = np.einsum("bo,bo->b", dy, out_weight[node])
        dlogit = dhidden * activations.get(self.activation).derivative(tape.logit)  # (B, KD)
        if route_gradient is not None:
            # sigmoid'(z) = sigmoid(z) sigmoid(-z)
            slope = activations.sigmoid(tape.logit) * activations.mirrored_sigmoid(tape.logit)
            dlogit = dlogit + slope * self._right_less_left(tape, dy, dhidden)

        dlogit = self._on_path(tape.node, dlogit)  # (B, KD) -> (B, KM), sparse
        grads = PathFFF(
            in_weight=(dlogit.T @ tape.x).reshape(self.in_weight.shape),  # (KM, B) @ (B, I)
            # sums over the batch, of a sparse matrix
            in_bias=(dlogit.T @ np.ones(len(dy), self.dtype)).reshape(self.in_bias.shape),
            # (KM, B) @ (B, O)
            out_weight=(self._on_path(tape.node, tape.hidden).T @ dy).reshape(self.out_weight.shape),
            activation=self.activation,
        )
        if not input_gradient:
            return grads, None
        return grads, (dlogit @ self._neurons(self.in_weight)).reshape(*tape.lead, self.n_in)  # (B, KM) @ (KM, I)

    def forward_hard(self, x):
        """The output of `forward`: this layer is hard from the start.

        Parameters
        ----------
        x : ndarray (..., n_in)
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
        node = self._visit(x)[0].reshape(*lead, self.n_trees, self.depth + 1)  # (B, KD) -> (..., K, D)
        return node - self.in_bias.shape[1] * np.arange(self.n_trees)[:, None]

    def _right_less_left(self, tape, dy, dhidden):
        """dy . (R_t - L_t) for every visit, 0 at the bottom: (B, KD)."""
        K, D = self.n_trees, self.depth + 1
        shape = len(tape.x), K, D
        gains = (tape.hidden * dhidden).reshape(shape)  # what each visited neuron contributes to dy . y
        went_right = goes_right(tape.logit).reshape(shape)  # (B, K, D)
        # (B, K, D), summed from the bottom up
        below = gains[..., ::-1].cumsum(-1)[..., ::-1] - gains  # of the subtree taken: the rest of the path
        other = np.zeros_like(gains)
        for k in range(K):  # trees do not see each other
            node = tape.node.reshape(shape)[:, k] - k * self.in_bias.shape[1]  # (B, D), counted in the tree
            for t in range(D - 1):  # the last level decides nothing
                sibling = 2 * node[:, t] + 2 - went_right[:, k, t]  # the child not taken
                other[:, k, t] = self._gain_below(tape.x, dy, k, sibling, D - 1 - t)
        return np.where(went_right, below - other, other - below).reshape(len(tape.x), K * D)

    def _gain_below(self, x, dy, k, node, levels):
        """dy . output of the subtree under a node of tree k, a node a sample: (B,)."""
        # the same walk as `tree.descend`, begun under the root, with what each neuron gives
        gain = np.zeros(len(x), x.dtype)
        for _ in range(levels):
            logit = np.einsum("bi,bi->b", x, self.in_weight[k, node]) + self.in_bias[k, node]
            hidden = activations.get(self.activation).function(logit)
            gain += hidden * np.einsum("bo,bo->b", dy, self.out_weight[k, node])
            node = 2 * node + 1 + goes_right(logit)
        return gain

    def check_tape(self, tape):
        """Refuse what `forward`, the layer's own or the compiled one, did not return for this layer."""
        tapes.check(self, tape, PathTape, V=self.neurons_engaged)
        tapes.check_range("node", tape.node, self.neurons_stored)
        tapes.check_origin(tape, self.in_weight[0, 0], self.in_bias[0, 0], tape.logit)

    def _visit(self, x):
        """Descend every tree; nodes are counted over all trees: (B, I) -> (B, KD), (B, KD)."""
        K, M = self.in_bias.shape
        visits = [tree.descend(x, self.in_weight[k], self.in_bias[k], goes_right) for k in range(K)]  # (B, D) each
        nodes = [k * M + nodes for k, (nodes, _, _) in enumerate(visits)]  # rows of the (KM, .) matrices
        return np.concatenate(nodes, axis=1), np.concatenate([logits for _, logits, _ in visits], axis=1)

    def _on_path(self, node, value):
        """The sparse matrix (B, KM) with `value` at the visited neurons: a masked dense layer, zeros unstored."""
        from scipy.sparse import csr_array  # imported where needed: `import fffref` stays quick

        B, visited = node.shape
        starts = np.arange(B + 1) * visited  # every row of the matrix has as many entries: KD
        # columns ascend: down a path, tree after tree
        return csr_array((value.ravel(), node.ravel(), starts), shape=(B, self.neurons_stored))

    @staticmethod
    def _neurons(weight):
        """All trees' neurons as rows of one matrix, (K, M, I) -> (KM, I)."""
        return weight.reshape(-1, weight.shape[-1])


def goes_right(logit):
    """Logit > 0: Algorithm 1 of the second paper. A tie goes left, and so does NaN."""
    return logit.real > 0
