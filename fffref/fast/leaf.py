"""`LeafFFF`, compiled: hard inference, route first, then one leaf."""

import numpy as np

from ..layers import activations
from ..layers.leaf_fff import LeafFFF
from . import kernels
from .base import CompiledLayer, jit


@jit.register(LeafFFF)
class FastLeaf(CompiledLayer):
    """Compiled hard inference of `LeafFFF`."""

    single_kernel = staticmethod(kernels.leaf_one_jit)

    def kernel_weights(self):
        """The layer's arrays as they are."""
        return kernels.LeafWeights(*self.arrays.values(), kernels.KINDS[activations.named(self.layer.activation)])

    def route(self, x):
        """Return the leaf that each sample reaches, as the layer's `route`: `(...)`."""
        x, lead = self.rows(x)
        leaf = np.empty(len(x), np.intp)
        trees = kernels.Trees(self.weights.node_weight, self.weights.node_bias, 1, True)
        self.share_out(lambda first, last: kernels.leaf_routes_jit(trees, x[first:last], leaf[first:last]), len(x))
        return leaf.reshape(lead)

    def forward_rows(self, x, y):
        """Fill the rows of `y`."""
        leaf = np.empty(len(x), np.intp)

        def work(first, last):
            kernels.leaf_rows_jit(self.weights, x[first:last], leaf[first:last], y[first:last])

        self.share_out(work, len(x))
