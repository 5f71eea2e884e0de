"""Which runs make the tables: the first paper's grid with its dense rivals, and the ablation; and one run.

A run is data: what is trained on what, how, from which seed. `execute` trains it and looks at the test data once,
with the model of the final epoch. `sweep.sweep` does many.
"""

import functools
import hashlib
import json
import time
from dataclasses import dataclass, replace

from .. import __version__, datasets, training
from ..layers.dense_ff import DenseFF
from ..layers.leaf_fff import LeafFFF
from ..training.optim import SGD, Adam

LAYERS = {cls.__name__: cls for cls in (LeafFFF, DenseFF)}
WIDTHS = (16, 32, 64, 128)  # w, training widths of the grid
LEAF_WIDTHS = (8, 4, 2, 1)  # l
QUOTED = ((128, 8), (128, 1))  # (w, l) of the trees that are spoken of most
SHARED = ("epochs", "batch_size", "optimizer", "learning_rate")  # what a dense net needs too
MILD = "paper1 with mean entropy"
GRID = ("paper1", MILD, "hardening")  # recipes of the grid's trees, of `variants`
# Each ingredient as what is set when it is left out.
INGREDIENTS = {
    "annealed temperature": {"temperature": 1.0},
    "leaf balance": {"balance_weight": 0.0},
    "fading noise": {"noise": 0.0},
    "rounding at the end": {"straight_through": False},
    "Adam with decay and a one-cycle rate": {"optimizer": SGD(), "learning_rate": 0.2},
}
DECAY = "weight decay"  # a part of the Adam above: left out alone, but not added to SGD alone
# What neither recipe has, as what is set when it is added.
FURTHER = {
    "straight-through choices throughout": {"straight_through": True},
    "smooth-step choices": {"smooth_step": True},
    "switch balance, weight 3": {"balance": "switch", "balance_weight": 3.0},
    "child transposition, 5 %": {"transpose_prob": 0.05},
}


