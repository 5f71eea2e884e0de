"""Texts to train a language model on: the plays inside the package, the text that everybody quotes, or any file.

`datasets.text` is the public name. A known text is looked for on this machine first; only if it is nowhere is it
downloaded, into the user's cache, and held against a SHA-256.
"""

import hashlib
import http.client
import lzma
import os
import pathlib
import sysconfig
import urllib.request

import platformdirs

from . import checks, files

EMBEDDED = pathlib.Path(__file__).parent / "data" / "shakespeare" / "shakespeare.txt.xz"
TINY = "tiny-shakespeare"
FILE = "input.txt"
MIRRORS = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare",
    "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare",
)
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TIMEOUT = 30.0  # seconds without a byte
NAMES = ("shakespeare", TINY, "python")
PYTHON = 1_100_000  # characters, about as many as of the plays


def text(name, folder=None):
    """Load a text.

    Parameters
    ----------
    name : str or path-like
        "shakespeare", eight plays inside the package (1,054,609 characters); "tiny-shakespeare", 1,115,394
        characters; "python", modules of this Python's standard library, 1.1 million characters; or a file in UTF-8.
    folder : path-like, optional
        Where `input.txt` of tiny-shakespeare is, itself or in a sub-folder called tiny-shakespeare. Without it: the
        folder that the environment variable FFFREF_DATA names, the user's cache; and if it is in neither, it is
        downloaded into the cache.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If there is no such text or file, it is no UTF-8, not the text that it should be, or cannot be downloaded.
    """
    if name == "shakespeare":  # inside the package, compressed
        return lzma.decompress(EMBEDDED.read_bytes()).decode()
    if name == TINY:
        return _tiny(folder)
    if name == "python":
        return _python(pathlib.Path(sysconfig.get_path("stdlib")))
    path = pathlib.Path(name)
    try:
        content = path.read_bytes().decode()  # bytes first: line ends stay as they are
    except UnicodeDecodeError as error:
        raise checks.InputError(f"{path} is no text in UTF-8: byte {error.start} cannot be read; convert it") from error
    except OSError as error:
        raise checks.InputError(
            f"cannot read {path}: {error.strerror}; name a file, or one of {', '.join(NAMES)}"
        ) from error
    if not content:
        raise checks.InputError(f"{path} is empty; name a file with text in it")
    return content


def _tiny(folder):
    """Tiny-shakespeare, from a folder, the cache, or by download."""
    for path in _places(folder):
        if path.is_file():
            content = path.read_bytes()
            _verify(content, path)  # losses are comparable only on the very same text
            return content.decode()
    if folder is not None:
        raise checks.InputError(f"{folder} lacks {FILE} of {TINY}; {_ways()}")
    return _download().decode()


def _python(library):
    """Public modules of a standard library, whole ones in the order of their names, cut at `PYTHON` characters.

    Only modules in ASCII: a letter that occurs once would be a character of the vocabulary.
    """
    modules = [path.read_bytes() for path in sorted(library.glob("[a-z]*.py"))]
    content = b"".join(module for module in modules if module.isascii()).decode()
    if len(content) < PYTHON:
        raise checks.InputError(f"{library} holds {len(content)} characters of modules, expected {PYTHON}; "
                                "install Python's standard library with its sources, or name a file")  # fmt: skip
    return content[:PYTHON]


def _places(folder):
    """Where the file may be."""
    # a folder that was named is the only place
    roots = [folder] if folder is not None else [os.environ.get("FFFREF_DATA"), platformdirs.user_cache_path("fffref")]
    return [files.path_of(root).joinpath(*sub, FILE) for root in roots if root for sub in ((TINY,), ())]


def _download():
    """Fetch the file from the first mirror that has it; FFFREF_MIRROR names another, used alone."""
    mirror, failures = os.environ.get("FFFREF_MIRROR"), []
    for place in [f"{mirror.rstrip('/')}/{TINY}"] if mirror else MIRRORS:
        url = f"{place}/{FILE}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
                content = response.read()
            _verify(content, url)
        except (OSError, ValueError, http.client.HTTPException) as error:
            failures.append(f"{url}: {' '.join(str(error).split()) or type(error).__name__}")
            continue
        with files.replacing(platformdirs.user_cache_path("fffref") / TINY / FILE) as temporary:
            temporary.write_bytes(content)
        return content
    raise checks.InputError(f"cannot download {TINY} ({'; '.join(failures)}); {_ways()}")


def _verify(content, place):
    """Refuse another text."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise checks.InputError(f"{place} is not {TINY}: SHA-256 {digest} instead of {SHA256}; take another copy")


def _ways():
    """All ways to come by the file, for a message."""
    return (
        f"ways to go on: put {FILE} into a folder and name it (folder=, --data-folder or the variable FFFREF_DATA); "
        "name a mirror in the variable FFFREF_MIRROR; or use 'shakespeare', which is inside the package"
    )
