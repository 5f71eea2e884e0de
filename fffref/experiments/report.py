"""Tables of recorded runs, in Markdown: means and spreads over all seeds, soft and hard, trees beside dense nets.

A group is the runs that differ in nothing but the seed. No run is left out, no best is taken.
"""

import statistics
from collections import Counter

from .. import checks, plots
from . import runs, sweep

BUSIEST = 0.9  # a tree one of whose leaves takes more than this share of the test samples has collapsed
GUESSING = 0.2  # so has whatever answers no better than this: a constant is right for 0.1 of ten classes
# Hard test accuracy in %, the best of ten runs, by data set, depth and leaf width: Belcak and Wattenhofer,
# "Fast Feedforward Networks", arXiv 2308.14711, table 1. Not the whole table: the entries that we quote.
PUBLISHED = {("mnist", 4, 8): 94.9, ("mnist", 7, 1): 92.0, ("fashion-mnist", 4, 8): 86.1}
# What our recipe was meant to reach: hard accuracy in %, in the mean over the seeds; at least, and at best.
AIMS = {("mnist", 4, 8): (96.5, 97.3), ("mnist", 7, 1): (93.5, 95.5), ("fashion-mnist", 4, 8): (87.5, 88.5)}


def read(paths):
    """Read recorded runs, in groups.

    Parameters
    ----------
    paths : sequence of path-like
        Files that `fffref reproduce` wrote.

    Returns
    -------
    by_epochs : dict of int to groups
        For each number of epochs, first that of most runs (the grid's; of equals, the fewer), its groups: from (data,
        layer, sizes as a tuple, recipe's name) to the runs, by seed. Where a recipe of one name was recorded in
        several forms, the last one counts.
    set_aside : int
        How many runs of earlier forms there were.

    Raises
    ------
    ValueError
        If a file cannot be read, or nothing is in them.
    """
    rows = {row["key"]: row for path in paths for row in sweep.read(path)}
    if not rows:
        raise checks.InputError(f"no results in {', '.join(map(str, paths))}; fffref reproduce table1 makes some")
    form = lambda row: (row["epochs"], *_group(row))  # noqa: E731
    last = {form(row): row["recipe"] for row in rows.values()}
    kept = [row for row in rows.values() if row["recipe"] == last[form(row)]]
    counted = Counter(row["epochs"] for row in kept)
    by_epochs = {epochs: {} for epochs in sorted(counted, key=lambda epochs: (-counted[epochs], epochs))}
    for row in sorted(kept, key=lambda row: row["seed"]):
        by_epochs[row["epochs"]].setdefault(_group(row), []).append(row)
    return by_epochs, len(rows) - len(kept)


def grid_of(by_epochs):
    """Return the groups of the grid: those of the number of epochs that most runs have."""
    return next(iter(by_epochs.values()))


def _group(row):
    return row["data"], row["layer"], tuple(row["sizes"].values()), row["name"]


def collapsed(row):
    """Whether a run is lost: a tree that uses hardly more than one leaf, or a net that hardly knows more than chance.

    Such a run has an entropy near 0 and soft and hard agree: the figures that are usually shown do not show it.
    """
    share = row["leaf_share"]
    return (len(share) > 1 and max(share) > BUSIEST) or row["hard_accuracy"] < GUESSING


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


def trees(groups, data):
    """Return depth and leaf width of the trees of a data set, the narrowest first, then the widest leaf first."""
    sizes = {key[2] for key in groups if key[:2] == (data, "LeafFFF")}
    return sorted(sizes, key=lambda size: (2 ** size[0] * size[1], -size[1]))


def rivals(groups, data, size, recipe):
    """Return the runs of the three dense nets that a tree is held against, by what they have in common with it."""
    widths, recipe = runs.dense_widths(*size), runs.optimiser_of(recipe)
    return {name: groups.get((data, "DenseFF", (width,), recipe), []) for name, width in widths.items()}


def in_ablation(groups, data, size):
    """Whether a tree was trained by other recipes than the grid's."""
    return any(key[:3] == (data, "LeafFFF", size) and key[3] not in runs.GRID for key in groups)


def grid_table(groups, data):
    """The first paper's grid: a line a tree and recipe, its dense rivals in the same line."""
    lines = []
    for depth, leaf_width in trees(groups, data):
        for recipe in runs.GRID:
            rows = groups.get((data, "LeafFFF", (depth, leaf_width), recipe), [])
            if not rows:
                continue
            dense = rivals(groups, data, (depth, leaf_width), recipe).values()
            published = PUBLISHED.get((data, depth, leaf_width), "")
            lines.append([
                2**depth * leaf_width, leaf_width, depth, depth + leaf_width, recipe,
                *_columns(rows), *map(spread, dense), published if runs.optimiser_of(recipe) == "paper1" else "",
            ])  # fmt: skip
    head = ["w", "l", "d", "engaged", "recipe", *COLUMNS, *DENSE_COLUMNS, "paper"]
    return _markdown(head, lines)


