"""Does the tree earn its keep? Language models that differ in nothing but their FF layer, each with its own best rate.

The setting is nanoGPT's for a CPU: 4 layers, 4 heads, width 128, context 64, batches of 12, 2,000 steps, characters of
tiny-shakespeare. An arm is an FF layer; a run is an arm with initial values, a learning rate and a seed.
"""

import functools
import hashlib
import time
from dataclasses import dataclass, field, replace

import numpy as np

from .. import __version__, counting, datasets, training
from ..models import sizes, text, vocabulary
from ..models.sizes import Sizes
from . import language_report, ngram
from .language_arms import ARMS, GATE, PUBLISHED, RATES, RIVALS, TOLERANCE, best  # noqa: F401 (public here)
from .language_ends import WATCHED, ends_used, nodes_needed
from .sweep import digest

FIXED = ("shakespeare", "tiny-shakespeare")  # texts whose name says all: one is inside the package, one has a digest


@dataclass(frozen=True)
class Run:
    """One training run: the result depends on nothing else.

    Attributes
    ----------
    arm : str
        A key of `ARMS`.
    learning_rate : float
        Peak of the one-cycle schedule.
    initial : {"uniform", "normal"}
        Initial values of the FF layers, see `Sizes`.
    seed, steps, batch_size : int
    text : str
    masked : float, optional
        The share of positions to hide: the model then fills gaps, and sees both sides.
    folder : str, optional
        Where the text is; no part of the key.
    """

    arm: str
    learning_rate: float
    initial: str = "uniform"
    seed: int = 0
    steps: int = 2000
    batch_size: int = 12
    text: str = "tiny-shakespeare"
    masked: float | None = None
    folder: str | None = field(default=None, compare=False)

    def key(self):
        """Return a digest of what makes this run this run: sizes, recipe, text and seed."""
        # the number of characters follows from the text; what came to the record later counts where it is set
        facts = [{name: value for name, value in vars(self.sizes(1)).items() if value is not None}]
        facts += [sizes.STREAM[self.initial], self.recipe().facts(), training.NUMERICS, self.text, self.seed]
        facts += [self.steps, *([] if self.masked is None else [self.masked])]
        if self.text not in FIXED:  # a file, or a library, that may be another tomorrow
            facts.append(hashlib.sha256(datasets.text(self.text).encode()).hexdigest())
        return digest(facts)

    @property
    def cost(self):
        """About the seconds on one core, for the order of the runs and the time left."""
        # measured once, roughly: only the order and the time left depend on it
        slow = {"path": 0.3 * ARMS[self.arm].get("trees", 0), "leaf": 10, "top": 5, "moe": 30}
        return self.steps * self.batch_size / 12_000 * (25 + slow.get(ARMS[self.arm]["ff"], 0))

    def sizes(self, n_tokens):
        """Return the model's `Sizes`."""
        training_alone = ("route_gradient", "gate_noise")
        options = {name: value for name, value in ARMS[self.arm].items() if name not in training_alone}
        causal, ff_bias = self.masked is None, self.initial == "uniform"
        return Sizes(vocabulary=n_tokens, initial=self.initial, ff_bias=ff_bias, causal=causal, **options)

    def recipe(self):
        """Return how it is trained, see `models.text.recipe`."""
        arm = ARMS[self.arm]
        made = text.recipe(arm["ff"], self.learning_rate, self.batch_size, arm.get("route_gradient"))
        made = replace(made, gate_noise=arm.get("gate_noise", True))
        return replace(made, fast=False) if "behind" in arm else made  # `Activated` has no compiled form


