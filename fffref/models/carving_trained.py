"""What a carved tree is held against, and what goes on from it, by gradients: our own training on relative errors.

    from_scratch(rows, width, recipe, seed)           a dense layer that is trained, not taken over
    distilled(rows, depth, n_trees, recipe, seed)     a PathFFF trained towards the layer's outputs
    tuned(rows, carved, recipe, seed)                 a carved layer whose leaves are trained further

# n rows of inputs, I inputs, O outputs, K trees of M neurons
"""

from dataclasses import replace

import numpy as np

from .. import training
from ..layers import activations
from ..layers.dense_ff import DenseFF
from ..layers.path_fff import PathFFF
from ..layers.record import aligned
from .carving_controls import ENOUGH
from .fitting import activate, relative_error, ridge_fit

FEWEST = 40  # rows of a leaf that is trained; a tenth is held out
LITTLE = 0.01  # ridge of output weights from which training starts


def from_scratch(rows, width, recipe, seed=0):
    """Train a dense layer of few neurons by relative error, from drawn input weights and fitted output weights.

    Parameters
    ----------
    rows : Rows
    width : int
    recipe : Recipe
    seed : int

    Returns
    -------
    DenseFF
    """
    layer, enough = rows.layer, rows.part(ENOUGH)
    drawn = DenseFF.init(
        training.stream(seed, "weights"), layer.n_in, layer.n_out, width, layer.activation, layer.dtype
    )
    hidden = activate(drawn, enough.x @ drawn.in_weight.T + drawn.in_bias)
    slope, constant = ridge_fit(hidden, enough.y, LITTLE, enough.scale)  # outputs of the right size to begin with
    return _trained(replace(drawn, out_weight=slope, out_bias=constant), rows.x, rows.y, recipe, seed)


def distilled(rows, depth, n_trees, recipe, seed=0):
    """Train a PathFFF towards the layer's own outputs, from drawn input weights and fitted output weights.

    Parameters
    ----------
    rows : Rows
    depth, n_trees : int
        As in `PathFFF.init`.
    recipe : Recipe
    seed : int

    Returns
    -------
    PathFFF

    Notes
    -----
    A PathFFF has no output bias. The root of its first tree begins as a constant, with weights of 0 and a bias of 1:
    its output weights are the output bias, and may learn to be something else.
    """
    layer, enough = rows.layer, rows.part(ENOUGH)
    rng = training.stream(seed, "weights")
    drawn = PathFFF.init(rng, layer.n_in, layer.n_out, depth, n_trees, layer.activation, layer.dtype)
    drawn.in_weight[0, 0], drawn.in_bias[0, 0] = 0, 1
    slope, constant = ridge_fit(on_paths(drawn, enough.x), enough.y, LITTLE, enough.scale)  # (K M, O), (O,)
    slope[0] += constant / activations.get(layer.activation).function(drawn.in_bias[0, :1])
    start = replace(drawn, out_weight=aligned(slope.reshape(drawn.out_weight.shape)))
    return _trained(start, rows.x, rows.y, recipe, seed)


def on_paths(layer, x):
    """Activations of all neurons of a PathFFF, 0 where they are not visited: (n, I) -> (n, K M)."""
    tape = layer.forward(x)[1]
    hidden = np.zeros((len(x), layer.neurons_stored), x.dtype)
    np.put_along_axis(hidden, tape.node, tape.hidden, axis=1)
    return hidden


def tuned(rows, carved, recipe, seed=0):
    """Train the leaves of a carved layer further, routing fixed: each is a dense layer on the rows that reach it.

    Parameters
    ----------
    rows : Rows
    carved : LeafFFF
    recipe : Recipe
        Learning rate, epochs and batches for each leaf.
    seed : int

    Returns
    -------
    LeafFFF
        A leaf that is no better on a tenth of its rows, held out, stays as it was.
    """
    reached = carved.route(rows.x)
    fields = ("in_weight", "in_bias", "out_weight", "out_bias")
    arrays = {name: getattr(carved, f"leaf_{name}").copy() for name in fields}
    for j in range(2**carved.depth):
        here = np.flatnonzero(reached == j)
        if len(here) >= FEWEST:
            leaf = DenseFF(*(arrays[name][j] for name in fields), activation=carved.activation)
            leaf = _trained(leaf, rows.x[here], rows.y[here], recipe, seed)
            for name in fields:
                arrays[name][j] = getattr(leaf, name)
    return replace(carved, **{f"leaf_{name}": aligned(array) for name, array in arrays.items()})


def _trained(layer, x, y, recipe, seed):
    """Train a layer on nine tenths of the rows; return what is better on the others, before or after."""
    order = training.stream(seed, "split").permutation(len(x))
    held, kept = order[: max(1, len(x) // 10)], order[max(1, len(x) // 10) :]
    task = training.RelativeRegression(x[kept], y[kept], validation=(x[held], y[held]))
    after, _ = training.train(layer, task, recipe, seed, progress=False, watch_every=recipe.epochs)
    return min((after, layer), key=lambda one: relative_error(one.forward_hard(x[held]), y[held]))
