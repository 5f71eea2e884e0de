"""Every figure, drawn from plain arrays. Each function returns a matplotlib Figure; `save` writes it.

Figures are made without pyplot: no global state, no display. Colours are those of Okabe and Ito, which
readers with any kind of colour vision can tell apart.
"""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from . import checks, files
from .layers import tree

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "axes.axisbelow": True, "axes.titlelocation": "left", "axes.titlesize": 12, "axes.labelsize": 11,
    "legend.frameon": False, "font.size": 10.5, "lines.linewidth": 2,
}  # fmt: skip


def save(figure, path):
    """Write a figure, atomically; the kind of file follows from the name's ending."""
    with files.replacing(path) as temporary, rc_context(STYLE):
        figure.savefig(temporary, dpi=140)


def learning_curves(histories):
    """Loss and held-out accuracy over the epochs, a colour a run; soft is dashed where it differs from hard.

    Parameters
    ----------
    histories : dict of str to list of dict
        From a run's name to what `training.train` returned.

    Returns
    -------
    Figure
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (name, history), colour in zip(histories.items(), COLOURS, strict=False):
            left.plot([row["epoch"] for row in history], [row["loss"] for row in history], color=colour, label=name)
            watched = _watched(history)
            epochs = [row["epoch"] for row in watched]
            right.plot(epochs, [100 * row["hard_accuracy"] for row in watched], color=colour, label=f"{name}, hard")
            if watched[0]["soft_accuracy"] is not None:
                soft = [100 * row["soft_accuracy"] for row in watched]
                right.plot(epochs, soft, "--", color=colour, label=f"{name}, soft", linewidth=1.4)
        left.set(title="Training loss (entropy and balance included)", xlabel="epoch", ylabel="loss [nats]")
        left.set_ylim(bottom=0)
        right.set(title="Accuracy on held-out digits", xlabel="epoch", ylabel="accuracy [%]")
        left.legend()
        right.legend(loc="lower right", fontsize=9)
    return figure


def node_entropies(histories):
    """Entropy of every node over the epochs, a panel a run: which choices harden, and when.

    Parameters
    ----------
    histories : dict of str to list of dict
        Runs of `LeafFFF`s of one depth.

    Returns
    -------
    Figure
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5.5 * len(histories), 4.2), layout="constrained")
        panels = figure.subplots(1, len(histories), sharey=True, squeeze=False)[0]
        for panel, (name, history) in zip(panels, histories.items(), strict=True):
            watched = _watched(history)
            epochs = [row["epoch"] for row in watched]
            entropy = np.array([row["node_entropy"] for row in watched])  # (epochs, N)
            for k in range(tree.depth_of(entropy.shape[1])):
                lines = panel.plot(epochs, entropy[:, tree.level(k)], color=COLOURS[k % 7], alpha=0.8, linewidth=1.5)
                lines[0].set_label(f"level {k}" + (" (root)" if k == 0 else ""))
            panel.axhline(np.log(2), color="grey", linestyle=":", linewidth=1)
            panel.annotate("undecided: log 2", (epochs[-1], np.log(2)), ha="right", va="bottom", color="grey")
            panel.set(title=name, xlabel="epoch", ylim=(0, 0.76))
            panel.legend(loc="upper right", bbox_to_anchor=(1, 0.9))
        panels[0].set_ylabel("mean entropy of the choice [nats]")
        figure.suptitle("A line a node: from undecided to decided", x=0.01, ha="left")
    return figure


