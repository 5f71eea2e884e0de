"""Safetensors files: arrays that are views of the file, judged one by one when they are asked for; and writing them.

A file is eight bytes of length, a JSON header of names, types, shapes and places, and the raw numbers. So an array can
be mapped: nothing is read before it is used, and the system shares the pages among processes. The layout is held
against the whole file at once, whoever wrote it: no gaps, no overlap, nothing behind the last number.

Half precision has no place in a layer of this package: F16 and BF16 become float32, which holds each of their numbers.

Reference: the safetensors format, https://huggingface.co/docs/safetensors.
"""

import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping

import numpy as np

from .. import checks, files
from . import names

DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "?"}
HALF = {"F16": "<f2", "BF16": "<u2"}  # BF16 is the upper half of an F32
LARGEST_HEADER = 100_000_000  # bytes, as the safetensors library has it
ADVICE = "safetensors.torch.save_file writes one from a PyTorch state dict"
KINDS = (  # what else is often found where weights should be: how it begins, what it is, what to do
    (b"version https://git-lfs", "a git-lfs pointer, not the file that it stands for", "fetch that with: git lfs pull"),
    (b"<!doctype html", "an HTML page, as a server sends in place of a file", "download it by its raw address"),
    (b"<html", "an HTML page, as a server sends in place of a file", "download it by its raw address"),
    (b"<?xml", "an XML page, as a server sends in place of a file", "download it by its raw address"),
    (b"pk\x03\x04", "a zip archive, as torch.save writes it", ADVICE),
    (b"\x80\x02", "a pickle, which may run code when it is read, and is not read here", ADVICE),
    (b"\x80\x03", "a pickle, which may run code when it is read, and is not read here", ADVICE),
    (b"\x80\x04", "a pickle, which may run code when it is read, and is not read here", ADVICE),
    (b"\x80\x05", "a pickle, which may run code when it is read, and is not read here", ADVICE),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"\x93numpy", "a NumPy array file", "safetensors.numpy.save_file writes arrays by name"),
    (b"\x89hdf", "an HDF5 file", "safetensors.numpy.save_file writes arrays by name"),
    (b"gguf", "a GGUF file", ADVICE),
)


class Tensors(Mapping):
    """The arrays of a file by name. Each is made, and judged, when it is asked for.

    Parameters
    ----------
    path : pathlib.Path
    entries : dict
        Of the header: name to type, shape and place.
    start : int
        Where the numbers begin.
    metadata : dict of str to str
    """

    def __init__(self, path, entries, start, metadata):
        self.path, self.metadata = path, metadata
        self._entries, self._start = entries, start

    def __iter__(self):
        return iter(self._entries)

    def __len__(self):
        return len(self._entries)

    def __contains__(self, name):
        return name in self._entries

    def __getitem__(self, name):
        return _array(self.path, name, self._entries[name], self._start)

    def kind(self, name):
        """The type that the file says, such as "F32"."""
        return self._entries[name]["dtype"]


def mapped(path):
    """Map a safetensors file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Tensors
        A mapping from name to ndarray. Its bytes are the file's: changing one changes memory, never the file. Each has
        a mapping of its own, which goes when the array does. An array that starts where its dtype must not, and one
        of half precision, is a copy.

    Raises
    ------
    InputError
        At once if the file is missing, truncated, of another format, or its layout is forged; when an array is asked
        for, if its numbers are of a type that NumPy lacks or its shape does not fit its bytes.

    Warns
    -----
    UserWarning
        When an array of half precision is asked for, and becomes float32.
    """
    path = files.path_of(path)
    header, start, size = _header(path)  # metadata are an entry like the others
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise checks.InputError(f"{path}: its metadata are no texts by name; take another copy")
    for name, entry in header.items():
        _check_entry(path, name, entry)
    _check_layout(path, header, size - start)  # before any array is made: a forged place could lie anywhere
    return Tensors(path, header, start, metadata)


def write(path, tensors, metadata=None):
    """Write a safetensors file, atomically.

    Parameters
    ----------
    path : path-like
    tensors : dict of str to ndarray
        In any memory layout and byte order.
    metadata : dict of str to str, optional
        Unless told otherwise, the mark that PyTorch's readers look for.
    """
    from safetensors.numpy import save_file  # imported where needed: `import fffref` stays quick

    arrays = {name: native(array) for name, array in names.checked(tensors).items()}
    metadata = {"format": "pt"} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise checks.InputTypeError(f"metadata must be a dict of texts, got {checks.shown(metadata)}")
    unknown = [name for name, array in arrays.items() if array.dtype.kind not in "fiub"]
    if unknown:
        raise checks.InputTypeError(f"{unknown[0]} must hold numbers, got {arrays[unknown[0]].dtype}; convert it")
    with files.replacing(path) as temporary:
        save_file(arrays, temporary, metadata)


