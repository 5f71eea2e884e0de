"""A released encoder's FF layers carved into trees, beside every control: what is lost, at which share of the work?

An arm is a way to make an FF layer cheaper; a run is an arm at a share of the multiply-adds, with a seed of calibration
text. All FF layers are replaced, each fitted to what enters the original's.
"""

import functools
import time
from dataclasses import dataclass, field, replace

import numpy as np

from .. import __version__, counting, training
from ..models import carving_controls as controls
from ..models import carving_trained as trained
from ..models.carve import Carving, carve_rows, leaf_width_for
from ..models.carving_layers import in_sequence
from ..models.fitting import relative_error
from ..training.schedules import OneCycle
from . import carving_texts as texts
from .carving_inputs import SMALL, others, prepared, task
from .sweep import digest

SHARES = (0.5, 0.25, 0.12, 0.06)
TREE, SAME, ORACLE = "tree", "same neurons for every input", "oracle of each input"
PATH = "PathFFF, distilled"
TUNED = {"tree, leaves tuned": TREE, "same neurons, tuned": SAME}  # what they begin with
SEQUENCE = {"tree, in sequence": "outputs", "tree, in sequence, stream": "stream"}  # what each layer is fitted to
RIDGE, ROUNDS = 0.1, 2
RECIPE = training.Recipe(epochs=6, batch_size=128, learning_rate=OneCycle(1e-3))  # of leaves that are trained further
SCRATCH = replace(RECIPE, epochs=12, learning_rate=OneCycle(3e-3))


@dataclass(frozen=True)
class Run:
    """One arm, fitted and judged: the result depends on nothing else.

    Attributes
    ----------
    arm : str
        A key of `ARMS`.
    share : float
        Of the dense layer's multiply-adds, routing included.
    seed : int
        Of the calibration text, and of what is drawn.
    model : str
        A name, or a digest of the weights; "small" for a model that is drawn.
    tokens : int
        Of calibration text.
    calibration : str
        "plays", "documentation", "glosses", or several with + between: as many tokens of each.
    folder, wordnet : str, optional
        Where the model and WordNet are; only whether there is a WordNet is part of the key.
    """

    arm: str
    share: float
    seed: int = 0
    model: str = SMALL
    tokens: int = 20_000
    calibration: str = "plays"
    folder: str | None = field(default=None, compare=False)
    wordnet: str | None = field(default=None, compare=False)

    def key(self):
        """Return a digest of what makes this run this run."""
        facts = {name: value for name, value in vars(self).items() if name not in ("folder", "wordnet")}
        facts["texts"] = texts.found(self.wordnet)  # without WordNet there are no categories, and one text less
        facts |= {"ridge": RIDGE, "rounds": ROUNDS, "recipe": RECIPE.facts(), "scratch": SCRATCH.facts()}
        return digest(facts | {"numerics": training.NUMERICS})

    @property
    def cost(self):
        """About the seconds for a small encoder, for the order of the runs and the time left."""
        trained = self.arm in TUNED or self.arm in ("dense, from scratch", PATH)
        usual = 40 if trained else 25 if "tree" in self.arm else 10
        return self.tokens / 20_000 * (10 + usual * (0.3 + 2 * self.share))


# ---------------------------------------------------------------------- arms: from rows and a run to a layer


def depth_for(share):
    """Choices of a tree that engages this share: leaves twice as many as it takes to store the layer once."""
    return max(1, round(-np.log2(share)) + 1)


