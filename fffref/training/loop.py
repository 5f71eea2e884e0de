"""The loop: seeded batches, schedules, what is watched, checkpoints. It knows no layer and no loss.

Everything random comes from streams of the seed that have nothing in common: initial weights, held-out samples, and
every epoch by itself. So a run that was killed goes on from its last epoch with the same batches, and ends with the
same weights, bit for bit.
"""

import contextlib
import math
import os
import pathlib

import numpy as np

from .. import checks, files
from ..formats import checkpoints
from . import penalties
from .recipes import NUMERICS, Recipe
from .tasks import TASK, digest

STREAMS = ("weights", "split", "epochs")
ADVICE = "lower the learning rate, or scale the data; a checkpoint keeps the last good epoch"


class Diverged(checks.InputError):
    """A loss or a weight is not finite any more."""


def stream(seed, name, epoch=None):
    """Return one of a seed's independent generators: children of its `SeedSequence`, as `spawn` makes them.

    Parameters
    ----------
    seed : int, at least 0
    name : {"weights", "split", "epochs"}
        Initial weights, held-out samples, or what happens in an epoch.
    epoch : int, optional
        Which epoch, from 0.

    Returns
    -------
    numpy.random.Generator
    """
    # an epoch's stream does not depend on those before: a resumed run draws what the first would have drawn
    key = [STREAMS.index(checks.one_of("name", name, STREAMS))] + ([] if epoch is None else [epoch])
    return np.random.default_rng(np.random.SeedSequence(checks.integer("seed", seed, 0), spawn_key=key))


def train(
    model, task, recipe=None, seed=0, checkpoint=None, resume=False, progress=True, watch_every=1
):  # fmt: skip
    """Train a model on a task.

    Parameters
    ----------
    model : Layer, or record of layers
        Not changed.
    task : Classification, Regression, or another with the methods of `tasks.Task`
    recipe : Recipe, optional
        By default `Recipe()`.
    seed : int
        Decides the held-out samples, the batches, the noise and the transpositions.
    checkpoint : path-like, optional
        Written after every epoch.
    resume : bool
        Go on from the checkpoint, if it exists; it must come from the same recipe, seed, data and initial model.
    progress : bool or str
        Show a bar; a string is its label.
    watch_every : int, at least 1
        Evaluate after every so many epochs, and after the last.

    Returns
    -------
    model : same class
    history : list of dict
        One per epoch: "epoch", "loss" (mean over its samples), `Settings.row` of its last batch, and, of the epochs
        that were watched, what `task.watch` measured after the epoch.

    Raises
    ------
    TypeError, ValueError
        Before the first step, if data, recipe, checkpoint or any other argument do not fit.
    Diverged
        If a loss or a weight is not finite; the checkpoint keeps the last good epoch.

    Examples
    --------
    >>> layer, history = train(layer, Classification(x, labels), hardening(epochs=12), seed=1)
    """
    recipe = checks.instance("recipe", Recipe() if recipe is None else recipe, Recipe, "a Recipe, such as hardening()")
    checks.instance("progress", progress, (bool, str), "True, False or a label")
    watch_every, resume = checks.integer("watch_every", watch_every, 1), checks.flag("resume", resume)
    _check_task(task, model, recipe)
    # digests are taken before the split: which samples are held out follows from the seed, which is a fact too
    identity = None if checkpoint is None else _identity(model, task, recipe, seed)
    task = task.split(stream(seed, "split"))
    # copies: the caller's model is not changed
    model, state, history = _start(model, recipe, checkpoint, resume, identity)

    with _bar(progress, recipe.epochs, task.steps(recipe.batch_size), len(history)) as bar:
        for epoch in range(len(history), recipe.epochs):  # a history is as long as the epochs that are done
            total, n_samples = 0.0, 0
            for loss, size, settings in _steps(model, state, task, recipe, seed, epoch):  # noqa: B007 (the last settings are told)
                # batches differ in size; each sample counts once
                total, n_samples = total + loss * size, n_samples + size
                bar.update()
            # the loss is a mean along the way: each step's, of weights that changed meanwhile
            row = {"epoch": epoch + 1, "loss": total / n_samples, **settings.row()}
            # the last one always: it is what is reported
            if (epoch + 1) % watch_every == 0 or epoch + 1 == recipe.epochs:
                watched = task.watch(model, settings)
                bar.set_postfix({"loss": f"{row['loss']:.3f}"} | {n: f"{v:.4g}" for n, v in [*watched.items()][:1]})
                row |= watched
            history.append(row)
            if checkpoint is not None:
                # replaced as a whole: the old one stays until then
                checkpoints.save(checkpoint, model, state, identity | {"history": history})
    return model, history


