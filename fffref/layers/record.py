"""What layers and models share: a record of arrays, records and tuples of records; a gradient is the same record.

There is no registry of parameters and no hidden state. Whatever walks the parameters (an optimiser, a
checkpoint, a gradient check) walks `arrays()`, whose names have dots where records nest: "blocks.3.ff.in_weight".
"""

import functools
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np

from .. import checks
from . import activations
from .rows import Rows

CACHE_LINE = 64  # bytes
KNOWN = frozenset(map(np.dtype, checks.DTYPES))  # in this machine's byte order
OPTIONS = (str, int, float, bool, type(None), activations.Activation)  # the last are not saved, only held


@dataclass(frozen=True, eq=False)
class Record:
    """A frozen record whose fields are arrays (or `Rows`), records, tuples of records, or options.

    All arrays, at whatever depth, have one dtype. An option is a str, int, float, bool or None.
    A subclass may spell the shapes of its arrays with one letter per dimension; equal letters are equal lengths.

    Raises
    ------
    TypeError
        If a field is none of these, or an array is masked, a matrix, of a foreign byte order or of another dtype.
    ValueError
        If arrays do not fit together.
    """

    SHAPES: ClassVar[dict[str, str]] = {}

    def __post_init__(self):
        """Refuse what does not fit together, at the moment it is put together."""
        for name in self.SHAPES:  # before shapes are looked at
            if not isinstance(getattr(self, name), (np.ndarray, Rows)):
                raise checks.InputTypeError(f"{name} must be a NumPy array, got {type(getattr(self, name)).__name__}")
        dtype = self.dtype
        for name, value in self._fields():
            if type(value) is np.ndarray and value.dtype is dtype and dtype in KNOWN:
                continue  # the rule, and records are made thousands of times a second
            _check_field(name, value)
            for part in _parts(value):
                if part.dtype not in (dtype, None):
                    raise checks.InputTypeError(f"{name} must have dtype {dtype}, got {part.dtype}; convert one side")
        sizes = {}
        for name, letters in self.SHAPES.items():
            shape = getattr(self, name).shape
            _check_shape(name, shape, tuple(sizes.get(letter) for letter in letters))
            sizes.update(zip(letters, shape, strict=True))  # a letter met once stands for that length from then on

    def arrays(self):
        """Return the parameters, a dict from dotted name to array, in the order of the fields."""
        found = {}
        for name, value in self._fields():
            if isinstance(value, (np.ndarray, Rows)):
                found[name] = value
            # each record names its own; the field that holds it goes before: "blocks.3" and "ff.in_weight"
            for inner, record in _nested(name, value):
                found |= {f"{inner}.{key}": array for key, array in record.arrays().items()}
        return found

    def options(self):
        """Return what is no array, such as the activation's name; a dict from dotted name to value."""
        found = {}
        for name, value in self._fields():
            if isinstance(value, OPTIONS):
                found[name] = value
            for inner, record in _nested(name, value):
                found |= {f"{inner}.{key}": option for key, option in record.options().items()}
        return found

    def with_arrays(self, arrays):
        """Return a record that has these arrays, a dict by dotted name, in place of its own of these names."""
        unknown = arrays.keys() - self.arrays().keys()
        if unknown:
            raise checks.InputError(f"{type(self).__name__} has no arrays {', '.join(sorted(unknown))}")
        return self._with(arrays)

    def map(self, function, *others):
        """Return a record whose every array is `function(array, *those of the same name in others)`.

        Where another record holds `Rows`, the function gets the `Rows`.
        """
        others = [other.arrays() for other in others]
        return self._with({
            name: function(array, *(other[name] for other in others)) for name, array in self.arrays().items()
        })  # fmt: skip

    def dense(self):
        """Return the record with arrays where it has `Rows`."""
        return self.map(lambda array: array.dense() if isinstance(array, Rows) else array)

    def astype(self, dtype):
        """Return a copy in float32, float64, or complex128 (for complex-step derivatives)."""
        dtype = checks.dtype(dtype)
        return self.map(lambda array: aligned(array, dtype))

    def aligned(self):
        """Return a copy whose arrays are C-ordered and start on a cache line, as those of a new layer do."""
        return self.map(aligned)

    @property
    def dtype(self):
        """The one dtype of all arrays, and of all inputs and outputs; None where there is no array."""
        for _, value in self._fields():
            for part in _parts(value):
                if part.dtype is not None:
                    return part.dtype
        return None

    @property
    def n_parameters(self):
        """Number of scalars in all arrays."""
        return sum(array.size for array in self.arrays().values())

    def _fields(self):
        """Names and values of the fields, in their order."""
        return [(name, getattr(self, name)) for name in _names(type(self))]

    def _with(self, arrays):
        """As `with_arrays`, for names that are known to be there."""
        changes, nested = {}, {}
        for name, array in arrays.items():
            first, _, rest = name.partition(".")  # "ff.in_bias" -> "ff", "in_bias"
            if rest:
                nested.setdefault(first, {})[rest] = array
            else:
                changes[first] = array
        for name, inner in nested.items():
            value = getattr(self, name)
            if isinstance(value, Record):
                changes[name] = value._with(inner)  # a record of its own
                continue
            parts = [{} for _ in value]  # a tuple of records: the next part of the name is a number
            for key, array in inner.items():
                i, _, rest = key.partition(".")
                parts[int(i)][rest] = array
            changes[name] = tuple(record._with(part) for record, part in zip(value, parts, strict=True))
        return replace(self, **changes)  # __post_init__ checks the new one as it checked the old


