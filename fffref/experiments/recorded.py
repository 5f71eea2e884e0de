"""Recorded runs in groups: runs that differ in nothing but the seed. No run is left out, no best is taken."""

import statistics
from typing import NamedTuple

from .. import checks
from . import sweep
from .runs import SEARCHED
from .tables import dense_widths, experts_sizes
from .variants import GRID, OPTIMISER_OF, OURS

BUSIEST = 0.9  # a tree one of whose leaves takes more than this share of the test samples has collapsed
GUESSING = 0.2  # so has whatever answers no better than this: a constant is right for 0.1 of ten classes
NUMBER = (int, float)
FIELDS = {
    "data": str, "layer": str, "sizes": dict, "epochs": int, "base": str, "sign": str, "ingredient": str, "rates": str,
    "form": str, "seed": int, "learning_rate": NUMBER, "weight_decay": (*NUMBER, type(None)),
    "hard_accuracy": NUMBER, "soft_accuracy": (*NUMBER, type(None)), "gap": (*NUMBER, type(None)), "leaves": int,
    "leaves_used": int, "busiest": NUMBER, "neurons_engaged": int, "multiply_adds": int, "seconds": NUMBER,
}  # fmt: skip


class Group(NamedTuple):
    """What runs of a group have in common: `Run.labels`, the sizes as a tuple."""

    data: str
    layer: str
    sizes: tuple
    epochs: int
    base: str = OURS
    sign: str = ""
    ingredient: str = ""
    rates: str = SEARCHED


def read(paths):
    """Read recorded runs.

    Parameters
    ----------
    paths : sequence of path-like
        Files that `fffref reproduce` wrote.

    Returns
    -------
    groups : dict of Group to list of dict
        The runs of each group by seed. Where a group was recorded in several forms, of which a change of a recipe or
        of numerics is one, the last one counts.
    set_aside : int
        How many runs of earlier forms there were.

    Raises
    ------
    ValueError
        If a file cannot be read, a line lacks a field, or nothing is in them.
    """
    # of a key in several files, the last counts
    rows = {row["key"]: row for path in paths for row in sweep.read(path, FIELDS)}
    if not rows:
        raise checks.InputError(f"no results in {', '.join(map(str, paths))}; fffref reproduce table1 makes some")
    # the order of the lines is the order of the runs' ends
    last = {group_of(row): row["form"] for row in rows.values()}
    groups = {}
    # by seed, so that tables do not depend on who ended first
    for row in sorted(rows.values(), key=lambda row: row["seed"]):
        if row["form"] == last[group_of(row)]:
            groups.setdefault(group_of(row), []).append(row)
    return groups, len(rows) - sum(map(len, groups.values()))


def group_of(row):
    """Return the group of a recorded run."""
    return Group(**{name: row[name] for name in Group._fields if name != "sizes"}, sizes=tuple(row["sizes"].values()))


def collapsed(row):
    """Whether a run is lost: a tree that uses hardly more than one leaf, or a net that hardly knows more than chance.

    Such a run has an entropy near 0 and soft and hard agree: the figures that are usually shown do not show it.
    """
    return (row["leaves"] > 1 and row["busiest"] > BUSIEST) or row["hard_accuracy"] < GUESSING


def percent(rows, name="hard_accuracy"):
    """Return the values of a field in %, one a run."""
    return [100 * row[name] for row in rows]


def mean(rows, name="hard_accuracy"):
    """Return the mean of a field in %."""
    return statistics.fmean(percent(rows, name))


def spread(rows, name="hard_accuracy"):
    """Return mean and standard deviation (of n - 1) of a field in %, as text; a dash for none."""
    if not rows or rows[0][name] is None:
        return "-"
    deviation = f" ± {statistics.stdev(percent(rows, name)):.2f}" if len(rows) > 1 else ""
    return f"{mean(rows, name):.2f}{deviation}"


def lead(rows, rival):
    """Return how many points a mean is above a rival's, as text; a dash if one is missing."""
    return f"{mean(rows) - mean(rival):+.2f}" if rows and rival else "-"


def epochs_of(groups):
    """Return the numbers of epochs, first that of most groups: the grid's; of equals, the fewer."""
    counts = [group.epochs for group in groups]
    return sorted(set(counts), key=lambda epochs: (-counts.count(epochs), epochs))  # most groups first


def is_grid(groups, data, epochs):
    """Whether more than the trees of longer training is recorded: other recipes, or a grid of sizes."""
    others = any(g.base != OURS for g in groups if (g.data, g.layer, g.epochs) == (data, "LeafFFF", epochs))
    return others or len(trees(groups, data, epochs)) > 2


def trees(groups, data, epochs):
    """Return depth and leaf width of the trees of a data set, the narrowest first, then the widest leaf first."""
    sizes = {g.sizes for g in groups if (g.data, g.layer, g.epochs) == (data, "LeafFFF", epochs)}
    return sorted(sizes, key=lambda size: (2 ** size[0] * size[1], -size[1]))


def tree(groups, case, epochs, base=OURS, rates=SEARCHED):
    """Return the runs of a tree by a recipe of the grid; `case` is data, depth and leaf width."""
    data, *size = case
    return groups.get(Group(data, "LeafFFF", tuple(size), epochs, base, rates=rates), [])


def rivals(groups, case, epochs, base=OURS, rates=SEARCHED):
    """Return the runs of what a tree is held against, by what they have in common with it.

    Parameters
    ----------
    groups : dict
    case : tuple
        Data, depth and leaf width.
    epochs : int
    base : str
        The tree's recipe: dense nets are trained by its optimiser.
    rates : str
        Where learning rate and decay of the rivals come from, see `runs`.

    Returns
    -------
    dict of str to list of dict
        By the names of `tables.dense_widths` and `tables.experts_sizes`.
    """
    data, *size = case
    base = OPTIMISER_OF[base]  # both readings of the published recipe share an optimiser, and so the rivals
    dense = {name: ("DenseFF", (width,)) for name, width in dense_widths(*size).items()}
    experts = {name: ("MoE", tuple(sizes.values())) for name, sizes in experts_sizes(*size).items()}
    return {
        name: groups.get(Group(data, layer, sizes, epochs, base, rates=rates), [])
        for name, (layer, sizes) in (dense | experts).items()
    }


def recipes(groups, case, epochs):
    """Return the recipes of the grid that a tree was trained by, as (base, rates), in the order of the tables."""
    data, *size = case
    there = {(g.base, g.rates) for g in groups if g[:4] == (data, "LeafFFF", tuple(size), epochs) and not g.sign}
    return sorted(there, key=lambda recipe: (GRID.index(recipe[0]), recipe[1]))


def in_ablation(groups, case, epochs):
    """Whether a tree was trained by other recipes than the grid's."""
    data, *size = case
    return any(g[:4] == (data, "LeafFFF", tuple(size), epochs) and g.sign for g in groups)
