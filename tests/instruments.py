"""Instruments that count what code really does: elements read by the oracle, operations of the layers themselves."""

import contextlib
import math
from collections import Counter

import numpy as np
import pytest

from fffref.counting.layers import Work
from fffref.layers import activations
from fffref.layers.path_fff import PathFFF
from fffref.layers.record import Layer

# ---------------------------------------------------------------------- what is read


class Watched:
    """An array whose every element read is logged, for the scalar loops of `fffref.algorithms`."""

    def __init__(self, name, array, log, at=()):
        self.name, self.array, self.log, self.at, self.shape = name, array, log, at, array.shape

    def __len__(self):
        return len(self.array)

    def __getitem__(self, i):
        if self.array.ndim > 1:
            return Watched(self.name, self.array[i], self.log, (*self.at, i))
        self.log[self.name, *self.at, i] += 1
        return self.array[i]

    def __iter__(self):
        return (self[i] for i in range(len(self)))


def watched(layer):
    """A stand-in for a layer whose arrays log what is read, and the log: from (field, *index) to times."""
    log = Counter()

    class Stand:
        activation = layer.activation

    for name, array in layer.arrays().items():
        setattr(Stand, name, Watched(name, array, log))
    return Stand, log


# ---------------------------------------------------------------------- what is computed


class Counted(np.ndarray):
    """An array whose operations add to `Counted.work`; what is computed from one is one too."""

    work = Work(0)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if out is not None:
            options["out"] = tuple(plain(value) for value in out)
        result = getattr(ufunc, method)(*map(plain, inputs), **options)
        if ufunc is np.matmul:
            Counted.work += Work(np.size(result) * inputs[0].shape[-1])
            return np.asarray(result).view(Partial)
        Counted.work += Work(0, elementwise(ufunc, method, inputs, result))
        return np.asarray(result).view(Counted)

    def __array_function__(self, function, types, args, options):
        result = function(*map(plain, args), **options)
        if function is not np.einsum:
            return result.view(Counted) if isinstance(result, np.ndarray) else result
        letters = "".join(args[0].split("->")[0].split(","))
        sizes = dict(zip(letters, sum((value.shape for value in args[1:]), ()), strict=True))
        Counted.work += Work(math.prod(sizes.values()))
        return result.view(Partial)


class Partial(Counted):
    """Dot products, which may be joined: n multiply-adds have room for one addition more than n products need."""


def elementwise(ufunc, method, inputs, result):
    """Operations of one elementwise function."""
    if result.dtype.kind != "f" or any(isinstance(value, int) and value == 0 for value in inputs):
        return 0  # comparisons; an absent term
    if ufunc is np.add and all(isinstance(value, Partial) for value in inputs):
        return 0
    return np.size(inputs[0]) if method == "reduce" else result.size


def plain(value):
    """The array itself, uncounted."""
    return value.view(np.ndarray) if isinstance(value, Counted) else value


def counted(*arrays):
    """Arrays that count."""
    return [np.array(array).view(Counted) for array in arrays]


def one_operation(function):
    """The function, counted as one operation a result however it is computed."""

    def counting(z):
        Counted.work += Work(0, z.size)
        return function(plain(z)).view(Counted)

    return counting


class OnPath:
    """The sparse matrix of `PathFFF`: a product with it takes a multiply-add per stored entry and column."""

    on_path = PathFFF._on_path

    def __init__(self, layer=None, node=None, value=None, matrix=None):
        self.matrix = OnPath.on_path(layer, node, plain(value)) if matrix is None else matrix

    @property
    def T(self):
        return OnPath(matrix=self.matrix.T)

    def __matmul__(self, dense):
        bias = dense.ndim == 1  # a product with ones, a sum over the batch: the gradient of a bias
        Counted.work += Work(0, self.matrix.nnz) if bias else Work(self.matrix.nnz * dense.shape[1])
        return self.matrix @ plain(dense)


@contextlib.contextmanager
def counting_layers():
    """Context: layers whose arrays are `Counted` count everything that they do."""
    get, gradient_rows = activations.get, Layer.gradient_rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activations, "get", lambda name: activations.Activation(*map(one_operation, get(name))))
        for name in ("sigmoid", "mirrored_sigmoid"):
            patch.setattr(activations, name, one_operation(getattr(activations, name)))
        patch.setattr(Layer, "gradient_rows", lambda self, dy, lead: gradient_rows(self, dy, lead).view(Counted))
        patch.setattr(PathFFF, "_on_path", lambda self, node, value: OnPath(self, node, value))
        yield


def work(function, *args, **options):
    """What `function` returns, and the work of counted arrays meanwhile."""
    before = Counted.work
    result = function(*args, **options)
    return result, Counted.work + -1 * before