@functools.cache
def _names(cls):
    """The names of a class's fields."""
    return tuple(f.name for f in fields(cls))


def _parts(value):
    """The arrays or records that a field holds; nothing for an option."""
    if isinstance(value, OPTIONS):
        return ()
    return value if isinstance(value, tuple) else (value,)


def _check_field(name, value):
    """Refuse a field that no record can have."""
    if isinstance(value, (np.ma.MaskedArray, np.matrix)):
        raise checks.InputTypeError(
            f"{name} must be a plain NumPy array, got a {type(value).__name__}; pass np.asarray(its data)"
        )
    if isinstance(value, (np.ndarray, Rows)):
        checks.dtype(value.dtype)
        return
    nested = value if isinstance(value, tuple) else (value,)
    if not isinstance(value, OPTIONS) and not all(isinstance(record, Record) for record in nested):
        raise checks.InputTypeError(
            f"{name} must be a NumPy array, a record, a tuple of records, or one of str, int, float, bool and None, "
            f"got {type(value).__name__}"
        )


def _check_shape(name, shape, wanted):
    """Refuse a shape that differs from the wanted one, where None is any length."""
    if len(shape) != len(wanted) or any(w not in (None, n) for w, n in zip(wanted, shape, strict=True)):
        lengths = ", ".join("any" if w is None else str(w) for w in wanted)
        raise checks.InputError(f"{name} must have shape ({lengths}), got {shape}")


def _nested(name, value):
    """Dotted names and records that a field holds."""
    if isinstance(value, Record):
        return [(name, value)]
    if isinstance(value, tuple) and not isinstance(value, OPTIONS):
        return [(f"{name}.{i}", record) for i, record in enumerate(value)]
    return []


@dataclass(frozen=True, eq=False)
class Layer(Record):
    """A record of arrays that turns rows into rows.

    Letters of SHAPES: I inputs, O outputs, N routing nodes, L leaves, l leaf width, K trees, M neurons of a tree,
    w width of a dense net, E experts, e expert width.
    """

    def __post_init__(self):
        activations.get(self.activation)
        super().__post_init__()

    @property
    def sizes(self):
        """The length of every dimension, a dict from its letter."""
        return {
            letter: size
            for name, letters in self.SHAPES.items()
            for letter, size in zip(letters, getattr(self, name).shape, strict=True)
        }

    @property
    def n_in(self):
        """Number of inputs."""
        return self.sizes["I"]

    @property
    def n_out(self):
        """Number of outputs."""
        return self.sizes["O"]

    def as_rows(self, x):
        """Check `x (..., n_in)`; return it as rows `(B, n_in)` and its leading shape."""
        x = checks.array("x", x, (..., self.n_in), self.dtype)
        lead = x.shape[:-1]
        return x.reshape(int(np.prod(lead)), self.n_in), lead  # (..., I) -> (B, I); -1 would fail where I is 0

    def gradient_rows(self, dy, lead):
        """Check the gradient of the output, `dy (*lead, n_out)`; return it as rows `(B, n_out)`."""
        dy = checks.array("dy", dy, (*lead, self.n_out), self.dtype)
        return dy.reshape(int(np.prod(lead)), self.n_out)  # (..., O) -> (B, O)


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
    memory = np.empty(size + CACHE_LINE, np.uint8)  # room to begin later
    start = -memory.ctypes.data % CACHE_LINE  # bytes to the next line
    copy = memory[start : start + size].view(dtype).reshape(array.shape)
    copy[...] = array  # here F order becomes C order, and one dtype another
    return copy
