"""MNIST, FashionMNIST and the sample of MNIST that ships inside the package, from standard IDX files.

A file is looked for on this machine first; only if it is nowhere is it downloaded, into the user's cache. Both sets'
files have the same names, so wherever a file comes from, the SHA-256 of its uncompressed content says which it is.
"""

import gzip
import hashlib
import http.client
import io
import math
import os
import pathlib
import urllib.request
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
import platformdirs

from . import checks, files
from .sources import MIRRORS, SHA256
from .texts import text  # noqa: F401 (the public name is datasets.text)

EMBEDDED = pathlib.Path(__file__).parent / "data"
SYSTEM = pathlib.Path("/usr/share/datasets")  # Debian's package dataset-fashion-mnist
FILES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)  # fmt: skip
NAMES = ("mnist-small", *MIRRORS)
TIMEOUT = 30.0  # seconds without a byte
LARGEST = 1 << 28  # bytes of a file, uncompressed: five times as many as the largest has


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and their classes, the official split.

    Attributes
    ----------
    name : str
    x_train, x_test : ndarray of float32 (n, 784)
        Pixels from 0 to 1, row by row.
    y_train, y_test : ndarray of int (n,)
        Class numbers 0 to 9.
    n_classes : int
    image_shape : tuple of int
    published : bool
        Whether the files are, bit for bit, those that were published under this name.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    n_classes: int = 10
    image_shape: tuple = (28, 28)
    published: bool = True


def load(name, folder=None, progress=True):
    """Load a data set by its name.

    Parameters
    ----------
    name : {"mnist-small", "mnist", "fashion-mnist"}
        The first is a class-balanced sample of MNIST, 7,000 + 1,500 digits, inside the package.
    folder : path-like, optional
        Where the four IDX files are, plain or `.gz`, in a sub-folder called `name` or themselves. Without it: the
        folder that the environment variable FFFREF_DATA names; without that, /usr/share/datasets and the user's
        cache; and if the files are in neither, they are downloaded into the cache.
    progress : bool
        Show a bar while downloading.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If there is no data set of this name; a file is missing, damaged, or another set's; or it cannot be downloaded.

    Warns
    -----
    UserWarning
        If the files are neither set's as published, such as a part of one: its figures are not comparable.
    """
    checks.one_of("data set", name, NAMES)
    place = _find(name, folder)  # what is on this machine is never downloaded
    if place is None:
        place = _cache() / name
        _download(name, place, progress)
    # read once, for the digest and for the array
    contents = {file: _content(_existing(place / file)) for file in FILES}
    x_train, y_train, x_test, y_test = (_parse_idx(place / file, content) for file, content in contents.items())
    unknown = _unrecognised(name, place, contents)
    for kind, images, labels in (("train", x_train, y_train), ("t10k", x_test, y_test)):
        # images and labels may come from two copies
        if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
            raise checks.InputError(
                f"{kind}-images and {kind}-labels in {place} do not belong together: expected (n, 28, 28) and (n,) "
                f"with classes 0 to 9, got {images.shape} and {labels.shape}; take another copy"
            )
        if len(images) == 0:
            raise checks.InputError(f"{kind}-images in {place} holds no image; take another copy")
    if unknown:
        warnings.warn(
            f"{place} does not hold {name} as it was published, {', '.join(unknown)} differ: figures are comparable to "
            "nobody's",
            stacklevel=2,
        )
    return Dataset(
        name, _pixels(x_train), y_train.astype(np.int64), _pixels(x_test), y_test.astype(np.int64),
        published=not unknown,
    )  # fmt: skip


def _unrecognised(name, place, contents):
    """The files that were published under no name, a list; those of another name are refused."""
    if name not in SHA256:
        return []
    # from a digest to the set that it belongs to
    known = {digest: other for other, digests in SHA256.items() for digest in digests.values()}
    sets = {file: known.get(hashlib.sha256(content).hexdigest()) for file, content in contents.items()}
    for file, other in sets.items():
        if other not in (None, name):
            raise checks.InputError(
                f"{place} holds {other}, not {name}, as {file} says; both sets' files have the same names: keep each "
                "set in a folder called by its name"
            )
    return [file for file, other in sets.items() if other is None]


def read_idx(path):
    """Read an IDX file of bytes, plain or gzip-compressed.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    ndarray of uint8

    Raises
    ------
    InputError
        If it cannot be read, is no IDX file of bytes, or is truncated.

    Notes
    -----
    Two zero bytes, the type (8 for unsigned bytes), the number of axes, their lengths as big-endian 32-bit
    integers, then the values.
    """
    path = files.path_of(path)
    return _parse_idx(path, _content(path))


