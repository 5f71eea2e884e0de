"""A trained dense FF layer carved into a tree: which of its neurons does an input need? In closed form, no gradients.

A tree is grown over the layer's inputs; each leaf copies the neurons that matter most for its own inputs, so that
leaves may share neurons; then nodes and leaves are refitted in turn. Errors are relative, row by row, because the first
token of a text has outputs some 30 times larger than the rest, and a fit that is not weighted sees nothing else.

# n rows of inputs, I inputs, O outputs, w neurons of the dense layer, L = 2^d leaves, l leaf width
"""

from dataclasses import dataclass, replace

import numpy as np

from .. import checks
from ..layers import activations, tree
from ..layers.dense_ff import DenseFF
from ..layers.leaf_fff import LeafFFF
from ..layers.record import aligned

ROWS_AT_ONCE = 4096
SMALLEST = 1e-6  # of |y|, relative to its mean: a row of zeros has no relative error


@dataclass(frozen=True)
class Carving:
    """How a layer is carved.

    Parameters
    ----------
    depth : int, at least 0
    leaf_width : int, at least 1
        Neurons a leaf copies; at most the layer's width.
    rounds : int, at least 0
        How often nodes and leaves are refitted in turn.
    ridge : float, above 0
        Penalty of each fit, relative to the mean square of what it is fitted on. Output weights are drawn towards the
        dense layer's own, nodes towards 0.
    """

    depth: int
    leaf_width: int
    rounds: int = 2
    ridge: float = 0.03

    def __post_init__(self):
        checks.integer("depth", self.depth, 0, 16)
        checks.integer("leaf_width", self.leaf_width, 1)
        checks.integer("rounds", self.rounds, 0)
        checks.number("ridge", self.ridge, "(0, inf)")


def leaf_width_for(share, n_in, n_out, width, depth):
    """Return the leaf width whose multiply-adds, routing included, are this share of the dense layer's.

    depth I + l (I + O) = share w (I + O).
    """
    checks.number("share", share, "(0, 1]")
    return max(1, int((share * width * (n_in + n_out) - depth * n_in) / (n_in + n_out)))


def carve(layer, x, how):
    """Turn a dense FF layer into a tree that engages a part of its neurons.

    Parameters
    ----------
    layer : DenseFF
    x : ndarray (n, n_in)
        Inputs like those to come; many for each leaf.
    how : Carving

    Returns
    -------
    LeafFFF
        It stores L leaves of l neurons, which may be more than the layer had.

    Raises
    ------
    TypeError, ValueError
        If the inputs do not fit, are not finite, or are fewer than leaves; if a leaf is wider than the layer.
    """
    rows = Rows.of(layer, x)
    if how.leaf_width > layer.width:
        raise checks.InputError(f"leaf_width must be at most the layer's width, {layer.width}, got {how.leaf_width}")
    if len(rows.x) < 2**how.depth:
        raise checks.InputError(f"x must hold at least one row a leaf, {2**how.depth}, got {len(rows.x)}")
    nodes, leaf = grow(rows, how)
    candidates = [with_leaves(rows, nodes, leaf, how)]
    for _ in range(how.rounds if how.depth else 0):
        nodes = refit_nodes(rows, candidates[-1], how)
        leaf = replace(candidates[-1], node_weight=nodes[0], node_bias=nodes[1]).route(rows.x)
        candidates.append(with_leaves(rows, nodes, leaf, how))
    # a refitted node improves its own question, not always the whole
    return min(candidates, key=lambda carved: relative_error(carved.forward_hard(rows.x), rows.y))


def relative_error(y, expected):
    """Mean over the rows of |y - expected|^2 / |expected|^2."""
    size = np.einsum("no,no->n", expected, expected, dtype=np.float64)
    difference = y - expected
    error = np.einsum("no,no->n", difference, difference, dtype=np.float64)
    return float((error / np.maximum(size, SMALLEST**2 * size.mean())).mean())


