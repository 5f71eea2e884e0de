"""Does the tree earn its keep? Language models that differ in nothing but their FF layer, each with its own best rate.

The setting is nanoGPT's for a CPU: 4 layers, 4 heads, width 128, context 64, batches of 12, 2,000 steps, characters of
tiny-shakespeare. An arm is an FF layer; a run is an arm with initial values, a learning rate and a seed.
"""

import functools
import hashlib
import json
import time
from dataclasses import dataclass, field, replace

import numpy as np

from .. import __version__, checks, datasets, training
from ..models import sizes, text, vocabulary
from ..models.sizes import Sizes
from . import ngram

RATES = (1e-3, 3e-3)
WATCHED = 4096  # held-out tokens by which leaves in use are counted
GATE = "dense 512"  # what has to reach the published loss, with nanoGPT's initial values
PUBLISHED, TOLERANCE = 1.88, 0.03  # nanoGPT's readme
ARMS = {
    "none": {"ff": "none"},
    **{f"dense {width}": {"ff": "dense", "width": width} for width in (9, 14, 36, 67, 80, 192, 512)},
    "PathFFF 1 x 9 levels": {"ff": "path", "trees": 1, "depth": 8},
    "PathFFF 16 x 5 levels": {"ff": "path", "trees": 16, "depth": 4},
    "PathFFF 64 x 3 levels": {"ff": "path", "trees": 64, "depth": 2},
    **{
        f"PathFFF {trees} x {depth + 1} levels, routing gradient": {
            "ff": "path",
            "trees": trees,
            "depth": depth,
            "route_gradient": "straight-through",
        }
        for trees, depth in ((1, 8), (16, 4), (64, 2))
    },
    **{
        f"LeafFFF depth {depth}, leaves of {width}": {"ff": "leaf", "depth": depth, "leaf_width": width}
        for depth, width in ((3, 64), (4, 32), (6, 8))
    },
    "MoE 2 of 16, experts of 32": {"ff": "moe", "experts": 16, "width": 32},
}
RIVALS = {  # the dense layer that engages as many neurons
    "PathFFF 1 x 9 levels": "dense 9", "PathFFF 16 x 5 levels": "dense 80", "PathFFF 64 x 3 levels": "dense 192",
    "PathFFF 1 x 9 levels, routing gradient": "dense 9", "PathFFF 16 x 5 levels, routing gradient": "dense 80",
    "PathFFF 64 x 3 levels, routing gradient": "dense 192",
    "LeafFFF depth 3, leaves of 64": "dense 67", "LeafFFF depth 4, leaves of 32": "dense 36",
    "LeafFFF depth 6, leaves of 8": "dense 14", "MoE 2 of 16, experts of 32": "dense 67",
}  # fmt: skip


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
        facts = [vars(self.sizes(1)), self.recipe().facts(), training.NUMERICS, self.text, self.seed, self.steps]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def cost(self):
        """About the seconds on one core, for the order of the runs and the time left."""
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
    task = text.CausalText(train, validation, Sizes(vocabulary=1).context, epoch=max(1, run.steps // text.EPOCHS))
    model = sizes.draw(training.stream(run.seed, "weights"), run.sizes(len(characters)))
    start = time.perf_counter()
    model, history = training.train(model, task, run.recipe(), run.seed, progress=False, watch_every=text.EPOCHS)
    seconds = time.perf_counter() - start
    ffs = [ff for ff in model.ffs() if ff is not None]
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
        def run(x):
            end = layer.route(x)
            used.append(len(np.unique(end[..., -1] if end.ndim == 3 else end)) if end.ndim < 3 else _bottoms(end))
            return layer.forward_hard(x)

        return run

    S = model.max_length
    model.with_ffs(watched).hidden(ids[: len(ids) // S * S].reshape(-1, S))
    return used


def _bottoms(path):
    """Different bottom neurons among paths (R, K, D), over all trees."""
    return sum(len(np.unique(tree)) for tree in path[..., -1].T)


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
        for seed in range(seeds)
        for arm in (ARMS if arms is None else arms)
        for start in (("uniform",) if arm == "none" else initial)
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


def best(results):
    """Return, by arm, the result of seed 0 with the least loss on held-out text."""
    chosen = {}
    for row in results:
        if row["seed"] == 0:
            kept = chosen.get(row["arm"])
            chosen[row["arm"]] = row if kept is None else min(kept, row, key=lambda r: r["validation_loss"])
    return {arm: chosen[arm] for arm in ARMS if arm in chosen}


# ---------------------------------------------------------------------- the report


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
    settings = {(row["text"], row["steps"], row["batch_size"]) for row in results}
    if len(settings) != 1:
        raise checks.InputError(
            f"the results must be of one text, number of steps and batch size, got {sorted(settings)}"
        )
    return "\n\n".join((_gate(results), _table(results, folder), _search(results), _verdicts(results))) + "\n"


def _chosen(results):
    """By arm: the rows of its best rate and initial values, all seeds."""
    return {
        arm: [r for r in results if (r["arm"], r["learning_rate"], r["initial"]) ==
              (arm, row["learning_rate"], row["initial"])]
        for arm, row in best(results).items()
    }  # fmt: skip


def _losses(rows):
    return np.array([row["validation_loss"] for row in rows])


def _spread(values):
    """Mean, and standard deviation if there are several."""
    return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f} ({len(values)})" if len(values) > 1 else " (1)")


def _gate(results):
    """The gate with nanoGPT's values and rate, and with what suits our form of the model best."""
    lines = [f"Gate: {GATE} should reach the published {PUBLISHED} ± {TOLERANCE} nats a character."]
    theirs = [r for r in results if r["arm"] == GATE and r["initial"] == "normal" and r["learning_rate"] == RATES[0]]
    for what, rows in (("nanoGPT's values and rate", theirs), ("its own best", _chosen(results).get(GATE))):
        if not rows:
            lines.append(f"* With {what}: not recorded yet.")
            continue
        loss = _losses(rows).mean()
        verdict = "reached" if abs(loss - PUBLISHED) <= TOLERANCE else "better" if loss < PUBLISHED else "MISSED"
        lines.append(
            f"* With {what} ({rows[0]['initial']}, {rows[0]['learning_rate']:g}): {_spread(_losses(rows))}, {verdict}."
        )
    return "\n".join([lines[0], "", *lines[1:]])


def _table(results, folder):
    lines = [
        "| FF layer | stored | engaged | loss, mean ± deviation (seeds) | soft | rate | initial | ends used, by layer "
        "| ms a step |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, rows in _chosen(results).items():
        row = rows[0]
        soft = "-" if row["soft_loss"] is None else f"{np.mean([r['soft_loss'] for r in rows]):.3f}"
        lines.append(
            f"| {arm} | {row['neurons_stored']} | {row['neurons_engaged']} | {_spread(_losses(rows))} | {soft} | "
            f"{row['learning_rate']:g} | {row['initial']} | {', '.join(map(str, row['leaves_used']))} | "
            f"{1e3 * np.median([r['step_seconds'] for r in rows]):.0f} |"
        )
    row = results[0]
    try:
        characters, train, validation = _text(row["text"], folder)
    except ValueError:
        return "\n".join(lines)
    loss = ngram.witten_bell(train, validation, len(characters))
    return "\n".join([*lines, f"| 5-gram, Witten-Bell, no network | | | {loss:.3f} | - | - | - | - | - |"])


def _search(results):
    lines = ["Every arm's search, at seed 0:", "", "| FF layer | initial | rate | loss |", "|---|---|---|---|"]
    lines += [
        f"| {arm} | {row['initial']} | {row['learning_rate']:g} | {row['validation_loss']:.3f} |"
        for arm in ARMS
        for row in sorted(
            (r for r in results if r["arm"] == arm and r["seed"] == 0), key=lambda r: (r["initial"], r["learning_rate"])
        )
    ]
    return "\n".join(lines)


def _verdicts(results):
    chosen = _chosen(results)
    mean = {arm: _losses(rows).mean() for arm, rows in chosen.items()}
    lines = ["Against the dense layer of the engaged size (below 0: the tree is better), and the share of the way from "
             "no FF layer to dense 512:", ""]  # fmt: skip
    for arm, rival in RIVALS.items():
        if arm in mean and rival in mean:
            way = ""
            if "none" in mean and GATE in mean:
                way = f"; {(mean['none'] - mean[arm]) / (mean['none'] - mean[GATE]):.0%} of the way"
            seeds = f"{len(chosen[arm])} and {len(chosen[rival])} seeds"
            lines.append(f"* {arm} less {rival}: {mean[arm] - mean[rival]:+.3f} nat ({seeds}){way}")
    return "\n".join(lines)


def quick(run):
    """Return a run of a few steps, to see that all works."""
    return replace(run, steps=40)
