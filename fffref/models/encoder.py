"""A BERT of the usual form as an encoder of sentences: MiniLM and its like, in NumPy; inference only.

It differs from `bert.py`'s model in its order, norms after each sum instead of before each layer, and in what is
learned: positions, token types, and a bias everywhere. Attention and norms are the same functions.

# B sequences, S positions, R = B S rows, H hidden width, h heads of width d = H / h, w width of the FF layer

References: J. Devlin et al., "BERT", arXiv 1810.04805; W. Wang et al., "MiniLM", arXiv 2002.10957; N. Reimers and
I. Gurevych, "Sentence-BERT", arXiv 1908.10084 (pooling).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .. import checks
from ..formats import bert as form
from ..layers.dense_ff import DenseFF
from ..layers.record import aligned
from . import tokens
from .parts import Norm, layer_norm, softmax

ROWS_AT_ONCE = 2048  # rows of one forward pass of `embed`: longer ones leave the caches


class EncoderBlock(NamedTuple):
    """A layer: attention's matrices side by side, (3 H, H) and (H, H), with biases; two norms; an FF layer."""

    qkv: np.ndarray
    qkv_bias: np.ndarray
    out: np.ndarray
    out_bias: np.ndarray
    norm1: Norm
    ff: object
    norm2: Norm


