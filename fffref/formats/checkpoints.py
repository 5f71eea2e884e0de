"""Layers and models in safetensors files: arrays, and what they are. Loading checks all of it; never pickle.

A file holds one layer (or a record of them) and, if it comes from training, the optimiser's state (records of the
same shape) and a dict of facts. Its metadata names format, class, options, dtype and shapes, and a SHA-256 of the
contents.
"""

import contextlib
import hashlib
import json
from dataclasses import dataclass, field, fields

import numpy as np

from .. import checks, files
from ..layers import activations
from ..layers.dense_ff import DenseFF
from ..layers.leaf_fff import LeafFFF
from ..layers.moe import MoE
from ..layers.path_fff import PathFFF
from ..layers.record import OPTIONS, Record, aligned
from . import safetensors

FORMAT = "fffref 1"
LAYERS = {cls.__name__: cls for cls in (LeafFFF, PathFFF, DenseFF, MoE)}


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes
    ----------
    layer : Layer, or a record of layers
    state : tuple of the same
        The optimiser's, empty if none was saved.
    info : dict
        Whatever was saved beside it, as JSON.
    """

    layer: Record
    state: tuple = ()
    info: dict = field(default_factory=dict)


def save(path, layer, state=(), info=None):
    """Write a layer, or a model of layers, atomically.

    Parameters
    ----------
    path : path-like
    layer : Layer, or any record
    state : tuple of the same
        An optimiser's state, to go on training from.
    info : dict, optional
        Anything that JSON can hold.

    Raises
    ------
    InputTypeError
        If `layer` is no record, or JSON cannot hold `info`.
    InputError
        If the file cannot be written.
    """
    if not isinstance(layer, Record):
        raise checks.InputTypeError(
            f"layer must be one of {', '.join(LAYERS)} or a record of such, got {type(layer).__name__}"
        )
    if not isinstance(state, tuple) or not all(isinstance(one, Record) for one in state):
        raise checks.InputTypeError(f"state must be a tuple of records, got {checks.shown(state)}")
    arrays = {
        f"{record}.{name}": safetensors.native(array)  # "layer.in_weight", "state0.in_weight"
        for record, one in zip(_records(len(state)), (layer, *state), strict=True)
        for name, array in one.arrays().items()
    }
    description = {
        **_structure(layer),
        "dtype": str(layer.dtype),
        "shapes": {name: array.shape for name, array in layer.arrays().items()},
        "states": len(state),
        "info": info or {},
    }
    text = _json(description)  # digested as text: JSON has several spellings of one thing
    safetensors.write(path, arrays, {"format": FORMAT, "description": text, "sha256": _digest(text, arrays)})


def _json(description):
    """The description as JSON, NumPy's scalars as plain numbers; infinity and NaN come back as such."""
    try:
        return json.dumps(description, default=_plain_number)
    except (TypeError, ValueError, RecursionError) as error:
        raise checks.InputTypeError(f"info must hold what JSON can, {error}; pass numbers, texts, lists") from error


def _plain_number(value):
    """A NumPy scalar as Python's; json asks for a TypeError on anything else."""
    if isinstance(value, np.generic):
        return value.item()  # np.int64(3) -> 3
    raise TypeError(f"got a {type(value).__name__}")


