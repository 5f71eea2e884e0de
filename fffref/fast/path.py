"""`PathFFF`, compiled: inference, and the conditional forward and backward passes of training.

# B batch, I inputs, O outputs, K trees, D neurons on a path, M neurons of a tree
"""

import numpy as np

from .. import checks
from ..layers import activations, tree
from ..layers.path_fff import PathFFF, PathTape
from ..layers.record import aligned
from . import kernels
from .base import CompiledLayer, jit, plain
from .visits import Visits, sums_by_sample


@jit.register(PathFFF)
class FastPath(CompiledLayer):
    """Compiled `PathFFF`: inference, and the conditional forward and backward passes of training."""

    single_kernel = staticmethod(kernels.cmm_jit)

    def kernel_weights(self):
        """All trees' neurons one below the other."""
        K, M = self.layer.in_bias.shape
        self._length = K * tree.depth_of(M)  # KD
        flat = (array.reshape(K * M, *array.shape[2:]) for array in self.arrays.values())
        return kernels.PathWeights(*flat, K, kernels.KINDS[activations.named(self.layer.activation)])

    def bfloat16(self):
        """Return the same for inference alone, weights rounded to bfloat16: half the bytes are read, x and y as before.

        The rounded weights are a copy: later changes of the layer are not seen. A sample whose decision is close may
        take another path; `benchmarks/fast_path.py` says how many do.

        Raises
        ------
        TypeError
            If the layer is in float64.
        """
        return RoundedPath(self.layer, self.threads)

    def route(self, x):
        """Return the neurons on each sample's path, as the layer's `route`: `(..., n_trees, depth + 1)`."""
        x, lead = self.rows(x)
        node, logit = self._visit_room(len(x))
        W, K = self.weights, self.weights.n_trees
        trees, order = kernels.Trees(W.in_weight, W.in_bias, K, False), np.empty(len(x), np.intp)

        def work(first, last):
            part = slice(first, last)
            kernels.descend_jit(trees, x[part], node[part], logit[part], order[part])

        self.share_out(work, len(x))
        node = node.reshape(*lead, K, self._length // K)
        return node - len(W.in_weight) // K * np.arange(K)[:, None]

    def forward(self, x):
        """Compute the output, and keep what `backward` needs.

        Parameters
        ----------
        x : ndarray (..., n_in)

        Returns
        -------
        y : ndarray (..., n_out)
        tape : PathTape
            As the layer's own `forward` returns it; either one's `backward` takes it.
        """
        x, lead = self.rows(x)
        y = self._output(None, x, lead)
        node, logit = self._visit_room(len(x))
        hidden = np.empty_like(logit)
        self._fill(x, node, logit, hidden, y.reshape(len(x), self.n_out))
        return y, PathTape(x, lead, node.astype(np.intp, copy=False), logit, hidden)

    def forward_rows(self, x, y):
        """Fill the rows of `y`; logits are overwritten by activations, for nobody needs both."""
        node, logit = self._visit_room(len(x))
        self._fill(x, node, logit, logit, y)

    def _fill(self, x, node, logit, hidden, y):
        """Nodes, logits and activations (B, KD), and outputs (B, O), of all rows."""

        def work(first, last):
            part = slice(first, last)
            kernels.path_rows_jit(self.weights, x[part], node[part], logit[part], hidden[part], y[part])

        self.share_out(work, len(x))

    def backward(self, tape, dy, input_gradient=True):
        """Gradients of a loss, at the neurons visited; what is zero is neither stored nor written.

        Parameters
        ----------
        tape : PathTape
        dy : ndarray (..., n_out)
        input_gradient : bool
            False saves the work behind `dx`.

        Returns
        -------
        grads : PathFFF
            Its fields are `Rows`; `grads.dense()` has arrays, 0 at neurons not visited.
        dx : ndarray (..., n_in), or None

        Raises
        ------
        TypeError, ValueError
            If `dy` has another dtype or shape than the output had, or the tape comes from another layer.
        """
        tape = self._checked(tape)
        dy = plain(self.layer.gradient_rows(dy, tape.lead))  # (B, O)
        sample, dlogit = np.arange(len(dy)), np.empty_like(tape.logit)  # (B,), (B, KD)

        def work(first, last):
            part = slice(first, last)
            kernels.pair_dots_jit(dy, sample[part], self.weights.out_weight, tape.node[part], dlogit[part])

        self.share_out(work, len(dy))
        dlogit *= activations.get(self.layer.activation).derivative(tape.logit)
        dlogit = dlogit.reshape(-1)  # (BKD,), in the order of the visits
        grads = self._parameter_gradients(tape, dy, dlogit)
        return grads, self._input_gradient(tape, dlogit) if input_gradient else None

    def warm_up(self):
        """Compile, or load from the cache, whatever calls will need; return self."""
        super().warm_up()
        y, tape = self.forward(np.zeros((1, self.n_in), self.dtype))
        self.backward(tape, y)
        return self

    def _visit_room(self, B):
        """Room for nodes and logits; nodes as narrow as they can be, to leave room in the caches."""
        shape, narrow = (B, self._length), len(self.weights.in_weight) < 2**31
        return np.empty(shape, np.int32 if narrow else np.intp), np.empty(shape, self.dtype)

    def _checked(self, tape):
        """Refuse a tape with a field that does not fit, for kernels trust them; return it as kernels take it."""
        self.layer.check_tape(tape)
        arrays = tape.node.astype(np.intp, copy=False), tape.logit, tape.hidden
        return PathTape(plain(tape.x), tape.lead, *map(plain, arrays))

    def _parameter_gradients(self, tape, dy, dlogit):
        """The sums over each neuron's visits, as a `PathFFF` of `Rows`."""
        visits = Visits.of(tape.node.reshape(-1), lambda visit: visit // self._length, len(self.weights.in_weight))
        products = [(dlogit, tape.x), (tape.hidden.reshape(-1), dy)]
        in_weight, out_weight = visits.sums(self.share_out, products)
        values = {"in_weight": in_weight, "in_bias": visits.numbers(dlogit), "out_weight": out_weight}
        arrays = self.layer.arrays()
        rows = {name: visits.rows(value, arrays[name].shape) for name, value in values.items()}
        return PathFFF(**rows, **self.layer.options())

    def _input_gradient(self, tape, dlogit):
        """dx[i] = sum over the path of dlogit times the neuron's weights: (BKD,) -> (*lead, I)."""
        start = np.arange(len(tape.x) + 1) * self._length
        dx = sums_by_sample(self.share_out, dlogit, tape.node.reshape(-1), self.weights.in_weight, start)  # (B, I)
        return dx.reshape(*tape.lead, self.n_in)


class RoundedPath(FastPath):
    """A `PathFFF` in bfloat16, compiled for inference: see `FastPath.bfloat16`."""

    def kernel_weights(self):
        """As of `FastPath`, weights as the upper halves of float32; biases stay whole."""
        if self.dtype != np.float32:
            raise checks.InputTypeError(f"bfloat16 rounds float32, the layer has {self.dtype}; pass layer.astype first")
        whole = super().kernel_weights()
        return whole._replace(in_weight=upper_halves(whole.in_weight), out_weight=upper_halves(whole.out_weight))

    def forward(self, *arguments, **options):
        """Refused: gradients are those of the layer's own weights."""
        raise checks.InputError("weights in bfloat16 are for inference; train with fffref.jit(layer)")

    backward = forward

    def warm_up(self):
        """Compile, or load from the cache, whatever calls will need; return self."""
        return CompiledLayer.warm_up(self)

    def bfloat16(self):
        """Return itself."""
        return self

    def __reduce__(self):
        """Copies and pickles are rounded anew."""
        return RoundedPath, (self.layer, self.threads)


def upper_halves(array):
    """float32 rounded to bfloat16, ties to even, as uint16 on cache lines; NaN stays NaN."""
    bits = array.view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32)) >> 16
    rounded = np.where(np.isnan(array), 0x7FC0, rounded)  # a carry could make infinity, or 0, of it
    return aligned(rounded, np.uint16)
