"""Instruments that count what code really does: elements read by the oracle, multiply-adds done by the layers."""

import math
from collections import Counter

import numpy as np


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


class Counted(np.ndarray):
    """An array whose matrix products add to `Counted.multiply_adds`; what is computed from one is one too."""

    multiply_adds = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        inputs = [plain(value) for value in inputs]
        if out is not None:
            options["out"] = tuple(plain(value) for value in out)
        result = getattr(ufunc, method)(*inputs, **options)
        if ufunc is np.matmul:
            Counted.multiply_adds += np.size(result) * inputs[0].shape[-1]
        return result.view(Counted) if isinstance(result, np.ndarray) else result

    def __array_function__(self, function, types, args, options):
        args = [plain(value) for value in args]
        if function is np.einsum:
            letters = args[0].split("->")[0].split(",")
            sizes = dict(zip("".join(letters), sum((value.shape for value in args[1:]), ()), strict=True))
            Counted.multiply_adds += math.prod(sizes.values())
        result = function(*args, **options)
        return result.view(Counted) if isinstance(result, np.ndarray) else result


def plain(value):
    """The array itself, uncounted."""
    return value.view(np.ndarray) if isinstance(value, Counted) else value


def counted(*arrays):
    """Arrays that count."""
    return [np.asarray(array).view(Counted) for array in arrays]


def multiply_adds(function, *args, **options):
    """What `function` returns, and the multiply-adds of counted arrays meanwhile."""
    before = Counted.multiply_adds
    result = function(*args, **options)
    return result, Counted.multiply_adds - before
