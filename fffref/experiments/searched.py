"""The search beside the tables: what was tried for every arm, what it gave on held-out samples, what was taken."""

import statistics

from . import tuning, variants


def markdown(rows):
    """The section of the report that lists the search.

    Parameters
    ----------
    rows : list of dict
        Trials, from `tuning.search` or its file.

    Returns
    -------
    str
        Empty if there are none.
    """
    if not rows:
        return ""
    choice = tuning.Choice(rows)  # the same code that the runs' values come from
    grids = "; ".join(f"{name}: {_grid(grid)}" for name, grid in tuning.GRIDS.items())
    seeds, hours = len({row["seed"] for row in rows}), sum(row["seconds"] for row in rows) / 3600
    seeds = f"{seeds} seed" + "s" * (seeds > 1)
    head = ["arm", "epochs", "learning rate: held-out accuracy in %", "weight decay: the same", "taken"]
    lines = [_line(arm, choice) for arm in sorted(choice.trials, key=_order)]
    table = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *lines)]
    text = f"""\
## The search

Each arm below got the same grid. {grids}.

First the learning rates, with the weight decay that its recipe has, then the other decays with the best learning rate;
a variant of the ablation has its base's decay and gets the learning rates. A tenth of the training data was held out to
judge by, {seeds} a value; a tree or dense net of the grid that is not in the list takes the values of the nearest one.
{len(rows):,} trials, {hours:.2f} hours by the clock."""
    return "\n\n".join((text, "\n".join(table)))


def _order(arm):
    """By data, epochs, kind and recipe."""
    data, layer, sizes, epochs, *recipe = arm
    return data, -epochs, layer, recipe, sizes  # longer training first


def _grid(grid):
    """What is tried of each knob, as text."""
    return ", ".join(f"{knob.replace('_', ' ')} {' '.join(map(str, values))}" for knob, values in grid.items())


def _line(arm, choice):
    """An arm's trials as cells of a table."""
    data, layer, sizes, epochs, *recipe = arm
    rate, decay = choice.best(arm)
    means = {values: 100 * statistics.fmean(accuracies) for values, accuracies in choice.trials[arm].items()}
    by_decay = {}
    for (tried, with_decay), accuracy in means.items():
        by_decay.setdefault(with_decay, {})[tried] = accuracy
    rates = max(by_decay.values(), key=len)  # those of the recipe's own decay, with which all rates were tried
    decays = {tried: accuracy for (with_rate, tried), accuracy in means.items() if with_rate == rate}
    name = f"{data}, {layer} {' x '.join(map(str, sizes))}, {variants.sentence(*recipe)}"
    taken = f"{rate:g}" + ("" if decay is None else f", decay {decay:g}")
    return [name, str(epochs), _tried(rates), _tried(decays) if len(decays) > 1 else "-", taken]


def _tried(accuracies):
    """Values and their accuracies, as text."""
    return ", ".join(f"{value:g}: {accuracy:.2f}" for value, accuracy in sorted(accuracies.items()))
