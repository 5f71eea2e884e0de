"""What goes on inside a language model: what its FF layers are given, where it ends, and what trees it could be."""

from dataclasses import replace

import numpy as np

from ..models import carve

WATCHED = 4096  # held-out tokens by which leaves in use are counted
CARVED_BY = 1 << 14  # training tokens whose FF inputs a tree is carved by


def ends_used(model, ids):
    """Return how many ends (leaves, bottom neurons, experts) of each layer some token of a text reaches, a list."""
    used = []

    def look(layer, x):
        """Note the number of ends that rows reach."""
        end = layer.route(x)  # (R,), (R, k), or (R, K, D) of path trees
        used.append(len(np.unique(end)) if end.ndim < 3 else _bottoms(end))

    _hidden_with(model, ids, look)
    return used


def _hidden_with(model, ids, look):
    """Run a model on whole windows of a text, hard, and call `look(layer, x)` before each FF layer."""

    def watched(layer):
        """The layer's hard inference, with a look at its rows."""

        def run(x):
            """Rows to rows."""
            look(layer, x)
            return layer.forward_hard(x)

        return run

    S = model.max_length
    model.with_ffs(watched).hidden(ids[: len(ids) // S * S].reshape(-1, S))  # (windows, S)


def _bottoms(path):
    """Different bottom neurons among paths (R, K, D), over all trees."""
    return sum(len(np.unique(tree)) for tree in path[..., -1].T)  # numbers count within a tree


def carved(model, ids, wanted):
    """Return a dense model with each FF layer carved into a `LeafFFF`, by the inputs that a text gives it.

    Parameters
    ----------
    model : Transformer
    ids : ndarray of int (n,)
        Of which the first `CARVED_BY` are read.
    wanted : Sizes
        Depth and leaf width of the trees.

    Returns
    -------
    Transformer
    """
    inputs, how = [], carve.Carving(wanted.depth, wanted.leaf_width)
    _hidden_with(model, ids[:CARVED_BY], lambda layer, x: inputs.append(x))
    blocks = [
        replace(block, ff=carve.carve(block.ff, np.concatenate(inputs[i :: len(model.blocks)]), how))
        for i, block in enumerate(model.blocks)
    ]
    return replace(model, blocks=tuple(blocks))
