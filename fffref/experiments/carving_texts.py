"""Texts to carve a sentence encoder by, and to judge it on: plays, Python's documentation, WordNet's glosses.

All are on the machine: the plays are inside the package, the documentation is that of this Python's standard library,
and the glosses come with Debian's package wordnet-base. A text is a list of passages of about 200 characters.
"""

import importlib
import inspect
import pathlib
import re

from .. import checks, datasets

PASSAGE = 200  # characters, at least
WORDNET = pathlib.Path("/usr/share/wordnet")
PARTS = ("noun", "verb", "adj", "adv")
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


def glosses(folder=WORDNET):
    """WordNet's definitions, a passage each, or an empty list where there are none.

    Parameters
    ----------
    folder : path-like
        Holds data.noun, data.verb, data.adj and data.adv.

    Returns
    -------
    list of str

    Notes
    -----
    In a line of such a file, what follows " | " is a definition, with examples in quotation marks behind it.
    """
    found = []
    for path in (pathlib.Path(folder) / f"data.{part}" for part in PARTS):
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found += [line.partition(" | ")[2].strip() for line in lines if not line.startswith("  ")]
    return [gloss for gloss in found if len(gloss) >= PASSAGE // 4]


def passages(text):
    """Cut a text at ends of lines into passages: lines joined until they are long enough."""
    found, lines = [], []
    for line in text.splitlines():
        lines.append(line.strip())
        if sum(map(len, lines)) >= PASSAGE:
            found.append(" ".join(filter(None, lines)))
            lines = []
    return found


def calibration(name):
    """Passages to calibrate by: "plays", or "mixture", as many of each of all texts that are found.

    Returns
    -------
    list of list of str
        A list a text; what is judged on is not among them.
    """
    checks.one_of("calibration", name, ("plays", "mixture"))
    texts = [plays()[0]]
    if name == "mixture":
        texts += [part[0] for part in (halves(docstrings()), halves(glosses())) if part[0]]
    return texts


def judged():
    """Passages to judge on, a dict by name: plays held out, documentation, and glosses where there are any."""
    texts = {"plays": plays()[1], "documentation": halves(docstrings())[1], "glosses": halves(glosses())[1]}
    return {name: text for name, text in texts.items() if text}


def halves(text):
    """Every other passage, and the rest: to calibrate by, and to judge on."""
    return text[::2], text[1::2]