@dataclass(frozen=True, eq=False)
class Rows:
    """What a carving is fitted to: a layer, inputs, its hidden activations and outputs, and the rows' scale 1 / |y|."""

    layer: DenseFF
    x: np.ndarray
    hidden: np.ndarray
    y: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, layer, x):
        """Run the layer on its inputs."""
        x = checks.array("x", x, (None, layer.n_in), layer.dtype)
        if not np.isfinite(x).all():
            raise checks.InputError("x must be finite; fill or drop the rows that are not")
        if len(x) == 0:
            raise checks.InputError("x must hold at least one row to fit to, got none")
        hidden = activate(layer, x @ layer.in_weight.T + layer.in_bias)  # (n, I) -> (n, w)
        y = hidden @ layer.out_weight + layer.out_bias  # (n, w) -> (n, O)
        size = np.linalg.norm(y, axis=1)
        return cls(layer, x, hidden, y, 1 / np.maximum(size, SMALLEST * size.mean() + np.finfo(y.dtype).tiny))


# ---------------------------------------------------------------------- nodes


def grow(rows, how):
    """Grow a tree over the inputs: every node parts its rows in halves, along what parts their outputs.

    A node's target is the first principal direction of its rows' outputs, each divided by its size; its weights are
    the ridge regression of that target, its bias puts the median at 0.

    Returns
    -------
    nodes : tuple of node_weight (N, I) and node_bias (N,)
    leaf : ndarray of int (n,)
        Where each row ends.
    """
    N, dtype = tree.n_nodes(how.depth), rows.x.dtype
    weight, bias = np.zeros((N, rows.x.shape[1]), dtype), np.zeros(N, dtype)
    leaf = np.zeros(len(rows.x), np.intp)
    for level in range(how.depth):
        for place in range(2**level):
            here, node = np.flatnonzero(leaf == place), 2**level - 1 + place
            if len(here) == 0:
                continue
            target = principal(rows.y[here] * rows.scale[here, None])
            weight[node] = ridge_fit(rows.x[here], target[:, None], how.ridge)[0][:, 0]
            bias[node] = -np.median(rows.x[here] @ weight[node])
        node = 2**level - 1 + leaf
        leaf = 2 * leaf + (np.einsum("ni,ni->n", rows.x, weight[node]) + bias[node] >= 0)
    return (weight, bias), leaf


def principal(y):
    """Coordinates of rows along the direction in which they vary most: (n, O) -> (n,)."""
    centred = y - y.mean(0)
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    return centred @ directions[:, -1]


def refit_nodes(rows, carved, how):
    """Fit each node anew to which side holds the leaf of smaller error, weighted by how much that matters.

    A node sees the rows that could come to it: all of them at the root, and below, those whose better side led there.
    """
    error = leaf_errors(rows, carved)  # (n, L)
    weight, bias = carved.node_weight.copy(), carved.node_bias.copy()
    here = np.zeros(len(rows.x), np.intp)  # each row's node along the level
    for level in range(how.depth):
        best = error.reshape(len(error), 2 ** (level + 1), -1).min(2)  # of each child's subtree: (n, 2^(level + 1))
        for place in range(2**level):
            at, node = np.flatnonzero(here == place), 2**level - 1 + place
            gain = best[at, 2 * place] - best[at, 2 * place + 1]  # above 0: right is better
            if len(at) < 2 or not np.abs(gain).max() > 0:
                continue
            weight[node], bias[node] = classify(rows.x[at], gain, how.ridge)
        node = 2**level - 1 + here
        here = 2 * here + (np.einsum("ni,ni->n", rows.x, weight[node]) + bias[node] >= 0)
    return weight, bias


def classify(x, gain, ridge):
    """Ridge regression of the sign of `gain`, weighted by its square root's size: (n, I), (n,) -> (I,), a number."""
    weight = np.sqrt(np.abs(gain))
    scale = np.sqrt(weight / weight.mean())
    slope, constant = ridge_fit(x, np.sign(gain)[:, None], ridge, scale)
    return slope[:, 0], constant[0]


# ---------------------------------------------------------------------- leaves


