"""One style for every figure, in files, in notebooks and in the book.

Figures are made without pyplot where the library makes them: no global state, no display. Colours are those of Okabe
and Ito, which readers with any kind of colour vision can tell apart.
"""

import os
import pathlib
import re
from io import BytesIO

from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure

from .. import files

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "axes.axisbelow": True, "axes.titlelocation": "left", "axes.titlesize": 12, "axes.labelsize": 11,
    "legend.frameon": False, "font.size": 10.5, "lines.linewidth": 2,
    "svg.fonttype": "none", "svg.hashsalt": "fffref",
}  # fmt: skip
PIXELS = 2  # for each of a page's pixels, of which there are 72 to the inch: sharp on a projector and on a phone
PACK = "FFFREF_FIGURES"  # a path and a name's beginning: where notebooks leave a copy of each figure


def save(figure, path):
    """Write a figure, atomically; the kind of file follows from the name's ending."""
    with files.replacing(path) as temporary, rc_context(STYLE):
        figure.savefig(temporary, dpi=140)


def alternative_text(figure):
    """What a figure says to those who cannot see it: its titles, one sentence each."""
    titles = [figure.get_suptitle()]
    for panel in figure.axes:
        titles += [panel.get_title(loc) for loc in ("left", "center", "right")]
    titles = dict.fromkeys(" ".join(title.split()) for title in titles if title.strip())
    return ". ".join(title.replace("$", "").rstrip(".") for title in titles)


def use_in_notebook():
    """Draw all figures of a notebook in this style, at double resolution, with an alternative text.

    Where the environment variable `FFFREF_FIGURES` names a path, each figure is also written there for slides, as SVG
    and PDF: the name is the path, followed by words of the figure's title.
    """
    from IPython import get_ipython  # of notebooks only: the package does not need it

    rcParams.update(STYLE)
    shell = get_ipython()
    if shell is not None:
        shell.run_line_magic("matplotlib", "inline")
        shell.display_formatter.formatters["image/png"].for_type(Figure, _picture)


def _picture(figure):
    """PNG bytes of a figure, and what a page has to know about them."""
    png = BytesIO()
    figure.savefig(png, dpi=72 * PIXELS, bbox_inches="tight", metadata={"Software": None})
    data = png.getvalue()
    width, height = (int.from_bytes(data[at : at + 4]) // PIXELS for at in (16, 20))  # the PNG's own header
    text = alternative_text(figure)
    if os.environ.get(PACK):
        _pack(figure, text, os.environ[PACK])
    return data, {"alt": text, "width": width, "height": height}


def _pack(figure, text, beginning):
    """Write a figure for slides."""
    words = "-".join(re.findall(r"[a-z0-9]+", text.lower())[:6])
    path = pathlib.Path(f"{beginning}-{words}")
    for kind, metadata in {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.items():
        with files.replacing(path.with_name(f"{path.name}.{kind}")) as temporary:
            figure.savefig(temporary, format=kind, bbox_inches="tight", metadata=metadata)
