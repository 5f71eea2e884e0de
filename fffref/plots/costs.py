"""Figures of what is counted: the speed-up of whole models."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from .style import COLOURS, STYLE


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
