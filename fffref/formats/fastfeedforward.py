"""Weights that other people's code has saved: safetensors files, mapped rather than read, and foreign names for ours.

A safetensors file is eight bytes of length, a JSON header of names, types, shapes and places, and the raw numbers. So
an array can be a view of the file: nothing is read before it is used, and the system shares the pages among processes.

# N routing nodes, L leaves, l leaf width, I inputs, O outputs

Reference: the safetensors format, https://huggingface.co/docs/safetensors.
"""

import json
import math
import pathlib

import numpy as np

from .. import checks, files
from ..layers.leaf_fff import LeafFFF

DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "BOOL": "?"}
ADVICE = "safetensors.torch.save_file writes one from a PyTorch state dict"


def mapped(path):
    """Map a safetensors file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict of str to ndarray
        Their bytes are the file's: changing one changes memory, never the file. Each has its own mapping, which goes
        when the array does. An array that starts where its dtype must not is a copy.

    Raises
    ------
    ValueError
        If the file is missing, truncated, of another format, or holds numbers of a type that NumPy lacks.
    """
    path = pathlib.Path(path)
    header, start, size = _header(path)
    header.pop("__metadata__", None)
    return {name: _array(path, name, entry, start, size) for name, entry in header.items()}


def write(path, tensors):
    """Write a safetensors file, atomically, with the mark that PyTorch's readers look for.

    Parameters
    ----------
    path : path-like
    tensors : dict of str to ndarray
        In any memory layout.
    """
    from safetensors.numpy import save_file  # imported where needed: `import fffref` stays quick

    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}  # others are stored wrongly
    with files.replacing(path) as temporary:
        save_file(arrays, temporary, {"format": "pt"})


def _header(path):
    """The JSON header, where the numbers start, and the file's size."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(8)
            length = int.from_bytes(first, "little")
            if length > size - 8:
                kind = (
                    "a zip archive, as torch.save writes it" if first[:2] == b"PK" else "no complete safetensors file"
                )
                raise ValueError(f"{path} is {kind}; {ADVICE}")
            header = json.loads(file.read(length))
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError(f"{path} is no safetensors file: its header is no JSON; {ADVICE}") from None
    if size == 8 or not isinstance(header, dict):
        raise ValueError(f"{path} is no complete safetensors file; {ADVICE}")
    return header, 8 + length, size


def _array(path, name, entry, start, size):
    """One tensor of the file."""
    try:
        kind, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: the header does not say where {name} is; take another copy") from None
    if kind not in DTYPES:
        raise ValueError(f"{path}: {name} is {kind}, expected F32 or F64; convert it, in PyTorch by .float()")
    dtype = np.dtype(DTYPES[kind])
    if not 0 <= first <= last <= size - start or last - first != dtype.itemsize * math.prod(shape):
        raise ValueError(f"{path} is truncated or damaged at {name}; take another copy")
    if first == last:
        return np.empty(shape, dtype)
    array = np.asarray(np.memmap(path, dtype, "c", start + first, math.prod(shape))).reshape(shape)
    return array if array.flags.aligned else array.copy()


# ---------------------------------------------------------------------- the first paper's package, fastfeedforward

MODULE = {  # the package's names: ours
    "node_weights": "node_weight",  # (N, I)
    "node_biases": "node_bias",  # (N, 1); ours (N,)
    "w1s": "leaf_in_weight",  # (L, I, l); ours (L, l, I)
    "b1s": "leaf_in_bias",  # (L, l)
    "w2s": "leaf_out_weight",  # (L, l, O)
    "b2s": "leaf_out_bias",  # (L, O)
}
AXES = {"node_weights": 2, "node_biases": 2, "w1s": 3, "b1s": 2, "w2s": 3, "b2s": 2}
STATISTICS = ("node_usage", "leaf_usage")


def leaf_fff(tensors, activation="relu", prefix=""):
    """Make a `LeafFFF` of the weights of a `fastfeedforward.FFF`.

    Parameters
    ----------
    tensors : dict of str to ndarray
        Its state dict. What begins with another prefix is left alone.
    activation : {"relu", "gelu", "tanh", "identity"}
        The module's; a state dict does not say it. Its default is relu.
    prefix : str
        What the names begin with, where the module is part of a larger one, such as "head.".

    Returns
    -------
    LeafFFF
        Its soft forward pass is the module's in training. In evaluation, the module drops `b2s`, and we do not.

    Raises
    ------
    ValueError
        If a weight is missing, unknown, or does not fit the others.
    """
    own = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
    missing = [name for name in MODULE if name not in own]
    unknown = [name for name in own if name not in {*MODULE, "depth", *STATISTICS}]
    if missing or unknown:
        raise ValueError(
            f"these are no weights of a fastfeedforward.FFF under the prefix {prefix!r}: {listed('missing', missing)}"
            f"{'; ' * bool(missing and unknown)}{listed('unknown', unknown)}"
        )
    for name, n in AXES.items():
        checks.array(name, own[name], (None,) * n, own["w1s"].dtype)
    arrays = {ours: own[name] for name, ours in MODULE.items()}
    arrays["node_bias"], arrays["leaf_in_weight"] = own["node_biases"][:, 0], own["w1s"].swapaxes(1, 2)
    layer = LeafFFF(**arrays, activation=activation).aligned()
    if "depth" in own and int(own["depth"]) != layer.depth:
        raise ValueError(f"depth says {int(own['depth'])}, but there are weights for {layer.depth}")
    return layer


def fastfeedforward(layer, prefix=""):
    """Return the state dict of a `fastfeedforward.FFF` with the weights of a `LeafFFF`, a dict of arrays.

    Parameters
    ----------
    layer : LeafFFF
    prefix : str
        As in `leaf_fff`.
    """
    found = {name: getattr(layer, ours) for name, ours in MODULE.items()}
    found["node_biases"], found["w1s"] = layer.node_bias[:, None], layer.leaf_in_weight.swapaxes(1, 2)
    found["depth"] = np.array(layer.depth, np.int64)
    return {prefix + name: array for name, array in found.items()}


def listed(title, names):
    """A few names of many, as text; nothing of none."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{title} {', '.join(names[:4])}{more}" if names else ""
