"""How Sphinx makes the book; `scripts/book.py` gathers the pages and runs it. Nothing comes from a network."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from numba.core.extending import _Intrinsic  # noqa: E402

import fffref  # noqa: E402
from fffref.fast import instructions  # noqa: E402

project, author, release = "fffref", "The fffref founders", fffref.__version__
copyright = author
extensions = [
    "myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
]  # fmt: skip
include_patterns = [
    "*.md", "api/*", "notebooks/*", "docs/notation.md", "docs/architecture.md", "docs/bibliography.md",
    "benchmarks/**.md", "fffref/data/**.md", "fffref/conformance/**.md",
]  # fmt: skip
suppress_warnings = ["toc.not_included"]  # the licence and its like, reached by links

# Notebooks are shown as committed, executed. Sliders would need scripts from afar.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_code_prompt_show = "Show the code"  # of figures; solutions say so in their own metadata
nb_code_prompt_hide = "Hide the code"
nb_render_markdown_format = "gfm"  # tables in what notebooks print
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_param = napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]  # a list, as parameters are
default_role = "py:obj"  # a name in backticks: a link where it is one of ours, code in any case

smartquotes = False  # "sum" is a value
highlight_language = "none"

html_theme = "furo"
html_title = "fffref"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_search_summary = False  # would fetch the pages, which browsers forbid to pages from disk
pygments_style, pygments_dark_style = "friendly", "monokai"


def plain_text(app, what, name, obj, options, lines):
    """Docstrings are plain text with names in backticks, and formulas and drawings in indented paragraphs: say so."""
    section, literal, result = "", False, []
    for line, before, after in zip(lines, ["", *lines], [*lines[1:], ""], strict=False):
        if after and set(after) == {"-"}:
            section = line
        indented = line.startswith(" ")
        if section in ("", "Notes", "References") and indented and not before and not literal:
            result += ["::", ""]
            literal = True
        literal = literal and (indented or not line)
        if line.startswith("# "):  # what the letters of the shapes mean
            line = line.replace("#", "Letters:", 1)
        result.append(line if literal or section == "Examples" else escaped(line))
    lines[:] = result


def escaped(line):
    """Nothing but backticks means anything: no emphasis, no substitutions, and a plural's s may follow a name."""
    parts = re.split(r"(`+[^`]+`+)", line)
    parts[::2] = [re.sub(r"([|*\\]|_\b)", r"\\\1", part) for part in parts[::2]]
    return re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", "".join(parts))


def show_intrinsics():
    """Numba's intrinsics are objects, which autodoc takes for data; in their places it gets the functions they hold."""
    for name, thing in list(vars(instructions).items()):
        if isinstance(thing, _Intrinsic):
            setattr(instructions, name, thing._defn)


def setup(app):
    """Formulas as SVG: fonts from another folder are refused by some browsers when the page is on disk."""
    show_intrinsics()
    app.config.mathjax_path = "mathjax/tex-svg.js"
    app.connect("autodoc-process-docstring", plain_text, priority=400)  # before napoleon
