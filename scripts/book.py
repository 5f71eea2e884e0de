"""Build the book, a web site that works from disk: the course, the API, the benchmarks.

    python scripts/book.py                      into build/book, as `make book` does
    python scripts/book.py --out FOLDER         elsewhere

Pages are gathered beside the output, in FOLDER-source: the notebooks as committed, the Markdown pages, and
one page a module, written from the package. Every warning of Sphinx is an error.
"""

import argparse
import ast
import contextlib
import importlib
import io
import os
import pathlib
import pkgutil
import re
import shutil
import subprocess
import sys

import nbformat

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import fffref  # noqa: E402
from fffref import cli  # noqa: E402
from fffref.conformance import checker  # noqa: E402
from fffref.conformance.specs import LEVELS  # noqa: E402

# What pages may link to. Only what the pages use ends up in the book.
PARTS = (
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
    "docs",
    "notebooks",
    "benchmarks",
    "fffref",
    "tests",
)


def modules():
    """Names of the package's public modules, and the package itself."""
    found = pkgutil.walk_packages(fffref.__path__, "fffref.")
    return ["fffref", *(module.name for module in found if "._" not in module.name)]


def build(out):
    """Gather the pages and run Sphinx.

    Parameters
    ----------
    out : path-like
        Folder of the finished pages.

    Returns
    -------
    front : Path
        The page to open.

    Raises
    ------
    subprocess.CalledProcessError
        If Sphinx has anything to complain about; it has said so on stderr.
    """
    out = pathlib.Path(out).resolve()
    source = out.with_name(out.name + "-source")
    gather(source)
    options = ["-W", "--keep-going", "-q", "-c", ROOT / "docs", "-d", out.with_name(out.name + "-doctrees")]
    subprocess.run([sys.executable, "-m", "sphinx", *options, source, out], check=True)
    return out / "index.html"


def gather(source):
    """Put every page where Sphinx finds it; `source` is emptied first."""
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        elif (ROOT / part).exists():
            shutil.copy2(ROOT / part, source / part)
    (source / "api").mkdir()
    (source / "api" / "index.rst").write_text(api_page())
    for name in modules():
        (source / "api" / f"{name}.rst").write_text(module_page(name))
    front = (source / "docs" / "index.md").read_text().replace("<!-- the course -->", course())
    (source / "index.md").write_text(front)
    for notebook in (source / "notebooks").glob("*.ipynb"):  # the front page of docs/ is that of the book
        notebook.write_text(notebook.read_text().replace("(../docs/index.md)", "(../index.md)"))
    (source / "command-line.md").write_text(command_line_page())
    (source / "port-it.md").write_text(port_page((source / "docs" / "port-it.md").read_text()))
    guide = source / "README.md"
    guide.write_text(guide.read_text().replace("(docs/port-it.md)", "(port-it.md)"))
    results = source / "benchmarks" / "results"
    for page in results.rglob("*.md"):
        name = page.relative_to(results).with_suffix("").as_posix()
        page.write_text(f"# Results: {name}\n\n" + re.sub("^### ", "## ", page.read_text(), flags=re.M))
    with (source / "benchmarks" / "README.md").open("a") as page:
        page.write("\n```{toctree}\n:hidden:\n:glob:\n\n*/*\n*/*/*\n```\n")


def course():
    """The notebooks as a list: title and question, read from their first cells."""
    lines = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        head = nbformat.read(path, as_version=4).cells[0].source
        title = re.match(r"# (.*)", head)[1]
        question = re.search(r"\*\*Question\.\*\*\s*(.*?)(?:\n\n|$)", head, re.S)[1].replace("\n", " ")
        lines.append(f"* **[{title}](notebooks/{path.name})**<br>{question}")
    return "\n".join(lines)


def api_page():
    """The list of modules, each with the first sentence of its docstring."""
    entries = []
    for name in modules():
        file = ROOT / name.replace(".", "/")
        file = file.with_suffix(".py") if file.with_suffix(".py").exists() else file / "__init__.py"
        summary = re.split(r"(?<=[.?])\s", ast.get_docstring(ast.parse(file.read_text())))[0].replace("\n", " ")
        entries.append(f":doc:`{name}`\n   {summary}")
    pages = ".. toctree::\n   :hidden:\n\n" + "\n".join(f"   {name}" for name in modules())
    return "\n".join([heading("API reference"), *entries, "", pages, ""])


def module_page(name):
    """A module's docstrings; a package's members are documented in their modules."""
    members = "" if hasattr(importlib.import_module(name), "__path__") else "   :members:\n"
    return f"{heading(name)}\n.. automodule:: {name}\n{members}"


def command_line_page():
    """What `--help` says, of the whole and of every command."""
    os.environ["COLUMNS"] = "100"
    names = [command.__name__.rpartition(".")[2].replace("_", "-") for command in cli.COMMANDS]
    sections = ["# The command line", _block(_help()), *(f"## fffref {n}\n\n{_block(_help(n))}" for n in names)]
    return "\n\n".join(sections) + "\n"


def port_page(text):
    """The page on ports with what is generated: faults by the cases that expose them, and the recorded table."""
    entries, faults = checker.index(), checker.catalogue()
    numbers = {level: [entry.number for entry in entries if entry.level == level] for level in LEVELS}
    rows = [" " * 32 + "  ".join(f"level {level}".ljust(len(cases)) for level, cases in numbers.items())]
    for name, fault in faults.items():
        marks = ("".join(".x"[number in fault["cases"]] for number in cases) for cases in numbers.values())
        rows.append(name.ljust(32) + "  ".join(marks))
    words = [f"* `{name}`: a port that {fault['wrong']}. {fault['does']}" for name, fault in faults.items()]
    matrix = _block("\n".join(rows)) + "\n\n" + "\n".join(words)
    ports = (ROOT / "benchmarks" / "results" / "ports.md").read_text()
    return text.replace("<!-- the matrix -->", matrix).replace("<!-- the ports -->", ports)


def heading(text):
    """A title in reStructuredText."""
    return f"{text}\n{'=' * len(text)}\n"


def _help(*command):
    """What one `--help` prints."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        try:
            cli.main([*command, "--help"])
        except SystemExit as end:
            if end.code:
                raise ValueError(f"fffref {' '.join(command)} has no help") from end
    return text.getvalue()


def _block(text):
    """A literal block in Markdown."""
    return f"```text\n{text.rstrip()}\n```"


def main():
    """Build, and say where the book is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build" / "book", help="folder of the pages")
    try:
        front = build(parser.parse_args().out)
    except subprocess.CalledProcessError:
        sys.exit("book: not built, see Sphinx's complaints above")
    print(f"The book is ready, and needs no network: open {front.as_uri()} in a browser")


if __name__ == "__main__":
    main()
