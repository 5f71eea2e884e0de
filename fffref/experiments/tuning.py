"""The same care for every arm: learning rate and weight decay are searched on held-out samples, test data unseen.

An arm is a layer of some sizes, a recipe and a number of epochs. First every learning rate is tried with the weight
decay that the recipe has; then, with the best of them, the other decays. A variant of the ablation keeps the decay that
was found for its base, and gets the learning rates. The grid is the same for a tree and for its rivals. Which value
was tried how is a line in a file; the runs of a table take the best from there, in the mean over the search's seeds.
"""

import math
import pathlib
import statistics
from dataclasses import replace

from .. import checks, files
from . import runs, sweep, tables, variants
from .runs import SEARCHED, Run

RECORDED = pathlib.Path(sweep.__file__).parent / "search.jsonl"  # what the tables' runs take their values from
GRIDS = {
    "Adam": {"learning_rate": (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08), "weight_decay": (0.03, 0.1, 0.3)},
    "SGD": {"learning_rate": (0.05, 0.1, 0.2, 0.4, 0.8)},
}
DENSE_WIDTHS = (8, 12, 32, 128)  # a dense net of table 1 takes the values of the nearest of these
NUMBER = (int, float)
FIELDS = {
    "data": str, "layer": str, "sizes": dict, "epochs": int, "base": str, "sign": str, "ingredient": str, "seed": int,
    "learning_rate": NUMBER, "weight_decay": (*NUMBER, type(None)), "validation_accuracy": NUMBER, "seconds": NUMBER,
}  # fmt: skip


def table1(data, bases=variants.GRID, **changes):
    """List the arms to search for table 1: its quoted trees by these recipes, some dense nets, the experts."""
    quoted = [arm for arm in tables.table1(data, True, bases, **changes) if arm.rates == SEARCHED]
    arms = [arm for arm in quoted if arm.layer != "DenseFF"]
    rivals = list(dict.fromkeys(arm.variant for arm in quoted if arm.layer == "DenseFF"))
    return arms + [
        Run(data, "DenseFF", {"width": width}, rival, rates=SEARCHED) for rival in rivals for width in DENSE_WIDTHS
    ]


def longer(data, epochs):
    """List the arms to search for longer training: each of `tables.longer` that has values of its own."""
    return [arm for arm in tables.longer(data, epochs) if arm.rates == SEARCHED]


def ablation(data, **changes):
    """List the arms to search for the ablation: its variants; their bases are searched for table 1."""
    return [arm for arm in tables.ablation(data, **changes) if arm.variant.ingredient]


def search(arms, path, jobs=1, seeds=1, scheduler=None, progress=True, folder=None, execute=runs.execute):
    """Try the values of `GRIDS` on every arm, held-out samples judging.

    Parameters
    ----------
    arms : list of Run
    path : path-like
        The file of trials, appended to; what it holds is not computed again.
    jobs, scheduler, progress
        As in `sweep.sweep`.
    seeds : int
        Trials of each value.
    folder : str, optional
        Where the data is.
    execute : callable
        From a run to its result.

    Returns
    -------
    list of dict
        The trials.
    """
    known = read(path) if files.path_of(path).is_file() else []  # trials of earlier calls: bases, perhaps
    rows = {}
    # one knob after the other, not all pairs: 6 + 2 trials an arm instead of 18
    for knob in ("learning_rate", "weight_decay"):
        if knob == "weight_decay":
            # a variant keeps its base's decay
            arms, known = [arm for arm in arms if not arm.variant.ingredient], list(rows.values())
        trials = [
            replace(trial, seed=seed, held_out=True, folder=folder)
            for arm in arms
            for trial in _trials(arm, knob, known)
            for seed in range(seeds)
        ]
        label = f"{progress}, {knob.replace('_', ' ')}" if isinstance(progress, str) else progress
        results = sweep.sweep(trials, execute, path, jobs, scheduler, label)
        rows |= {row["key"]: row for row in results}  # the recipe's own decay was tried before
    return list(rows.values())


