"""A causal model goes on with a text, a token at a time: keys and values of what was read are kept, not computed again.

# s tokens read at once, L tokens read so far, H hidden width, h heads of width d, V words
"""

from typing import NamedTuple

import numpy as np

from .. import checks
from . import parts
from .stand_ins import Exchanged


class Reader:
    """What a model has read of one sequence: for every block, the keys and values (h, L, d) of its tokens.

    Parameters
    ----------
    model : Transformer
        Causal.
    instead : dict of str to callable, optional
        As in `Transformer.hidden`: compiled FF layers, for instance.
    compiled : bool
        Whether a token by itself goes through compiled norms and attention: at one row, NumPy's calls cost more than
        its arithmetic. The FF layers handed in must then take a row by itself, (H,).

    Raises
    ------
    ValueError
        If the model is not causal.
    """

    def __init__(self, model, instead=None, compiled=False):
        if not model.causal:
            raise checks.InputError("the model fills gaps and cannot go on with a text; use fffref fill-mask")
        self.model, self.run, self.length = model, model.parts() | (instead or {}), 0
        heads = model.blocks[0].attention.heads
        shape = len(model.blocks), heads, model.max_length, model.hidden_width // heads  # layers, h, L, d
        # room for a whole sequence, filled as it is read
        self.keys, self.values = (np.empty(shape, model.dtype) for _ in range(2))
        self.rows = _RowWeights.of(model) if compiled else None

    def read(self, ids):
        """Read tokens; return the logits (V,) of the one that follows.

        Parameters
        ----------
        ids : ndarray of int (s,), at least one

        Returns
        -------
        logits : ndarray (V,)

        Raises
        ------
        ValueError
            If there is no room for them: a sequence has at most `max_length` tokens.
        """
        model, run, start = self.model, self.run, self.length
        ids, _ = model.checked(ids)
        if start + len(ids) > model.max_length:
            raise checks.InputError(f"a sequence has at most {model.max_length} tokens, got {start + len(ids)}")
        if self.rows is not None and len(ids) == 1:
            return self._read_one(ids)
        # start: positions go on where they were
        x, _ = parts.embed(ids[None], model.embedding, model.eps, start)  # (s, H)
        for i, block in enumerate(model.blocks):
            # the block's lines are those of `Transformer.hidden`
            x += self._attention(i, run[f"blocks.{i}.norm1"](x), block.attention)
            if block.ff is not None:
                x += run[f"blocks.{i}.ff"](run[f"blocks.{i}.norm2"](x))
        self.length += len(ids)  # after all blocks: each wrote at the same place
        return model.head(run["final_norm"](x[-1:]))[0]  # only the last token's logits are wanted: (1, H) -> (V,)

    def _read_one(self, ids):
        """`read` for one token, its row (H,) in compiled code: the same lines."""
        from ..fast import decoding

        model, eps = self.model, self.model.eps
        x = parts.embed(ids[None], model.embedding, eps, self.length)[0][0]  # (H,)
        normal = np.empty_like(x)
        for i, (norm1, attention, norm2) in enumerate(self.rows.blocks):
            decoding.add_attention_jit(norm1, attention, x, self.keys[i], self.values[i], self.length)
            if norm2 is not None:
                decoding.norm_jit(norm2, x, normal)
                x += self.run[f"blocks.{i}.ff"](normal)
        self.length += 1
        decoding.norm_jit(self.rows.final_norm, x, normal)
        return model.head(normal)

    def _attention(self, i, x, part):
        """`parts.attention` for the rows that are new, with keys and values of all: (s, H) -> (s, H)."""
        start, stop = self.length, self.length + len(x)  # s = stop - start, L = stop
        q, k, v = (new[0] for new in parts.split_heads(x, part, 1))  # (h, s, d) each
        # an old token's never change: it sees none that are later
        self.keys[i, :, start:stop], self.values[i, :, start:stop] = k, v
        scores = (q * part.factor) @ self.keys[i, :, :stop].swapaxes(1, 2)  # (h, s, L)
        if len(x) > 1:  # a single new token sees all there is
            scores += parts.later(stop, x.dtype)[start:]  # (s, L): the last rows of the whole table
        mixed = parts.softmax(scores) @ self.values[i, :, :stop]  # (h, s, d)
        return mixed.swapaxes(0, 1).reshape(x.shape) @ part.out.T  # (h, s, d) -> (s, H)


