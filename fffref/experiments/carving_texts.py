"""Texts to carve a sentence encoder by, and to judge it on: plays, Python's documentation, WordNet's glosses.

All are on the machine: the plays are inside the package, the documentation is that of this Python's standard library,
and the glosses come with Debian's package wordnet-base. A text is a list of passages of about 200 characters.
"""

import functools
import importlib
import inspect
import pathlib
import re

import numpy as np

from .. import checks, datasets

PASSAGE = 200  # characters, at least
WORDNET = pathlib.Path("/usr/share/wordnet")
PARTS = ("noun", "verb", "adj", "adv")
TEXTS = ("plays", "documentation", "glosses")
MODULES = (  # whose import does nothing else
    "argparse", "ast", "bisect", "collections", "configparser", "contextlib", "csv", "datetime", "decimal", "difflib",
    "email.message", "enum", "fractions", "functools", "gzip", "heapq", "html", "http.client", "inspect", "io", "json",
    "logging", "mailbox", "os", "pathlib", "pickle", "random", "re", "sched", "shutil", "socket", "sqlite3", "ssl",
    "statistics", "string", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "traceback", "unittest",
    "urllib.parse", "weakref", "xml.etree.ElementTree", "zipfile",
)  # fmt: skip


def plays():
    """Eight plays of Shakespeare: passages to calibrate by, of the first nine tenths, and passages to judge on."""
    text = datasets.text("shakespeare")
    cut = text.index("\n", 9 * len(text) // 10)
    return passages(text[:cut]), passages(text[cut:])


@functools.cache
def docstrings(modules=MODULES):
    """The documentation of Python's standard library, a passage a paragraph; its wording is that of this Python.

    Parameters
    ----------
    modules : sequence of str

    Returns
    -------
    list of str
        Each once, in the order of modules and names.
    """
    found = {}
    for name in modules:
        module = importlib.import_module(name)
        things = [module, *(getattr(module, label) for label in sorted(vars(module)) if not label.startswith("_"))]
        for thing in things:
            if inspect.isroutine(thing) or inspect.isclass(thing) or thing is module:
                found |= dict.fromkeys(paragraphs(inspect.getdoc(thing) or ""))
    return list(found)


def paragraphs(text):
    """Paragraphs of prose: long enough, on one line each, without code."""
    parts = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    return [part for part in parts if PASSAGE // 2 <= len(part) <= 4 * PASSAGE and ">>>" not in part]


def categories(folder=None):
    """WordNet's definitions, each with its category; nothing where there is no WordNet.

    Parameters
    ----------
    folder : path-like, optional
        Holds data.noun, data.verb, data.adj and data.adv; by default where Debian's wordnet-base puts them.

    Returns
    -------
    dict of str to int
        Each definition once: of several categories, the first.

    Notes
    -----
    In a line of such a file, what follows " | " is a definition, with examples in quotation marks behind it. The second
    field is the number of the lexicographer's file that it comes from, 0 to 44: "food", "emotion", "motion" and so on.
    """
    found = {}
    for path in (pathlib.Path(folder or WORDNET) / f"data.{part}" for part in PARTS):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
            gloss = line.partition(" | ")[2].strip()
            if not line.startswith("  ") and len(gloss) >= PASSAGE // 4:  # two spaces: the licence
                found.setdefault(gloss, _category(path, line))
    return found


def _category(path, line):
    """The second field of a line."""
    try:
        return int(line.split(maxsplit=2)[1])
    except (ValueError, IndexError):
        raise checks.InputError(f"{path} is no data file of WordNet: {line[:40]!r} has no category") from None


def found(folder=None):
    """Names of the texts that are on this machine; `folder` as in `categories`."""
    there = any((pathlib.Path(folder or WORDNET) / f"data.{part}").is_file() for part in PARTS)
    return [name for name in TEXTS if there or name != "glosses"]


def glosses(folder=None):
    """WordNet's definitions, a passage each; `folder` as in `categories`."""
    return list(categories(folder))


def passages(text):
    """Cut a text at ends of lines into passages: lines joined until they are long enough."""
    found, lines = [], []
    for line in text.splitlines():
        lines.append(line.strip())
        if sum(map(len, lines)) >= PASSAGE:
            found.append(" ".join(filter(None, lines)))
            lines = []
    return found


def parts_of(name):
    """The texts of a calibration such as "plays+glosses", a list of names; refuses what is none."""
    parts = [checks.one_of("calibration", part, TEXTS) for part in name.split("+")]
    if len(set(parts)) < len(parts):
        raise checks.InputError(f"calibration must name a text once, got {name!r}")
    return parts


def calibration(name, wordnet=None):
    """Passages to calibrate by, none of which anything is judged by.

    Parameters
    ----------
    name : str
        One of `TEXTS`, or several with + between: as many tokens of each.
    wordnet : path-like, optional
        As in `categories`.

    Returns
    -------
    list of list of str
        A list a text.
    """
    texts = [_both(part, wordnet)[0] for part in parts_of(name)]
    if not all(texts):
        where = wordnet or WORDNET
        raise checks.InputError(f"there are no glosses in {where}; install wordnet-base, or name its folder: --wordnet")
    return texts


def held_out(wordnet=None):
    """Passages that nothing is calibrated by, each text in an order that is always the same; a dict by name."""
    texts = {name: _both(name, wordnet)[1] for name in TEXTS}
    return {name: [text[i] for i in np.random.default_rng(0).permutation(len(text))] for name, text in texts.items()}


def _both(name, wordnet):
    """The two parts of a text: to calibrate by, and the rest; empty where there is none."""
    if name == "plays":
        return plays()
    return halves(docstrings() if name == "documentation" else glosses(wordnet))


def halves(text):
    """Every other passage, and the rest: to calibrate by, and to tune and judge by."""
    return text[::2], text[1::2]
