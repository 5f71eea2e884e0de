"""The fast path: compiled hard inference of every layer, and the conditional backward pass of `PathFFF`.

`fffref.jit(layer)` is the entry. These wrappers check, convert and allocate; the kernels are in `cmm.py`.

Weights are shared with the layer, never copied: a change in place is seen by the next call. Layers are born with
arrays that start on a cache line; one that was not is as right, but slower, see `Layer.aligned`.

# B batch, I inputs, O outputs, K trees, D neurons on a path, M neurons of a tree, V neurons visited by a batch
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .. import checks
from ..layers import activations, tree
from ..layers.dense_ff import DenseFF
from ..layers.leaf_fff import LeafFFF
from ..layers.path_fff import PathFFF, PathTape
from . import kernels

ROWS_A_THREAD = 128  # fewer are done sooner than handed over


def jit(layer, threads=1):
    """Compile a layer for hard inference on the CPU.

    Parameters
    ----------
    layer : PathFFF, LeafFFF or DenseFF
        In float32 or float64, its arrays C-contiguous. They are shared, not copied: changes in place are seen.
    threads : int, at least 1
        Among which the rows of a batch are shared out; the result does not depend on it. (The matrix products
        of a `DenseFF` are the BLAS's, which has threads of its own.)

    Returns
    -------
    FastPath, FastLeaf or FastDense
        Call it on `x (..., n_in)`. Nothing is compiled yet: the first call compiles, or loads what an earlier
        process compiled; `warm_up()` does so on purpose.

    Raises
    ------
    TypeError, ValueError
        If it is no layer, has another dtype, or arrays that are not C-contiguous.

    Examples
    --------
    >>> layer = PathFFF.init(np.random.default_rng(0), n_in=768, n_out=768, depth=11)
    >>> fast = jit(layer).warm_up()
    >>> fast(np.zeros(768, np.float32)).shape
    (768,)
    """
    kinds = {PathFFF: FastPath, LeafFFF: FastLeaf, DenseFF: FastDense}
    if type(layer) not in kinds:
        raise checks.InputTypeError(f"layer must be a PathFFF, LeafFFF or DenseFF, got {type(layer).__name__}")
    checks.dtype(layer.dtype, allowed=checks.DTYPES[:2])
    for name, array in layer.arrays().items():
        if not (array.flags.c_contiguous and array.flags.aligned):
            raise checks.InputError(f"{name} is not C-contiguous, and copies would miss changes; pass layer.aligned()")
    return kinds[type(layer)](layer, checks.integer("threads", threads, 1))


class Fast:
    """What the compiled layers share: checked input rows, checked output, threads.

    Objects keep no scratch memory: several Python threads may call one at once.
    """

    def __init__(self, layer, threads):
        self.layer, self.threads = layer, threads
        self.dtype, self.n_in, self.n_out = layer.dtype, layer.n_in, layer.n_out
        self._sample, self._kind = (self.n_in,), kernels.KINDS[layer.activation]
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def __call__(self, x, out=None):
        """Compute the layer's `forward_hard`.

        Parameters
        ----------
        x : ndarray (..., n_in)
        out : ndarray (..., n_out), optional
            Where to put the result; C-contiguous and apart from `x`.

        Returns
        -------
        y : ndarray (..., n_out)

        Raises
        ------
        TypeError, ValueError
            If `x` or `out` has another dtype or shape, or they overlap.
        """
        # One sample in its simplest form: here every check counts, so these are as few as can be.
        if out is None and type(x) is np.ndarray and x.shape == self._sample and x.dtype == self.dtype:
            if x.flags.carray:
                y = np.empty(self.n_out, self.dtype)
                self._one(*self._constants, x, y)
                return y
        x, lead = self._rows(x)
        y, flat = self._output(out, x, lead)
        self._many(x, flat)
        return y

    def warm_up(self):
        """Compile, or load from the cache, whatever calls will need; return self."""
        for lead in ((), (2,)):
            x = np.zeros((*lead, self.n_in), self.dtype)
            self(x)
            self.route(x)
        return self

    def _rows(self, x):
        """Check `x (..., I)`; return it as rows (B, I) that a kernel takes, copied if need be, and its lead."""
        x = checks.array("x", x, (..., self.n_in), self.dtype)
        lead = x.shape[:-1]
        x = x.reshape(math.prod(lead), self.n_in)
        return x if x.flags.carray else x.copy(), lead

    def _output(self, out, x, lead):
        """Check `out`, or make it: (*lead, O); return it, and its rows (B, O)."""
        if out is None:
            out = np.empty((*lead, self.n_out), self.dtype)
        else:
            _check_out(out, (*lead, self.n_out), self.dtype, x)
        return out, out.reshape(len(x), self.n_out)

    def _run(self, kernel, constants, rows):
        """Call `kernel(*constants, *rows)`, with several threads on slices of the rows."""
        n = len(rows[0])
        parts = max(1, min(self.threads, n // ROWS_A_THREAD))
        cuts = [n * part // parts for part in range(parts + 1)]
        slices = [[array[first:last] for array in rows] for first, last in pairwise(cuts)]
        waiting = [self._pool.submit(kernel, *constants, *some) for some in slices[1:]]
        kernel(*constants, *slices[0])
        for future in waiting:
            future.result()


def _check_out(out, shape, dtype, x):
    if not isinstance(out, np.ndarray):
        raise checks.InputTypeError(f"out must be a NumPy array, got {type(out).__name__}")
    checks.array("out", out, shape, dtype)
    if not out.flags.carray:
        raise checks.InputError("out must be C-contiguous, aligned and writeable; pass np.empty of the right shape")
    if np.may_share_memory(out, x):
        raise checks.InputError("out must not overlap x, which is read while out is written; pass another array")


# ---------------------------------------------------------------------- PathFFF


@dataclass(frozen=True, eq=False)
class RowGradients:
    """The gradient of a `PathFFF` where it is not zero.

    Attributes
    ----------
    node : ndarray of int (V,)
        The neurons visited, ascending, counted over all trees: neuron n of tree k is k M + n.
    in_weight, in_bias, out_weight : ndarray (V, I), (V,), (V, O)
    """

    node: np.ndarray
    in_weight: np.ndarray
    in_bias: np.ndarray
    out_weight: np.ndarray


class FastPath(Fast):
    """Compiled `PathFFF`: inference, and the conditional forward and backward passes of training."""

    def __init__(self, layer, threads):
        super().__init__(layer, threads)
        K, M = layer.in_bias.shape
        self._n_trees, self._length = K, K * tree.depth_of(M)
        self._weights = tuple(array.reshape(K * M, *array.shape[2:]) for array in layer.arrays().values())
        self._one, self._constants = kernels._cmm_jit, (*self._weights, K, self._kind)

    def route(self, x):
        """Return the neurons on each sample's path, as the layer's `route`: `(..., n_trees, depth + 1)`."""
        x, lead = self._rows(x)
        node, logit = self._visits(len(x))
        self._run(kernels._descend_jit, (*self._weights[:2], self._n_trees, False), (x, node, logit))
        M = len(self._weights[1]) // self._n_trees
        return node.reshape(*lead, self._n_trees, self._length // self._n_trees) - M * np.arange(self._n_trees)[:, None]

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
        x, lead = self._rows(x)
        y, flat = self._output(None, x, lead)
        return y, PathTape(x, lead, *self._many(x, flat))

    def backward(self, tape, dy, input_gradient=True):
        """Gradients of a loss, as the layer's `backward` returns them: dense arrays, 0 at neurons not visited.

        Parameters
        ----------
        tape : PathTape
        dy : ndarray (..., n_out)
        input_gradient : bool
            False saves the work behind `dx`.

        Returns
        -------
        grads : PathFFF
        dx : ndarray (..., n_in), or None

        Raises
        ------
        TypeError, ValueError
            If `dy` has another dtype or shape than the output had.
        """
        dy, dlogit, visit, node, start = self._group(tape, dy)
        flat = [np.zeros_like(weight) for weight in self._weights]
        self._parameter_gradients(tape, dy, dlogit, visit, start, node, *flat)
        layer = self.layer.arrays()
        grads = {name: gradient.reshape(layer[name].shape) for name, gradient in zip(layer, flat, strict=True)}
        return PathFFF(**grads, **self.layer.options()), self._input_gradient(tape, dlogit) if input_gradient else None

    def backward_rows(self, tape, dy, input_gradient=True):
        """Gradients of the visited neurons alone; what is zero is neither stored nor written.

        Parameters
        ----------
        tape, dy, input_gradient
            As in `backward`.

        Returns
        -------
        grads : RowGradients
        dx : ndarray (..., n_in), or None
        """
        dy, dlogit, visit, node, start = self._group(tape, dy)
        V = len(node)
        rows = [np.empty((V, *weight.shape[1:]), self.dtype) for weight in self._weights]
        self._parameter_gradients(tape, dy, dlogit, visit, start, np.arange(V), *rows)
        return RowGradients(node, *rows), self._input_gradient(tape, dlogit) if input_gradient else None

    def update(self, grads, learning_rate):
        """Take one step of SGD in place, on the visited neurons of the layer: p <- p - learning_rate g.

        Parameters
        ----------
        grads : RowGradients
        learning_rate : float
        """
        for weight, gradient in zip(self._weights, (grads.in_weight, grads.in_bias, grads.out_weight), strict=True):
            weight[grads.node] -= self.dtype.type(learning_rate) * gradient

    def warm_up(self):
        """Compile, or load from the cache, whatever calls will need; return self."""
        super().warm_up()
        y, tape = self.forward(np.zeros((1, self.n_in), self.dtype))
        self.backward(tape, y)
        return self

    def _visits(self, B):
        """Room for nodes and logits."""
        shape = B, self._length
        return np.empty(shape, np.intp), np.empty(shape, self.dtype)

    def _many(self, x, y):
        """Fill the rows of `y`; return nodes, logits and activations, (B, KD) each."""
        node, logit = self._visits(len(x))
        hidden = np.empty_like(logit)
        self._run(kernels._path_rows_jit, self._constants, (x, node, logit, hidden, y))
        return node, logit, hidden

    def _group(self, tape, dy):
        """What both backward passes begin with: all visits, in the order of their neurons.

        Returns `dy` as rows (B, O); the gradient of the logits (B, KD); the visits (BKD,); the neurons (V,); and
        where each one's visits start (V + 1,).
        """
        self._check_tape(tape)
        dy = self.layer.gradient_rows(dy, tape.lead)
        dy = dy if dy.flags.carray else dy.copy()
        start, visit = np.empty(len(self._weights[1]) + 1, np.intp), np.empty(tape.node.size, np.intp)
        kernels._group_jit(tape.node.reshape(-1), start, visit)
        dlogit = np.empty(tape.node.shape, self.dtype)
        constants = dy, self._weights[2], tape.node.reshape(-1), dlogit.reshape(-1)
        self._run(kernels._visit_dots_jit, constants, (visit,))
        dlogit *= activations.get(self.layer.activation).derivative(tape.logit)
        node = np.flatnonzero(np.diff(start))
        return dy, dlogit, visit, node, np.append(start[node], visit.size)

    def _check_tape(self, tape):
        """Refuse a tape from another layer: a kernel trusts its indices."""
        x, node = tape.x, tape.node
        fits = x.shape[1:] == self._sample and x.dtype == self.dtype and node.shape == (len(x), self._length)
        if not fits or (node.size and not 0 <= node.min() <= node.max() < len(self._weights[1])):
            raise checks.InputError("tape comes from another layer; pass what forward of this one returned")

    def _parameter_gradients(self, tape, dy, dlogit, visit, start, at, in_weight, in_bias, out_weight):
        """Fill row `at[r]` of each gradient with the sum over the visits start[r] to start[r + 1]."""
        sample = visit // self._length
        dlogit, hidden = dlogit.reshape(-1)[visit], tape.hidden.reshape(-1)[visit]
        rows = start[:-1], start[1:], at
        x = tape.x if tape.x.flags.carray else tape.x.copy()
        self._run(kernels._combine_rows_jit, (dlogit, sample, x, in_weight), rows)
        self._run(kernels._combine_rows_jit, (hidden, sample, dy, out_weight), rows)
        in_bias[at] = np.add.reduceat(dlogit, start[:-1]) if len(at) else 0

    def _input_gradient(self, tape, dlogit):
        """dx[i] = sum over the path of dlogit times the neuron's weights: (B, KD) -> (*lead, I)."""
        B = len(tape.x)
        dx, start = np.empty((B, self.n_in), self.dtype), np.arange(B + 1) * self._length
        constants = dlogit.reshape(-1), tape.node.reshape(-1), self._weights[0], dx
        self._run(kernels._combine_rows_jit, constants, (start[:-1], start[1:], np.arange(B)))
        return dx.reshape(*tape.lead, self.n_in)


# ---------------------------------------------------------------------- LeafFFF


class FastLeaf(Fast):
    """Compiled hard inference of `LeafFFF`: route, then one leaf."""

    def __init__(self, layer, threads):
        super().__init__(layer, threads)
        self._weights, self._depth = tuple(layer.arrays().values()), layer.depth
        self._one, self._constants = kernels._leaf_one_jit, (*self._weights, self._kind)

    def route(self, x):
        """Return the leaf that each sample reaches, as the layer's `route`: `(...)`."""
        x, lead = self._rows(x)
        routes = self._routes(len(x))
        self._run(kernels._leaf_routes_jit, self._weights[:2], (x, *routes))
        return routes[-1].reshape(lead)

    def _many(self, x, y):
        self._run(kernels._leaf_rows_jit, self._constants, (x, *self._routes(len(x)), y))

    def _routes(self, B):
        """Room for nodes, logits and leaves."""
        shape = B, self._depth
        return np.empty(shape, np.intp), np.empty(shape, self.dtype), np.empty(B, np.intp)


# ---------------------------------------------------------------------- DenseFF


class FastDense(Fast):
    """Compiled `DenseFF`: BLAS and a compiled activation for batches, one kernel for one sample."""

    def __init__(self, layer, threads):
        super().__init__(layer, threads)
        self._weights = tuple(layer.arrays().values())
        self._one, self._constants = kernels._dense_one_jit, (*self._weights, self._kind)

    def route(self, x):
        """Return zeros `(...)`: one leaf for all."""
        return self.layer.route(x)

    def _many(self, x, y):
        in_weight, in_bias, out_weight, out_bias = self._weights
        if len(x) == 1:
            self._one(*self._constants, x[0], y[0])
            return
        hidden = x @ in_weight.T  # (B, I) -> (B, w)
        self._run(kernels._activate_rows_jit, (in_bias, self._kind), (hidden,))
        np.matmul(hidden, out_weight, out=y)  # (B, w) -> (B, O)
        y += out_bias