def carving_for(rows, run, depth, **options):
    """The `Carving` of this depth that takes the run's share of the multiply-adds."""
    layer = rows.layer
    width = leaf_width_for(run.share, layer.n_in, layer.n_out, layer.width, depth)
    if options.get("parted"):
        width = min(width, layer.width // 2**depth)
    rounds = 1 if options.get("parted") else ROUNDS  # an assignment of all neurons takes seconds
    return Carving(depth, width, rounds, RIDGE, **options)


def budget(rows, run):
    """Multiply-adds that the run's share allows for one sample."""
    return int(run.share * rows.layer.width * (rows.layer.n_in + rows.layer.n_out))


def forest(engaged, stored):
    """Depth and number of trees of a `PathFFF`: the deepest that stores no more neurons than this, and engages all."""
    fits = [(0, engaged)]
    for depth in range(1, min(12, engaged)):
        n_trees = engaged // (depth + 1)
        if n_trees * (2 ** (depth + 1) - 1) <= stored and n_trees * (depth + 1) > 0.9 * engaged:
            fits.append((depth, n_trees))
    return fits[-1]


def _tree(rows, run):
    return carve_rows(rows, carving_for(rows, run, depth_for(run.share)))


def _parted(rows, run):
    return carve_rows(rows, carving_for(rows, run, max(1, depth_for(run.share) - 1), parted=True))


def _same(rows, run):
    return carve_rows(rows, carving_for(rows, run, 0))


def _random(rows, run):
    rng = np.random.default_rng([run.seed, 1])
    return controls.random_tree(rows, carving_for(rows, run, depth_for(run.share)), rng)


def _low_rank(rows, run):
    return controls.low_rank(rows, budget(rows, run), RIDGE)


def _linear(rows, run):
    return controls.linear(rows, budget(rows, run), RIDGE)


def _oracle(rows, run):
    return controls.oracle(rows, carving_for(rows, run, 0).leaf_width, RIDGE)


def _scratch(rows, run):
    return trained.from_scratch(rows, carving_for(rows, run, 0).leaf_width, SCRATCH, run.seed)


def _path(rows, run):
    depth, n_trees = forest(carving_for(rows, run, 0).leaf_width, rows.layer.width)
    return trained.distilled(rows, depth, n_trees, replace(SCRATCH, fast=True), run.seed)


ARMS = {
    TREE: _tree, "tree, neurons parted": _parted, **dict.fromkeys(SEQUENCE, _tree), SAME: _same,
    "random groups": _random, "low rank, whitened": _low_rank, "linear, low rank": _linear, ORACLE: _oracle,
    "dense, from scratch": _scratch, PATH: _path, **dict.fromkeys(TUNED),
}  # fmt: skip


def ready_for(run):
    """What a run is fitted to and judged by."""
    return prepared(run.model, run.folder, run.tokens, run.calibration, run.seed, run.wordnet)


@functools.lru_cache(maxsize=8)
def fitted(run):
    """All layers of a run, a tuple."""
    ready = ready_for(run)
    if run.arm in TUNED:
        start = fitted(replace(run, arm=TUNED[run.arm]))
        return tuple(trained.tuned(r, layer, RECIPE, run.seed) for r, layer in zip(ready.rows, start, strict=True))
    fit = functools.partial(ARMS[run.arm], run=run)
    if run.arm in SEQUENCE:
        return in_sequence(ready.encoder, ready.batches, ready.rows, fit, SEQUENCE[run.arm])
    return tuple(map(fit, ready.rows))


# ---------------------------------------------------------------------- a run


def execute(run):
    """Fit an arm to every FF layer, and judge it by text that it was not fitted to.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict
        What the run is; by text, "errors" of each layer (mean of |y - y'|^2 / |y|^2) and "cosine", the mean cosine of
        passages' embeddings to the original's, all layers replaced; "tuning", the same of other passages of what was
        calibrated by, to choose by; where WordNet is found "accuracy" on its categories and "original_accuracy", see
        `carving_categories`; "parameters" stored, and of the dense layer; "multiply_adds" of a sample, None where they
        are not defined; "seconds".
    """
    ready = ready_for(run)
    start = time.perf_counter()
    layers = fitted(run)
    seconds = time.perf_counter() - start
    encoder = ready.encoder.with_ffs(layers)
    tuning = others("tuning", run.model, run.folder, run.wordnet, tuple(texts.parts_of(run.calibration)))
    return {
        "arm": run.arm, "share": run.share, "seed": run.seed, "model": run.model, "tokens": run.tokens,
        "calibration": run.calibration, **measured(encoder, ready.judged), "tuning": measured(encoder, tuning),
        **accuracy(encoder, task(run.model, run.folder, run.wordnet)),
        "parameters": layers[0].n_parameters, "dense_parameters": ready.rows[0].layer.n_parameters,
        "multiply_adds": multiply_adds(layers[0]), "dense_multiply_adds": multiply_adds(ready.rows[0].layer),
        "seconds": round(seconds, 1), "version": __version__,
    }  # fmt: skip


def measured(encoder, texts):
    """Errors of each layer and the cosine of embeddings, by text; texts as in `Prepared`."""
    errors = {
        name: [round(relative_error(block.ff.forward_hard(x), y), 5)
               for block, x, y in zip(encoder.blocks, text.inputs, text.outputs, strict=True)]
        for name, text in texts.items()
    }  # fmt: skip
    return {"errors": errors, "cosine": {name: round(cosine(encoder, text), 5) for name, text in texts.items()}}


def accuracy(encoder, tried):
    """How often the classifiers of the original's embeddings are right on these, and on the original's; by `task`."""
    if tried is None:
        return {}
    embeddings = np.concatenate([encoder.embed(*batch) for batch in tried.batches])
    return {"accuracy": tried.classifiers.accuracy(embeddings, tried.answers), "original_accuracy": tried.original}


def multiply_adds(layer):
    """Of one sample, routing included; None for the oracle, which needs all neurons to choose some."""
    if isinstance(layer, controls.Oracle):
        return None
    return layer.multiply_adds if isinstance(layer, controls.LowRank) else counting.of(layer).inference.multiply_adds


def cosine(encoder, text):
    """Mean cosine of embeddings to those of the original."""
    return float(np.concatenate([(encoder.embed(*batch) * e).sum(1) for batch, e in text.batches]).mean())
