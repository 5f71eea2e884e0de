"""Figures of speed-ups: what is claimed, what is measured, and what a layer's gain is worth in a model."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from .style import COLOURS, STYLE

BLUE, ORANGE = COLOURS[:2]
LABEL = {"va": "center", "bbox": {"fc": "white", "ec": "none", "pad": 1}}  # a line behind a number does not cross it


def claims_for_a_layer(pairs, limit, title):
    """One layer, measured rightly and wrongly: a ring for what is right, a dot for what is claimed.

    Parameters
    ----------
    pairs : dict of str to (float, float or None)
        From a measurement's name to the right speed-up and the claimed one; both are the same for the right
        measurement, and there is no claim where the machine could not show it.
    limit : float
        How many times as few multiply-adds the layer needs.
    title : str

    Returns
    -------
    Figure
    """
    values = [value for pair in pairs.values() for value in pair if value is not None]
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 4.6), layout="constrained")
        panel = figure.subplots()
        panel.axvline(limit, color="black", linestyle=":", linewidth=1.5, zorder=0)
        panel.text(limit, -0.9, f"limit: {limit:.0f} times as few multiply-adds ", ha="right", va="center")
        for at, (right, claim) in enumerate(pairs.values()):
            wrong = claim is not None and claim != right
            if wrong:
                panel.plot([right, claim], [at, at], color="grey", linewidth=1.5, zorder=1)
                panel.plot(claim, at, "o", color=ORANGE, markersize=9)
            panel.plot(right, at, "o", markerfacecolor="white", markeredgecolor=BLUE, markersize=9, markeredgewidth=2)
            to_the_right = not wrong or claim >= right
            value = claim if wrong else right
            text = f"{value:.1g}x" if value < 1 else f"{value:.0f}x"
            panel.annotate(text, (value, at), (11 if to_the_right else -11, 0), textcoords="offset points",
                           ha="left" if to_the_right else "right", **LABEL)  # fmt: skip
        panel.plot([], [], "o", markerfacecolor="white", markeredgecolor=BLUE, markeredgewidth=2, markersize=9,
                   label="measured right")  # fmt: skip
        panel.plot([], [], "o", color=ORANGE, markersize=9, label="claimed")
        panel.set(xscale="log", xlim=(min(values) / 4, 5 * max(*values, limit)), xlabel="times as fast as dense")
        panel.set_ylim(len(pairs) - 0.4, -1.4)
        panel.set_yticks(range(len(pairs)), list(pairs))
        panel.grid(axis="y", visible=False)
        panel.set_title(title)
        panel.legend(loc="lower left")
    return figure


def claimed_and_found(rows, title):
    """Speed-ups that were claimed, and what was found under several conditions.

    Parameters
    ----------
    rows : dict of str to (float or None, sequence of float)
        From a claim's name to the claimed speed-up, None if nobody claimed one, and to all that were found.
    title : str

    Returns
    -------
    Figure
    """
    everything = [value for claim, found in rows.values() for value in (*found, claim or 1)]
    with rc_context(STYLE):
        figure = Figure(figsize=(8.5, 1.6 + 0.42 * len(rows)), layout="constrained")
        panel = figure.subplots()
        for y, (claim, found) in enumerate(rows.values()):
            panel.plot([min(found), max(found)], [y, y], color=BLUE, linewidth=5, alpha=0.35)
            panel.plot(found, [y] * len(found), "o", color=BLUE)
            if claim is not None:
                panel.plot(claim, y, "D", color=ORANGE, markersize=9, fillstyle="none", markeredgewidth=2)
        panel.plot([], [], "D", color=ORANGE, markersize=9, fillstyle="none", markeredgewidth=2, label="claimed")
        panel.plot([], [], "o", color=BLUE, label="counted or measured here")
        panel.set(
            xscale="log", xlim=(min(1, *everything) / 1.3, 1.5 * max(everything)), xlabel="times as fast as dense"
        )
        panel.set_yticks(range(len(rows)), list(rows))
        panel.set_ylim(len(rows) + 0.1, -0.6)
        panel.set_title(title)
        panel.legend(loc="lower right")
    return figure


def time_and_gain(others, layers, gains, measured, limit):
    """Left: where the time goes. Right: what a layer's gain is worth in the model, by Amdahl's law and as measured.

    Parameters
    ----------
    others, layers : dict of str to float
        From a model's name to the milliseconds of all else and of the feedforward layers.
    gains : (sequence of float, sequence of float)
        How many times as fast the layers become, and the model.
    measured : (float, float)
        The same, as measured.
    limit : float
        The model's gain if the layers take no time.

    Returns
    -------
    Figure
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
        names = list(others)
        left.barh(names, [others[name] for name in names], color=BLUE, label="all else: attention, mostly")
        left.barh(names, [layers[name] for name in names], left=[others[name] for name in names], color=ORANGE,
                  label="FF layers")  # fmt: skip
        totals = [others[name] + layers[name] for name in names]
        for y, total in enumerate(totals):
            left.annotate(f"{total:.0f} ms", (total, y), (4, 0), textcoords="offset points", va="center")
        left.set(xlim=(0, 1.2 * max(totals)), ylim=(-1.2, len(names) - 0.5), xlabel="time for one text [ms]")
        left.set_title("Where the time goes")
        left.grid(axis="y", visible=False)
        left.legend(loc="lower right", ncols=2)
        right.plot(*gains, color="black", label="Amdahl's law")
        right.axhline(limit, color="0.6", linestyle=":", label=f"limit: {limit:.2f}x")
        right.plot(*measured, "o", color=ORANGE, markersize=9, label="measured")
        right.set(xscale="log", xlabel="FF layers, times as fast", ylabel="model, times as fast")
        right.set_ylim(0.9, 1.15 * max(limit, measured[1]))
        ticks = [tick for tick in (1, 3, 10, 30, 100, 300) if tick <= np.max(gains[0])]
        right.set_xticks(ticks, ticks)
        right.minorticks_off()
        right.set_title("What a layer's gain is worth")
        right.legend(loc="lower right")
    return figure
