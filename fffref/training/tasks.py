"""Tasks: what a batch is, what is minimised, what is watched. The loop asks a task, and knows no loss.

A task is whatever has the methods of `Task`. A batch is a tuple of arrays whose first axis counts samples.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from .. import checks
from . import evaluation, losses
from .penalties import forward_training, penalty
from .recipes import Settings

TASK = ("check", "split", "steps", "batches", "objective", "watch", "facts")  # what the loop calls


class Task:
    """What the loop asks of a task, in the order in which it asks; `Classification` is an example."""

    def check(self, model):
        """Refuse data that do not fit the model, before anything is computed."""

    def split(self, rng):
        """Return the task with its held-out samples set apart, if chance decides which."""
        return self

    def facts(self):
        """Return what identifies the data, as JSON can hold it: digests."""
        raise NotImplementedError

    def steps(self, batch_size):
        """Return the number of batches of an epoch."""
        raise NotImplementedError

    def batches(self, batch_size, rng):
        """Yield the batches of one epoch."""
        raise NotImplementedError

    def objective(self, model, batch, settings, rng):
        """Return the loss of a batch, and the gradient of every array of the model."""
        raise NotImplementedError

    def watch(self, model, settings):
        """Return a dict of numbers on held-out data; the first of them is shown on the progress bar."""
        raise NotImplementedError


class Supervised(Task):
    """Samples `x` with answers, of which some are held out; a subclass says what its answers are and cost."""

    ANSWERS = "answers"  # the name of their field

    def __post_init__(self):
        # not 1: something has to be trained on
        fraction = checks.number("validation_fraction", self.validation_fraction, "[0, 1)")
        checks.settle(self, validation_fraction=fraction)
        if self.validation is not None:
            pair = f"a pair (x, {self.ANSWERS})"
            if len(checks.instance("validation", self.validation, (tuple, list), pair)) != 2:
                raise checks.InputError(f"validation must be {pair}, got {len(self.validation)} entries")

    @property
    def answers(self):
        """One per sample."""
        return getattr(self, self.ANSWERS)

    def check(self, model):
        """Refuse samples or answers that do not fit the model or are not finite."""
        parts = {"": (self.x, self.answers)} | ({} if self.validation is None else {"validation ": self.validation})
        for part, (x, answers) in parts.items():
            # (n, n_in); NaN would show as a loss, epochs later
            checks.finite(f"{part}x", checks.array(f"{part}x", x, (None, model.n_in), model.dtype))
            self.check_answers(part, answers, len(x), model)

    def split(self, rng):
        """Return the task with `validation` set: what was given, or a share of the samples."""
        x, answers, watched = np.asarray(self.x), np.asarray(self.answers), self.validation
        if watched is None:
            order = rng.permutation(len(x))  # held-out samples come first, the others stay in this order
            n_held = round(self.validation_fraction * len(x))  # may be 0; refused below unless validation is given
            # what is kept stays shuffled, which is no matter: every epoch shuffles again
            held, kept = order[:n_held], order[n_held:]
            watched, x, answers = (x[held], answers[held]), x[kept], answers[kept]
        if len(x) == 0 or len(watched[0]) == 0:
            raise checks.InputError(
                f"nothing left to {'train on' if len(x) == 0 else 'watch'}: {len(x)} training and "
                f"{len(watched[0])} validation samples; give more data, or another validation_fraction"
            )
        return replace(self, x=x, **{self.ANSWERS: answers}, validation=tuple(map(np.asarray, watched)))

    def facts(self):
        """Return what identifies the data: a digest of every array, and what was held out."""
        names = ("x", self.ANSWERS)
        # all samples, before the split: which are held out follows from the seed
        arrays = dict(zip(names, (self.x, self.answers), strict=True))
        if self.validation is not None:
            arrays |= {f"validation {name}": array for name, array in zip(names, self.validation, strict=True)}
        digests = {name: digest(array) for name, array in arrays.items()}
        return {"task": type(self).__name__, "validation_fraction": self.validation_fraction} | digests

    def steps(self, batch_size):
        """Return as few batches as hold all samples."""
        return -(-len(self.x) // batch_size)  # rounded up

    def batches(self, batch_size, rng):
        """Yield samples and answers in a random order, in batches whose sizes differ by one at most."""
        # the permutation is the first that an epoch draws; noise comes from the same stream, after it
        for rows in np.array_split(rng.permutation(len(self.x)), self.steps(batch_size)):
            yield self.x[rows], self.answers[rows]

    def objective(self, model, batch, settings, rng):
        """Return loss and gradients of a batch."""
        x, answers = batch
        # no dx: this model is the first layer
        loss, grads, _ = regularised(model, x, lambda y: self.loss(y, answers), settings, rng)
        return loss, grads


@dataclass(frozen=True, eq=False)
class Classification(Supervised):
    """Which class is it? Cross-entropy is minimised, accuracy is watched.

    Parameters
    ----------
    x : ndarray (n, n_in)
    labels : ndarray of int (n,)
        Class numbers from 0.
    validation : tuple of (x, labels), optional
        Data to watch, instead of a share of the training data.
    validation_fraction : float in [0, 1)
        That share, to watch and to choose by.
    """

    x: np.ndarray
    labels: np.ndarray
    validation: tuple | None = None
    validation_fraction: float = 0.1

    ANSWERS: ClassVar[str] = "labels"

    def check_answers(self, part, labels, n, model):
        """Refuse labels that are no class numbers."""
        checks.labels(labels, (n,), model.n_out)

    def loss(self, y, labels):
        """Return `losses.cross_entropy`."""
        return losses.cross_entropy(y, labels)

    def watch(self, model, settings):
        """Return `evaluate` of the held-out samples."""
        return evaluation.evaluate(model, *self.validation, settings.choices)


@dataclass(frozen=True, eq=False)
class Regression(Supervised):
    """Which numbers are they? The mean squared error is minimised and watched.

    Parameters
    ----------
    x : ndarray (n, n_in)
    target : ndarray (n, n_out)
    validation : tuple of (x, target), optional
        Data to watch, instead of a share of the training data.
    validation_fraction : float in [0, 1)
    """

    x: np.ndarray
    target: np.ndarray
    validation: tuple | None = None
    validation_fraction: float = 0.1

    ANSWERS: ClassVar[str] = "target"

    def check_answers(self, part, target, n, model):
        """Refuse targets of another shape or dtype than the model's outputs, or that are not finite."""
        name = f"{part}target"
        checks.finite(name, checks.array(name, target, (n, model.n_out), model.dtype))

    def loss(self, y, target):
        """Return `losses.mean_squared_error`."""
        return losses.mean_squared_error(y, target)

    def watch(self, model, settings):
        """Return `evaluate_regression` of the held-out samples."""
        return evaluation.evaluate_regression(model, *self.validation, settings.choices)


