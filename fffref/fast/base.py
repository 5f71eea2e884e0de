"""What compiled layers share: `jit`, and the checking, allocating and sharing out of rows before a kernel runs.

`path.py`, `leaf.py` and `dense.py` wrap one layer each; `kernels.py` computes and trusts what it is given.

Weights are shared with the layer, never copied: a change in place is seen by the next call. Layers are born with
arrays that start on a cache line; one that was not is as right, but slower, see `Record.aligned`.

# B batch, I inputs, O outputs
"""

import abc
import functools
import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import typeof

from .. import checks
from ..layers.record import CACHE_LINE

# Rows that a thread takes at a time. The more rows go together, the more of them share a weight row; and waking a
# sleeping thread takes about as long as it takes to compute half a chunk of the least size.
CHUNK = 128
LARGEST_CHUNK = 2048  # smaller than a share of a large batch: a thread that is kept waiting leaves rows to the others


@functools.singledispatch
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
    CompiledLayer
        Call it on `x (..., n_in)`. Nothing is compiled yet: the first call compiles, or loads what an earlier
        process compiled; `warm_up()` does so on purpose. It can be copied, pickled and used after a fork.

    Raises
    ------
    TypeError, ValueError
        If it is no such layer, has another dtype or byte order, or arrays that are not C-contiguous.

    Notes
    -----
    A further layer registers its compiled form: `jit.register(MyLayer)(MyCompiledLayer)`.

    Examples
    --------
    >>> layer = PathFFF.init(np.random.default_rng(0), n_in=768, n_out=768, depth=11)
    >>> fast = jit(layer).warm_up()
    >>> fast(np.zeros(768, np.float32)).shape
    (768,)
    """
    *first, last = [kind.__name__ for kind in jit.registry if kind is not object]
    raise checks.InputTypeError(f"layer must be a {', '.join(first)} or {last}, got {type(layer).__name__}")


class CompiledLayer(abc.ABC):
    """A layer, compiled. A subclass defines what is abstract here, and registers with `jit`.

    Objects keep no scratch memory: several Python threads may call one at once.

    Parameters
    ----------
    layer : Layer
    threads : int, at least 1
    """

    def __init__(self, layer, threads=1):
        self.threads = checks.integer("threads", threads, 1)
        self.layer, self.dtype = layer, checks.dtype(layer.dtype, allowed=checks.DTYPES[:2])
        self.n_in, self.n_out, self._sample = layer.n_in, layer.n_out, (layer.n_in,)
        self.arrays = {name: shared(name, array, self.dtype) for name, array in layer.arrays().items()}
        self.weights = self.kernel_weights()
        self._call_single, self._pool = None, None

    @abc.abstractmethod
    def kernel_weights(self):
        """The NamedTuple that this layer's kernels take, made of `self.arrays`."""

    @property
    @abc.abstractmethod
    def single_kernel(self):
        """The compiled kernel for one sample: kernel(weights, x (I,), y (O,))."""

    @abc.abstractmethod
    def forward_rows(self, x, y):
        """Fill `y (B, O)` from `x (B, I)`, checked rows both."""

    @abc.abstractmethod
    def route(self, x):
        """Return what the layer's own `route` returns."""

    def __call__(self, x, out=None):
        """Compute the layer's `forward_hard`.

        Parameters
        ----------
        x : ndarray (..., n_in)
        out : ndarray (..., n_out), optional
            Where to put the result; C-contiguous, and apart from `x` and from the layer's weights.

        Returns
        -------
        y : ndarray (..., n_out)

        Raises
        ------
        TypeError, ValueError
            If `x` or `out` has another dtype or shape, or `out` overlaps what is read.
        """
        # One sample in its simplest form: here every check counts, so these are as few as can be.
        if out is None and type(x) is np.ndarray and x.dtype is self.dtype and x.flags.carray:
            if x.shape == self._sample:
                y = np.empty(self.n_out, self.dtype)
                (self._call_single or self._compile_single(x, y))(self.weights, x, y)
                return y
            if x.size == self.n_in and x.shape[-1:] == self._sample:  # one sample with axes of length 1
                return self(x.reshape(self.n_in)).reshape(*x.shape[:-1], self.n_out)
        x, lead = self.rows(x)
        y = self._output(out, x, lead)
        self.forward_rows(x, y.reshape(len(x), self.n_out))
        return y

    def warm_up(self):
        """Compile, or load from the cache, whatever calls will need; return self."""
        for lead in ((), (2,)):
            x = np.zeros((*lead, self.n_in), self.dtype)
            self(x)
            self.route(x)
        return self

    def rows(self, x):
        """Check `x (..., I)`; return it as rows (B, I) that a kernel takes, copied if need be, and its lead."""
        x = checks.array("x", x, (..., self.n_in), self.dtype)
        lead = x.shape[:-1]
        return plain(x.reshape(math.prod(lead), self.n_in)), lead

    def share_out(self, work, n):
        """Call `work(first, last)` for chunks of `n` rows, each as soon as one of the threads asks for it."""
        size = min(LARGEST_CHUNK, max(CHUNK, -(-n // self.threads)))
        if self.threads == 1 or n < 2 * CHUNK:
            if n:
                work(0, n)
            return
        share_out(lambda first: work(first, min(first + size, n)), range(0, n, size), self._helpers(), self.threads)

    def _helpers(self):
        """The threads beside the caller's, made when first needed, and anew in a child that was forked."""
        process = os.getpid()
        if self._pool is None or self._pool[0] != process:
            self._pool = process, ThreadPoolExecutor(self.threads - 1, "fffref")
        return self._pool[1]

    def _compile_single(self, x, y):
        """The kernel for one sample, looked up by types once: that saves a call a third of its overhead."""
        kernel = self.single_kernel
        if hasattr(kernel, "compile"):  # not where the JIT is switched off
            kernel = kernel.compile((typeof(self.weights), typeof(x), typeof(y)))
        self._call_single = kernel
        return kernel

    def _output(self, out, x, lead):
        """Check `out`, or make it, on a cache line: (*lead, O)."""
        shape = (*lead, self.n_out)
        if out is None:
            return empty_on_a_line(shape, self.dtype)
        check_output(out, shape, self.dtype, {"x": x} | self.arrays)
        return out

    def __reduce__(self):
        """Copies and pickles are compiled anew around a copy of the layer, so that they share its weights again."""
        return jit, (self.layer, self.threads)


def share_out(work, items, pool, threads):
    """Call `work(item)` for each of `items`, here and by the pool; who is idle takes the next one."""
    waiting_items = iter(items)  # taking the next is atomic

    def take_items():
        """Work on items until none is left."""
        for item in waiting_items:
            work(item)

    helpers = [pool.submit(take_items) for _ in range(min(threads, len(items)) - 1)]
    try:
        take_items()
    finally:
        for helper in helpers:
            if not helper.cancel():  # it has begun; one that has not is too late
                helper.result()


class _Readable:
    """The memory of an array, said to be writeable: Numba compiles for read-only arrays anew, and kernels only read."""

    def __init__(self, array):
        interface = array.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}
        self.array = array  # kept alive


def plain(array):
    """The array as a kernel takes it: itself where that is possible, its memory, or a copy."""
    if type(array) is np.ndarray and array.flags.carray:
        return array
    if array.flags.c_contiguous and array.flags.aligned and array.size:
        return np.asarray(_Readable(array))
    return np.array(array, order="C", subok=False)


def shared(name, array, dtype):
    """A layer's array for kernels: its own memory. What has no such form is refused."""
    if isinstance(array, (np.ma.MaskedArray, np.matrix)):
        raise checks.InputTypeError(
            f"{name} must be a plain NumPy array, got a {type(array).__name__}; pass np.asarray(its data)"
        )
    if array.dtype != dtype or not array.dtype.isnative:
        raise checks.InputTypeError(
            f"{name} must have dtype {dtype.name} in native byte order; pass layer.astype(np.{dtype.name})"
        )
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise checks.InputError(f"{name} is not C-contiguous, and copies would miss changes; pass layer.aligned()")
    return plain(array)


def empty_on_a_line(shape, dtype):
    """Memory for an array that starts on a cache line: whole lines can be written past the caches."""
    size = math.prod(shape) * dtype.itemsize
    if size < 4096:
        return np.empty(shape, dtype)
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(shape)


def check_output(out, shape, dtype, inputs):
    """Refuse an `out` that a kernel cannot fill, or that overlaps one of `inputs`, a dict from name to array."""
    if not isinstance(out, np.ndarray) or isinstance(out, (np.ma.MaskedArray, np.matrix)):
        raise checks.InputTypeError(f"out must be a plain NumPy array, got {type(out).__name__}")
    checks.array("out", out, shape, dtype)
    if not out.flags.carray:
        raise checks.InputError("out must be C-contiguous, aligned and writeable; pass np.empty of the right shape")
    for name, array in inputs.items():
        if np.may_share_memory(out, array):
            raise checks.InputError(
                f"out must not overlap {name}, which is read while out is written; pass another array"
            )
