"""Drawings of the family that fast feedforward networks belong to, and of what look-ups cost."""

from matplotlib import rc_context
from matplotlib.figure import Figure

from .style import COLOURS, STYLE

# name, year, column, and what it changed of the soft tree
RELATIVES = (
    ("hierarchical mixture of experts", 1994, 0, "the soft tree: sigmoid choices, experts as leaves"),
    ("soft decision tree", 2017, 1, "constant leaves"),
    ("Tree Ensemble Layer", 2020, 1, "smooth steps: choices exactly 0 or 1"),
    ("MADDNESS", 2021, 2, "hard, one column a level, constant leaves"),
    ("fast feedforward (LeafFFF)", 2023, 0, "small leaves, hardened for inference"),
    ("LookupFFN", 2023, 2, "the nodes of a level are one node"),
    ("UltraFastBERT (PathFFF)", 2023, 1, "the nodes contribute, no leaves"),
)


def family_tree():
    """The relatives in time: a line each with its year and what it changed.

    Returns
    -------
    Figure
    """
    kinds = ("leaves are networks", "leaves are constants, or none", "leaves are looked up")
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.set_title("Seven relatives are one soft tree, changed in one place each", loc="left")
        for place, (name, year, kind, change) in enumerate(RELATIVES):
            y = len(RELATIVES) - place
            axes.plot([year], [y], "o", color=COLOURS[kind], markersize=9)
            axes.annotate(name, (year, y), (10, 3), textcoords="offset points", fontsize=10, va="bottom")
            axes.annotate(change, (year, y), (10, -3), textcoords="offset points", fontsize=8.5, va="top", color="0.35")
        for kind, text in enumerate(kinds):
            axes.plot([], [], "o", color=COLOURS[kind], label=text)
        axes.set(xlim=(1991, 2042), ylim=(0.2, len(RELATIVES) + 0.8), yticks=[], xlabel="year")
        axes.set_xticks([1994, 2000, 2010, 2017, 2020, 2023])
        axes.spines["left"].set_visible(False)
        axes.legend(loc="lower left", fontsize=9)
    return figure


def look_up_errors(codebooks, by_means, by_ridge, exact_accuracy, accuracy):
    """Error and accuracy of a product by look-ups, against the number of codebooks.

    Parameters
    ----------
    codebooks : sequence of int
    by_means, by_ridge : sequence of float
        Squared error over the exact product's squares.
    exact_accuracy : float
    accuracy : sequence of float
        Of the refined tables.

    Returns
    -------
    Figure
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        figure.suptitle("More codebooks, smaller errors: the last layer of a digits net by look-ups", x=0.01, ha="left")
        left.loglog(codebooks, by_means, "o--", color=COLOURS[1], label="prototypes: bucket means")
        left.loglog(codebooks, by_ridge, "o-", color=COLOURS[0], label="refined together")
        left.set(ylabel="error of the product", xlabel="codebooks")
        left.legend(fontsize=9)
        right.semilogx(codebooks, [100 * a for a in accuracy], "o-", color=COLOURS[0], label="by look-ups")
        right.axhline(100 * exact_accuracy, color="grey", linewidth=1, label="exact product")
        right.set(ylabel="test accuracy [%]", xlabel="codebooks")
        right.legend(fontsize=9)
        for panel in (left, right):
            panel.set_xticks(codebooks, [str(c) for c in codebooks])
            panel.minorticks_off()
    return figure