def load(path, kind=None):
    """Read a file that `save` wrote.

    Parameters
    ----------
    path : path-like
    kind : class, optional
        The layer expected, such as `LeafFFF`.

    Returns
    -------
    Checkpoint

    Raises
    ------
    InputError
        If the file is missing, truncated, edited, of another format, or holds another layer than `kind`.
    """
    path = files.path_of(path)
    if not (kind is None or isinstance(kind, type)):
        raise checks.InputTypeError(f"kind must be a class such as LeafFFF, got {checks.shown(kind)}")
    with contextlib.suppress(OSError):  # a name that is too long is refused by the reader
        if not path.exists():
            raise checks.InputError(f"there is no checkpoint {path}; fffref train --out {path} makes one")
    tensors = safetensors.mapped(path)
    # a digest is no signature: it finds damage and careless edits, and a loader that trusts nothing finds the rest
    metadata = tensors.metadata
    if metadata.get("format") != FORMAT:
        raise checks.InputError(
            f"{path} is no {FORMAT!r} checkpoint but {metadata.get('format')!r}; save one with fffref train"
        )
    text, arrays = metadata.get("description", ""), dict(tensors)  # a dict to take from: what is left over is refused
    if metadata.get("sha256") != _digest(text, arrays):
        raise checks.InputError(
            f"{path} was edited or damaged: its contents do not match its SHA-256; take another copy"
        )
    try:
        found = _rebuild(json.loads(text), arrays)  # classes by name, of records only: no code in the file
    except KeyError as error:  # a digest that fits, of a description that does not
        raise checks.InputError(f"{path} contradicts itself: it names or lacks {error}; take another copy") from error
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise checks.InputError(f"{path} contradicts itself: {error}; take another copy") from error
    if kind is not None and type(found.layer) is not kind:
        raise checks.InputError(f"{path} holds a {type(found.layer).__name__}, expected a {kind.__name__}")
    return found


def _rebuild(description, arrays):
    """The layers that a description says are there, from all of the arrays and no others."""
    # 10^12 states would be built before any is missed
    states = checks.integer("states", description["states"], 0, len(arrays))
    records = [_build(description, record, arrays) for record in _records(states)]
    if arrays:
        raise checks.InputError(f"it holds arrays that belong to no layer, {', '.join(arrays)}")
    layer, *state = records  # the first is the layer
    for name, array in layer.arrays().items():
        said = description["dtype"], description["shapes"][name]
        if (str(array.dtype), list(array.shape)) != (said[0], said[1]):
            raise checks.InputError(f"{name} should be {said[0]} {said[1]}, got {array.dtype} {list(array.shape)}")
    return Checkpoint(layer, tuple(state), description["info"])


def _structure(record):
    """What a record is, but for its arrays: class, options and, where it holds others, the same of each."""
    own = {f.name: getattr(record, f.name) for f in fields(record)}  # arrays, options and records together
    if "activation" in own:
        activations.named(own["activation"])  # a function has no name that a file could hold
    records = {
        name: [_structure(part) for part in value] if isinstance(value, tuple) else _structure(value)
        for name, value in own.items()
        if isinstance(value, (Record, tuple))
    }
    options = {name: value for name, value in own.items() if isinstance(value, OPTIONS)}
    return {"class": type(record).__name__, "options": options} | ({"records": records} if records else {})


def _build(structure, prefix, arrays):
    """The record that a structure describes, of the arrays of this prefix, which are taken out of the dict."""
    cls, options, structures = _class(structure["class"]), structure["options"], structure.get("records", {})
    records = {
        name: tuple(_build(part, f"{prefix}.{name}.{i}", arrays) for i, part in enumerate(inner))
        if isinstance(inner, list)
        else _build(inner, f"{prefix}.{name}", arrays)
        for name, inner in structures.items()
    }
    names = [f.name for f in fields(cls) if f.name not in options and f.name not in records]  # what is left are arrays
    # checked as any new record is
    return cls(**{name: aligned(arrays.pop(f"{prefix}.{name}")) for name in names}, **records, **options)


def _class(name):
    """The record class of this name: one of ours, or one that has been imported or written."""
    if name in LAYERS:
        return LAYERS[name]
    waiting, known = [Record], {}  # every class that was derived so far, by name
    while waiting:
        cls = waiting.pop()
        known[cls.__name__] = cls
        waiting += cls.__subclasses__()
    return known[name]


def _records(n_states):
    """Prefixes of the arrays' names: the layer's, then one per layer of the optimiser's state."""
    return ["layer", *(f"state{i}" for i in range(n_states))]


def _digest(text, arrays):
    """SHA-256 over the description and over every array's name, type, shape and bytes."""
    sha = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        # bytes alone would not tell a reshaped array
        sha.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        sha.update(arrays[name])
    return sha.hexdigest()