def with_leaves(rows, nodes, leaf, how):
    """Make the tree: each leaf's most important neurons copied, their output weights and a bias refitted."""
    dense, L, width = rows.layer, 2**how.depth, how.leaf_width
    out_weight = np.empty((L, width, dense.n_out), dense.dtype)
    out_bias = np.empty((L, dense.n_out), dense.dtype)
    neurons = np.empty((L, width), np.intp)
    for j in range(L):
        here = np.flatnonzero(leaf == j)
        here = here if len(here) else np.arange(len(leaf))  # a leaf that nobody reaches is fitted to all
        neurons[j] = important(rows, here)[:width]
        fitted = rows.hidden[np.ix_(here, neurons[j])]
        own = dense.out_weight[neurons[j]]
        out_weight[j], out_bias[j] = ridge_fit(fitted, rows.y[here], how.ridge, rows.scale[here], own)
    return LeafFFF(
        node_weight=aligned(nodes[0]), node_bias=aligned(nodes[1]),
        leaf_in_weight=aligned(dense.in_weight[neurons]), leaf_in_bias=aligned(dense.in_bias[neurons]),
        leaf_out_weight=aligned(out_weight), leaf_out_bias=aligned(out_bias), activation=dense.activation,
    )  # fmt: skip


def important(rows, here):
    """The neurons in the order of what they add to these rows' outputs: sum of (activation / |y|)^2 |out row|^2."""
    weighted = rows.hidden[here] * rows.scale[here, None]  # (n', w)
    energy = np.einsum("nw,nw->w", weighted, weighted) * np.einsum("wo,wo->w", *2 * (rows.layer.out_weight,))
    return np.argsort(-energy, kind="stable")


def leaf_errors(rows, carved):
    """Relative error of every leaf for every row: (n, L)."""
    error = np.empty((len(rows.x), len(carved.leaf_out_bias)), rows.x.dtype)
    for start in range(0, len(rows.x), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        for j in range(error.shape[1]):
            hidden = activate(carved, rows.x[part] @ carved.leaf_in_weight[j].T + carved.leaf_in_bias[j])
            difference = hidden @ carved.leaf_out_weight[j] + carved.leaf_out_bias[j] - rows.y[part]
            error[part, j] = np.einsum("no,no->n", difference, difference) * rows.scale[part] ** 2
    return error


# ---------------------------------------------------------------------- fits


def ridge_fit(x, y, ridge, scale=None, towards=None):
    """Weighted ridge regression with a free constant.

    Parameters
    ----------
    x : ndarray (n, k)
    y : ndarray (n, m)
    ridge : float
        Relative to the mean square of the weighted, centred columns of x.
    scale : ndarray (n,), optional
        What each row's error is multiplied by.
    towards : ndarray (k, m), optional
        What the slope is drawn towards; by default 0.

    Returns
    -------
    slope : ndarray (k, m)
    constant : ndarray (m,)

    Notes
    -----
    Minimises sum_i scale_i^2 |x_i slope + constant - y_i|^2 + lambda |slope - towards|^2.
    """
    square = np.ones(len(x)) if scale is None else scale.astype(np.float64) ** 2
    square /= square.sum()
    x_mean, y_mean = square @ x, square @ y
    root = np.sqrt(square)[:, None]
    centred, target = (x - x_mean) * root, (y - y_mean) * root
    towards = np.zeros((x.shape[1], y.shape[1])) if towards is None else towards.astype(np.float64)
    normal = centred.T @ centred  # (k, k)
    penalty = ridge * np.trace(normal) / len(normal) + np.finfo(np.float64).tiny ** 0.5
    normal[np.diag_indices_from(normal)] += penalty
    slope = towards + np.linalg.solve(normal, centred.T @ (target - centred @ towards))
    return slope.astype(x.dtype), (y_mean - x_mean @ slope).astype(x.dtype)


def activate(layer, logit):
    """The layer's activation, (n, w) -> (n, w)."""
    return activations.get(layer.activation).function(logit)