DENSE_COLUMNS = ["dense w", "dense d + l", "dense, same parameters"]
COLUMNS = ["soft", "hard", "hard, min to max", "leaves used", "collapsed"]


def _case(data, size):
    """A tree and its data set, as text."""
    return f"{data}, depth {size[0]}, leaf width {size[1]}"


def _columns(rows):
    """Soft, hard, range, leaves used and collapsed runs of a group, as text."""
    hard, used = percent(rows), [row["leaves_used"] for row in rows]
    leaves = f"{statistics.fmean(used):.4g} of {len(rows[0]['leaf_share'])}"
    lost = f"{sum(map(collapsed, rows))} of {len(rows)}"
    return [spread(rows, "soft_accuracy"), spread(rows), f"{min(hard):.2f} to {max(hard):.2f}", leaves, lost]


def ablation_table(groups, data, size):
    """A tree's recipes, each less or plus one ingredient; the difference is that of the hard means."""
    lines = []
    for name in runs.variants():
        rows = groups.get((data, "LeafFFF", size, name), [])
        base = groups.get((data, "LeafFFF", size, runs.base_of(name)), [])
        if rows:
            difference = "" if rows is base or not base else f"{mean(rows) - mean(base):+.2f}"
            lines.append([name, *_columns(rows), difference])
    return _markdown(["recipe", *COLUMNS, "difference"], lines)


def aims_table(by_epochs):
    """What our recipe was meant to reach, and what it reached in how many epochs."""
    lines = []
    for (data, *size), (least, best) in AIMS.items():
        for epochs, groups in sorted(by_epochs.items()):
            rows = groups.get((data, "LeafFFF", tuple(size), "hardening"), [])
            if not rows:
                continue
            dense = rivals(groups, data, size, "hardening")["engaged size"]
            margin = f"{mean(rows) - mean(dense):+.2f}" if dense else "-"
            met = "beyond" if mean(rows) >= best else "reached" if mean(rows) >= least else "missed"
            gap = f"{mean(rows, 'gap'):+.2f}"
            lines.append([_case(data, size), least, best, epochs, *_columns(rows), gap, margin, met])
    head = ["case", "at least", "at best", "epochs", *COLUMNS, "soft - hard", "hard - dense d + l", "aim"]
    return _markdown(head, lines)


def longer_table(by_epochs):
    """The trees that were trained for more than one number of epochs: what time is worth to which recipe."""
    lines = []
    cases = {(data, size) for groups in by_epochs.values() for data, layer, size, _ in groups if layer == "LeafFFF"}
    for data, size in sorted(cases, reverse=True):
        for recipe in runs.GRID:
            found = {n: groups.get((data, "LeafFFF", size, recipe)) for n, groups in sorted(by_epochs.items())}
            found = {epochs: rows for epochs, rows in found.items() if rows}
            if len(found) == 1:
                continue
            for epochs, rows in found.items():
                dense = map(spread, rivals(by_epochs[epochs], data, size, recipe).values())
                lines.append([_case(data, size), recipe, epochs, *_columns(rows), *dense])
    return _markdown(["case", "recipe", "epochs", *COLUMNS, *DENSE_COLUMNS], lines)


def findings(groups, data):
    """Sentences that a table's reader would count out, a line a recipe."""
    lines = []
    for recipe in runs.GRID:
        sizes = [size for size in trees(groups, data) if (data, "LeafFFF", size, recipe) in groups]
        found = {size: groups[data, "LeafFFF", size, recipe] for size in sizes}
        trained = [row for rows in found.values() for row in rows]
        dense = {size: rivals(groups, data, size, recipe)["engaged size"] for size in sizes}
        held = [mean(rows) - mean(dense[size]) for size, rows in found.items() if dense[size]]
        if trained:
            better = f"{sum(margin > 0 for margin in held)} of {len(held)} trees"
            lines.append(
                f"* {recipe}: {sum(map(collapsed, trained))} of {len(trained)} runs collapsed; better in the mean than the "
                f"dense net of the same engaged size on {better}; soft minus hard is "
                f"{mean(trained, 'gap'):+.2f} points in the mean, {max(percent(trained, 'gap'), key=abs):+.2f} at worst."
            )
    return "\n".join(lines)


def markdown(by_epochs, set_aside=0, figures=()):
    """The whole report.

    Parameters
    ----------
    by_epochs : dict of int to groups
    set_aside : int
        From `read`.
    figures : sequence of (title, file name)

    Returns
    -------
    str
    """
    groups = grid_of(by_epochs)
    parts = ["# Accuracy, every seed", _preface(by_epochs, set_aside)]
    if aims := aims_table(by_epochs):
        parts += ["## Aims", aims]
    if longer := longer_table(by_epochs):
        parts += ["## What more epochs are worth", longer]
    for data in dict.fromkeys(key[0] for key in groups):
        parts += [f"## {data}: the grid", findings(groups, data), grid_table(groups, data)]
        for size in trees(groups, data):
            if in_ablation(groups, data, size):
                title = f"## {data}: what each ingredient is worth, depth {size[0]}, leaf width {size[1]}"
                parts += [title, ablation_table(groups, data, size)]
    parts += [f"![{title}]({file})" for title, file in figures]
    return "\n\n".join(part for part in parts if part) + "\n"


