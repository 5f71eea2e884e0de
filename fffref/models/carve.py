"""A trained dense FF layer carved into a tree: which of its neurons does an input need? In closed form, no gradients.

A tree is grown over the layer's inputs; each leaf copies the neurons that matter most for its own inputs, so that
leaves may share neurons, or the neurons are parted among the leaves; then nodes and leaves are refitted in turn. Errors
are relative, row by row: see `fitting`. What a carved tree has to be held against is in `carving_controls`.

# n rows of inputs, I inputs, O outputs, w neurons of the dense layer, L = 2^d leaves, l leaf width
"""

from dataclasses import dataclass, replace

import numpy as np

from .. import checks
from ..layers import tree
from ..layers.leaf_fff import LeafFFF
from ..layers.record import aligned
from .fitting import Rows, activate, relative_error, ridge_fit

ROWS_AT_ONCE = 4096


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
    parted : bool
        Whether a neuron goes to one leaf only, so that the tree stores no more neurons than the layer.
    """

    depth: int
    leaf_width: int
    rounds: int = 2
    ridge: float = 0.03
    parted: bool = False

    def __post_init__(self):
        checks.integer("depth", self.depth, 0, 16)
        checks.integer("leaf_width", self.leaf_width, 1)
        checks.integer("rounds", self.rounds, 0)
        checks.number("ridge", self.ridge, "(0, inf)")
        checks.flag("parted", self.parted)

    def check(self, rows):
        """Refuse rows that are too few, or a layer that is too narrow."""
        width, leaves = rows.layer.width, 2**self.depth
        if self.leaf_width > width:
            raise checks.InputError(f"leaf_width must be at most the layer's width, {width}, got {self.leaf_width}")
        if self.parted and leaves * self.leaf_width > width:
            raise checks.InputError(
                f"{leaves} leaves of {self.leaf_width} neurons need more than the layer's {width}, parted; "
                "take narrower leaves, or fewer"
            )
        if len(rows.x) < leaves:
            raise checks.InputError(f"x must hold at least one row a leaf, {leaves}, got {len(rows.x)}")


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
    return carve_rows(Rows.of(layer, x), how)


def carve_rows(rows, how):
    """Carve as `carve` does, where the layer has been run on its inputs already.

    Parameters
    ----------
    rows : Rows
    how : Carving

    Returns
    -------
    LeafFFF
    """
    how.check(rows)
    nodes, leaf = grow(rows, how)
    candidates = [with_leaves(rows, nodes, leaf, how)]
    for _ in range(how.rounds if how.depth else 0):
        nodes = refit_nodes(rows, candidates[-1], how)
        leaf = replace(candidates[-1], node_weight=nodes[0], node_bias=nodes[1]).route(rows.x)
        candidates.append(with_leaves(rows, nodes, leaf, how))
    # a refitted node improves its own question, not always the whole
    return min(candidates, key=lambda carved: relative_error(carved.forward_hard(rows.x), rows.y))


# ---------------------------------------------------------------------- nodes


def grow(rows, how, direction=None):
    """Grow a tree over the inputs: every node parts its rows in halves.

    Parameters
    ----------
    rows : Rows
    how : Carving
    direction : callable, optional
        From rows, the numbers of a node's rows and `how` to the node's weights (I,); by default `along_outputs`.

    Returns
    -------
    nodes : tuple of node_weight (N, I) and node_bias (N,)
        The bias puts the median at 0.
    leaf : ndarray of int (n,)
        Where each row ends.
    """
    direction = along_outputs if direction is None else direction
    N, dtype = tree.n_nodes(how.depth), rows.x.dtype
    weight, bias = np.zeros((N, rows.x.shape[1]), dtype), np.zeros(N, dtype)
    leaf = np.zeros(len(rows.x), np.intp)
    for level in range(how.depth):
        for place in range(2**level):
            here, node = np.flatnonzero(leaf == place), 2**level - 1 + place
            if len(here):
                weight[node] = direction(rows, here, how)
                bias[node] = -np.median(rows.x[here] @ weight[node])
        node = 2**level - 1 + leaf
        leaf = 2 * leaf + (np.einsum("ni,ni->n", rows.x, weight[node]) + bias[node] >= 0)
    return (weight, bias), leaf


def along_outputs(rows, here, how):
    """Weights that part rows along what parts their outputs, each divided by its size: ridge of the first direction."""
    target = principal(rows.y[here] * rows.scale[here, None])
    return ridge_fit(rows.x[here], target[:, None], how.ridge)[0][:, 0]


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
    """Make the tree: each leaf's neurons chosen, their output weights and a bias refitted."""
    dense, L, width = rows.layer, 2**how.depth, how.leaf_width
    members = [np.flatnonzero(leaf == j) for j in range(L)]
    members = [here if len(here) else np.arange(len(leaf)) for here in members]  # nobody reaches it: fitted to all
    energy = np.stack([importance(rows, here) for here in members])  # (L, w)
    neurons = part_neurons(energy, width) if how.parted else np.argsort(-energy, axis=1, kind="stable")[:, :width]
    out_weight = np.empty((L, width, dense.n_out), dense.dtype)
    out_bias = np.empty((L, dense.n_out), dense.dtype)
    for j, here in enumerate(members):
        fitted, own = rows.hidden[np.ix_(here, neurons[j])], dense.out_weight[neurons[j]]
        out_weight[j], out_bias[j] = ridge_fit(fitted, rows.y[here], how.ridge, rows.scale[here], own)
    return LeafFFF(
        node_weight=aligned(nodes[0]), node_bias=aligned(nodes[1]),
        leaf_in_weight=aligned(dense.in_weight[neurons]), leaf_in_bias=aligned(dense.in_bias[neurons]),
        leaf_out_weight=aligned(out_weight), leaf_out_bias=aligned(out_bias), activation=dense.activation,
    )  # fmt: skip


def importance(rows, here):
    """What each neuron adds to these rows' outputs, (w,): sum of (activation / |y|)^2 |out row|^2."""
    weighted = rows.hidden[here] * rows.scale[here, None]  # (n', w)
    return np.einsum("nw,nw->w", weighted, weighted) * np.einsum("wo,wo->w", *2 * (rows.layer.out_weight,))


def part_neurons(energy, width):
    """Part neurons among leaves, none twice, so that what they add is largest: (L, w) -> (L, width).

    Neurons that are active for the same inputs meet in one leaf: balanced clusters by co-activation.
    """
    from scipy.optimize import linear_sum_assignment  # imported where needed

    share = energy / np.maximum(energy.sum(1, keepdims=True), np.finfo(energy.dtype).tiny)  # a leaf counts as a leaf
    place, neuron = linear_sum_assignment(np.repeat(share, width, axis=0), maximize=True)  # a row a place in a leaf
    return neuron[np.argsort(place)].reshape(len(energy), width)


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
