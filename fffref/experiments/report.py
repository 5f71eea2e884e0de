"""The report of recorded runs, in Markdown: means and spreads over all seeds, soft and hard, trees beside rivals."""

import statistics
from collections import Counter

from . import variants
from .recorded import (
    BUSIEST,
    GUESSING,
    collapsed,
    epochs_of,
    in_ablation,
    is_grid,
    lead,
    mean,
    percent,
    recipes,
    rivals,
    spread,
    tree,
    trees,
)
from .runs import GIVEN, THE_TREES
from .tables import GATE_COUNTED, GATE_FREE
from .variants import OURS
from .variants import PUBLISHED as PAPER

# Hard test accuracy in %, the best of ten runs, by data set, depth and leaf width: Belcak and Wattenhofer,
# "Fast Feedforward Networks", arXiv 2308.14711, table 1. Not the whole table: the entries that we quote.
PUBLISHED = {("mnist", 4, 8): 94.9, ("mnist", 7, 1): 92.0, ("fashion-mnist", 4, 8): 86.1}
# What our recipe was meant to reach: hard accuracy in %, in the mean over the seeds; at least, and at best.
AIMS = {("mnist", 4, 8): (96.5, 97.3), ("mnist", 7, 1): (93.5, 95.5), ("fashion-mnist", 4, 8): (87.5, 88.5)}
COLUMNS = ["soft", "hard", "hard, min to max", "leaves used", "collapsed"]
DENSE_COLUMNS = ["dense w", "dense d + l", "dense, same parameters"]
EXPERTS = {GATE_COUNTED: "experts, gate counted", GATE_FREE: "experts, gate free"}


def case_name(case):
    """A tree and its data set, as text."""
    return f"{case[0]}, depth {case[1]}, leaf width {case[2]}"


def cases(groups):
    """The trees that are quoted and recorded, and on which number of epochs, the most quoted first."""
    recorded = [(case, epochs) for case in AIMS for epochs in sorted(epochs_of(groups)) if tree(groups, case, epochs)]
    return recorded or _others(groups)  # a quick look has none of the quoted trees


def _others(groups):
    """The trees of a quick look: on other data, of the sizes that are quoted."""
    sizes = {case[1:]: None for case in AIMS}
    data = dict.fromkeys(group.data for group in groups)
    every = [((name, *size), epochs) for name in data for size in sizes for epochs in sorted(epochs_of(groups))]
    return [(case, epochs) for case, epochs in every if tree(groups, case, epochs)]


def lead_table(groups):
    """Our recipe's trees beside what engages as much, each with values that were searched for it."""
    lines = []
    for case, epochs in cases(groups):
        rows, other = tree(groups, case, epochs), rivals(groups, case, epochs)
        # the rival at its best, and with the values that were found for the tree
        dense, untuned = other["engaged size"], rivals(groups, case, epochs, rates=THE_TREES)["engaged size"]
        experts = [text for name in EXPERTS for text in (spread(other[name]), lead(rows, other[name]))]
        lines.append([
            case_name(case), epochs, len(rows), spread(rows), spread(dense), lead(rows, dense),
            spread(untuned), *experts,
        ])  # fmt: skip
    head = ["case", "epochs", "seeds", "tree, hard", "dense d + l", "lead", "dense d + l, the tree's values"]
    return _markdown(head + [text for name in EXPERTS.values() for text in (name, "lead")], lines)


def aims_table(groups):
    """What our recipe was meant to reach, and what it reached in how many epochs."""
    lines = []
    for case, epochs in cases(groups):
        if case not in AIMS:
            continue
        rows, (least, best) = tree(groups, case, epochs), AIMS[case]
        # beside the aim: what a dense net of the size reaches
        margin = lead(rows, rivals(groups, case, epochs)["engaged size"])
        met = "beyond" if mean(rows) >= best else "reached" if mean(rows) >= least else "missed"
        lines.append([case_name(case), least, best, epochs, *_columns(rows), f"{mean(rows, 'gap'):+.2f}", margin, met])
    head = ["case", "at least", "at best", "epochs", *COLUMNS, "soft - hard", "hard - dense d + l", "aim"]
    return _markdown(head, lines)