def execute(run):
    """Train a run's model, and measure it on the whole held-out tenth.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict
        What the run is; "validation_loss" (routing hard) and "soft_loss" in nats a character; "leaves_used" by each
        layer; both after each quarter of the steps too ("validation_losses", "ends_over_training"); "neurons_stored",
        "neurons_engaged" of one layer; "nodes_needed" of each layer of `TopLeaves`; "parameters" of the model;
        "step_seconds".
    """
    characters, task = _task(run)
    # every arm of a seed begins with the same stream
    model = sizes.draw(training.stream(run.seed, "weights"), run.sizes(len(characters)))
    start = time.perf_counter()
    model, history = training.train(model, task, run.recipe(), run.seed, progress=False, watch_every=text.EPOCHS // 4)
    seconds = time.perf_counter() - start  # four evaluations included: all arms have them
    watched = [row for row in history if "ends_used" in row]
    ffs = [ff for ff in model.ffs() if ff is not None]  # all of one size: the first speaks for them
    return {
        "arm": run.arm, "learning_rate": run.learning_rate, "initial": run.initial, "seed": run.seed,
        "steps": run.steps, "batch_size": run.batch_size, "text": run.text, "masked": run.masked,
        "validation_loss": history[-1]["validation_loss"], "soft_loss": history[-1]["soft_loss"],
        "validation_losses": [round(row["validation_loss"], 4) for row in watched],
        "training_loss": [round(row["loss"], 4) for row in history],
        "neurons_stored": ffs[0].neurons_stored if ffs else 0,
        "neurons_engaged": ffs[0].neurons_engaged if ffs else 0,
        **nodes_needed(model, task.validation[:WATCHED]),
        "leaves_used": watched[-1]["ends_used"], "ends_over_training": [row["ends_used"] for row in watched],
        "parameters": model.n_parameters, "step_seconds": round(seconds / run.steps, 5), "version": __version__,
    }  # fmt: skip


class _Watched:
    """What both tasks watch beside the loss: how many ends of each layer are in use."""

    def watch(self, model, settings):
        """As `Text.watch`, and "ends_used"."""
        return super().watch(model, settings) | {"ends_used": ends_used(model, self.validation[:WATCHED])}


class _Causal(_Watched, text.CausalText):
    """Continue a text, watched."""


class _Masked(_Watched, text.MaskedText):
    """Fill a text's gaps, watched."""


def _task(run):
    """Vocabulary and task of a run."""
    characters, train, validation = _text(run.text, run.folder, run.masked is not None)
    # epochs only set how often the loop looks up
    options = {"context": Sizes(vocabulary=1).context, "epoch": max(1, run.steps // text.EPOCHS)}
    if run.masked is None:
        return characters, _Causal(train, validation, **options)
    return characters, _Masked(train, validation, mask=characters.mask, share=run.masked, **options)


@functools.lru_cache(maxsize=1)
def _text(name, folder, masked=False):
    """Vocabulary, training part and held-out part of a text, loaded once a process."""
    content = datasets.text(name, folder)
    characters = vocabulary.Characters.of(content, masked)
    ids = characters.encode(content)
    task = text.CausalText.of(ids, 64)
    return characters, task.train, task.validation


def grid(arms=None, seeds=1, rates=RATES, initial=sizes.INITIAL, **options):
    """Return the runs of a search: every arm with every rate, initial values and seed.

    Parameters
    ----------
    arms : sequence of str, optional
        Keys of `ARMS`; all unless given.
    seeds : int
    rates, initial : sequence
    **options
        Further fields of `Run`.

    Returns
    -------
    list of Run
    """
    return [
        Run(arm, rate, start, seed, **options)
        for seed in range(seeds)  # outermost: a search that is stopped has whole seeds
        for arm in (ARMS if arms is None else arms)
        for start in (("uniform",) if arm == "none" else initial)  # without an FF layer there is nothing to initialise
        for rate in rates
    ]


def repeated(results, seeds, **options):
    """Return the runs of further seeds, each arm with what was best for it at seed 0.

    Parameters
    ----------
    results : list of dict
        Of `execute`.
    seeds : int
    **options
        Further fields of `Run`.

    Returns
    -------
    list of Run
    """
    return [
        Run(arm, row["learning_rate"], row["initial"], seed, **options)
        for arm, row in best(results).items()
        for seed in range(seeds)
    ]


def report(results, folder=None):
    """Tables of what is recorded, in Markdown: the gate, the search, each arm at its best with all its seeds, verdicts.

    Parameters
    ----------
    results : list of dict
        Of `execute`, of one task, text, number of steps and batch size.
    folder : path-like, optional
        Where the text is, for the n-gram beside; left out if the text is not found.

    Returns
    -------
    str
    """
    language_report.expect_one_setting(results)
    masked = results[0].get("masked")
    n_gram = _n_gram(results[0]["text"], folder) if masked is None else None  # it knows what came before, not after
    return language_report.markdown(results, {arm: cost(arm) for arm in ARMS}, n_gram)


def cost(arm):
    """Return the `Count` of one FF layer of an arm, or None where there is none."""
    one_layer = replace(Run(arm, RATES[0]).sizes(1), layers=1)
    (ff,) = sizes.draw(np.random.default_rng(0), one_layer).ffs()
    return None if ff is None else counting.of(ff)


def _n_gram(name, folder):
    """Loss of a 5-gram on the held-out part of a text; None if the text is not found."""
    try:
        characters, train, validation = _text(name, folder)
    except ValueError:
        return None
    return ngram.witten_bell(train, validation, len(characters))


def quick(run):
    """Return a run of a few steps, to see that all works."""
    return replace(run, steps=40)
