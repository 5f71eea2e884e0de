"""The figures of the report: recorded runs as `plots` wants them."""

from .. import plots
from .recorded import collapsed, epochs_of, in_ablation, percent, recipes, tree, trees
from .report import case_name
from .runs import GIVEN, SEARCHED
from .tables import LEAF_WIDTHS, WIDTHS, tree_sizes
from .variants import GRID, OURS, sentence, variants


def figures(groups):
    """Draw what the groups hold of the grid's number of epochs.

    Parameters
    ----------
    groups : dict
        From `recorded.read`.

    Returns
    -------
    dict of str to (str, Figure)
        From a file's stem to title and figure.
    """
    epochs = epochs_of(groups)[0]
    drawn = {}
    data_sets = [data for data in dict.fromkeys(group.data for group in groups) if trees(groups, data, epochs)]
    if any(group.layer == "DenseFF" and group.epochs == epochs for group in groups):
        panels = {data: by_size(groups, data, epochs) for data in data_sets}
        drawn["size"] = f"Test error against engaged size, {epochs} epochs", plots.error_by_size(panels)
    if grids := grid_panels(groups, data_sets, epochs):
        stacked = len({base for base in GRID for title in grids if title.endswith(f", {base}")})
        figure = plots.accuracy_grids(grids, LEAF_WIDTHS, WIDTHS, stacked=stacked)
        drawn["grid"] = f"The grid, {epochs} epochs", figure
    if panels := by_recipe(groups, epochs):
        drawn["ablation"] = f"What each ingredient is worth, {epochs} epochs", plots.error_by_recipe(panels)
    return drawn


def rates_of(base):
    """Where a recipe's learning rate comes from in the grid: ours is searched, the published one is as published."""
    return SEARCHED if base == OURS else GIVEN


def by_size(groups, data, epochs):
    """Accuracies by engaged size: all trees by the grid's recipes, dense nets and experts by our optimiser."""
    labels = {("DenseFF", OURS): "dense nets, our optimiser", ("MoE", OURS): "experts, our optimiser"}
    labels |= {("LeafFFF", base): f"trees, {base}" for base in reversed(GRID)}
    series = {label: [] for label in labels.values()}
    for group, rows in groups.items():
        label = labels.get((group.layer, group.base))
        rates = rates_of(group.base) if group.layer == "LeafFFF" else SEARCHED  # rivals are always searched
        if label and not group.sign and (group.data, group.epochs, group.rates) == (data, epochs, rates):
            # training width; a dense net has one width only
            width = {"LeafFFF": lambda d, l: 2**d * l, "MoE": lambda n, e, k: n * e}.get(group.layer)  # noqa: E741
            series[label].append((rows[0]["neurons_engaged"], width and width(*group.sizes), percent(rows)))
    return {label: nets for label, nets in series.items() if nets}


def grid_panels(groups, data_sets, epochs):
    """The panels of the grid's figure, by data set and recipe; a recipe of one tree makes none."""
    panels = {}
    for data in data_sets:
        cases = [(data, *size) for size in trees(groups, data, epochs)]
        for base in GRID:
            recorded = [case for case in cases if (base, rates_of(base)) in recipes(groups, case, epochs)]
            if len(recorded) > 2:  # two trees are no grid
                panels[f"{data}, {base}"] = _grid(groups, data, epochs, base)
    return panels


def _grid(groups, data, epochs, base):
    """Accuracies and collapsed runs, training widths by leaf widths; None where nothing is recorded."""

    def cell(width, leaf_width):
        """One tree's accuracies and how many of its runs collapsed."""
        case = (data, *tree_sizes(width, leaf_width).values())
        rows = tree(groups, case, epochs, base, rates_of(base))
        return (percent(rows), sum(map(collapsed, rows))) if rows else None

    return [[cell(width, leaf_width) for leaf_width in LEAF_WIDTHS] for width in WIDTHS]


def by_recipe(groups, epochs):
    """Hard and soft accuracies of the ablation, by case and recipe."""
    order = {(v.base, v.sign, v.ingredient): sentence(v.base, v.sign, v.ingredient) for v in variants()}
    panels = {}
    for recipe, name in order.items():
        for group, rows in groups.items():
            case = (group.data, *group.sizes)
            same = (group.base, group.sign, group.ingredient) == recipe and group.rates == SEARCHED
            if group.layer == "LeafFFF" and group.epochs == epochs and same and in_ablation(groups, case, epochs):
                panel = panels.setdefault(case_name(case), {})
                panel[name] = percent(rows), percent(rows, "soft_accuracy")
    return panels