def grid_table(groups, data, epochs):
    """The first paper's grid: a line a tree and recipe, its dense rivals in the same line."""
    lines = []
    for depth, leaf_width in trees(groups, data, epochs):
        case = (data, depth, leaf_width)
        for base, rates in recipes(groups, case, epochs):
            rows = tree(groups, case, epochs, base, rates)
            dense = list(rivals(groups, case, epochs, base).values())[:3]  # the three dense ones come first
            # the paper's figure is of the paper's recipe alone
            published = PUBLISHED.get(case, "") if base != OURS and rates == GIVEN else ""
            lines.append([
                2**depth * leaf_width, leaf_width, depth, depth + leaf_width, _recipe(base, rates),
                len(rows), *_columns(rows), *map(spread, dense), published,
            ])  # fmt: skip
    return _markdown(["w", "l", "d", "engaged", "recipe", "seeds", *COLUMNS, *DENSE_COLUMNS, "paper"], lines)


def _recipe(base, rates):
    """A recipe of the grid, as text: ours is always searched."""
    return base if base == OURS or rates == GIVEN else f"{base}, rate searched"


def _columns(rows):
    """Soft, hard, range, leaves used and collapsed runs of a group, as text."""
    hard, used = percent(rows), [row["leaves_used"] for row in rows]  # all seeds, the lost ones too
    leaves = f"{statistics.fmean(used):.4g} of {rows[0]['leaves']}"
    lost = f"{sum(map(collapsed, rows))} of {len(rows)}"
    return [spread(rows, "soft_accuracy"), spread(rows), f"{min(hard):.2f} to {max(hard):.2f}", leaves, lost]


def ablation_table(groups, case, epochs):
    """A tree's recipes, each less or plus one ingredient; the difference is that of the hard means."""
    lines, bases = [], {}
    for variant in variants.variants():
        group = _ablation_group(case, epochs, variant)
        rows = groups.get(group, [])
        if not rows:
            continue
        if not variant.sign:  # a base comes before its variants, see `variants`
            bases[variant.base] = rows
        difference = lead(rows, bases.get(variant.base)) if variant.sign else ""
        decay = "-" if rows[0]["weight_decay"] is None else rows[0]["weight_decay"]
        name = variants.sentence(variant.base, variant.sign, variant.ingredient)
        lines.append([name, rows[0]["learning_rate"], decay, len(rows), *_columns(rows), difference])
    return _markdown(["recipe", "learning rate", "decay", "seeds", *COLUMNS, "difference"], lines)


def _ablation_group(case, epochs, variant):
    """The group of a variant on a tree."""
    # a variant's runs are a group as any other
    from .recorded import Group

    data, *size = case
    return Group(data, "LeafFFF", tuple(size), epochs, variant.base, variant.sign, variant.ingredient)


def lead_findings(groups):
    """What remains of the lead over a dense net of the engaged size, in sentences."""
    lines = []
    for case, epochs in cases(groups):
        rows, other = tree(groups, case, epochs), rivals(groups, case, epochs)
        dense, experts = other["engaged size"], other[GATE_FREE]
        if not dense:
            continue
        text = (
            f"* {case_name(case)}, {epochs} epochs: {mean(rows):.1f} % hard, {lead(rows, dense)} points against the "
            f"dense net of {dense[0]['neurons_engaged']} neurons"
        )
        if experts:
            work = experts[0]["multiply_adds"] / rows[0]["multiply_adds"]
            beside = f"experts that engage as many and a gate beside, {work:.1f} times the work"
            text += f", {lead(rows, experts)} against {beside}"
        lines.append(f"{text}.")
    return "\n".join(lines)


def findings(groups, data, epochs):
    """Sentences that a table's reader would count out, a line a recipe."""
    lines = []
    sizes = [(data, *size) for size in trees(groups, data, epochs)]
    for base, rates in dict.fromkeys(recipe for case in sizes for recipe in recipes(groups, case, epochs)):
        by_case = {case: tree(groups, case, epochs, base, rates) for case in sizes}
        trained = [row for rows in by_case.values() for row in rows]
        dense = {case: rivals(groups, case, epochs, base)["engaged size"] for case in sizes}
        # of means over seeds, tree by tree
        margins = [mean(rows) - mean(dense[case]) for case, rows in by_case.items() if rows and dense[case]]
        better = f"{sum(margin > 0 for margin in margins)} of {len(margins)} trees"
        lines.append(
            f"* {_recipe(base, rates)}: {sum(map(collapsed, trained))} of {len(trained)} runs collapsed; better in the "
            f"mean than the dense net of the same engaged size on {better}; soft minus hard is "
            f"{mean(trained, 'gap'):+.2f} points in the mean, {max(percent(trained, 'gap'), key=abs):+.2f} at worst."
        )
    return "\n".join(lines)