def _trials(arm, knob, rows):
    """The arm with each value of a knob; the other knob as far as it is known."""
    grid = GRIDS[type(arm.recipe.optimizer).__name__]
    recipe = arm.recipe
    if knob == "weight_decay":
        # with the best rate that was found
        recipe = Choice(rows)(arm)
    elif arm.variant.ingredient not in ("", variants.DECAY):  # the variant without decay has none to take over
        recipe = _with_decay_of_base(arm, rows)
    turned = [variants.turned(recipe, **{knob: value}) for value in grid.get(knob, ())]
    return [replace(arm, variant=replace(arm.variant, recipe=recipe)) for recipe in turned]


def _with_decay_of_base(arm, rows):
    """A variant's recipe with the weight decay that was found for what it is a variant of."""
    base = variants.bases(epochs=arm.recipe.epochs)[arm.variant.base]
    found = variants.knobs(Choice(rows)(replace(arm, variant=base)))
    # SGD has no decay to take over, or to give
    both = "weight_decay" in found and "weight_decay" in variants.knobs(arm.recipe)
    return variants.turned(arm.recipe, weight_decay=found["weight_decay"]) if both else arm.recipe


class Choice:
    """From an arm to its recipe with the values that were best for it, or for the arm most like it.

    Parameters
    ----------
    rows : list of dict
        Trials.
    """

    def __init__(self, rows):
        self.trials = {}  # by arm, then by values: accuracies
        for row in rows:
            values = row["learning_rate"], row["weight_decay"]
            self.trials.setdefault(arm_of(row), {}).setdefault(values, []).append(row["validation_accuracy"])

    def __call__(self, arm):
        """Return the arm's recipe with its best learning rate and weight decay.

        Raises
        ------
        ValueError
            If nothing like it was searched.
        """
        rate, decay = self.best(self.nearest(arm))
        # a rival's decay is of no use to SGD
        return variants.turned(arm.recipe, rate, decay if "weight_decay" in variants.knobs(arm.recipe) else None)

    def best(self, arm):
        """Return learning rate and weight decay of the best mean accuracy; of equals, the smaller ones."""
        trials = self.trials[arm]
        # smaller: the safer of two that are as good
        return max(trials, key=lambda values: (statistics.fmean(trials[values]), *(-(value or 0) for value in values)))

    def nearest(self, arm):
        """Return the arm itself if it was searched, else the nearest of its kind in epochs, then in sizes."""
        wanted = arm_of(arm.labels())
        # same data, layer and recipe; sizes and epochs may differ
        alike = [other for other in self.trials if (other[:2], other[4:]) == (wanted[:2], wanted[4:])]
        if not alike:
            name = variants.sentence(*wanted[4:])
            raise checks.InputError(
                f"no learning rate was searched for {arm.layer} by {name} on {arm.data}; search first: "
                f"fffref reproduce search --data {arm.data}, and name its file by --search"
            )
        return min(alike, key=lambda other: (_distance([other[3]], [wanted[3]]), _distance(other[2], wanted[2])))


def arm_of(row):
    """Return what makes an arm, of a row: data, layer, sizes, epochs, base, sign, ingredient."""
    head = row["data"], row["layer"], tuple(row["sizes"].values()), row["epochs"]
    return *head, row["base"], row["sign"], row["ingredient"]


def _distance(some, others):
    """How far sizes are apart: factors between them, in logarithms."""
    # + 1: a size or depth may be 0
    return sum(abs(math.log((a + 1) / (b + 1))) for a, b in zip(some, others, strict=True))


def read(path=None):
    """Return the trials of a file, by default the recorded ones; none if nothing was recorded."""
    if path is None:
        return sweep.read(RECORDED, FIELDS) if RECORDED.exists() else []
    return sweep.read(path, FIELDS)


def choice(path=None):
    """Return the `Choice` of a file of trials, by default of the recorded ones."""
    return Choice(read(path))
