"""Named arrays in files that any language reads without a library: as text, or as raw numbers behind small headers.

Text is a header `name dtype rank d0 d1 ...` on a line of its own, then the numbers in C order. Binary is 64 bytes of
header (the name padded with zeros to 32, then eight int32: dtype's code, rank, six sizes) and the raw numbers, all
little-endian. A file is one array after the other. Nothing here depends on NumPy: an array's values are a flat list.
"""

import math
import pathlib
import struct
from typing import NamedTuple

from .. import checks

CODES = {"int32": (1, "i"), "float32": (2, "f"), "float64": (3, "d")}  # code in binary headers, letter of `struct`
NAMES = {code: name for name, (code, _) in CODES.items()}
HEADER = struct.Struct("<32s8i")
ANSWERED = (*CODES, "int64")  # what an answer may call its numbers


class Array(NamedTuple):
    """A dtype's name, a shape and the values as a flat list; and the line of a text file where it begins."""

    dtype: str
    shape: tuple
    values: list
    line: int = 0


def flat(nested):
    """Numbers of nested lists, in C order."""
    if not isinstance(nested, (list, tuple)):
        return [nested]
    return [number for part in nested for number in flat(part)]


def nested(array):
    """An array as nested lists; the number itself if the rank is 0."""

    def part(shape, values):
        """The first axis split off, the rest by the same function."""
        if not shape:
            return values[0]
        size = math.prod(shape[1:])  # numbers of one part
        return [part(shape[1:], values[i * size : (i + 1) * size]) for i in range(shape[0])]

    return part(array.shape, array.values)


def rounded(dtype, value):
    """A number as it is in this dtype, as a Python number."""
    if dtype == "int32":
        return int(value)
    if dtype != "float32":
        return float(value)
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]  # through four bytes and back: no library needed
    except OverflowError:
        return math.copysign(math.inf, value)  # as rounding to float32 does


def decimal(dtype, value):
    """The shortest decimal that gives this number back in its dtype."""
    if dtype == "float32" and math.isfinite(value):
        # nine digits always do
        return next(text for p in range(1, 10) if rounded(dtype, float(text := f"{value:.{p}g}")) == value)
    return repr(value).removesuffix(".0")  # Python's repr is the shortest of a float64


def to_text(arrays):
    """A file's text, a row of the last axis a line."""
    lines = []
    for name, array in arrays.items():
        lines.append(" ".join(map(str, (name, array.dtype, len(array.shape), *array.shape))))
        width = max(1, array.shape[-1]) if array.shape else 1  # a row a line; an empty last axis has no numbers
        numbers = [decimal(array.dtype, value) for value in array.values]
        lines += [" ".join(numbers[i : i + width]) for i in range(0, len(numbers), width)]
    return "\n".join(lines) + "\n"


def to_binary(arrays):
    """A file's bytes."""
    parts = []
    for name, array in arrays.items():
        code, letter = CODES[array.dtype]
        sizes = [*array.shape, *[0] * (6 - len(array.shape))]  # six always: the header has one length
        parts.append(HEADER.pack(name.encode(), code, len(array.shape), *sizes))
        parts.append(struct.pack(f"<{len(array.values)}{letter}", *array.values))
    return b"".join(parts)


def from_binary(data):
    """Arrays by name, from what `to_binary` made."""
    arrays, at = {}, 0
    while at < len(data):
        name, code, rank, *sizes = HEADER.unpack_from(data, at)
        shape = tuple(sizes[:rank])  # a rank of 0 is one number: the product of nothing is 1
        numbers = struct.Struct(f"<{math.prod(shape)}{CODES[NAMES[code]][1]}")
        values = list(numbers.unpack_from(data, at + HEADER.size))
        arrays[name.rstrip(b"\0").decode()] = Array(NAMES[code], shape, values)
        at += HEADER.size + numbers.size  # the next header
    return arrays


def from_text(text, where):
    """Arrays by name, from text; ValueError that names `where` and the line if there is anything wrong with it."""
    arrays, name, missing = {}, None, 0
    # lines are counted from 1, as editors do
    for line, words in enumerate((row.split() for row in text.splitlines()), 1):
        at = f"{where}, line {line}"
        if words and missing == 0:  # the array before is complete: a header has to follow
            name, array, missing = _header(words, arrays, name, at)
            arrays[name] = array._replace(line=line)
        elif words:
            numbers = [_number(word, arrays[name].dtype, name, at) for word in words]
            arrays[name].values.extend(numbers)
            missing -= len(numbers)  # numbers may stand on any number of lines
        if missing < 0:  # what is too many would be taken for a header otherwise
            size = len(arrays[name].values) + missing
            raise checks.InputError(f"{at}: {name} has {size} numbers by its header, and here come more")
    if missing:
        here = len(arrays[name].values)
        at = len(text.splitlines())
        raise checks.InputError(f"{where}, line {at}: the file ends after {here} of {here + missing} numbers of {name}")
    return arrays


def read(path):
    """Arrays by name, from a file whose name ends in .txt or .bin."""
    path = pathlib.Path(path)
    if path.suffix == ".bin":
        return from_binary(path.read_bytes())
    try:
        return from_text(path.read_text(), path)
    except UnicodeDecodeError as error:
        raise checks.InputError(f"{path}, line 1: this is no text ({error.reason} at byte {error.start})") from error


def _header(words, arrays, before, where):
    """Name, empty array and count of numbers from the words of a header."""
    # filled up: a short line is refused below, with a message
    name, dtype, rank, *sizes = (*words, "", "", "")[: max(3, len(words))]
    if dtype not in ANSWERED or not rank.isdecimal() or not all(size.isdecimal() for size in sizes):
        after = f"; {before} is complete with its {len(arrays[before].values)} numbers" if before else ""
        raise checks.InputError(
            f"{where}: expected a header such as 'y float32 2 4 3', got {' '.join(words)[:40]!r}{after}"
        )
    if len(sizes) != int(rank):
        raise checks.InputError(f"{where}: {name} has rank {rank} and so {rank} sizes, got {len(sizes)}")
    if name in arrays:
        raise checks.InputError(f"{where}: {name} is there already, from line {arrays[name].line}")
    shape = tuple(map(int, sizes))
    return name, Array(dtype, shape, []), math.prod(shape)


def _number(word, dtype, name, where):
    """A number as a float; one of a float32 array is rounded to it."""
    try:
        return rounded("float32", float(word)) if dtype == "float32" else float(word)
    except ValueError:
        raise checks.InputError(f"{where}: expected a number of {name}, got {word!r}") from None