def _steps(model, state, task, recipe, seed, epoch):
    """Take the steps of one epoch, in place; after each, yield its loss, number of samples, and settings."""
    # order of the samples, then noise, from one stream
    rng, n_steps = stream(seed, "epochs", epoch), task.steps(recipe.batch_size)
    view = model
    if recipe.fast:
        from . import compiled_steps  # noqa: F401 (registers; imported where needed: Numba takes its time)

        view = penalties.compiled(model)  # it shares the weights, and so sees every step
    for i, batch in enumerate(task.batches(recipe.batch_size, rng)):
        count = epoch * n_steps + i  # steps before this one, over the whole run
        settings = recipe.at(count / (recipe.epochs * n_steps))  # progress in [0, 1): the end is never quite reached
        with np.errstate(over="ignore", invalid="ignore"):  # a sentence says it better than a warning
            loss, grads = task.objective(view, batch, settings, rng)
            # before the update, which would spoil the weights
            _check_finite(loss, f"in epoch {epoch + 1}, step {i + 1}", settings)
            # in place; `view` shares these arrays
            recipe.optimizer.update(model, grads, state, count, settings.learning_rate)
        yield float(loss), len(batch[0]), settings  # the loss before the step
    with np.errstate(over="ignore", invalid="ignore"):  # the last step may be the fatal one: look once more
        loss, _ = task.objective(view, batch, settings, rng)
    _check_finite(loss, f"after epoch {epoch + 1}", settings)
    for name, array in model.arrays().items():  # a row that this batch did not visit
        if not np.isfinite(array).all():
            raise Diverged(f"{name} is not finite any more after epoch {epoch + 1}; {ADVICE}")


def _check_finite(loss, place, settings):
    """Stop a run that has diverged."""
    if not math.isfinite(loss):
        rate = f"at learning rate {settings.learning_rate:.3g}"
        raise Diverged(f"the loss is {float(loss)} {place}, {rate}; {ADVICE}")


# ---------------------------------------------------------------------- before the first step


def _check_task(task, model, recipe):
    """Refuse what does not fit together, while nothing has been computed."""
    lacking = [name for name in TASK if not callable(getattr(task, name, None))]
    if lacking:
        raise checks.InputTypeError(
            f"task must be one, such as training.Classification(x, labels), got {type(task).__name__} "
            f"without {', '.join(lacking)}"
        )
    # an option that is ignored would look like one without effect
    penalties.check_options(model, recipe)
    if recipe.fast:
        penalties.compiled(model)  # raises if there is no compiled form
    task.check(model)


def _identity(model, task, recipe, seed):
    """What a run has to have in common with the checkpoint that it goes on from, as JSON holds it."""
    arrays = {name: digest(array) for name, array in model.arrays().items()}
    return {
        "recipe": recipe.facts(), "numerics": NUMERICS, "seed": checks.integer("seed", seed, 0),
        "data": task.facts(), "layer": {"options": model.options()} | arrays,
    }  # fmt: skip


def _start(model, recipe, checkpoint, resume, identity):
    """Model, optimiser's state and history to start from: new, or those of the checkpoint."""
    # a new run starts here too if resume finds no file: so the same command starts and goes on
    start = model.aligned(), recipe.optimizer.init(model), []  # a copy: steps are taken in place
    if checkpoint is None:
        return start
    _rehearse(pathlib.Path(checkpoint), model, identity)  # a full disk should not be met after an hour
    if not resume or not pathlib.Path(checkpoint).exists():
        return start
    saved = checkpoints.load(checkpoint, type(model))
    if saved.layer.sizes != model.sizes:
        raise checks.InputError(f"{checkpoint} holds sizes {saved.layer.sizes}, expected {model.sizes}; start anew")
    for name, value in identity.items():  # recipe, seed, data and initial weights, each by name
        difference = _difference(saved.info.get(name), value)
        if difference:
            raise checks.InputError(f"{checkpoint} comes from another {name}: {difference}; start anew, without resume")
    return saved.layer, saved.state, saved.info["history"]


def _difference(then, now, where=""):
    """Say where two facts differ, or return None."""
    if then == now:
        return None
    if hasattr(then, "keys") and hasattr(now, "keys"):
        # those of both sides, in this run's order
        names = [name for name in now | then if then.get(name) != now.get(name)]
        return "; ".join(_difference(then.get(name), now.get(name), f"{where}{name} ") for name in names)
    then, now = (f"{str(fact)[:12]}..." if len(str(fact)) == 64 else str(fact) for fact in (then, now))  # digests
    return f"{where}was {then}, is now {now}"


class _Rehearsed(Exception):
    """Leaves `files.replacing` before it replaces anything."""


def _rehearse(checkpoint, model, identity):
    """Write and remove a checkpoint of the same model in the same folder: what would fail later fails now."""
    if checkpoint.is_dir():
        raise checks.InputError(f"checkpoint must be a file, {checkpoint} is a folder; name a file in it")
    with contextlib.suppress(_Rehearsed), files.replacing(checkpoint):
        raise _Rehearsed  # nothing is replaced: an old checkpoint stays
    rehearsal = checkpoint.parent / f".rehearsal-{os.getpid()}.safetensors"
    try:
        checkpoints.save(rehearsal, model, info=identity)  # what cannot be written shows here, JSON included
    finally:
        rehearsal.unlink(missing_ok=True)  # also if it failed half way


def _bar(progress, epochs, n_steps, done):
    """A progress bar over steps, or a silent one."""
    from tqdm import tqdm  # imported where needed: `import fffref` stays quick

    label = "training" if progress in (True, False) else progress
    return tqdm(total=epochs * n_steps, initial=done * n_steps, desc=label, unit="batch", disable=not progress)