@dataclass(frozen=True, eq=False)
class RelativeRegression(Regression):
    """Which numbers are they? As `Regression`, but each row's error counts relative to its target's size.

    Parameters
    ----------
    x : ndarray (n, n_in)
    target : ndarray (n, n_out)
    validation : tuple of (x, target), optional
        Data to watch, instead of a share of the training data.
    validation_fraction : float in [0, 1)

    Notes
    -----
    Minimised and watched is the mean over the rows of |y - target|^2 / |target|^2.
    """

    def loss(self, y, target):
        """Return `losses.mean_squared_error` of rows divided by their targets' size, times their length."""
        scale, n_out = relative_scale(target), y.dtype.type(y.shape[-1])
        value, dy = losses.mean_squared_error(scale * y, scale * target)
        return n_out * value, n_out * scale * dy

    def watch(self, model, settings):
        """Return the relative error of hard inference."""
        x, target = self.validation
        difference = relative_scale(target) * (model.forward_hard(x) - target)
        return {"relative_error": float(np.square(difference, dtype=np.float64).sum(-1).mean())}


def relative_scale(target):
    """1 / |row|, for each row, (n, 1); at most a million times that of a usual row."""
    size = np.linalg.norm(target, axis=-1, keepdims=True)
    return (1 / np.maximum(size, 1e-6 * size.mean() + np.finfo(size.dtype).tiny)).astype(target.dtype)


# ---------------------------------------------------------------------- losses with gradients


def regularised(layer, x, loss, settings, rng=None, input_gradient=False):
    """A loss of the output, plus what the layer is regularised by; and all gradients.

    Parameters
    ----------
    layer : Layer
    x : ndarray (..., n_in)
    loss : callable
        From the output to its loss and the gradient of that.
    settings : Settings
    rng : numpy.random.Generator, optional
        Draws noise and transpositions.
    input_gradient : bool
        Whether `dx` is wanted.

    Returns
    -------
    loss : scalar
    grads : Layer
    dx : ndarray (..., n_in), or None
    """
    y, tape = forward_training(layer, x, settings, rng)  # (B, I) -> (B, O)
    value, dy = loss(y)  # dy (B, O)
    further, extra = penalty(layer, tape, settings)  # its gradients enter the backward pass where they arise
    return value + further, *layer.backward(tape, dy, **extra, input_gradient=input_gradient)  # loss, grads, dx


def objective(layer, x, labels, settings=None, rng=None, input_gradient=False):
    """Cross-entropy, plus what the layer is regularised by; and all gradients.

    Parameters
    ----------
    layer : Layer
    x : ndarray (..., n_in)
    labels : ndarray of int (...)
    settings : Settings, optional
        By default `Settings()`: no penalties, choices as in the paper.
    rng, input_gradient
        As in `regularised`.

    Returns
    -------
    loss : scalar
    grads : Layer
    dx : ndarray (..., n_in), or None
    """
    settings = Settings() if settings is None else settings
    return regularised(layer, x, lambda y: losses.cross_entropy(y, labels), settings, rng, input_gradient)


def digest(array):
    """Return a SHA-256 of an array's dtype, shape and contents."""
    array = np.ascontiguousarray(array)  # the digest is of values in C order, not of a layout
    sha = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())  # bytes alone would not tell (2, 3) from (3, 2)
    sha.update(array.reshape(-1).view(np.uint8))  # without a copy
    return sha.hexdigest()
