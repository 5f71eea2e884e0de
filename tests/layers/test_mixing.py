"""CMM by look-ups: exact where the tables are, a recursion by approximate logits elsewhere, and its compiled form."""

import numpy as np
import pytest

from fffref import PathFFF
from fffref.fast import lookup
from fffref.layers.mixing import PathByLookUps


def walked(layer, logits):
    """One sample's output by approximate logits, in plain loops: relu."""
    y = np.zeros(layer.n_out)
    for k in range(layer.n_trees):
        node = 0
        while node < layer.in_bias.shape[1]:
            y += max(logits[k, node], 0) * layer.out_weight[k, node]
            node = 2 * node + 1 + (logits[k, node] > 0)
    return y


def test_samples_that_are_prototypes_are_walked_exactly(rng):
    """With one row a leaf the tables know every sample: the mixed layer is the layer."""
    layer = PathFFF.init(rng, 6, 4, 2, n_trees=2, dtype=np.float64)
    x = np.zeros((8, 6))
    x[:, 0] = np.arange(8)
    mixed = PathByLookUps.learn(layer, x, 1, ridge=0.0)
    np.testing.assert_allclose(mixed.forward_hard(x, exact=True), layer.forward_hard(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_trees", [1, 3])
@pytest.mark.parametrize("exact", [True, False])
def test_elsewhere_the_walk_follows_the_approximate_logits(rng, n_trees, exact):
    layer = PathFFF.init(rng, 6, 4, 3, n_trees, activation="relu", dtype=np.float64)
    x = rng.standard_normal((50, 6))
    mixed = PathByLookUps.learn(layer, x, 3)
    logits = mixed.logits(x, exact)
    assert np.abs(logits - (np.einsum("bi,kmi->bkm", x, layer.in_weight) + layer.in_bias)).max() > 1e-3
    expected = [walked(layer, row) for row in logits]
    np.testing.assert_allclose(mixed.forward_hard(x, exact), expected, rtol=1e-9, atol=1e-12)


def test_the_compiled_walk_is_the_reference_but_for_sums_in_place_of_averages(rng):
    layer = PathFFF.init(rng, 6, 4, 3, activation="relu")
    x = rng.standard_normal((50, 6)).astype(np.float32)
    mixed = PathByLookUps.learn(layer, x, 1)  # one codebook: an average of one is a sum
    fast = lookup.FastMaddness(mixed.tables)
    codes = np.ascontiguousarray(fast.encode(x)[:, :50].T)
    for walk in (lookup.path_by_look_ups, lookup.path_by_look_ups_jit):
        y = np.empty((50, 4), np.float32)
        walk(fast.tables, codes, layer.in_bias[0], layer.out_weight[0], y)
        np.testing.assert_allclose(y, mixed.forward_hard(x), rtol=1e-5, atol=1e-6)
