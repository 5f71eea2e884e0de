"""Figures of layers whose neurons lie on paths: what engaged neurons achieve, and what turns contribute."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from .style import COLOURS, STYLE

BLUE, ORANGE = COLOURS[:2]


def accuracy_by_engaged(trees, dense, title):
    """Accuracy against engaged neurons: every run of trees of about one size a point, and dense nets beside them.

    Parameters
    ----------
    trees : dict of str to (int, sequence of float)
        From a shape's name to the neurons that it engages and the accuracies of its runs in %.
    dense : dict of int to sequence of float
        From the width of a dense net to the accuracies of its runs in %.
    title : str

    Returns
    -------
    Figure
    """
    engaged, means = zip(*((n, np.mean(runs)) for n, runs in trees.values()), strict=True)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4), layout="constrained")
        panel = figure.subplots()
        for name, (n, runs) in trees.items():
            panel.plot([n] * len(runs), runs, ".", color=BLUE, markersize=8, alpha=0.6)
            lowest = min([*runs, np.mean(dense.get(n, runs))])
            panel.annotate(name, (n, lowest), (0, -9), textcoords="offset points", ha="center", va="top", fontsize=9)
        panel.plot(engaged, means, color=BLUE, alpha=0.6, label="trees: mean, and each run")
        panel.plot(list(dense), [np.mean(runs) for runs in dense.values()], "s--", color=ORANGE, markersize=5,
                   label="dense nets of the engaged size: mean")  # fmt: skip
        panel.set(xscale="log", xlabel="neurons engaged for a digit", ylabel="test accuracy [%]")
        panel.set_xlim(min(engaged) / 1.3, max(engaged) * 1.3)
        panel.set_ylim(bottom=min(min(runs) for _, runs in trees.values()) - 2)
        panel.set_xticks(engaged, engaged)
        panel.minorticks_off()
        panel.set_title(title)
        panel.legend(loc="lower right")
    return figure


def turns(logit, activation, titles):
    """Left: the activation by turn. Right: how often the visited neurons of a tree turn left and right.

    Parameters
    ----------
    logit : ndarray
        Of all visited neurons; all of them are in the histogram.
    activation : callable
    titles : (str, str)

    Returns
    -------
    Figure
    """
    logit = np.ravel(logit)
    end = float(np.ceil(np.abs(logit).max()))
    with rc_context(STYLE):
        figure = Figure(figsize=(9.5, 3.4), layout="constrained")
        curve, histogram = figure.subplots(1, 2)
        grid = np.linspace(-6, 6, 400)
        curve.axvspan(-6, 0, color=ORANGE, alpha=0.12, label="left")
        curve.axvspan(0, 6, color=BLUE, alpha=0.12, label="right")
        curve.plot(grid, activation(grid), color="black", label="GELU")
        curve.set(xlabel="logit z", ylabel="activation GELU(z)")
        edges = np.linspace(-end, end, 81)  # 0 is an edge
        histogram.hist(logit[logit <= 0], edges, color=ORANGE, label="left")
        histogram.hist(logit[logit > 0], edges, color=BLUE, label="right")
        histogram.set(xlabel="logit z of the visited neurons", ylabel="visits")
        for panel, title in zip((curve, histogram), titles, strict=True):
            panel.set_title(title)
            panel.legend(loc="upper left")
    return figure
