"""The transformer: a record of records, with any feedforward layer of this package, or none; causal or not.

    x = norm(words[ids] + scale * sinusoid)
    for every block:  x = x + attention(norm1(x));  x = x + ff(norm2(x))
    logits = final_norm(x) words^T

Without `causal` it is crammedBERT and, with `PathFFF`, UltraFastBERT: `models.bert` reads and writes the released form.

# B sequences, S positions, R = B S rows, H hidden width, V words
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .. import checks
from ..layers.dense_ff import DenseFF
from ..layers.path_fff import PathFFF
from ..layers.record import Layer, Record
from ..training.penalties import compiled, forward_training, penalty
from . import parts
from .parts import Attention, Embedding, Norm


@dataclass(frozen=True, eq=False)
class Block(Record):
    """A layer of the transformer; without an FF layer, `norm2` and `ff` are None."""

    norm1: Norm
    attention: Attention
    norm2: Norm | None
    ff: Layer | None


class BlockTape(NamedTuple):
    """Tapes of a block's parts."""

    norm1: parts.NormTape
    attention: parts.AttentionTape
    norm2: parts.NormTape | None
    ff: object


class Tape(NamedTuple):
    """What `Transformer.forward` keeps: the parts' tapes, and the rows whose logits were asked for."""

    embedding: parts.EmbeddingTape
    blocks: list
    final_norm: parts.NormTape
    at: np.ndarray | None
    hidden: np.ndarray