def _content(path):
    """The bytes of a file, uncompressed."""
    try:
        if path.stat().st_size > LARGEST:
            raise EOFError(f"it has more than {LARGEST:,} bytes")
        content = path.read_bytes()
        return _decompressed(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise checks.InputError(f"cannot read {path}: {error}; take another copy") from error


def _decompressed(content):
    """What gzip has compressed; a small file that would fill the memory is not unpacked."""
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        whole = file.read(LARGEST + 1)  # one byte more than allowed shows that there is more
    if len(whole) > LARGEST:
        raise EOFError(f"it has more than {LARGEST:,} bytes, uncompressed")
    return whole


def _parse_idx(path, content):
    """The array in the bytes of an IDX file."""
    axes = content[3] if len(content) > 3 else 0  # the fourth byte
    start = 4 + 4 * axes
    if content[:3] != b"\0\0\x08" or not 1 <= axes <= 8 or len(content) < start:
        raise checks.InputError(f"{path} is no IDX file of bytes: it begins with {content[:4]!r}; take another copy")
    shape = tuple(map(int, np.frombuffer(content[4:start], ">u4")))  # Python's numbers: their product cannot overflow
    if len(content) - start != math.prod(shape):
        raise checks.InputError(f"{path} is truncated or too long: {len(content) - start} bytes for shape {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)  # a view of the bytes, read-only


def _pixels(images):
    """Images as rows, (n, 28, 28) -> (n, 784), from 0 to 1."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)  # (n, 28, 28) -> (n, 784), 0 to 1


def _find(name, folder):
    """The first folder that has all four files; None if they must be downloaded."""
    if name == "mnist-small":
        return EMBEDDED / name
    if folder is not None:
        return _complete(name, files.path_of(folder), "the folder {} lacks")
    if shared := os.environ.get("FFFREF_DATA"):
        return _complete(name, files.path_of(shared), "FFFREF_DATA names {}, which lacks")
    return next((place for place in (SYSTEM / name, _cache() / name) if not _missing(place)), None)


def _complete(name, folder, lacking):
    """The folder's sub-folder or the folder itself, whichever has all four files; InputError if neither has."""
    places = (folder / name, folder)  # the sub-folder first: both sets' files have the same names
    for place in places:
        if not _missing(place):
            return place
    missing = min(map(_missing, places), key=len)  # of the place that has most
    raise checks.InputError(f"{lacking.format(folder)} {', '.join(missing)} (or the same with .gz); {_ways(name)}")


def _missing(folder):
    """Files that a folder lacks, plain and compressed."""
    return [file for file in FILES if _existing(folder / file) is None]


def _existing(path):
    """The file itself or its compressed form, whichever is there."""
    choices = (path, path.with_name(f"{path.name}.gz"))
    try:
        return next((choice for choice in choices if choice.is_file()), None)
    except OSError as error:  # a folder that may not be entered, a name that is too long
        raise checks.InputError(f"cannot look for {path}: {error.strerror}") from error


def _cache():
    """Where downloads are kept."""
    return platformdirs.user_cache_path("fffref")


def _download(name, folder, progress):
    """Fetch what is missing from the first mirror that has it; FFFREF_MIRROR names another, used alone."""
    own = os.environ.get("FFFREF_MIRROR")
    mirrors = [f"{own.rstrip('/')}/{name}"] if own else MIRRORS[name]
    for file in _missing(folder):
        failures = []
        for mirror in mirrors:
            url = f"{mirror}/{file}.gz"
            try:
                content = _fetch(url, progress)
                _verify(content, SHA256[name][file])  # before it is written: a wrong file is not kept
            except (OSError, EOFError, zlib.error, ValueError, http.client.HTTPException) as error:
                # all of them, if no mirror has it
                failures.append(f"{url}: {' '.join(str(error).split()) or type(error).__name__}")
                continue
            with files.replacing(folder / f"{file}.gz") as temporary:
                temporary.write_bytes(content)
            break
        else:
            raise checks.InputError(f"cannot download {name} ({'; '.join(failures)}); {_ways(name)}")


def _fetch(url, progress):
    """The bytes behind a URL, all of them."""
    from tqdm import tqdm  # imported where needed

    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        stated = response.headers.get("Content-Length") or ""
        length = int(stated) if stated.isdecimal() else 0  # some servers do not say
        label = url.rsplit("/", 1)[-1]
        parts, came = [], 0
        with tqdm(total=length or None, desc=label, unit="B", unit_scale=True, disable=not progress) as bar:
            while part := response.read(1 << 16):
                parts.append(part)
                bar.update(len(part))
                came += len(part)
                if came > LARGEST:  # a server may send without end
                    raise checks.InputError(f"more than {LARGEST:,} bytes came")
    content = b"".join(parts)
    if length and len(content) != length:  # a connection that broke looks like an end
        raise checks.InputError(f"truncated, {len(content)} of {length} bytes came")
    return content


def _verify(content, expected):
    """Refuse a compressed file whose content is not the published one."""
    found = hashlib.sha256(_decompressed(content)).hexdigest()
    if found != expected:
        raise checks.InputError(f"wrong SHA-256 of the uncompressed content, {found} instead of {expected}")


def _ways(name):
    """All ways to come by the files, for a message."""
    debian = "install Debian's package dataset-fashion-mnist; " if name == "fashion-mnist" else ""
    return (
        f"ways to go on: put {', '.join(f'{file}.gz' for file in FILES)} into a folder and name it (folder=, "
        f"--data-folder or the variable FFFREF_DATA); put them into {_cache() / name}; {debian}"
        "name a mirror in the variable FFFREF_MIRROR; or use 'mnist-small', which is inside the package"
    )
