"""How close compiled and reference answers have to be, and inputs on which both go the same way."""

import numpy as np

import fffref
from fffref import PathFFF


def near(found, expected, terms):
    """Equal to a few ulp of the sums: `terms` numbers of order 1 are added up in another order."""
    eps = np.finfo(expected.dtype).eps
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=8 * eps * np.sqrt(terms) * max(1, np.abs(expected).max(initial=0))
    )
    assert found.dtype == expected.dtype and found.shape == expected.shape


def decided(layer, x):
    """Rows of `x` none of whose logits, at any node, is within rounding of 0: there all routes agree."""
    if isinstance(layer, fffref.DenseFF):
        return x
    weight, bias = (
        (layer.in_weight, layer.in_bias) if isinstance(layer, PathFFF) else (layer.node_weight, layer.node_bias)
    )
    rows = x.reshape(-1, layer.n_in)
    logit = rows @ weight.reshape(-1, layer.n_in).T + bias.ravel()
    scale = np.abs(rows) @ np.abs(weight.reshape(-1, layer.n_in)).T + np.abs(bias.ravel())
    undecided = np.abs(logit) <= 4 * np.finfo(x.dtype).eps * scale
    rows = rows.copy()
    rows[undecided.any(axis=1)] = 0  # biases decide there
    return rows.reshape(x.shape)
