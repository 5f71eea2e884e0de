"""Figures of recorded accuracies: every run is a point."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from .style import COLOURS, STYLE


def error_by_size(panels):
    """Test error against the neurons engaged, every run a small point; a panel a data set.

    Parameters
    ----------
    panels : dict of str to dict of str to list of (float, float or None, sequence of float)
        From a panel's title to its series, from a series' name to its nets: engaged neurons, training width, and
        the accuracies of all runs in %. A net's mark grows with its width; series without widths are joined by a line.

    Returns
    -------
    Figure
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(6.2 * len(panels), 5), layout="constrained")
        for axes, (title, series) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            for (name, nets), colour in zip(series.items(), COLOURS, strict=False):
                nets = sorted(nets, key=lambda net: net[0])
                for x, width, values in nets:
                    x = x * (1 + 0.012 * np.log2((width or 32) / 45))  # so that nets of one size do not hide each other
                    axes.plot([x] * len(values), _errors(values), ".", color=colour, alpha=0.4, markersize=4)
                    if width is not None:
                        axes.plot(x, _errors(np.mean(values)), "o", color=colour, markersize=width**0.5, alpha=0.7)
                if nets and nets[0][1] is None:
                    means = _errors([np.mean(values) for *_, values in nets])
                    axes.plot([x for x, *_ in nets], means, "-", color=colour, label=name)
                else:
                    axes.plot([], [], "o", color=colour, label=name)
            axes.set(title=title, xscale="log", xlabel="neurons engaged per sample", ylabel="test error, hard [%]")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 8)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter("{x:.0f}")
            _error_axis(axes, "y")
            axes.legend()
        figure.suptitle(
            "Small: a run; large: a tree's mean, the larger the wider the tree", fontsize=11, x=0.01, ha="left"
        )
    return figure


def accuracy_grids(panels, columns, rows, stacked=1):
    """Mean accuracy over a grid of trees, with standard deviation and collapsed runs; a panel a recipe or data set.

    Parameters
    ----------
    panels : dict of str to list of list of (sequence of float, int) or None
        From a panel's title to its rows; a cell is the accuracies of all runs in %, and how many collapsed.
    columns, rows : sequence
        Leaf widths, training widths.
    stacked : int
        How many panels there are one above the other, before the next column.

    Returns
    -------
    Figure
    """
    means = {
        title: np.array([[np.mean(cell[0]) if cell else np.nan for cell in row] for row in cells])
        for title, cells in panels.items()
    }
    low, high = (f([f(m) for m in means.values()]) for f in (np.nanmin, np.nanmax))
    with rc_context(STYLE):
        wide = -(-len(panels) // stacked)
        figure = Figure(figsize=(1 + 4.6 * wide, 3.9 * stacked), layout="constrained")
        axes = figure.subplots(stacked, wide, squeeze=False).T.ravel()
        for axis, (title, cells) in zip(axes, panels.items(), strict=False):
            image = axis.imshow(means[title], cmap="viridis", vmin=low, vmax=high, aspect="auto")
            for i, j in np.ndindex(means[title].shape):
                if cells[i][j]:
                    dark = means[title][i, j] < (low + high) / 2
                    _cell(axis, j, i, *cells[i][j], colour="white" if dark else "black")
            axis.set(title=title, xlabel="leaf width l", ylabel="training width w")
            axis.set_xticks(range(len(columns)), columns)
            axis.set_yticks(range(len(rows)), rows)
            axis.grid(visible=False)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        figure.colorbar(image, ax=axes, label="test accuracy, hard, mean [%]", shrink=0.8)
    return figure


def error_by_recipe(panels):
    """Test error of recipes, every run a point, hard filled and soft hollow; a panel a case.

    Parameters
    ----------
    panels : dict of str to dict of str to (sequence of float, sequence of float)
        From a panel's title to its recipes, from a recipe to the accuracies in % of all runs, hard and soft.

    Returns
    -------
    Figure
    """
    names = list(dict.fromkeys(name for recipes in panels.values() for name in recipes))
    with rc_context(STYLE):
        figure = Figure(figsize=(2.6 + 4.2 * len(panels), 1.4 + 0.36 * len(names)), layout="constrained")
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, recipes) in zip(all_axes, panels.items(), strict=True):
            for name, (hard, soft) in recipes.items():
                y, colour = names.index(name), COLOURS[0] if name.startswith(names[0].split(" ")[0]) else COLOURS[1]
                axes.plot(
                    _errors(soft), np.full(len(soft), y - 0.18), "o", color=colour, markersize=4, fillstyle="none"
                )
                axes.plot(_errors(hard), np.full(len(hard), y + 0.12), "o", color=colour, markersize=4, alpha=0.6)
                axes.plot(_errors([np.mean(hard)]), [y + 0.12], "|", color="black", markersize=13, markeredgewidth=1.6)
            axes.set(title=title, xlabel="test error [%]")
            axes.set_yticks(range(len(names)), names)
            _error_axis(axes, "x")
        axes.set_ylim(len(names) - 0.5, -0.6)
        figure.suptitle(
            "Filled: hard, a bar at the mean; hollow: soft; every run a point", fontsize=11, x=0.01, ha="left"
        )
    return figure


def _cell(axis, x, y, values, lost, colour):
    """Mean, standard deviation and collapsed runs, written into a cell."""
    text = f"{np.mean(values):.1f}" + (f"\n± {np.std(values, ddof=1):.2f}" if len(values) > 1 else "")
    text += f"\n{lost} collapsed" if lost else ""
    axis.text(x, y, text, ha="center", va="center", color=colour, fontsize=9)


def _errors(accuracies):
    """Errors in % from accuracies in %; 0 has no place on a logarithmic axis."""
    return np.maximum(100 - np.asarray(accuracies, float), 0.01)


def _error_axis(axes, which):
    """A logarithmic axis of errors in %, labelled where a reader looks."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