def native(array):
    """The array in C order and in this machine's byte order: the safetensors library stores others wrongly."""
    array = checks.plain("array", array)
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")  # converts values where the byte order differs


def what_it_is(first):
    """What a file that begins with these bytes is, and what to do; None if that is not known."""
    first = first.lstrip(b"\xef\xbb\xbf \r\n\t").lower()  # a byte order mark, and white space
    return next((f"{kind}; {advice}" for mark, kind, advice in KINDS if first.startswith(mark)), None)


# ---------------------------------------------------------------------- the header


def _header(path):
    """The JSON header, where the numbers start, and the file's size."""
    incomplete = f"{path} is no complete safetensors file; {ADVICE}"
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise checks.InputError(f"cannot read {path}: it is no regular file")
        with path.open("rb") as file:
            first = file.read(512)
            length = int.from_bytes(first[:8], "little")  # of the JSON header
            # "{}" at least; a pickle or a page read as a number is far too long
            if not 2 <= length <= min(size - 8, LARGEST_HEADER):
                kind = what_it_is(first)
                raise checks.InputError(f"{path} is {kind}" if kind else incomplete)
            file.seek(8)
            # json keeps the last of equal names, silently
            header = json.loads(file.read(length), object_pairs_hook=_once)
    except FileNotFoundError:
        raise checks.InputError(f"there is no file {path}") from None
    except OSError as error:
        raise checks.InputError(f"cannot read {path}: {error.strerror or error}") from error
    except _Twice as error:
        raise checks.InputError(f"{path}: its header names {error} twice; take another copy") from None
    except (checks.InputError, MemoryError):
        raise
    except (ValueError, RecursionError):  # no JSON, no text, a number of 5,000 digits, brackets without end
        raise checks.InputError(f"{path} is no safetensors file: its header is no JSON; {ADVICE}") from None
    if not isinstance(header, dict):
        raise checks.InputError(incomplete)
    return header, 8 + length, size  # numbers begin behind length and header


class _Twice(Exception):
    """A name that occurs twice."""


def _once(pairs):
    """A dict of pairs; a name that occurs twice would hide the first."""
    made = dict(pairs)  # the last of equal names wins
    if len(made) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise _Twice(name[:200])
    return made


def _check_entry(path, name, entry):
    """Refuse an entry that does not say type, shape and place."""
    said = entry if isinstance(entry, dict) else {}
    # None where it is missing: no natural number
    kind, shape, place = (said.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not (isinstance(kind, str) and _naturals(shape) and len(shape) <= 32 and _naturals(place) and len(place) == 2):
        raise checks.InputError(
            f"{path}: the header does not say where {name[:200]} is, and of which type and shape; take another copy"
        )


def _naturals(value):
    """Whether a value is a list of sizes or places."""
    # a bool is an int, but no length
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _check_layout(path, entries, size):
    """Refuse arrays that leave gaps, overlap, or end before or behind the file."""
    end = 0
    # by place: each has to begin where the one before ended
    for (first, last), name in sorted((entry["data_offsets"], name) for name, entry in entries.items()):
        if first != end or last < first or last > size:
            raise checks.InputError(f"{path} is truncated or damaged at {name[:200]}; take another copy")
        end = last
    if end != size:
        raise checks.InputError(f"{path} is damaged: {size - end:,} bytes behind its last array; take another copy")


# ---------------------------------------------------------------------- one array


def _array(path, name, entry, start):
    """One tensor of the file."""
    kind, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if kind not in DTYPES and kind not in HALF:
        raise checks.InputError(
            f"{path}: {name} is {kind[:20]}, expected F32, F64, F16 or BF16; convert it, in PyTorch by .float()"
        )
    dtype, count = np.dtype(DTYPES.get(kind) or HALF[kind]), math.prod(shape)  # an empty shape is one number
    if last - first != dtype.itemsize * count:
        raise checks.InputError(f"{path} is truncated or damaged at {name[:200]}; take another copy")
    try:
        if count == 0:
            array = np.empty(shape, dtype)  # nothing can be mapped
        else:
            # "c": copy on write, the file never changes
            array = np.asarray(np.memmap(path, dtype, "c", start + first, count)).reshape(shape)
    except (OSError, ValueError) as error:  # it has changed since its header was read; a shape NumPy cannot have
        raise checks.InputError(f"{path}: cannot read {name[:200]}: {error}") from error
    if kind in HALF:
        return _widened(path, array, kind)
    # offsets need not be multiples of the itemsize
    return array if array.flags.aligned and array.dtype.isnative else native(array.copy())


def _widened(path, array, kind):
    """Half precision as float32: no number changes."""
    warnings.warn(f"{path} holds {kind}: its numbers are widened to float32", stacklevel=4)
    if kind == "F16":
        return array.astype(np.float32)  # exact: every half is a float
    return (array.astype(np.uint32) << 16).view(np.float32)  # upper half of the bits, the lower half 0
