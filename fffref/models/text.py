"""Text as a task: continue it (causal), or guess what is hidden in it (masked).

The last tenth of a text, by position, is held out.

# B sequences, S positions, V tokens
"""

from dataclasses import dataclass, replace

import numpy as np

from .. import checks
from ..training import losses
from ..training.optim import Adam, Clipped
from ..training.penalties import CHOICES, options_used, penalty
from ..training.recipes import Recipe, hardening
from ..training.schedules import OneCycle
from ..training.tasks import Task, digest

AT_ONCE = 64  # sequences, in evaluation
EPOCHS = 20  # of a run, whatever its number of steps: after each, a checkpoint is written


def recipe(ff, learning_rate, batch_size, route_gradient=None):
    """Return how a language model is trained: with nanoGPT's optimiser, a tree of leaves by the hardening recipe.

    Parameters
    ----------
    ff : str
        As in `Sizes`.
    learning_rate : float
        Peak of the one-cycle schedule.
    batch_size : int
    route_gradient : {None, "straight-through"}
        As in `PathFFF.backward`; its backward pass is then not the compiled one.

    Returns
    -------
    Recipe
    """
    make = hardening if ff == "leaf" else Recipe  # only a soft tree has something to harden
    balance = {"balance_weight": 0.1} if ff in ("moe", "top") else {}  # the weight of Shazeer et al.
    return make(
        epochs=EPOCHS, batch_size=batch_size, learning_rate=OneCycle(learning_rate, warmup=0.05),
        route_gradient=route_gradient, fast=route_gradient is None,
        optimizer=Clipped(Adam(beta2=0.99, weight_decay=0.1), 1.0), **balance,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Text(Task):
    """What both tasks share: tokens to train on, tokens held out, windows of them.

    Parameters
    ----------
    train, validation : ndarray of int (n,)
        Tokens.
    context : int
        Positions of a sequence.
    epoch : int
        Steps that count as an epoch: after each, the loop may watch and save.
    """

    train: np.ndarray
    validation: np.ndarray
    context: int = 64
    epoch: int = 100

    NEED = 0  # tokens beyond a context

    def __post_init__(self):
        checks.integer("context", self.context, 1)
        checks.integer("epoch", self.epoch, 1)
        for name in ("train", "validation"):
            tokens = getattr(self, name)
            if not isinstance(tokens, np.ndarray) or tokens.dtype.kind not in "iu" or tokens.ndim != 1:
                raise checks.InputTypeError(f"{name} must be an array of token numbers (n,), got {tokens!r:.60}")
            if len(tokens) < self.context + self.NEED:
                raise checks.InputError(
                    f"the {name} part of the text has {len(tokens)} tokens, shorter than a context of {self.context}"
                    f"{' and the token after it' if self.NEED else ''}; take a longer text or a shorter context"
                )

    @classmethod
    def of(cls, ids, context, **options):
        """Return the task of a text: the first nine tenths, by position, to train on, the rest held out."""
        cut = int(len(ids) * 0.9)  # by position: windows that overlap would leak if drawn at random
        return cls(train=ids[:cut], validation=ids[cut:], context=context, **options)

    def check(self, model):
        """Refuse a model with too few positions or words."""
        if self.context > model.max_length:
            raise checks.InputError(f"context {self.context} is longer than the model's {model.max_length} positions")
        # a token that the model lacks would index past its words
        largest = max(self.train.max(), self.validation.max())
        if largest >= model.vocabulary:
            raise checks.InputError(f"the text has token {largest}, the model knows 0 to {model.vocabulary - 1}")

    def facts(self):
        """Digests of both parts, and what a window is."""
        return {"train": digest(self.train), "validation": digest(self.validation), "context": self.context,
                "epoch": self.epoch, "task": type(self).__name__}  # fmt: skip

    def steps(self, batch_size):
        """Steps of an epoch."""
        return self.epoch

    def windows(self, batch_size, rng):
        """Windows of the text to train on, anywhere, each place as likely: (B, S + NEED)."""
        length = self.context + self.NEED
        starts = rng.integers(0, len(self.train) - length + 1, batch_size)  # (B,), with repetition
        return self.train[starts[:, None] + np.arange(length)]  # (B, 1) + (length,) -> (B, length)

    def objective(self, model, batch, settings, rng):
        """Cross-entropy of the tokens asked for, and penalties of the FF layers; and all gradients."""
        ids, at, targets = batch
        logits, tape = model.forward(ids, None, at, settings, rng)  # (B, S, V), or (len(at), V)
        loss, dlogits = losses.cross_entropy(logits, targets)  # scalar, shape of logits
        value, extra = penalty(model, tape, settings)  # of all FF layers; 0 where there is nothing to regularise
        return loss + value, model.backward(tape, dlogits, **extra)  # no dx: token ids have no gradient

    def watch(self, model, settings):
        """Return the loss over the whole held-out part, in nats a token: routing hard, and as soft as in training.

        The soft one is None where no layer is soft.
        """
        hard, soft, n = 0.0, 0.0, 0
        calm = replace(settings, choices=settings.choices.calm())  # without noise: the mixture itself is judged
        is_soft = bool(options_used(model) & CHOICES)  # a hard model's soft pass would give the same again
        for ids, at, targets in self.held_out():
            hidden = model.hidden(ids)  # (B, S) -> (B, S, H), routing hard
            hidden = hidden if at is None else hidden.reshape(-1, hidden.shape[-1])[at]  # -> (len(at), H)
            hard += _total(model.head(hidden), targets)  # a sum: windows differ in length
            soft += _total(model.forward(ids, None, at, calm)[0], targets) if is_soft else 0
            n += targets.size
        return {"validation_loss": hard / n, "soft_loss": soft / n if is_soft else None}


def _total(logits, targets):
    """Sum of -log softmax(logits)[target]."""
    loss, _ = losses.cross_entropy(logits, targets)
    return float(loss) * targets.size  # the mean, undone


@dataclass(frozen=True, eq=False)
class CausalText(Text):
    """Tell the next token at every position of a window."""

    NEED = 1

    def batches(self, batch_size, rng):
        """Windows, anywhere in the text: token ids (B, S), and what follows each."""
        for _ in range(self.epoch):
            windows = self.windows(batch_size, rng)
            yield windows[:, :-1], None, windows[:, 1:]  # (B, S), all rows, (B, S): shifted by one

    def held_out(self):
        """Windows side by side, so that every token but the first is asked for once; the last may be shorter."""
        ids, S = self.validation, self.context
        n_whole = (len(ids) - 1) // S
        # (n,) -> (n_whole, S)
        inputs, targets = (part[: n_whole * S].reshape(n_whole, S) for part in (ids[:-1], ids[1:]))
        for start in range(0, n_whole, AT_ONCE):
            yield inputs[start : start + AT_ONCE], None, targets[start : start + AT_ONCE]
        if n_whole * S < len(ids) - 1:  # the rest, one sequence of fewer positions
            yield ids[None, n_whole * S : -1], None, ids[None, n_whole * S + 1 :]


@dataclass(frozen=True, eq=False)
class MaskedText(Text):
    """Tell the tokens of a window that were hidden.

    Parameters
    ----------
    train, validation, context, epoch
        As in `Text`.
    mask : int
        Number of the token that stands in their place, always; BERT lets some stand, or exchanges them.
    share : float in (0, 1]
        Probability that a position is hidden; one at least is.
    """

    mask: int = 0
    share: float = 0.2

    def __post_init__(self):
        super().__post_init__()
        checks.integer("mask", self.mask, 0)
        checks.number("share", self.share, "(0, 1]")

    def facts(self):
        """As of `Text`, and what is hidden."""
        return super().facts() | {"mask": self.mask, "share": self.share}

    def check(self, model):
        """Refuse a model that has no such token, too."""
        super().check(model)
        checks.integer("mask", self.mask, 0, model.vocabulary - 1)

    def batches(self, batch_size, rng):
        """Windows, anywhere in the text: token ids (B, S) with the mask's, the rows hidden, and what was there."""
        for _ in range(self.epoch):
            yield self._hidden(self.windows(batch_size, rng), rng)

    def held_out(self):
        """Windows side by side; what is hidden of them is the same at every call."""
        # a seed of its own: losses of epochs can be compared
        ids, S, rng = self.validation, self.context, np.random.default_rng(0)
        whole = ids[: len(ids) // S * S].reshape(-1, S)  # (n,) -> (n_whole, S)
        for start in range(0, len(whole), AT_ONCE):
            yield self._hidden(whole[start : start + AT_ONCE], rng)

    def _hidden(self, windows, rng):
        """Hide each position with probability `share`, and one at least."""
        chance = rng.random(windows.shape)  # (B, S)
        # rows, counted over all sequences; the smallest is always in
        at = np.flatnonzero(chance <= max(self.share, chance.min()))
        ids = windows.copy()
        ids.reshape(-1)[at] = self.mask
        return ids, at, windows.reshape(-1)[at]  # (B, S), (len(at),), (len(at),)
