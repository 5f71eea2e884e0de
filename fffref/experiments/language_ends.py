"""Where the rows of a text end in a language model's FF layers: leaves, bottom neurons, experts."""

import numpy as np

WATCHED = 4096  # held-out tokens by which ends in use are counted


def ends_used(model, ids):
    """Return how many ends of each layer some token of a text reaches, a list."""
    used = []

    def watched(layer):
        """The layer's hard inference, with a look at where its rows end."""

        def run(x):
            """Rows to rows; the number of ends that they reached is noted."""
            end = layer.route(x)  # (R,), (R, k), or (R, K, D) of path trees
            used.append(len(np.unique(end)) if end.ndim < 3 else _bottoms(end))
            return layer.forward_hard(x)

        return run

    S = model.max_length
    model.with_ffs(watched).hidden(ids[: len(ids) // S * S].reshape(-1, S))  # whole windows: (windows, S)
    return used


def _bottoms(path):
    """Different bottom neurons among paths (R, K, D), over all trees."""
    return sum(len(np.unique(tree)) for tree in path[..., -1].T)  # numbers count within a tree
