"""`DenseFF`, compiled: BLAS and a compiled activation for batches, one kernel for one sample."""

import numpy as np

from ..layers import activations
from ..layers.dense_ff import DenseFF
from . import kernels
from .base import CompiledLayer, jit

FEW = 5  # rows; with fewer, our own kernel is quicker than BLAS, on one thread or two


@jit.register(DenseFF)
class FastDense(CompiledLayer):
    """Compiled `DenseFF`."""

    single_kernel = staticmethod(kernels.dense_one_jit)

    def kernel_weights(self):
        """The layer's arrays as they are."""
        return kernels.DenseWeights(*self.arrays.values(), kernels.KINDS[activations.named(self.layer.activation)])

    def route(self, x):
        """Return zeros `(...)`: one leaf for all."""
        return self.layer.route(x)

    def forward_rows(self, x, y):
        """Fill the rows of `y`."""
        W = self.weights
        if len(x) < FEW:
            kernels.dense_rows_jit(W, x, y)
            return
        hidden = x @ W.in_weight.T  # (B, I) -> (B, w)
        self.activate(hidden)
        np.matmul(hidden, W.out_weight, out=y)  # (B, w) -> (B, O)
        y += W.out_bias

    def activate(self, logit):
        """Add the bias to the rows of `logit (B, w)` and apply the activation, in place."""
        work = lambda first, last: kernels.activate_rows_jit(self.weights.in_bias, self.weights.kind, logit[first:last])  # noqa: E731
        self.share_out(work, len(logit))
