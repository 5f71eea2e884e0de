"""Evaluation: hard inference beside the soft mixture, by the choices that training used; and who is reached.

What differs between layers is asked by `functools.singledispatch`, as in `penalties`.
"""

import functools

import numpy as np

from .. import checks
from ..layers.choices import Choices
from ..layers.leaf_fff import LeafFFF
from ..layers.moe import MoE
from ..layers.path_fff import PathFFF
from ..layers.top_leaves import TopLeaves
from . import losses

ROWS_AT_ONCE = 4096  # to bound memory


def evaluate(layer, x, labels, choices=None):
    """Accuracy soft and hard, entropy of the nodes, use of the leaves.

    Parameters
    ----------
    layer : Layer
    x : ndarray (n, n_in), n at least 1
    labels : ndarray of int (n,)
    choices : Choices, optional
        Of the soft pass: those that training used. Noise, transposition and rounding are left out of it.

    Returns
    -------
    dict
        "hard_accuracy" : share of right answers of hard inference.
        "soft_accuracy" : the same of the mixture, for a layer that has one, else None.
        "entropy" : mean entropy of the choices, in nats, or None.
        "node_entropy" : list of N means over the samples; empty for a layer without a mixture.
        "leaf_share" : list of the shares of the samples that reach each end, see `ends`.
        "leaves_used" : how many of them are above 0.

    Raises
    ------
    TypeError, ValueError
        If data and layer do not fit together, or there is no sample.
    """
    labels = checks.labels(labels, np.shape(x)[:1], layer.n_out)
    # (b, C) -> (b,) -> scalar
    measured = _measure(layer, x, choices, lambda y, rows: (y.argmax(-1) == labels[rows]).sum())
    return {"hard_accuracy": measured.pop("hard"), "soft_accuracy": measured.pop("soft")} | measured


def evaluate_regression(layer, x, target, choices=None):
    """Mean squared error soft and hard, entropy of the nodes, use of the leaves.

    Parameters
    ----------
    layer : Layer
    x : ndarray (n, n_in), n at least 1
    target : ndarray (n, n_out)
    choices : Choices, optional
        As in `evaluate`.

    Returns
    -------
    dict
        "hard_error", "soft_error" and what `evaluate` adds.

    Raises
    ------
    TypeError, ValueError
        As in `evaluate`.
    """
    target = checks.array("target", target, (len(x), layer.n_out), layer.dtype)

    def squares(y, rows):
        """Mean over the outputs, sum over the samples."""
        # (b, O) -> (b,) -> scalar; float64, as sums are long
        return np.square(y - target[rows], dtype=np.float64).mean(-1).sum()

    measured = _measure(layer, x, choices, squares)
    return {"hard_error": measured.pop("hard"), "soft_error": measured.pop("soft")} | measured


def last_choices(history):
    """Return the choices that a training run ended with: those to evaluate its model by.

    Parameters
    ----------
    history : list of dict
        As `train` returned it, or a checkpoint holds it.

    Returns
    -------
    Choices
        Calm ones; `Choices()` if the history is empty.
    """
    last = history[-1] if history else {}
    # an empty history says neither: then as in the paper
    return Choices(temperature=last.get("temperature", 1.0), smooth_step=last.get("smooth_step", False))


def _measure(layer, x, choices, score):
    """Sum scores of hard and soft outputs over all rows, in parts; and see which choices are made."""
    x = checks.array("x", x, (None, layer.n_in), layer.dtype)
    if len(x) == 0:
        raise checks.InputError("evaluate needs at least one sample, got none")
    choices = Choices() if choices is None else checks.instance("choices", choices, Choices, "a Choices record")
    hard, soft, entropy, reached = 0.0, 0.0, 0.0, 0  # sums over rows, divided at the end
    for start in range(0, len(x), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        # in parts: a soft pass keeps every leaf's neurons, (B, L, l)
        hard += score(layer.forward_hard(x[rows]), rows)  # (b, I) -> (b, O) -> scalar
        end, n_ends = ends(layer, x[rows])
        # (n_ends,); minlength: ends that nobody reaches count 0
        reached = reached + np.bincount(end.ravel(), minlength=n_ends)
        # calm: noise and rounding are of training; what is judged is the mixture itself
        mixture = soft_pass(layer, x[rows], choices.calm())
        # a layer that is hard from the start has no second answer, and no entropy
        if mixture is not None:
            y, per_node = mixture
            soft += score(y, rows)
            entropy = entropy + per_node  # (N,)
    is_soft, node_entropy = mixture is not None, np.asarray(entropy) / len(x)  # (N,), mean over all rows
    return {
        "hard": float(hard / len(x)),
        "soft": float(soft / len(x)) if is_soft else None,
        "entropy": float(node_entropy.mean()) if is_soft and node_entropy.size else None,  # depth 0 has no node
        "node_entropy": node_entropy.tolist() if is_soft else [],
        "leaf_share": (reached / len(x)).tolist(),  # sums to trees (PathFFF) or k (MoE), else to 1
        "leaves_used": int((reached > 0).sum()),
    }


@functools.singledispatch
def soft_pass(layer, x, choices):
    """Return the soft output and the entropy of each node, summed over the rows; None for a layer without.

    Parameters
    ----------
    layer : Layer
    x : ndarray (B, n_in)
    choices : Choices

    Returns
    -------
    tuple of (ndarray (B, n_out), ndarray (N,)), or None
    """
    return None


@soft_pass.register
def _(layer: LeafFFF, x, choices):
    y, tape = layer.forward(x, choices)  # (B, I) -> (B, O)
    # one node at a time: (B, N) -> (N,)
    # "sum", because parts of the data are added up before the mean is taken
    columns = (losses.node_entropy(logit, "sum", choices.smooth_step)[0] for logit in tape.logit.T)
    return y, np.array(list(columns), np.float64)  # (N,)


@functools.singledispatch
def ends(layer, x):
    """Return where each row ends, as whole numbers, and how many ends there are; a layer without choices has one.

    Parameters
    ----------
    layer : Layer
    x : ndarray (B, n_in)

    Returns
    -------
    end : ndarray of int, any shape
        Leaves; of a `PathFFF`, neurons of the last level, all trees; of a `MoE`, experts.
    n_ends : int
    """
    return np.zeros(len(x), np.intp), 1  # (B,)


@ends.register
def _(layer: LeafFFF, x):
    return layer.route(x), 2**layer.depth  # (B, I) -> (B,)


@ends.register
def _(layer: TopLeaves, x):
    return layer.route(x), 2**layer.layer.depth  # (B, I) -> (B, k)


@ends.register
def _(layer: PathFFF, x):
    bottom = 2**layer.depth  # neurons of a tree's last level
    last = layer.route(x)[..., -1] - (bottom - 1)  # (B, K)
    # (B, K), each tree's ends behind those before
    return last + bottom * np.arange(layer.n_trees), bottom * layer.n_trees


@ends.register
def _(layer: MoE, x):
    return layer.route(x), layer.n_experts  # (B, I) -> (B, k)
