"""What all layers share: a layer is a frozen record of arrays, and a gradient is the same record.

There is no registry of parameters and no hidden state. Whatever walks the parameters (an optimiser, a
checkpoint, a gradient check) walks `arrays()`.
"""

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np

from .. import checks
from . import activations

CACHE_LINE = 64  # bytes


@dataclass(frozen=True, eq=False)
class Layer:
    """A record of arrays whose shapes are spelled with one letter per dimension.

    Letters: I inputs, O outputs, N routing nodes, L leaves, l leaf width, K trees, M neurons of a tree,
    w width of a dense net, E experts, e expert width.
    """

    SHAPES: ClassVar[dict[str, str]]

    def __post_init__(self):
        """Refuse arrays that do not fit together, at the moment they are put together."""
        activations.get(self.activation)
        for name in self.SHAPES:
            if not isinstance(getattr(self, name), np.ndarray):
                raise TypeError(f"{name} must be a NumPy array, got {type(getattr(self, name)).__name__}")
        checks.dtype(self.dtype)
        sizes = {}
        for name, letters in self.SHAPES.items():
            array = getattr(self, name)
            checks.array(name, array, tuple(sizes.get(letter) for letter in letters), self.dtype)
            sizes.update(zip(letters, array.shape, strict=True))

    def arrays(self):
        """Return the parameters, a dict from field name to array, in the order of the fields."""
        return {name: getattr(self, name) for name in self.SHAPES}

    def options(self):
        """Return the fields that are not arrays, such as the activation's name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.SHAPES}

    def map(self, function, *others):
        """Return a layer whose every array is `function(own, *same arrays of others)`."""
        return replace(self, **{
            name: function(array, *(getattr(other, name) for other in others))
            for name, array in self.arrays().items()
        })  # fmt: skip

    def astype(self, dtype):
        """Return a copy in float32, float64, or complex128 (for complex-step derivatives)."""
        dtype = checks.dtype(dtype)
        return self.map(lambda array: aligned(array, dtype))

    def aligned(self):
        """Return a copy whose arrays are C-ordered and start on a cache line, as those of a new layer do."""
        return self.map(aligned)

    @property
    def sizes(self):
        """The length of every dimension, a dict from its letter."""
        return {
            letter: size
            for name, letters in self.SHAPES.items()
            for letter, size in zip(letters, getattr(self, name).shape, strict=True)
        }

    @property
    def dtype(self):
        """The one dtype of all arrays, and of all inputs and outputs."""
        return getattr(self, next(iter(self.SHAPES))).dtype

    @property
    def n_in(self):
        """Number of inputs."""
        return self.sizes["I"]

    @property
    def n_out(self):
        """Number of outputs."""
        return self.sizes["O"]

    @property
    def n_parameters(self):
        """Number of scalars in all arrays."""
        return sum(array.size for array in self.arrays().values())

    def as_rows(self, x):
        """Check `x (..., n_in)`; return it as rows `(B, n_in)` and its leading shape."""
        x = checks.array("x", x, (..., self.n_in), self.dtype)
        lead = x.shape[:-1]
        return x.reshape(int(np.prod(lead)), self.n_in), lead

    def gradient_rows(self, dy, lead):
        """Check the gradient of the output, `dy (*lead, n_out)`; return it as rows `(B, n_out)`."""
        dy = checks.array("dy", dy, (*lead, self.n_out), self.dtype)
        return dy.reshape(int(np.prod(lead)), self.n_out)


def uniform(rng, bound, shape, dtype):
    """Draw from the uniform distribution on +-`bound`; drawn in float64, so that float32 gets the same values."""
    return aligned(rng.uniform(-bound, bound, shape), checks.dtype(dtype, allowed=checks.DTYPES[:2]))


def aligned(array, dtype=None):
    """Return a C-ordered copy that starts on a cache line.

    NumPy's own large arrays start 16 bytes off one, so that every vector of 64 bytes is loaded from two lines. For
    a matrix product that hardly matters, for the compiled descent it does: `benchmarks/variants.py` says how much.
    """
    dtype = array.dtype if dtype is None else np.dtype(dtype)
    size = array.size * dtype.itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    copy = memory[start : start + size].view(dtype).reshape(array.shape)
    copy[...] = array
    return copy