class _RowWeights(NamedTuple):
    """The weights of a model's norms and attention as kernels take them: for every block, and of the last norm."""

    blocks: list
    final_norm: tuple

    @classmethod
    def of(cls, model):
        """Shared with the model, never copied; ValueError if an array is not C-contiguous."""
        from ..fast import decoding
        from ..fast.base import shared

        def arrays(part):
            """A part's two arrays."""
            return [shared(name, array, model.dtype) for name, array in part.arrays().items()]

        def norm(part):
            """As kernels take it."""
            return None if part is None else decoding.NormWeights(*arrays(part), model.eps)

        def mix(part):
            """As kernels take it."""
            return decoding.AttentionWeights(*arrays(part), part.heads, part.factor)

        blocks = [(norm(block.norm1), mix(block.attention), norm(block.norm2)) for block in model.blocks]
        return cls(blocks, norm(model.final_norm))


def sample(model, ids, n, temperature=1.0, rng=None):
    """Go on with a text, token by token.

    Where a sequence is full, its second half is read again as the beginning of another one, so that a text may be
    as long as one likes; what is older is forgotten.

    Parameters
    ----------
    model : Transformer, or Exchanged
    ids : ndarray of int (s,)
        The beginning, at least one token; of a longer one than the model has positions, the end is read.
    n : int
        Tokens wanted.
    temperature : float, at least 0
        Divides the logits; 0 takes the most likely token always.
    rng : numpy.random.Generator
        Not needed at temperature 0.

    Yields
    ------
    int
        The next token.

    Raises
    ------
    TypeError, ValueError
        If the beginning is empty or unknown, the model is not causal, or a number is out of its range.
    """
    n, temperature = checks.integer("n", n, 0), checks.number("temperature", temperature, "[0, inf)")
    if temperature > 0:
        checks.generator("rng", rng)
    model = model if isinstance(model, Exchanged) else Exchanged(model, {})
    if len(ids) == 0:
        raise checks.InputError("the beginning is empty; give at least one token, such as a line's end")
    # checked before the first token is asked for: a generator would wait
    reader = Reader(model.model, model.instead, model.compiled)
    return _samples(reader, list(map(int, ids)), n, lambda logits: _draw(logits, temperature, rng))


def _samples(reader, ids, n, draw):
    """The generator behind `sample`."""
    model, unread = reader.model, ids[-reader.model.max_length :]  # the end of a beginning that is too long
    recent = list(unread)
    for _ in range(n):
        # positions are counted from 0: a window that moves by one would have to be read anew for every token
        if reader.length + len(unread) > model.max_length:
            unread = recent[-max(1, model.max_length // 2) :]
            # keys of the old positions are of no use at new ones
            reader, recent = Reader(model, reader.run, reader.rows is not None), list(unread)
        token = draw(reader.read(np.array(unread)))  # all of the beginning at once, then one by one
        unread = [token]
        recent.append(token)
        yield token


def _draw(logits, temperature, rng):
    """A token from softmax(logits / temperature), in float64."""
    logits = logits.astype(np.float64)
    if not np.isfinite(logits).all():
        raise checks.InputError("the model's answer is not finite: its weights hold NaN or inf; train it anew")
    if temperature == 0:
        return int(logits.argmax())
    mass = np.exp((logits - logits.max()) / temperature).cumsum()  # (V,), not divided by its sum: the draw is scaled
    return int(np.searchsorted(mass, rng.random() * mass[-1], side="right"))  # side: a token of mass 0 is never drawn