def markdown(groups, set_aside=0, search="", figures=()):
    """The whole report.

    Parameters
    ----------
    groups : dict
    set_aside : int
        From `recorded.read`.
    search : str
        What `searched.markdown` says of the search.
    figures : sequence of (title, file name)

    Returns
    -------
    str
    """
    grid = epochs_of(groups)[0]  # most groups have as many
    parts = ["# Accuracy, every seed", _preface(groups, set_aside)]
    parts += ["## Trees beside what engages as much", lead_findings(groups), lead_table(groups)]
    if aims := aims_table(groups):
        parts += ["## Aims", aims]
    for data in dict.fromkeys(group.data for group in groups if is_grid(groups, group.data, grid)):
        parts += [f"## {data}: the grid, {grid} epochs", findings(groups, data, grid), grid_table(groups, data, grid)]
        for case in ((data, *size) for size in trees(groups, data, grid)):
            if in_ablation(groups, case, grid):
                title = (
                    f"## {data}: what each ingredient is worth, depth {case[1]}, leaf width {case[2]}, {grid} epochs"
                )
                parts += [title, ablation_table(groups, case, grid)]
    parts += [search, *(f"![{title}]({file})" for title, file in figures)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _preface(groups, set_aside):
    """What the figures are, and what they rest on."""
    rows = [row for group in groups.values() for row in group]
    counts = ", ".join(f"{n} on {data}" for data, n in Counter(row["data"] for row in rows).items())
    seeds = sorted({len(group) for group in groups.values()})
    seeds = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else seeds[0]
    epochs = " or ".join(map(str, sorted(epochs_of(groups))))
    hours = sum(row["seconds"] for row in rows) / 3600
    busiest, guessing = f"{100 * BUSIEST:.0f} %", f"{100 * GUESSING:.0f} %"
    text = f"""\
Test accuracy in %, mean ± standard deviation over {seeds} seeds, of the final epoch's model; each run looked at the
test data once. Nothing is the best of anything, but for the column "paper": the first paper's best of ten.
{len(rows):,} runs ({counts}) of {epochs} epochs, {hours:.2f} hours by the clock, added up.

`paper1` is the first paper's recipe as its text has it, `paper1 with mean entropy` as its authors' example has it (the
mean over batch and nodes, not the sum), both at the published learning rate unless a line says that it was searched;
`hardening` is ours. A tree of depth d has 2^d leaves of l neurons, w = 2^d l; inference engages d + l neurons. Dense
nets stand in the line of the tree they are held against, trained by the same optimiser. Learning rate and weight decay
of our trees, of all dense nets and of all mixtures of experts were searched alike, on held-out training data; "the
tree's values" are those that were found for the tree. Experts compute two of E nets a sample: "gate counted" counts the
gate's E scores as the tree's nodes are, E + 2 e = d + l; "gate free" engages d + l neurons and the gate on top, and
stores as many as the tree's leaves. A run has collapsed if one leaf takes over {busiest} of the test samples, or under
{guessing} of the answers are right."""
    if any(row["data"] == "mnist-small" for row in rows):
        text += "\n\n**This is a quick look:** mnist-small has 7,000 digits to train on, and 1,500 to test."
    if missing := _not_recorded(groups):
        text += f"\n\n**Not recorded here:** {'; '.join(missing)}."
    if set_aside:
        text += f"\n\n{set_aside} recorded runs of recipes that have since been changed are left out."
    return text


def _not_recorded(groups):
    """What of the tables nobody has run yet."""
    tables = {(group.data, group.epochs) for group in groups}
    published = {group.sizes for group in groups if group.layer == "LeafFFF" and group.base == PAPER}
    wanted = {
        "the grid (`fffref reproduce table1`)": any(len(trees(groups, *table)) > 2 for table in tables),
        "the published recipes (`fffref reproduce table1 --quoted`)": published,
        "the published recipes on the rest of the grid (`fffref reproduce table1`)": len(published) > 2,
        "what each ingredient is worth (`fffref reproduce ablation`)": any(group.sign for group in groups),
        "longer training (`fffref reproduce longer`)": any(group.rates == THE_TREES for group in groups),
    }
    return [name for name, there in wanted.items() if not there]


def _markdown(head, lines):
    """A Markdown table, empty if it has no lines."""
    if not lines:
        return ""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
