"""All FF layers of an encoder at once: what enters each, and fitting one after the other.

# n rows of real tokens, H hidden width
"""

import numpy as np

from .. import checks
from .fitting import Rows

TARGETS = ("outputs", "stream")


def ff_inputs(encoder, batches):
    """What enters each FF layer: rows of real tokens only, in a random order.

    Parameters
    ----------
    encoder : Encoder
    batches : list of (ids, mask), each (B, S)

    Returns
    -------
    list of ndarray (n, H)
        One a layer; the order is that of all layers, and of any encoder that is run on the same batches.
    """
    found = [[] for _ in encoder.blocks]
    for ids, mask in batches:
        real = mask.ravel().astype(bool)
        encoder.hidden(ids, mask, lambda i, x, real=real: found[i].append(x[real]))
    order = np.random.default_rng(0).permutation(sum(map(len, found[0])))
    return [np.concatenate(parts)[order] for parts in found]


def in_sequence(encoder, batches, rows, fit, target="outputs"):
    """Fit layer after layer, each to the inputs that it will get: those that the layers fitted before it give.

    Parameters
    ----------
    encoder : Encoder
        The original.
    batches : list of (ids, mask)
    rows : list of Rows
        Of the original's layers, on the first rows of `ff_inputs(encoder, batches)`.
    fit : callable
        From `Rows` to a layer.
    target : {"outputs", "stream"}
        What a layer is fitted to: the original layer's outputs y for the same tokens; or what makes good in the
        stream what came in wrong, x + y - x', x the original's input and x' the layer's own.

    Returns
    -------
    tuple of layers
    """
    checks.one_of("target", target, TARGETS)
    layers = [block.ff for block in encoder.blocks]
    for i, own in enumerate(rows):
        x = ff_inputs(encoder.with_ffs(layers), batches)[i][: len(own.x)]
        y = own.y if target == "outputs" else own.y + (own.x - x)  # so that x' + y' is x + y
        layers[i] = fit(Rows.of(own.layer, x, y))
    return tuple(layers)
