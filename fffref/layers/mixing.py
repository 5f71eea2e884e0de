"""CMM and MADDNESS mixed: a `PathFFF` whose dot products with the input are look-ups.

All neurons' input weights are one matrix, so that one encoding of a sample serves every node of its path. The output
rows stay as they are: their factors are the sample's own activations, which no table can hold.

# B batch, I inputs, O outputs, K trees, M neurons of a tree
"""

from dataclasses import dataclass, replace

import numpy as np

from .maddness import Maddness
from .path_fff import PathFFF


@dataclass(frozen=True, eq=False)
class PathByLookUps:
    """A `PathFFF` and what stands for its input weights.

    Parameters
    ----------
    layer : PathFFF
    tables : Maddness
        Of the product with `in_weight` transposed, (I, K M).
    """

    layer: PathFFF
    tables: Maddness

    @classmethod
    def learn(cls, layer, x, codebooks, ridge=1.0):
        """Learn the tables from samples `x (n, I)` like those to come; parameters as in `Maddness.learn`."""
        rows = layer.in_weight.reshape(-1, layer.n_in)  # (K, M, I) -> (K M, I)
        return cls(layer, Maddness.learn(x, np.ascontiguousarray(rows.T), codebooks, ridge))

    def logits(self, x, exact=False):
        """Return about all neurons' logits, (B, I) -> (B, K, M)."""
        products = self.tables.scan(self.tables.encode(x), exact)  # (B, I) -> (B, C) -> (B, K M)
        return products.reshape(len(x), *self.layer.in_bias.shape) + self.layer.in_bias

    def forward_hard(self, x, exact=False):
        """Walk by the approximate logits, and add up the visited neurons' exact output rows.

        Parameters
        ----------
        x : ndarray (B, I)
        exact : bool
            By tables in floating point instead of 8 bits.

        Returns
        -------
        y : ndarray (B, O)
        """
        # A layer whose inputs are the logits themselves: neuron n reads logit n. Its walk is PathFFF's own.
        K, M = self.layer.in_bias.shape
        picks = np.eye(K * M, dtype=self.layer.dtype).reshape(K, M, K * M)  # (K, M, K M), a one a neuron
        reader = replace(self.layer, in_weight=picks, in_bias=np.zeros_like(self.layer.in_bias))
        return reader.forward_hard(self.logits(x, exact).reshape(len(x), K * M))  # biases are in the logits already
