"""The transformer: a record of records, with any feedforward layer of this package, or none; causal or not.

    x = norm(words[ids] + scale * sinusoid)
    for every block:  x = x + attention(norm1(x));  x = x + ff(norm2(x))
    logits = final_norm(x) words^T

Without `causal` it is crammedBERT and, with `PathFFF`, UltraFastBERT: `models.bert` reads and writes the released form.

# B sequences, S positions, R = B S rows, H hidden width, V words
"""

from dataclasses import dataclass, replace

from ..layers.path_fff import PathFFF
from ..layers.record import Layer, Record
from ..layers.top_leaves import TopLeaves
from ..training.penalties import compiled, penalty
from . import parts, tokens
from .blocks import Block, Tape, backward, forward  # noqa: F401 (records that belong to a model)
from .parts import Embedding, Norm
from .stand_ins import Exchanged, InTraining


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
        ids, hidden_from = self.checked(ids, mask)  # (..., S), (B, S)
        run = self.parts() | (instead or {})  # what was handed in takes the place of the part of its name
        x = run["embedding"](ids.reshape(hidden_from.shape))  # (B, S) -> (R, H)
        for i in range(len(self.blocks)):
            # norm first, then the sum: x itself is never normalised
            x += run[f"blocks.{i}.attention"](run[f"blocks.{i}.norm1"](x), hidden_from)
            if f"blocks.{i}.ff" in run:
                x += run[f"blocks.{i}.ff"](run[f"blocks.{i}.norm2"](x))
        return run["final_norm"](x).reshape(*ids.shape, -1)  # (R, H) -> (..., S, H)

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
                functions[f"blocks.{i}.ff"] = block.ff.forward_hard  # inference is hard, whatever training was
        return functions | {"final_norm": norm(self.final_norm)}

    def compiled(self, threads=1):
        """Return the same model for inference, its FF layers compiled; and, a token at a time, the rest too.

        Parameters
        ----------
        threads : int, at least 1
            As in `fffref.jit`.

        Returns
        -------
        Exchanged
        """
        from ..fast import jit  # imported where needed: Numba takes its time

        return replace(self.with_ffs(lambda layer: jit(layer, threads)), compiled=True)

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
        return tokens.checked(ids, mask, self.vocabulary, self.max_length)


# ---------------------------------------------------------------------- what training asks of a model


@compiled.register
def _(model: Transformer):
    """Path trees and top leaves compute what they visit; other layers, and they are the larger part, their GELU."""
    return InTraining(model, [_in_training(ff) for ff in model.ffs()])  # weights shared: it sees every step


def _in_training(ff):
    """An FF layer as `InTraining` runs it."""
    from ..fast.gelu import quick  # imported where needed: Numba takes its time

    if isinstance(ff, (PathFFF, TopLeaves)):
        return compiled(ff)
    return quick(ff) if isinstance(ff, Layer) else ff  # `Activated` as it is, and None


@penalty.register(Transformer)
@penalty.register(InTraining)
def _(model, tape, settings):
    """The sum over the FF layers."""
    ffs = model.model.ffs() if isinstance(model, InTraining) else model.ffs()
    values, extra = [], []
    for ff, kept in zip(ffs, tape.blocks, strict=True):
        value, more = (0, {}) if ff is None else penalty(ff, kept.ff, settings)  # a block without FF layer has none
        values.append(value)
        extra.append(more)
    return sum(values), {"extra": extra}  # one dict a block, as `backward` takes them