def leaf_usage(shares):
    """Share of the samples that reach each leaf, in hard inference; a panel a run.

    Parameters
    ----------
    shares : dict of str to sequence of float
        From a run's name to its "leaf_share".

    Returns
    -------
    Figure
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5.5 * len(shares), 3.8), layout="constrained")
        panels = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
        for panel, (name, share), colour in zip(panels, shares.items(), COLOURS[1:], strict=False):
            share = np.asarray(share)
            panel.bar(np.arange(len(share)), 100 * share, color=colour)
            panel.axhline(100 / len(share), color="black", linestyle=":", linewidth=1.2, label="evenly spread")
            used = np.count_nonzero(share)
            panel.set(title=f"{name}: {used} of {len(share)} leaves used", xlabel="leaf, from left to right")
            panel.set_xticks(np.arange(0, len(share), max(1, len(share) // 8)))
            panel.grid(axis="x", visible=False)
            panel.legend()
        panels[0].set_ylabel("share of the test samples [%]")
    return figure


def node_weights(weight, image_shape, levels=4):
    """What each node looks at: its weights as an image, at its place in the tree.

    Parameters
    ----------
    weight : ndarray (N, height * width)
    image_shape : tuple of int
    levels : int
        How many levels to draw, from the root.

    Returns
    -------
    Figure
    """
    levels = min(levels, tree.depth_of(len(weight)))
    if levels < 1:
        raise checks.InputError("a tree of depth 0 has no nodes to draw")
    with rc_context(STYLE):
        columns = 2 ** (levels - 1)
        figure = Figure(figsize=(1.35 * columns + 0.9, 1.55 * levels + 0.6), layout="constrained")
        grid = figure.add_gridspec(levels, 2 * columns + 1, width_ratios=[1] * 2 * columns + [0.3])  # last: colour bar
        shown = weight[: tree.n_nodes(levels)]
        limit = np.quantile(np.abs(shown), 0.995)
        for k in range(levels):
            span = 2 * columns // 2**k
            for i, node in enumerate(range(*tree.level(k).indices(len(shown)))):
                panel = figure.add_subplot(grid[k, i * span : (i + 1) * span])
                image = panel.imshow(weight[node].reshape(image_shape), cmap="PuOr", vmin=-limit, vmax=limit)
                panel.set_title(f"node {node}", fontsize=9, loc="center", pad=3)
                panel.set_axis_off()
        bar = figure.colorbar(image, cax=figure.add_subplot(grid[:, -1]), label="weight", aspect=25)
        bar.ax.set_title("right", fontsize=10, loc="center")
        bar.ax.set_xlabel("left", fontsize=10)
        figure.suptitle("What each node looks at: ink on purple sends right, ink on orange sends left", fontsize=12)
    return figure


def gradient_errors(steps, central, complex_step, chosen):
    """Error of the numerical gradient against the step, and all entries' errors, sorted, at the chosen steps.

    Parameters
    ----------
    steps : ndarray (S,)
    central, complex_step : ndarray (S, entries)
        From `gradcheck.error_versus_step`.
    chosen : tuple of int
        Which steps the right panel shows, of central differences and of the complex step.

    Returns
    -------
    Figure
    """
    floor = np.finfo(np.float64).eps / 10  # zero has no place on a logarithmic axis
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        methods = (("central difference", central, COLOURS[1]), ("complex step", complex_step, COLOURS[0]))
        for (name, errors, colour), at in zip(methods, chosen, strict=True):
            errors = np.maximum(errors, floor)
            left.loglog(steps, errors[:, -1], color=colour, label=f"{name}: worst entry")
            left.fill_between(steps, errors[:, 0], errors[:, -1], color=colour, alpha=0.15)
            left.loglog(steps, np.median(errors, 1), "--", color=colour, linewidth=1.3, label=f"{name}: median")
            right.semilogy(np.arange(1, errors.shape[1] + 1), errors[at], ".", color=colour)
            right.annotate(f"{name}, h = {steps[at]:.0e}", (1, 3 * errors[at, -1]), color=colour)
        left.invert_xaxis()
        left.set(title="Smaller steps help, until rounding takes over", xlabel="step h", ylabel="relative error")
        left.annotate("error ~ h²", (1e-2, 1e-4), color="grey")
        left.annotate("error ~ eps / h", (1e-7, 1e-5), color="grey", ha="center")
        right.set(title="Every entry of the gradient, sorted by its error", xlabel="rank of the entry")
        left.legend(fontsize=9, loc="lower right", bbox_to_anchor=(1, 0.2))
    return figure


def model_speed_ups(contexts, speed_ups, longest, title):
    """Speed-up of whole models by length of context: a line a model, thin beyond the context that it was made for.

    Parameters
    ----------
    contexts : ndarray (n,)
    speed_ups : dict of str to ndarray (n,)
        From a model's name.
    longest : dict of str to int
        The context that each was made for.
    title : str
        What makes them faster.

    Returns
    -------
    Figure
    """
    contexts = np.asarray(contexts)
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 4.8), layout="constrained")
        panel = figure.subplots()
        for (name, speed_up), colour in zip(speed_ups.items(), COLOURS, strict=False):
            own = np.flatnonzero(contexts <= longest[name])
            panel.plot(contexts, speed_up, "--", color=colour, linewidth=1.2)
            panel.plot(contexts[own], np.asarray(speed_up)[own], "o-", color=colour, linewidth=3, markevery=[-1],
                       label=f"{name}, made for {longest[name]:,}")  # fmt: skip
        panel.set_xscale("log", base=2)
        ticks = contexts[:: -(-len(contexts) // 11)]
        panel.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        panel.set(title=title, xlabel="context [tokens]", ylabel="speed-up of the whole model [times]")
        panel.set_ylim(bottom=1)
        panel.legend()
    return figure


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


def _watched(history):
    """The epochs that were evaluated."""
    return [row for row in history if "hard_accuracy" in row]


def _cell(axis, x, y, values, lost, colour):
    """Mean, standard deviation and collapsed runs, written into a cell."""
    text = f"{np.mean(values):.1f}" + (f"\n± {np.std(values, ddof=1):.2f}" if len(values) > 1 else "")
    text += f"\n{lost} collapsed" if lost else ""
    axis.text(x, y, text, ha="center", va="center", color=colour, fontsize=9)


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