def attention(x, block, heads, hidden_from):
    """softmax(q k^T / sqrt(d)) v for every head, then `out`: (R, H) -> (R, H); `hidden_from` (B, S)."""
    (B, S), (R, H) = hidden_from.shape, x.shape
    qkv = x @ block.qkv.T  # (R, H) -> (R, 3H)
    qkv += block.qkv_bias  # in place: (3H,) for every row
    q, k, v = qkv.reshape(B, S, 3, heads, H // heads).transpose(2, 0, 3, 1, 4)  # (B, h, S, d) each
    # scaling q is less work than scaling scores
    scores = (q * x.dtype.type((H // heads) ** -0.5)) @ k.swapaxes(2, 3)  # (B, h, S, S)
    if hidden_from.any():  # without padding the sum is spared
        scores += np.where(hidden_from, -np.inf, 0).astype(x.dtype)[:, None, None]
    mixed = np.empty((B, S, heads, H // heads), x.dtype)
    np.matmul(softmax(scores), v, out=mixed.swapaxes(1, 2))  # written to where heads stand side by side
    return mixed.reshape(R, H) @ block.out.T + block.out_bias  # (B, S, h, d) -> (R, H)


@dataclass(frozen=True, eq=False)
class Encoder:
    """A BERT that turns tokens into hidden states, and sentences into unit vectors.

    Parameters
    ----------
    config : formats.bert.Config
    words, positions, types : ndarray (V, H), (max positions, H), (T, H)
    norm : Norm
        Of the embedding.
    blocks : tuple of EncoderBlock
        A block's `ff` is a layer of this package, or a compiled one: what has `forward_hard`, or can be called.

    Notes
    -----
        x = norm(words[ids] + positions + types[0])
        for every block:  x = norm1(x + attention(x));  x = norm2(x + ff(x))

    All tokens are of type 0, as in sentence encoders. A sentence's embedding is the mean of its tokens' hidden states,
    divided by its length.
    """

    config: form.Config
    words: np.ndarray
    positions: np.ndarray
    types: np.ndarray
    norm: Norm
    blocks: tuple

    def hidden(self, ids, mask=None, watch=None):
        """Return the hidden states of tokens.

        Parameters
        ----------
        ids : ndarray of int (..., S)
        mask : ndarray of bool or of 0 and 1, (..., S), optional
            0 where a position is padding, which nobody looks at.
        watch : callable, optional
            Called with (block's number, rows that enter its FF layer (R, H)).

        Returns
        -------
        hidden : ndarray (..., S, H)

        Raises
        ------
        TypeError, ValueError
            If ids or mask are of another type or shape, or outside what the model knows.
        """
        ids, hidden_from = self._checked(ids, mask)
        eps = self.config.layer_norm_eps
        x = self.words[ids.reshape(hidden_from.shape)]  # (B, S, H)
        x += self.positions[: ids.shape[-1]] + self.types[0]  # (S, H) + (H,), broadcast over B
        x = layer_norm(x.reshape(-1, self.config.hidden_size), self.norm, eps)[0]  # (R, H)
        for i, block in enumerate(self.blocks):
            # post-norm: the sum is normalised, not the input
            x = layer_norm(x + attention(x, block, self.config.num_attention_heads, hidden_from), block.norm1, eps)[0]
            if watch is not None:
                watch(i, x)  # what the FF layer is about to get
            x = layer_norm(x + self._ff(block.ff, x), block.norm2, eps)[0]
        return x.reshape(*ids.shape, -1)  # (R, H) -> (..., S, H)

    def embed(self, ids, mask):
        """Return unit vectors of sentences: the mean over real tokens, normalised.

        Parameters
        ----------
        ids, mask : ndarray (B, S)

        Returns
        -------
        embedding : ndarray (B, H)
        """
        ids, mask = np.asarray(ids), np.asarray(mask)
        if ids.ndim != 2 or mask.shape != ids.shape:
            raise checks.InputError(f"ids and mask must have one shape (B, S), got {ids.shape} and {mask.shape}")
        if len(ids) == 0:
            return np.empty((0, self.config.hidden_size), self.words.dtype)
        at_once = max(1, ROWS_AT_ONCE // ids.shape[1])
        parts = [self._pooled(ids[i : i + at_once], mask[i : i + at_once]) for i in range(0, len(ids), at_once)]
        return np.concatenate(parts)

    def with_ffs(self, layers):
        """Return the model with other FF layers, one a block."""
        if len(layers) != len(self.blocks):
            raise checks.InputError(f"layers must be {len(self.blocks)}, one a block, got {len(layers)}")
        blocks = (block._replace(ff=ff) for block, ff in zip(self.blocks, layers, strict=True))
        return replace(self, blocks=tuple(blocks))

    def compiled(self, threads=1):
        """Return the model with its FF layers compiled; `threads` as in `fffref.jit`."""
        from ..fast import jit  # imported where needed: Numba takes its time

        return self.with_ffs([jit(block.ff, threads) for block in self.blocks])

    @classmethod
    def load(cls, folder):
        """Read a model from its folder: see `formats.bert.load`."""
        return cls.of(*form.load(folder))

    @classmethod
    def of(cls, config, tensors):
        """Make a model of sizes and tensors, as `formats.bert.load` returns them."""
        norm = lambda name: Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"])  # noqa: E731
        blocks = tuple(_block(tensors, form.LAYER.format(i), norm) for i in range(config.num_hidden_layers))
        embedding = (tensors[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type"))
        return cls(config, *embedding, norm("embeddings.LayerNorm"), blocks)

    @staticmethod
    def _ff(ff, x):
        """A layer's hard inference, compiled or not."""
        return ff.forward_hard(x) if hasattr(ff, "forward_hard") else ff(x)

    def _pooled(self, ids, mask):
        """Unit vectors of a few sentences."""
        hidden = self.hidden(ids, mask)
        weight = np.asarray(mask, hidden.dtype)[:, None]  # (B, 1, S); padding weighs 0
        mean = (weight @ hidden)[:, 0] / weight.sum(2)  # (B, H)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)  # so that a dot product is a cosine

    def _checked(self, ids, mask):
        """Token ids, and where not to look (B, S)."""
        return tokens.checked(ids, mask, len(self.words), self.config.max_position_embeddings)


def _block(tensors, name, norm):
    """One layer of the encoder, its FF layer as a `DenseFF`."""
    parts = [f"{name}attention.self.{part}" for part in ("query", "key", "value")]
    ff = DenseFF(
        in_weight=tensors[f"{name}intermediate.dense.weight"],  # (w, H)
        in_bias=tensors[f"{name}intermediate.dense.bias"],
        out_weight=aligned(tensors[f"{name}output.dense.weight"].T),  # (H, w) -> (w, H): a neuron is a row
        out_bias=tensors[f"{name}output.dense.bias"],
        activation="gelu",
    )
    return EncoderBlock(
        # three of (H, H) -> (3H, H): one product instead of three
        qkv=np.concatenate([tensors[f"{part}.weight"] for part in parts]),
        qkv_bias=np.concatenate([tensors[f"{part}.bias"] for part in parts]),
        out=tensors[f"{name}attention.output.dense.weight"],
        out_bias=tensors[f"{name}attention.output.dense.bias"],
        norm1=norm(f"{name}attention.output.LayerNorm"),
        ff=ff,
        norm2=norm(f"{name}output.LayerNorm"),
    )
