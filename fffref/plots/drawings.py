"""Drawings: where a feedforward layer sits in a transformer, and a walk through a tree of neurons."""

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from .style import COLOURS, STYLE

BLUE, RED = COLOURS[:2]


def transformer_block():
    """One block of a transformer, and the feedforward layer in it enlarged: inputs, neurons, outputs.

    Returns
    -------
    Figure
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
        figure.suptitle("A block of a transformer, and the feedforward layer in it", x=0.01, ha="left")
        _block(left)
        _layer(right)
        for panel in (left, right):
            panel.set_axis_off()
    return figure


def _block(panel):
    """Token vectors rise through attention and the feedforward layer; each adds to what came in."""
    panel.set(xlim=(-2.4, 2.4), ylim=(-0.9, 6.3))
    boxes = {
        1.2: ("attention", "tokens look at each other", "white"),
        3.7: ("feedforward", "each token by itself", RED),
    }
    for y, (name, what, colour) in boxes.items():
        box = FancyBboxPatch((-1.3, y), 2.6, 1.1, boxstyle="round,pad=0.05", fc=colour, ec="black", alpha=0.25)
        panel.add_patch(box)
        panel.text(0, y + 0.72, name, ha="center", va="center", fontsize=12)
        panel.text(0, y + 0.3, what, ha="center", va="center", fontsize=9)
    for low, high in ((0, 1.1), (2.4, 3.6), (4.9, 5.6)):
        panel.add_patch(FancyArrowPatch((0, low), (0, high), arrowstyle="-|>", mutation_scale=13))
    for low, high in ((0.5, 2.75), (3.05, 5.2)):  # around the box: what comes in is added again
        panel.plot((0, 1.75, 1.75, 0.14), (low, low, high, high), color="grey", linewidth=1.3)
        panel.text(0, high, "+", ha="center", va="center", bbox={"boxstyle": "circle", "fc": "white", "ec": "grey"})
    panel.text(0, -0.3, "tokens, 768 numbers each", ha="center", va="center", fontsize=10)
    panel.text(0, 5.9, "to the next block", ha="center", va="center", fontsize=10)


def _layer(panel):
    """Three columns of circles: the token's numbers, the neurons, the answer's numbers."""
    panel.set(xlim=(-0.5, 4.6), ylim=(-1.3, 6.3))
    inputs, neurons, outputs = [1.5, 2.5, 3.5], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [1.5, 2.5, 3.5]
    for y in neurons:
        for end in inputs:
            panel.plot((0.2, 2), (end, y), color="0.75", linewidth=0.8, zorder=0)
        for end in outputs:
            panel.plot((2, 3.8), (y, end), color="0.75", linewidth=0.8, zorder=0)
    for x, column, colour in ((0.2, inputs, "white"), (2, neurons, RED), (3.8, outputs, "white")):
        panel.plot([x] * len(column), column, "o", markersize=15, markerfacecolor=colour, markeredgecolor="black")
    for x, text in ((0.2, "token x\n(768 numbers)"), (2, "neurons\n(3072 in BERT)"), (3.8, "answer y\n(768 numbers)")):
        panel.text(x, -0.85, text, ha="center", va="center", fontsize=10)
    panel.text(1.0, 4.75, "input\nweights", ha="center", fontsize=9, color="0.35")
    panel.text(3.05, 4.75, "output\nweights", ha="center", fontsize=9, color="0.35")


def tree_walk(depth, walk, logits):
    """A tree of neurons, and one token's walk from the root to the bottom.

    Parameters
    ----------
    depth : int
    walk : sequence of int
        The neurons that the token meets, from the root down, in level order.
    logits : sequence of float
        What it finds there; positive turns right.

    Returns
    -------
    Figure
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 1.15 * depth + 1.6), layout="constrained")
        panel = figure.subplots()
        places = {n: _place(n) for n in range(2 ** (depth + 1) - 1)}
        for n in range(1, len(places)):
            on_walk = n in walk
            ends = zip(places[(n - 1) // 2], places[n], strict=True)
            panel.plot(*ends, color=RED if on_walk else "0.8", linewidth=4 if on_walk else 1.2, zorder=0)
        for n, (x, y) in places.items():
            colour = RED if n in walk else "white"
            panel.plot(x, y, "o", markersize=21, markerfacecolor=colour, markeredgecolor=RED if n in walk else "0.6")
            panel.text(x, y, str(n), ha="center", va="center", color="white" if n in walk else "0.35")
        for n, z in zip(walk, logits, strict=True):
            turn = "right" if z > 0 else "left"
            panel.annotate(f"{z:+.2f}: {turn}", places[n], (13, 9), textcoords="offset points", fontsize=9, zorder=5)
        panel.set(xlim=(-0.02, 1.04), ylim=(-depth - 0.45, 0.45))
        panel.set_title(f"One token's walk: {len(walk)} of {len(places)} neurons are engaged")
        panel.set_axis_off()
    return figure


def _place(n):
    """Where neuron n stands: x between 0 and 1, y minus its level."""
    level = (n + 1).bit_length() - 1
    return (n + 1 - 2**level + 0.5) / 2**level, -level