def figures(groups):
    """Draw what the groups hold.

    Returns
    -------
    dict of str to (str, Figure)
        From a file's stem to title and figure.
    """
    found = {}
    data_sets = [data for data in dict.fromkeys(key[0] for key in groups) if trees(groups, data)]
    if any(key[1] == "DenseFF" for key in groups):
        panels = {data: _by_size(groups, data) for data in data_sets}
        found["size"] = "Test error against engaged size", plots.error_by_size(panels)
    grids = {
        f"{data}, {recipe}": _grid(groups, data, recipe)
        for data in data_sets
        for recipe in runs.GRID
        if sum(key[:2] == (data, "LeafFFF") and key[3] == recipe for key in groups) > 1
    }
    if grids:
        found["grid"] = (
            "The grid",
            plots.accuracy_grids(grids, runs.LEAF_WIDTHS, runs.WIDTHS, stacked=len(grids) // len(data_sets)),
        )
    if cases := _by_recipe(groups):
        found["ablation"] = "What each ingredient is worth", plots.error_by_recipe(cases)
    return found


def _by_size(groups, data):
    """Accuracies by engaged size: all trees of the grid by both recipes, and dense nets by our optimiser."""
    labels = {("DenseFF", "hardening"): "dense nets, our optimiser"}
    labels |= {("LeafFFF", recipe): f"trees, {recipe}" for recipe in reversed(runs.GRID)}
    series = {label: [] for label in labels.values()}
    for (name, layer, size, recipe), rows in groups.items():
        if name == data and (layer, recipe) in labels:
            width = 2 ** size[0] * size[1] if layer == "LeafFFF" else None
            series[labels[layer, recipe]].append((rows[0]["neurons_engaged"], width, percent(rows)))
    return {label: nets for label, nets in series.items() if nets}


def _grid(groups, data, recipe):
    """Accuracies and collapsed runs, training widths by leaf widths; None where nothing is recorded."""

    def cell(width, leaf_width):
        """One tree's accuracies and how many of its runs collapsed."""
        size = tuple(runs.tree_sizes(width, leaf_width).values())
        rows = groups.get((data, "LeafFFF", size, recipe))
        return rows and (percent(rows), sum(map(collapsed, rows)))

    return [[cell(width, leaf_width) for leaf_width in runs.LEAF_WIDTHS] for width in runs.WIDTHS]


def _by_recipe(groups):
    """Hard and soft accuracies of the ablation, by case and recipe."""
    cases = {}
    for (data, layer, size, name), rows in groups.items():
        if layer == "LeafFFF" and in_ablation(groups, data, size):
            case = cases.setdefault(_case(data, size), {})
            case[name] = percent(rows), percent(rows, "soft_accuracy")
    order = list(runs.variants())
    return {title: {name: case[name] for name in order if name in case} for title, case in cases.items()}


def _preface(by_epochs, set_aside):
    """What the figures are, and what they rest on."""
    rows = [row for groups in by_epochs.values() for group in groups.values() for row in group]
    seeds = {row["seed"] for row in rows}
    hours = sum(row["seconds"] for row in rows) / 3600
    counted = Counter(row["data"] for row in rows)
    counts = ", ".join(f"{n} on {data}" for data, n in counted.items())
    grid, *others = by_epochs
    epochs = f"{grid} epochs" + f" (where it says so, {' or '.join(map(str, others))})" * bool(others)
    busiest, guessing = f"{100 * BUSIEST:.0f} %", f"{100 * GUESSING:.0f} %"
    text = f"""\
Test accuracy in %, mean ± standard deviation over {len(seeds)} seeds, of the final epoch's model: recipes were chosen
on held-out training data, and each run looked at the test data once. Nothing is the best of anything, but for the
column "paper": the first paper's best of ten. {len(rows):,} runs ({counts}) of {epochs}
took {hours:.2f} hours by the clock, added up.

`paper1` is the first paper's recipe as its text has it, `paper1 with mean entropy` as its authors' example has it (the
mean over batch and nodes, not the sum), `hardening` is ours. A tree of depth d has 2^d leaves of l neurons, w = 2^d l;
inference engages d + l neurons. Dense nets stand in the line of the tree they are held against, trained by the same
optimiser. A run has collapsed if one leaf takes over {busiest} of the test samples, or under {guessing} of the answers
are right."""
    if "mnist-small" in counted:
        text += "\n\n**This is a quick look:** mnist-small has 7,000 digits to train on, and 1,500 to test."
    if set_aside:
        text += f"\n\n{set_aside} recorded runs of recipes that have since been changed are left out."
    return text


def _markdown(head, lines):
    """A Markdown table, empty if it has no lines."""
    if not lines:
        return ""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
