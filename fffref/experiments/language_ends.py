"""Where the rows of a text end in a language model's FF layers: leaves, bottom neurons, experts."""

import numpy as np

from ..layers.top_leaves import TopLeaves

WATCHED = 4096  # held-out tokens by which ends in use are counted


def ends_used(model, ids):
    """Return how many ends of each layer some token of a text reaches, a list."""

    def ends(layer, x):
        """The number of ends that rows reach."""
        end = layer.route(x)  # (R,), (R, k), or (R, K, D) of path trees
        return len(np.unique(end)) if end.ndim < 3 else _bottoms(end)

    return _noted(model, ids, ends)


def nodes_needed(model, ids):
    """Return how many nodes a token needs in the mean, by layer, as "nodes_needed"; nothing without `TopLeaves`."""
    if not all(isinstance(ff, TopLeaves) for ff in model.ffs()):
        return {}
    return {"nodes_needed": _noted(model, ids, lambda layer, x: round(float(layer.nodes_needed(x).mean()), 2))}


def _noted(model, ids, look):
    """What `look(layer, x)` says of every FF layer and the rows that come to it, a list."""
    noted = []

    def watched(layer):
        """The layer's hard inference, with a look at its rows."""

        def run(x):
            """Rows to rows."""
            noted.append(look(layer, x))
            return layer.forward_hard(x)

        return run

    S = model.max_length
    model.with_ffs(watched).hidden(ids[: len(ids) // S * S].reshape(-1, S))  # whole windows: (windows, S)
    return noted


def _bottoms(path):
    """Different bottom neurons among paths (R, K, D), over all trees."""
    return sum(len(np.unique(tree)) for tree in path[..., -1].T)  # numbers count within a tree
