"""One run as data: what is trained on what, how, from which seed; and what training it gives.

`execute` trains it; `sweep.sweep` does many. A run that is judged on held-out samples never sees the test data: it is
for choosing by. A run that is judged on the test data looks at it once, with the model of the final epoch.
"""

import functools
import time
from dataclasses import dataclass

import numpy as np

from .. import __version__, counting, datasets, training
from ..layers.dense_ff import DenseFF
from ..layers.leaf_fff import LeafFFF
from ..layers.moe import MoE
from . import variants
from .sweep import digest

LAYERS = {cls.__name__: cls for cls in (LeafFFF, DenseFF, MoE)}
N_IN, N_OUT = 784, 10  # of every data set here
GIVEN, SEARCHED, THE_TREES = "given", "searched", "the tree's"  # where learning rate and weight decay come from
# On one core of a Zen 5: arithmetic a second, and seconds of a step beside it. For the order of runs, and time left.
FLOPS, STEP, EXPERT = 1e11, 2.5e-4, 1e-4


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
    variant : Variant
        Its recipe is the one that is followed.
    seed : int
        Of weights, held-out samples and batches.
    rates : {"given", "searched", "the tree's"}
        Where the recipe's learning rate and weight decay come from.
    held_out : bool
        Judge by held-out training samples, not by the test data.
    folder : str, optional
        Where the data is; no part of the key.
    """

    data: str
    layer: str
    sizes: dict
    variant: variants.Variant
    seed: int = 0
    rates: str = GIVEN
    held_out: bool = False
    folder: str | None = None

    @property
    def recipe(self):
        """How it is trained."""
        return self.variant.recipe

    def labels(self):
        """Return what a table calls this run: together with the seed, its place in one."""
        variant = self.variant
        return {
            "data": self.data, "layer": self.layer, "sizes": self.sizes, "epochs": self.recipe.epochs,
            "base": variant.base, "sign": variant.sign, "ingredient": variant.ingredient, "rates": self.rates,
        }  # fmt: skip

    def form(self):
        """Return a digest of all facts but the seed: runs of one form differ by chance alone."""
        # with the labels, all that decides the result but the seed
        facts = {"recipe": self.recipe.facts(), "held_out": self.held_out, "numerics": training.NUMERICS}
        return digest(self.labels() | facts)

    def key(self):
        """Return a digest of all facts: every field of the recipe and `training.NUMERICS` among them."""
        return digest([self.form(), self.seed])  # the folder is left out: where data lie changes no result

    def make(self):
        """Return the layer before training: what `fffref train` would draw from this seed."""
        return LAYERS[self.layer].init(training.stream(self.seed, "weights"), N_IN, N_OUT, **self.sizes)

    @property
    def cost(self):
        """About the seconds on one core, for the order of the runs and the time left."""
        count = counting.of(_template(self.layer, tuple(self.sizes.items())))
        samples = 54_000 if self.data in datasets.MIRRORS else 6_300  # less the tenth that is held out
        steps = samples / self.recipe.batch_size
        overhead = STEP + EXPERT * self.sizes.get("n_experts", 0)
        # arithmetic, and what a step costs whatever its size
        return self.recipe.epochs * (samples * (count.forward.flops + count.backward.flops) / FLOPS + steps * overhead)


@functools.lru_cache(maxsize=256)
def _template(layer, sizes):
    """A layer of these sizes, to count."""
    return LAYERS[layer].init(np.random.default_rng(0), N_IN, N_OUT, **dict(sizes))


def execute(run):
    """Train and judge.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict
        The run's `labels`, "form", "seed", "recipe" as text, its "learning_rate" (peak) and "weight_decay";
        "validation_accuracy" (hard) of the final epoch's model; what `tested` adds, unless the run is judged by
        held-out samples; "seconds" and "version".
    """
    start = time.perf_counter()
    data = _data(run.data, run.folder)
    task = training.Classification(data.x_train, data.y_train)
    layer, history = training.train(
        run.make(), task, run.recipe, run.seed, progress=False, watch_every=run.recipe.epochs
    )
    held_out = {"validation_accuracy": history[-1]["hard_accuracy"]}
    # the search never sees the test data
    result = {} if run.held_out else tested(layer, data, training.last_choices(history))
    identity = run.labels() | {"form": run.form(), "recipe": repr(run.recipe), "seed": run.seed}
    identity |= {"weight_decay": None} | variants.knobs(run.recipe)  # None where the optimiser has none
    spent = {"seconds": round(time.perf_counter() - start, 2), "version": __version__}
    return identity | held_out | result | spent


def tested(layer, data, choices):
    """Return what the test data say of a trained layer.

    Parameters
    ----------
    layer : Layer
    data : datasets.Data
    choices : Choices
        Those that training ended with.

    Returns
    -------
    dict
        "hard_accuracy"; "soft_accuracy", "gap" between them and "entropy", None for nets that are not soft;
        "leaves", "leaves_used" and the share of the "busiest"; "parameters", "neurons_stored", "neurons_engaged",
        and "multiply_adds" of one sample's inference.
    """
    test = training.evaluate(layer, data.x_test, data.y_test, choices)
    hard, soft = test["hard_accuracy"], test["soft_accuracy"]
    return {
        "soft_accuracy": soft, "hard_accuracy": hard, "gap": None if soft is None else soft - hard,
        "entropy": test["entropy"], "leaves": len(test["leaf_share"]), "leaves_used": test["leaves_used"],
        # near 1: the tree has collapsed
        "busiest": round(max(test["leaf_share"]), 4), "parameters": layer.n_parameters,
        "neurons_stored": layer.neurons_stored, "neurons_engaged": layer.neurons_engaged,
        "multiply_adds": counting.of(layer).inference.multiply_adds,
    }  # fmt: skip


@functools.lru_cache(maxsize=2)  # the costly runs of both come first, in turn
def _data(name, folder):
    """A data set, loaded once a process: a run carries its name, never its pixels."""
    return datasets.load(name, folder, progress=False)
