"""Figures of training: losses, accuracies, entropies, which leaves are used and what nodes look at."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from .. import checks
from ..layers import tree
from .style import COLOURS, STYLE


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


def _watched(history):
    """The epochs that were evaluated."""
    return [row for row in history if "hard_accuracy" in row]