@dataclass(frozen=True, eq=False)
class Transformer(Record):
    """A language model.

    Parameters
    ----------
    embedding : Embedding
    blocks : tuple of Block
    final_norm : Norm
    max_length : int
        Positions: no sequence is longer.
    causal : bool
        A position then sees itself and those before it: the model continues a text. Else it fills gaps.
    ff_bias : bool
        Whether biases of a `DenseFF` are trained; a crammedBERT has none, they stay 0.
    eps : float
        Added to the variance in every norm.

    Notes
    -----
    A weight of NaN makes NaN of whatever it reaches, silently; in a tree, a logit of NaN turns left.

    References
    ----------
    Geiping and Goldstein, arXiv 2212.14034; Belcak and Wattenhofer, arXiv 2311.10770, section 3.
    """

    embedding: Embedding
    blocks: tuple
    final_norm: Norm
    max_length: int = 128
    causal: bool = False
    ff_bias: bool = False
    eps: float = 1e-12

    # ------------------------------------------------------------------ inference

    def __call__(self, ids, mask=None):
        """Logits of all words at all positions, routing hard.

        Parameters
        ----------
        ids : ndarray of int (..., S)
            Token ids; leading axes are batch.
        mask : ndarray of bool or of 0 and 1, (..., S), optional
            0 where a position is padding, which nobody looks at.

        Returns
        -------
        logits : ndarray (..., S, V)

        Raises
        ------
        TypeError, ValueError
            If `ids` are no integers, outside the vocabulary, none, or more than there are positions; if `mask` has
            another shape, other entries, or leaves nothing of a sequence.
        """
        return self.head(self.hidden(ids, mask))

    def head(self, hidden):
        """Logits (..., V) of hidden states (..., H), such as those of a few positions."""
        return parts.head(hidden, self.embedding)

    def hidden(self, ids, mask=None, instead=None):
        """The output of the last norm: as `__call__`, but without the head.

        Parameters
        ----------
        ids, mask
            As in `__call__`.
        instead : dict of str to callable, optional
            What to run in place of parts, by the names in `parts()`: a compiled FF layer, or a part with a clock.

        Returns
        -------
        hidden : ndarray (..., S, H)
        """
        ids, hidden_from = self.checked(ids, mask)
        run = self.parts() | (instead or {})
        x = run["embedding"](ids.reshape(hidden_from.shape))
        for i in range(len(self.blocks)):
            x += run[f"blocks.{i}.attention"](run[f"blocks.{i}.norm1"](x), hidden_from)
            if f"blocks.{i}.ff" in run:
                x += run[f"blocks.{i}.ff"](run[f"blocks.{i}.norm2"](x))
        return run["final_norm"](x).reshape(*ids.shape, -1)

    def parts(self):
        """Return the functions that `hidden` runs, a dict by name: rows to rows, in the order of the first run."""
        norm = lambda part: lambda x: parts.layer_norm(x, part, self.eps)[0]  # noqa: E731
        mix = lambda part: lambda x, hidden_from: parts.attention(x, part, hidden_from, self.causal)[0]  # noqa: E731
        functions = {"embedding": lambda ids: parts.embed(ids, self.embedding, self.eps)[0]}
        for i, block in enumerate(self.blocks):
            functions[f"blocks.{i}.norm1"] = norm(block.norm1)
            functions[f"blocks.{i}.attention"] = mix(block.attention)
            if block.ff is not None:
                functions[f"blocks.{i}.norm2"] = norm(block.norm2)
                functions[f"blocks.{i}.ff"] = block.ff.forward_hard
        return functions | {"final_norm": norm(self.final_norm)}

    def compiled(self, threads=1):
        """Return the same model for inference, its FF layers compiled.

        Parameters
        ----------
        threads : int, at least 1
            As in `fffref.jit`.

        Returns
        -------
        Exchanged
        """
        from ..fast import jit  # imported where needed: Numba takes its time

        return self.with_ffs(lambda layer: jit(layer, threads))

    def with_ffs(self, make):
        """Return the same model for inference, its FF layers computed by other functions.

        Parameters
        ----------
        make : callable
            From an FF layer to a function, rows to rows.

        Returns
        -------
        Exchanged
        """
        functions = {i: make(block.ff) for i, block in enumerate(self.blocks) if block.ff is not None}
        return Exchanged(self, {f"blocks.{i}.ff": function for i, function in functions.items()})

    # ------------------------------------------------------------------ training

    def forward(self, ids, mask=None, at=None, settings=None, rng=None):
        """Logits, and what `backward` needs; FF layers as in training: soft where they are.

        Parameters
        ----------
        ids, mask
            As in `__call__`.
        at : ndarray of int, optional
            Rows, counted over all sequences, whose logits are wanted; all unless given.
        settings : Settings, optional
            Of `training`: temperature, noise and the like. Without them, an FF layer's own `forward`.
        rng : numpy.random.Generator, optional
            For noise.

        Returns
        -------
        logits : ndarray (..., S, V), or (len(at), V)
        tape : Tape
        """
        return forward(self, self.ffs(), (ids, mask, at), settings, rng)

    def backward(self, tape, dlogits, extra=None):
        """Gradients of a loss, given its gradient with respect to the logits.

        Parameters
        ----------
        tape : Tape
            As `forward` returned it.
        dlogits : ndarray, shape of the logits
        extra : sequence of dict, optional
            One per block: further gradients for the `backward` of its FF layer; `penalty` returns them.

        Returns
        -------
        grads : Transformer
        """
        return backward(self, self.ffs(), tape, dlogits, extra)

    def ffs(self):
        """The FF layers, a list with one a block."""
        return [block.ff for block in self.blocks]

    @property
    def vocabulary(self):
        """Number of words."""
        return len(self.embedding.words)

    @property
    def hidden_width(self):
        """Width of a row, H."""
        return self.embedding.words.shape[1]

    @property
    def sizes(self):
        """The shape of every array, a dict by name."""
        return {name: array.shape for name, array in self.arrays().items()}

    def checked(self, ids, mask=None):
        """Return token ids as an array, and where not to look (B, S); refuse what is none."""
        ids = np.asarray(ids)
        if ids.ndim == 0 or ids.size == 0:
            raise checks.InputError(f"ids must have shape (..., S) with at least one token, got {ids.shape}")
        if ids.dtype.kind not in "iu":
            raise checks.InputTypeError(
                f"ids must be integers, got {ids.dtype}; pass token numbers, as a tokenizer gives them"
            )
        S, last = ids.shape[-1], self.vocabulary - 1
        if S > self.max_length:
            raise checks.InputError(f"a sequence has at most {self.max_length} tokens, got {S}; shorten or split it")
        if ids.min() < 0 or ids.max() > last:
            wrong = ids.min() if ids.min() < 0 else ids.max()
            raise checks.InputError(f"ids must lie in 0 to {last}, got {wrong}; is the tokenizer this model's?")
        return ids, np.zeros((ids.size // S, S), bool) if mask is None else padding(mask, ids.shape)


def padding(mask, shape):
    """Where nobody may look, (B, S), from a mask that says where one may."""
    mask = np.asarray(mask)
    if mask.dtype.kind not in "biu":
        raise checks.InputTypeError(f"mask must be boolean, or 0 and 1, got {mask.dtype}; 1 is a token, 0 is padding")
    if mask.shape != shape:
        raise checks.InputError(f"mask must have the shape of ids, {shape}, got {mask.shape}")
    if mask.min() < 0 or mask.max() > 1:
        raise checks.InputError(f"mask must be 0 or 1, got {mask.min()} to {mask.max()}; 1 is a token, 0 is padding")
    mask = mask.reshape(-1, shape[-1]) == 0
    if mask.all(1).any():
        raise checks.InputError(
            f"mask hides all of sequence {mask.all(1).argmax()}; leave it out, or keep a token of it"
        )
    return mask


# ---------------------------------------------------------------------- forward and backward


def forward(model, ffs, batch, settings, rng):
    """`Transformer.forward` with these FF layers, the model's own or their compiled forms."""
    ids, mask, at = batch
    ids, hidden_from = model.checked(ids, mask)
    x, embedding = parts.embed(ids.reshape(hidden_from.shape), model.embedding, model.eps)  # (B, S) -> (R, H)
    blocks = []
    for block, ff in zip(model.blocks, ffs, strict=True):
        normal, norm1 = parts.layer_norm(x, block.norm1, model.eps)
        y, mixing = parts.attention(normal, block.attention, hidden_from, model.causal)
        y += x  # in place: no tape holds y
        x = y
        norm2 = tape = None
        if ff is not None:
            normal, norm2 = parts.layer_norm(x, block.norm2, model.eps)
            y, tape = ff.forward(normal) if settings is None else forward_training(ff, normal, settings, rng)
            x += y
        blocks.append(BlockTape(norm1, mixing, norm2, tape))
    hidden, final_norm = parts.layer_norm(x, model.final_norm, model.eps)
    hidden = hidden if at is None else hidden[at]
    logits = parts.head(hidden, model.embedding)  # (R, V)
    logits = logits if at is not None else logits.reshape(*ids.shape, -1)
    return logits, Tape(embedding, blocks, final_norm, at, hidden)


def backward(model, ffs, tape, dlogits, extra=None):
    """`Transformer.backward` with these FF layers: the lines of `forward` in reverse."""
    extra = [{}] * len(ffs) if extra is None else extra
    words, dx = parts.head_backward(tape.hidden, model.embedding, dlogits.reshape(-1, model.vocabulary))
    if tape.at is not None:
        dx = _put(dx, tape.at, len(tape.final_norm.normal))
    final_norm, dx = parts.layer_norm_backward(tape.final_norm, model.final_norm, dx)
    blocks = []
    for block, ff, kept, more in reversed(list(zip(model.blocks, ffs, tape.blocks, extra, strict=True))):
        norm2 = grads = None
        if ff is not None:
            grads, dy = ff.backward(kept.ff, dx, **more)
            norm2, dy = parts.layer_norm_backward(kept.norm2, block.norm2, dy)
            dx = dx + dy
        mixing, dy = parts.attention_backward(kept.attention, block.attention, dx)
        norm1, dy = parts.layer_norm_backward(kept.norm1, block.norm1, dy)
        dx = dx + dy
        blocks.insert(0, Block(norm1, mixing, norm2, _without_biases(grads, model.ff_bias)))
    embedding = parts.embed_backward(tape.embedding, model.embedding, dx)
    embedding.words[...] += words  # tied: the words stand at both ends
    return replace(model, embedding=embedding, blocks=tuple(blocks), final_norm=final_norm)


def _put(rows, at, n_rows):
    """Rows at their places among zeros: (len(at), H) -> (R, H); a row that was asked for twice adds up."""
    whole = np.zeros((n_rows, rows.shape[1]), rows.dtype)
    np.add.at(whole, at, rows)
    return whole


def _without_biases(grads, ff_bias):
    """Gradients of 0 for biases that stay 0."""
    if ff_bias or type(grads) is not DenseFF:
        return grads
    return replace(grads, in_bias=np.zeros_like(grads.in_bias), out_bias=np.zeros_like(grads.out_bias))


@dataclass(frozen=True, eq=False)
class Exchanged:
    """A model of which some parts, by name, are computed by other functions; it shares the model's weights."""

    model: Transformer
    instead: dict[str, Callable]

    def __call__(self, ids, mask=None):
        """As `Transformer.__call__`."""
        return self.head(self.hidden(ids, mask))

    def hidden(self, ids, mask=None):
        """As `Transformer.hidden`."""
        return self.model.hidden(ids, mask, self.instead)

    def head(self, hidden):
        """As `Transformer.head`."""
        return self.model.head(hidden)

    @property
    def vocabulary(self):
        """Number of words."""
        return self.model.vocabulary


@dataclass(frozen=True, eq=False)
class InTraining:
    """A model whose FF layers are computed by compiled forms, which share its weights."""

    model: Transformer
    fast: list

    def forward(self, ids, mask=None, at=None, settings=None, rng=None):
        """As `Transformer.forward`."""
        return forward(self.model, self.fast, (ids, mask, at), settings, rng)

    def backward(self, tape, dlogits, extra=None):
        """As `Transformer.backward`; gradients of path trees hold `Rows`."""
        return backward(self.model, self.fast, tape, dlogits, extra)


@compiled.register
def _(model: Transformer):
    """Path trees compute what they visit; other layers, and they are the larger part, their GELU."""
    return InTraining(model, [_in_training(ff) for ff in model.ffs()])


def _in_training(ff):
    """An FF layer as `InTraining` runs it."""
    from ..fast.gelu import quick  # imported where needed: Numba takes its time

    if isinstance(ff, PathFFF):
        return compiled(ff)
    return None if ff is None else quick(ff)


@penalty.register(Transformer)
@penalty.register(InTraining)
def _(model, tape, settings):
    """The sum over the FF layers."""
    ffs = model.model.ffs() if isinstance(model, InTraining) else model.ffs()
    values, extra = [], []
    for ff, kept in zip(ffs, tape.blocks, strict=True):
        value, more = (0, {}) if ff is None else penalty(ff, kept.ff, settings)
        values.append(value)
        extra.append(more)
    return sum(values), {"extra": extra}
