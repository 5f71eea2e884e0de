"""The passes of training through a stack of blocks, and the tapes that they leave: `Transformer.forward`, `backward`.

The FF layers are handed in beside the model, because a compiled form may stand in for each. The backward pass is the
forward pass, line by line, in reverse; what is added to the residual stream gets the stream's own gradient.

# B sequences, S positions, R = B S rows, H hidden width, V words
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..layers.dense_ff import DenseFF
from ..layers.record import Layer, Record
from ..training.penalties import forward_training
from . import parts
from .parts import Attention, Norm


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


def forward(model, ffs, batch, settings, rng):
    """`Transformer.forward` with these FF layers, the model's own or their compiled forms."""
    # x is the residual stream: every part reads it through a norm and adds to it
    ids, mask, at = batch
    ids, hidden_from = model.checked(ids, mask)
    x, embedding = parts.embed(ids.reshape(hidden_from.shape), model.embedding, model.eps)  # (B, S) -> (R, H)
    blocks = []
    for block, ff in zip(model.blocks, ffs, strict=True):
        normal, norm1 = parts.layer_norm(x, block.norm1, model.eps)  # (R, H)
        y, mixing = parts.attention(normal, block.attention, hidden_from, model.causal)  # (R, H)
        y += x  # in place: no tape holds y
        x = y  # now x + attention(norm1(x))
        norm2 = tape = None
        if ff is not None:
            normal, norm2 = parts.layer_norm(x, block.norm2, model.eps)  # (R, H)
            # (R, H); soft where the layer is soft
            y, tape = ff.forward(normal) if settings is None else forward_training(ff, normal, settings, rng)
            x += y  # in place again: the norm's tape holds arrays of its own
        blocks.append(BlockTape(norm1, mixing, norm2, tape))
    hidden, final_norm = parts.layer_norm(x, model.final_norm, model.eps)  # (R, H)
    # only rows that are asked for meet V words: the head is the widest product
    hidden = hidden if at is None else hidden[at]
    logits = parts.head(hidden, model.embedding)  # (R, V)
    logits = logits if at is not None else logits.reshape(*ids.shape, -1)
    return logits, Tape(embedding, blocks, final_norm, at, hidden)


def backward(model, ffs, tape, dlogits, extra=None):
    """`Transformer.backward` with these FF layers: the lines of `forward` in reverse."""
    extra = [{}] * len(ffs) if extra is None else extra
    # (V, H), (R, H) or (len(at), H)
    words, dx = parts.head_backward(tape.hidden, model.embedding, dlogits.reshape(-1, model.vocabulary))
    if tape.at is not None:
        dx = _put(dx, tape.at, len(tape.final_norm.normal))
    final_norm, dx = parts.layer_norm_backward(tape.final_norm, model.final_norm, dx)
    blocks = []
    # the last block first
    for block, ff, kept, more in reversed(list(zip(model.blocks, ffs, tape.blocks, extra, strict=True))):
        norm2 = grads = None
        if ff is not None:
            grads, dy = ff.backward(kept.ff, dx, **more)  # more: gradients of its penalties
            norm2, dy = parts.layer_norm_backward(kept.norm2, block.norm2, dy)  # (R, H)
            dx = dx + dy  # by way of the sum, and by way of the layer
        mixing, dy = parts.attention_backward(kept.attention, block.attention, dx)
        norm1, dy = parts.layer_norm_backward(kept.norm1, block.norm1, dy)  # (R, H)
        dx = dx + dy  # the same once more, around attention
        # in the order of the model
        blocks.insert(0, Block(norm1, mixing, norm2, _without_biases(grads, model.ff_bias)))
    embedding = parts.embed_backward(tape.embedding, model.embedding, dx)  # (V, H), and that of scale and norm
    embedding.words[...] += words  # tied: the words stand at both ends
    return replace(model, embedding=embedding, blocks=tuple(blocks), final_norm=final_norm)


def _put(rows, at, n_rows):
    """Rows at their places among zeros: (len(at), H) -> (R, H); a row that was asked for twice adds up."""
    whole = np.zeros((n_rows, rows.shape[1]), rows.dtype)
    np.add.at(whole, at, rows)  # whole[at] += rows would keep one of several
    return whole


def _without_biases(grads, ff_bias):
    """Gradients of 0 for biases that stay 0."""
    if ff_bias or type(grads) is not DenseFF:
        return grads
    return replace(grads, in_bias=np.zeros_like(grads.in_bias), out_bias=np.zeros_like(grads.out_bias))
