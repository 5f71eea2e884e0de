"""Training a classifier of one layer: seeded batches, schedules, what is worth watching, checkpoints.

Everything random in epoch e comes from the generator of (seed, e). So a run that was killed goes on from its
last epoch with the same batches, and ends with the same weights, bit for bit.
"""

import pathlib
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields

import numpy as np

from .. import checks
from ..formats import checkpoints
from ..layers import moe
from ..layers.leaf_fff import LeafFFF
from ..layers.path_fff import PathFFF
from . import losses
from .optim import SGD, Adam
from .schedules import Geometric, Linear, OneCycle, Step, schedule

ROWS_AT_ONCE = 4096  # in evaluation, to bound memory


@dataclass(frozen=True)
class Recipe:
    """How a layer is trained: every number that matters, in one printable record.

    Numbers marked * may be schedules: functions of progress from 0 to 1, such as `schedules.Geometric`.

    Parameters
    ----------
    epochs, batch_size : int, at least 1
    optimizer : SGD or Adam
    learning_rate : number or schedule *
    validation_fraction : float in [0, 1)
        Share of the training data that is held out, to watch and to choose by.
    temperature : number or schedule *
        Of the choices; this and what follows concerns `LeafFFF` only.
    entropy_weight : number or schedule *
        Of the hardening loss, h in the first paper.
    entropy_reduction : {"mean", "sum"}
        See `losses.node_entropy`: the two differ by a factor of batch times nodes.
    balance_weight : number or schedule *
        Of the leaf balance; of importance and load for a `MoE`.
    balance : {"importance", "switch"}
        Which leaf balance: `losses.leaf_balance` or `losses.switch_balance`.
    transpose_prob : float in [0, 1]
        As in `LeafFFF.forward`, and so are the next three.
    noise : number or schedule *
    straight_through : bool or schedule *
    smooth_step : bool
    fast : bool
        Compiled forward and backward passes, for `PathFFF` only: `fffref.jit`.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: SGD | Adam = field(default_factory=Adam)
    learning_rate: float | Callable = field(default_factory=lambda: OneCycle(0.01))
    validation_fraction: float = 0.1
    temperature: float | Callable = 1.0
    entropy_weight: float | Callable = 0.0
    entropy_reduction: str = "mean"
    balance_weight: float | Callable = 0.0
    balance: str = "importance"
    transpose_prob: float = 0.0
    noise: float | Callable = 0.0
    straight_through: bool | Callable = False
    smooth_step: bool = False
    fast: bool = False

    def __post_init__(self):
        checks.integer("epochs", self.epochs, 1)
        checks.integer("batch_size", self.batch_size, 1)
        checks.number("validation_fraction", self.validation_fraction, "[0, 1)")
        checks.one_of("entropy_reduction", self.entropy_reduction, losses.REDUCTIONS)
        checks.one_of("balance", self.balance, losses.BALANCES)
        checks.number("transpose_prob", self.transpose_prob, "[0, 1]")
        for progress in (0.0, 0.5, 1.0):
            checks.number("temperature", schedule(self.temperature)(progress), "[1e-30, inf)")
            for name in ("learning_rate", "entropy_weight", "balance_weight", "noise"):
                checks.number(name, schedule(getattr(self, name))(progress), "[0, inf)")

    def __repr__(self):
        """Whatever differs from `Recipe()`: a field added later leaves the identity of earlier runs alone."""
        default = {f.name: f.default_factory() if f.default is MISSING else f.default for f in fields(self)}
        changed = {name: getattr(self, name) for name in default if getattr(self, name) != default[name]}
        return f"Recipe({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    def at(self, progress):
        """Return the numbers in force at this progress, as keyword arguments of `objective`."""
        return {
            "temperature": schedule(self.temperature)(progress),
            "entropy_weight": schedule(self.entropy_weight)(progress),
            "entropy_reduction": self.entropy_reduction,
            "balance_weight": schedule(self.balance_weight)(progress),
            "balance": self.balance,
            "transpose_prob": self.transpose_prob,
            "noise": schedule(self.noise)(progress),
            "straight_through": bool(schedule(self.straight_through)(progress)),
            "smooth_step": self.smooth_step,
        }


def hardening(**changes):
    """Return a recipe that ends hard, with every leaf at work.

    Five things, of which `fffref reproduce ablation` says what each is worth: the temperature falls, so that choices
    sharpen; noise on the logits fades out, so that choices near 1/2 do not pay meanwhile; leaves that get more than
    their share cost something; for the last two fifths choices are rounded, straight-through, so that the leaves end on
    just those samples that they will get; and weights decay, for a leaf sees few samples and learns them by heart:
    that pays the more, the longer the training.

    Parameters
    ----------
    **changes
        Fields of `Recipe` to set otherwise.

    Returns
    -------
    Recipe
    """
    settings = {
        "batch_size": 256, "temperature": Geometric(1.0, 0.05), "noise": Linear(1.0, 0.0),
        "balance_weight": 3.0, "straight_through": Step(False, True, at=0.6), "optimizer": Adam(weight_decay=0.1),
    }  # fmt: skip
    return Recipe(**settings | changes)


def paper1(**changes):
    """Return the hardening of the first paper: SGD at 0.2, batches of 256, entropy weight 3, summed.

    Parameters
    ----------
    **changes
        Fields of `Recipe` to set otherwise.

    Returns
    -------
    Recipe
    """
    settings = {"optimizer": SGD(), "learning_rate": 0.2, "batch_size": 256}
    return Recipe(**settings | {"entropy_weight": 3.0, "entropy_reduction": "sum"} | changes)


def objective(
    layer, x, labels, temperature=1.0, entropy_weight=0.0, entropy_reduction="mean", balance_weight=0.0,
    balance="importance", transpose_prob=0.0, straight_through=False, noise=0.0, smooth_step=False, rng=None,
    input_gradient=False,
):  # fmt: skip
    """Cross-entropy, plus what the layer is regularised by; and all gradients.

    For a `LeafFFF`, that is the weighted node entropy and leaf balance; for a `MoE`, see `moe_objective`.

    Parameters
    ----------
    layer : LeafFFF, PathFFF, DenseFF or MoE
    x : ndarray (..., n_in)
    labels : ndarray of int (...)
    temperature, transpose_prob, straight_through, noise, smooth_step, rng
        As in `LeafFFF.forward`; other layers have none.
    entropy_weight, balance_weight : float
    entropy_reduction : {"mean", "sum"}
    balance : {"importance", "switch"}
    input_gradient : bool
        Whether `dx` is wanted.

    Returns
    -------
    loss : scalar
    grads : Layer
    dx : ndarray (..., n_in), or None
    """
    if isinstance(layer, moe.MoE):
        return moe_objective(layer, x, labels, balance_weight, rng, input_gradient)
    if not isinstance(layer, LeafFFF):
        y, tape = layer.forward(x)
        loss, dy = losses.cross_entropy(y, labels)
        return loss, *layer.backward(tape, dy, input_gradient=input_gradient)
    of = layer.dtype.type
    y, tape = layer.forward(x, temperature, transpose_prob, straight_through, noise, smooth_step, rng)
    loss, dy = losses.cross_entropy(y, labels)
    extra = {}
    if entropy_weight:
        entropy, dlogit = losses.node_entropy(tape.logit, entropy_reduction)
        loss, extra["dlogit"] = loss + of(entropy_weight) * entropy, of(entropy_weight) * dlogit
    if balance_weight:
        value, dmixture = losses.BALANCES[balance](tape.mixture)
        loss, extra["dmixture"] = loss + of(balance_weight) * value, of(balance_weight) * dmixture
    return loss, *layer.backward(tape, dy, input_gradient=input_gradient, **extra)


def moe_objective(layer, x, labels, balance_weight=0.0, rng=None, input_gradient=False):
    """Cross-entropy, plus the weighted importance and load losses; and all gradients.

    Parameters
    ----------
    layer : MoE
    x : ndarray (..., n_in)
    labels : ndarray of int (...)
    balance_weight : float
        Of both losses, 0.1 in the paper.
    rng : numpy.random.Generator, optional
        Draws the noise; without it there is none, and no load loss either.
    input_gradient : bool
        Whether `dx` is wanted.

    Returns
    -------
    loss : scalar
    grads : MoE
    dx : ndarray (..., n_in), or None
    """
    y, tape = layer.forward(x, rng)
    loss, dy = losses.cross_entropy(y, labels)
    weight, extra = layer.dtype.type(balance_weight), {}
    for name in ("gates", "load") if tape.load is not None else ("gates",):
        value, gradient = moe.balance(getattr(tape, name))
        loss, extra[f"d{name}"] = loss + weight * value, weight * gradient
    return loss, *layer.backward(tape, dy, input_gradient=input_gradient, **extra)


def train(
    layer, x, labels, recipe=None, seed=0, validation=None, checkpoint=None, resume=False, progress=True,
    watch_every=1,
):  # fmt: skip
    """Train a classifier.

    Parameters
    ----------
    layer : LeafFFF, PathFFF, DenseFF or MoE
        Not changed.
    x : ndarray (n, n_in)
    labels : ndarray of int (n,)
    recipe : Recipe, optional
        By default `Recipe()`.
    seed : int
        Decides the held-out samples, the batches, the noise and the transpositions.
    validation : tuple of (x, labels), optional
        Data to watch, instead of a share of the training data.
    checkpoint : path-like, optional
        Written after every epoch.
    resume : bool
        Go on from the checkpoint, if it exists; it must come from the same recipe, seed and data.
    progress : bool or str
        Show a bar; a string is its label.
    watch_every : int, at least 1
        Evaluate after every so many epochs, and after the last.

    Returns
    -------
    layer : same class
    history : list of dict
        One per epoch: "epoch", "loss" (mean over its batches), "learning_rate", "temperature",
        "entropy_weight", and, of the epochs that were watched, those of `evaluate`, measured on the held-out
        data after the epoch.

    Raises
    ------
    TypeError, ValueError
        If data, recipe or checkpoint do not fit, or nothing is left to train on or to watch.
    """
    recipe = Recipe() if recipe is None else recipe
    x = checks.array("x", x, (None, layer.n_in), layer.dtype)
    labels = checks.labels(labels, x.shape[:1], layer.n_out)
    seed = checks.integer("seed", seed, 0)
    watch_every = checks.integer("watch_every", watch_every, 1)
    if recipe.fast and not isinstance(layer, PathFFF):
        raise checks.InputError(f"fast training is for PathFFF, got {type(layer).__name__}; leave Recipe.fast as False")
    (x, labels), watched = _split(x, labels, recipe.validation_fraction, seed, validation)
    identity = {"recipe": repr(recipe), "seed": seed, "samples": len(x)}
    layer, state, history = _start(layer, recipe, checkpoint, resume, identity)

    n_batches = -(-len(x) // recipe.batch_size)
    with _bar(progress, recipe.epochs * n_batches, len(history) * n_batches) as bar:
        for epoch in range(len(history), recipe.epochs):
            rng = np.random.default_rng([seed, epoch])
            order, total = rng.permutation(len(x)), 0.0
            for i, batch in enumerate(np.array_split(order, n_batches)):
                count = epoch * n_batches + i
                now = count / (recipe.epochs * n_batches)
                model = _compiled(layer) if recipe.fast else layer
                loss, grads, _ = objective(model, x[batch], labels[batch], **recipe.at(now), rng=rng)
                rate = schedule(recipe.learning_rate)(now)
                layer, state = recipe.optimizer.step(layer, grads, state, count, rate)
                total += float(loss) * len(batch)
                bar.update()
            used = {name: recipe.at(now)[name] for name in ("temperature", "entropy_weight")}
            row = {"epoch": epoch + 1, "loss": total / len(x), "learning_rate": rate, **used}
            if (epoch + 1) % watch_every == 0 or epoch + 1 == recipe.epochs:
                row |= evaluate(layer, *watched, temperature=used["temperature"])
                bar.set_postfix(loss=f"{row['loss']:.3f}", hard=f"{row['hard_accuracy']:.1%}")
            history.append(row)
            if checkpoint is not None:
                checkpoints.save(checkpoint, layer, state, identity | {"history": history})
    return layer.aligned(), history


def evaluate(layer, x, labels, temperature=1.0):
    """Accuracy soft and hard, entropy of the nodes, use of the leaves.

    Parameters
    ----------
    layer : LeafFFF, PathFFF, DenseFF or MoE
    x : ndarray (n, n_in), n at least 1
    labels : ndarray of int (n,)
    temperature : float
        Of the soft forward pass.

    Returns
    -------
    dict
        "hard_accuracy" : share of right answers of hard inference.
        "soft_accuracy" : the same of the mixture, for `LeafFFF`, else None.
        "node_entropy" : list of N means over the samples, in nats; `LeafFFF` only, else empty.
        "entropy" : their mean, or None.
        "leaf_share" : list of the shares of the samples that reach each leaf (for `PathFFF`, each neuron of
        the last level, all trees; for `MoE`, each expert).
        "leaves_used" : how many of them are above 0.
    """
    labels = checks.labels(labels, x.shape[:1], layer.n_out)
    if len(x) == 0:
        raise checks.InputError("evaluate needs at least one sample, got none")
    hard, soft, entropy, reached = 0, 0, 0.0, 0
    for start in range(0, len(x), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        hard += (layer.forward_hard(x[rows]).argmax(-1) == labels[rows]).sum()
        reached = reached + _reached(layer, x[rows])
        if isinstance(layer, LeafFFF):
            y, tape = layer.forward(x[rows], temperature)
            soft += (y.argmax(-1) == labels[rows]).sum()
            entropy = entropy + _entropy_per_node(tape.logit)
    node_entropy = np.asarray(entropy) / len(x)
    is_soft = isinstance(layer, LeafFFF)
    return {
        "hard_accuracy": float(hard / len(x)),
        "soft_accuracy": float(soft / len(x)) if is_soft else None,
        "entropy": float(node_entropy.mean()) if node_entropy.size and is_soft else None,
        "node_entropy": node_entropy.tolist() if is_soft else [],
        "leaf_share": (reached / len(x)).tolist(),
        "leaves_used": int((reached > 0).sum()),
    }


def _compiled(layer):
    """The layer's fast form, which shares its weights; making one takes microseconds."""
    from ..fast import jit  # imported where needed: Numba takes its time

    return jit(layer)


