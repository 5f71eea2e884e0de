"""Does the tree earn its keep? Language models that differ in nothing but their FF layer, each with its own best rate.

The setting is nanoGPT's for a CPU: 4 layers, 4 heads, width 128, context 64, batches of 12, 2,000 steps, characters of
tiny-shakespeare. An arm is an FF layer; a run is an arm with initial values, a learning rate and a seed.
"""

import functools
import time
from dataclasses import dataclass, field, replace

import numpy as np

from .. import __version__, datasets, training
from ..models import sizes, text, vocabulary
from ..models.sizes import Sizes
from . import language_report, ngram
from .language_arms import ARMS, GATE, PUBLISHED, RATES, RIVALS, TOLERANCE, best  # noqa: F401 (public here)
from .sweep import digest

WATCHED = 4096  # held-out tokens by which leaves in use are counted


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
    folder: str | None = field(default=None, compare=False)

    def key(self):
        """Return a digest of what makes this run this run: sizes, recipe, text and seed."""
        # the number of characters follows from the text, which is named
        facts = [vars(self.sizes(1)), sizes.STREAM[self.initial], self.recipe().facts(), training.NUMERICS, self.text]
        facts += [self.seed, self.steps]
        return digest(facts)

    @property
    def cost(self):
        """About the seconds on one core, for the order of the runs and the time left."""
        # measured once, roughly: only the order and the time left depend on it
        slow = {"path": 0.3 * ARMS[self.arm].get("trees", 0), "leaf": 10, "moe": 30}
        return self.steps * self.batch_size / 12_000 * (25 + slow.get(ARMS[self.arm]["ff"], 0))

    def sizes(self, n_tokens):
        """Return the model's `Sizes`."""
        options = {name: value for name, value in ARMS[self.arm].items() if name != "route_gradient"}
        return Sizes(vocabulary=n_tokens, initial=self.initial, ff_bias=self.initial == "uniform", **options)

    def recipe(self):
        """Return how it is trained, see `models.text.recipe`."""
        arm = ARMS[self.arm]
        return text.recipe(arm["ff"], self.learning_rate, self.batch_size, arm.get("route_gradient"))


def execute(run):
    """Train a run's model, and measure it on the whole held-out tenth.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict
        What the run is; "validation_loss" (routing hard) and "soft_loss" in nats a character; "leaves_used", for each
        layer, of "leaves"; "neurons_stored", "neurons_engaged", "parameters"; "step_seconds".
    """
    characters, train, validation = _text(run.text, run.folder)
    # epochs only set how often the loop looks up
    task = text.CausalText(train, validation, Sizes(vocabulary=1).context, epoch=max(1, run.steps // text.EPOCHS))
    # every arm of a seed begins with the same stream
    model = sizes.draw(training.stream(run.seed, "weights"), run.sizes(len(characters)))
    start = time.perf_counter()
    model, history = training.train(model, task, run.recipe(), run.seed, progress=False, watch_every=text.EPOCHS)
    seconds = time.perf_counter() - start  # evaluation at the end included: all arms have it
    ffs = [ff for ff in model.ffs() if ff is not None]  # all of one size: the first speaks for them
    return {
        "arm": run.arm, "learning_rate": run.learning_rate, "initial": run.initial, "seed": run.seed,
        "steps": run.steps, "batch_size": run.batch_size, "text": run.text,
        "validation_loss": history[-1]["validation_loss"], "soft_loss": history[-1]["soft_loss"],
        "training_loss": [round(row["loss"], 4) for row in history],
        "neurons_stored": ffs[0].neurons_stored if ffs else 0,
        "neurons_engaged": ffs[0].neurons_engaged if ffs else 0,
        "leaves_used": ends_used(model, validation[:WATCHED]), "parameters": model.n_parameters,
        "step_seconds": round(seconds / run.steps, 5), "version": __version__,
    }  # fmt: skip


def ends_used(model, ids):
    """Return how many ends (leaves, bottom neurons, experts) of each layer some token of a text reaches, a list."""
    used = []

    def watched(layer):
        """The layer's hard inference, with a look at where its rows end."""

        def run(x):
            """Rows to rows; the number of ends that they reached is noted."""
            end = layer.route(x)  # (R,), (R, k), or (R, K, D) of path trees
            used.append(len(np.unique(end[..., -1] if end.ndim == 3 else end)) if end.ndim < 3 else _bottoms(end))
            return layer.forward_hard(x)

        return run

    S = model.max_length
    model.with_ffs(watched).hidden(ids[: len(ids) // S * S].reshape(-1, S))  # whole windows: (windows, S)
    return used


def _bottoms(path):
    """Different bottom neurons among paths (R, K, D), over all trees."""
    return sum(len(np.unique(tree)) for tree in path[..., -1].T)  # numbers count within a tree


@functools.lru_cache(maxsize=1)
def _text(name, folder):
    """Vocabulary, training part and held-out part of a text, loaded once a process."""
    content = datasets.text(name, folder)
    characters = vocabulary.Characters.of(content)
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
        Of `execute`, of one text, number of steps and batch size.
    folder : path-like, optional
        Where the text is, for the n-gram beside; left out if the text is not found.

    Returns
    -------
    str
    """
    language_report.expect_one_setting(results)
    return language_report.markdown(results, _n_gram(results[0]["text"], folder))


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