@dataclass(frozen=True)
class Run:
    """One training run: the result depends on nothing else.

    Attributes
    ----------
    data : str
        Name of a data set.
    layer : str
        Name of a class in `LAYERS`.
    sizes : dict of str to int
        What its `init` needs beside inputs and outputs.
    name : str
        Of the recipe, for tables.
    recipe : training.Recipe
    seed : int
    folder : str, optional
        Where the data is; no part of the key.
    """

    data: str
    layer: str
    sizes: dict
    name: str
    recipe: training.Recipe
    seed: int
    folder: str | None = None

    def key(self):
        """Return a digest of what makes this run this run: all but the recipe's name and the data's place."""
        text = json.dumps([self.data, self.layer, self.sizes, repr(self.recipe), self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def make(self, n_in=784, n_out=10):
        """Return the layer before training: what `fffref train` would draw from this seed."""
        return LAYERS[self.layer].init(training.stream(self.seed, "weights"), n_in, n_out, **self.sizes)

    @property
    def cost(self):
        """About the seconds on one core of a desktop, for the order of the runs and the time left."""
        tree = self.layer == "LeafFFF"
        stored = 2 ** self.sizes["depth"] * (1 + self.sizes["leaf_width"]) if tree else self.sizes["width"]
        samples = 60_000 if self.data in datasets.MIRRORS else 7_000
        steps = (0.2 + 0.2 * tree) * 128 / self.recipe.batch_size  # what a step takes beside its arithmetic
        return self.recipe.epochs * samples / 60_000 * (steps + 0.003 * stored)


def execute(run):
    """Train and test.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict
        What the run is, the test results of the final epoch's model ("soft_accuracy", None for dense nets,
        "hard_accuracy", "gap" between them, "entropy", "leaves_used", "leaf_share"), the last
        "validation_accuracy" (hard), "parameters", "neurons_stored", "neurons_engaged", "seconds".
    """
    start = time.perf_counter()
    data = _data(run.data, run.folder)
    layer = run.make(data.x_train.shape[1], data.n_classes)
    task = training.Classification(data.x_train, data.y_train)
    layer, history = training.train(layer, task, run.recipe, run.seed, progress=False, watch_every=run.recipe.epochs)
    test = training.evaluate(layer, data.x_test, data.y_test, training.last_choices(history))
    hard, soft = test["hard_accuracy"], test["soft_accuracy"]
    return {
        "data": run.data, "layer": run.layer, "sizes": run.sizes,
        "name": run.name, "recipe": repr(run.recipe), "seed": run.seed,
        "soft_accuracy": soft, "hard_accuracy": hard, "gap": None if soft is None else soft - hard,
        "validation_accuracy": history[-1]["hard_accuracy"], "epochs": len(history), "model": "final epoch",
        "entropy": test["entropy"], "leaves_used": test["leaves_used"],
        "leaf_share": [round(share, 4) for share in test["leaf_share"]],
        "parameters": layer.n_parameters,
        "neurons_stored": layer.neurons_stored, "neurons_engaged": layer.neurons_engaged,
        "seconds": round(time.perf_counter() - start, 2), "version": __version__,
    }  # fmt: skip


@functools.lru_cache(maxsize=2)  # the costly runs of both come first, in turn
def _data(name, folder):
    """A data set, loaded once a process: a run carries its name, never its pixels."""
    return datasets.load(name, folder, progress=False)


def table1(data, seeds, folder=None, quoted=False, **changes):
    """List the runs of the first paper's table 1: the grid, and three dense rivals of each tree.

    Parameters
    ----------
    data : sequence of str
    seeds : int
        Seeds 0 to seeds - 1.
    folder : str, optional
    quoted : bool
        Only the two trees of the grid that `cases` has.
    **changes
        Fields of both recipes to set otherwise.

    Returns
    -------
    list of Run
        Data set by data set; a dense net that is several trees' rival is there once.
    """
    recipes = variants(**changes)
    grid = QUOTED if quoted else [(width, leaf_width) for width in WIDTHS for leaf_width in LEAF_WIDTHS]
    trees = [tree_sizes(width, leaf_width) for width, leaf_width in grid]
    widths = sorted({width for sizes in trees for width in dense_widths(**sizes).values()})
    plans = [("LeafFFF", sizes, recipe, recipes[recipe]) for sizes in trees for recipe in GRID]
    for recipe in dict.fromkeys(map(optimiser_of, GRID)):
        plans += [("DenseFF", {"width": width}, recipe, for_dense(recipes[recipe])) for width in widths]
    return [Run(name, *plan, seed, folder) for name in data for plan in plans for seed in range(seeds)]


def longer(data, seeds, some, many, folder=None):
    """List the runs that say what more epochs are worth, on the trees that are spoken of most.

    All recipes and rivals of `table1` for some epochs; ours, and the dense net of the same engaged size, for many.

    Parameters
    ----------
    data : sequence of str
    seeds : int
        Seeds 0 to seeds - 1.
    some, many : int
        Epochs.
    folder : str, optional

    Returns
    -------
    list of Run
    """
    runs = table1(data, seeds, folder, quoted=True, epochs=some)
    ours = {"hardening": training.hardening(epochs=many)}
    return runs + [run for name in data for case in cases(name) for run in _beside_rival(case, ours, seeds, folder)]


def optimiser_of(name):
    """Return the name of the recipe whose optimiser a variant has: what its dense rivals are trained by."""
    return name.split(" ")[0]


def base_of(name):
    """Return what a variant is a change of: "hardening" of "hardening less leaf balance"."""
    return name.split(" less ")[0].split(" plus ")[0]


def tree_sizes(width, leaf_width):
    """Depth and leaf width of the grid's tree of this training width w = 2^d l."""
    return {"depth": (width // leaf_width).bit_length() - 1, "leaf_width": leaf_width}


def dense_widths(depth, leaf_width, n_in=784, n_out=10):
    """Widths of the dense nets that a tree is held against.

    Returns
    -------
    dict of str to int
        "training width" 2^d l, "engaged size" d + l, and "parameters": as many, to the nearest neuron.
    """
    leaves = 2**depth
    parameters = (leaves - 1) * (n_in + 1) + leaves * (leaf_width * (n_in + 1 + n_out) + n_out)
    return {
        "training width": leaves * leaf_width,
        "engaged size": depth + leaf_width,
        "parameters": round((parameters - n_out) / (n_in + 1 + n_out)),
    }


def cases(data):
    """Return the ablation's trees for a data set, as (data, depth, leaf width)."""
    return [(data, 4, 8)] + ([] if data == "fashion-mnist" else [(data, 7, 1)])


def ablation(cases, seeds, folder=None, **changes):
    """List the runs of the ablation: our recipe less each ingredient, the published one plus each.

    Parameters
    ----------
    cases : sequence of (data, depth, leaf width)
    seeds : int
        Seeds 0 to seeds - 1.
    folder : str, optional
    **changes
        Fields of both recipes to set otherwise.

    Returns
    -------
    list of Run
        Among them each tree's rival of the same engaged size, and those of `table1`, not to be computed twice.
    """
    recipes = variants(**changes)
    return [run for case in cases for run in _beside_rival(case, recipes, seeds, folder)]


def _beside_rival(case, recipes, seeds, folder):
    """A tree by each of these recipes, ours among them, and the dense net of its engaged size by our optimiser."""
    data, depth, leaf_width = case
    sizes = {"depth": depth, "leaf_width": leaf_width}
    rival = {"width": dense_widths(**sizes)["engaged size"]}
    plans = [("LeafFFF", sizes, name, recipe) for name, recipe in recipes.items()]
    plans.append(("DenseFF", rival, "hardening", for_dense(recipes["hardening"])))
    return [Run(data, *plan, seed, folder) for plan in plans for seed in range(seeds)]


def variants(**changes):
    """Return the recipes of grid and ablation by their names; `changes` are fields to set otherwise in all of them.

    Ingredients are added to the published recipe in its milder reading: beside the summed entropy, nothing matters.
    """
    ours, published = training.hardening(**changes), training.paper1(**changes)
    mild = replace(published, entropy_reduction="mean")  # as in the authors' example
    entropy = {name: getattr(mild, name) for name in ("entropy_weight", "entropy_reduction")}
    found = {"hardening": ours}
    found |= {f"hardening less {name}": replace(ours, **without) for name, without in INGREDIENTS.items()}
    found[f"hardening less {DECAY}"] = replace(ours, optimizer=Adam())
    found |= {f"hardening plus {name}": replace(ours, **added) for name, added in FURTHER.items()}
    found |= {"hardening plus entropy loss": replace(ours, **entropy), "paper1": published, MILD: mild}
    for name, without in INGREDIENTS.items():
        found[f"{MILD} plus {name}"] = replace(mild, **{field: getattr(ours, field) for field in without})
    found |= {f"{MILD} plus {name}": replace(mild, **added) for name, added in FURTHER.items()}
    return found | {f"{MILD} less entropy loss": replace(mild, entropy_weight=0.0)}


def for_dense(recipe):
    """Return the recipe as a dense net can follow it: it has nothing to harden, so the options for that go."""
    return training.Recipe(**{name: getattr(recipe, name) for name in SHARED})