def _entropy_per_node(logit):
    """Entropy of each node, summed over the batch: (B, N) -> (N,)."""
    return np.array([losses.node_entropy(column, "sum")[0] for column in logit.T], np.float64)


def _reached(layer, x):
    """How many of the samples reach each leaf."""
    end = layer.route(x)
    if isinstance(layer, PathFFF):
        bottom = 2**layer.depth
        end = end[..., -1] - (bottom - 1) + bottom * np.arange(layer.n_trees)
        return np.bincount(end.ravel(), minlength=bottom * layer.n_trees)
    if isinstance(layer, moe.MoE):
        return np.bincount(end.ravel(), minlength=layer.n_experts)
    return np.bincount(end, minlength=2 ** getattr(layer, "depth", 0))


def _split(x, labels, fraction, seed, validation):
    """Training part and watched part, each (x, labels)."""
    if validation is None:
        # a key of its own, which no epoch has
        order = np.random.default_rng([seed, 2**32]).permutation(len(x))
        n_held = round(fraction * len(x))
        held, kept = order[:n_held], order[n_held:]
        validation, x, labels = (x[held], labels[held]), x[kept], labels[kept]
    if len(x) == 0 or len(validation[0]) == 0:
        raise checks.InputError(
            f"nothing left to {'train on' if len(x) == 0 else 'watch'}: {len(x)} training and "
            f"{len(validation[0])} validation samples; give more data, or another validation_fraction"
        )
    return (x, labels), validation


def _start(layer, recipe, checkpoint, resume, identity):
    """Layer, optimiser state and history to start from: new, or those of the checkpoint."""
    if not resume or checkpoint is None or not pathlib.Path(checkpoint).exists():
        return layer, recipe.optimizer.init(layer), []
    found = checkpoints.load(checkpoint, type(layer))
    for name, value in identity.items():
        if found.info.get(name) != value:
            raise checks.InputError(f"{checkpoint} comes from another {name}: {found.info.get(name)}, now {value}; start anew")
    if found.layer.sizes != layer.sizes:
        raise checks.InputError(f"{checkpoint} holds sizes {found.layer.sizes}, expected {layer.sizes}; start anew")
    return found.layer, found.state, found.info["history"]


def _bar(progress, total, done):
    """A progress bar over batches, or a silent one."""
    from tqdm import tqdm  # imported where needed: `import fffref` stays quick

    label = progress if isinstance(progress, str) else "training"
    return tqdm(total=total, initial=done, desc=label, unit="batch", disable=not progress)
