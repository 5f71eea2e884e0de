"""UltraFastBERT, whole: the encoder for masked words that the second paper trained, and its dense twin; inference only.

Plain NumPy, a function is a formula. The FF layers are the layers of this package, as they are or compiled. Tokens of
all sequences are rows of one matrix, because only attention looks at more than one of them.

# B sequences, S positions, R = B S rows, H hidden width, h heads of width d = H / h, V words

References: P. Belcak and R. Wattenhofer, "Exponentially Faster Language Modelling", arXiv 2311.10770, 2023;
J. Geiping and T. Goldstein, "Cramming: Training a Language Model on a Single GPU in One Day", arXiv 2212.14034, 2022.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .. import checks
from ..formats import ultrafastbert
from ..layers.dense_ff import DenseFF
from ..layers.path_fff import PathFFF


class Norm(NamedTuple):
    """A LayerNorm's scale and shift, (H,) each."""

    weight: np.ndarray
    bias: np.ndarray


class Block(NamedTuple):
    """A layer of the encoder: attention's matrices, qkv (3 H, H) and dense (H, H), and an FF layer."""

    norm1: Norm
    qkv: np.ndarray
    norm_factor: np.ndarray
    dense: np.ndarray
    norm2: Norm
    ff: PathFFF | DenseFF


# ---------------------------------------------------------------------- formulas


def layer_norm(x, norm, eps):
    """(x - mean) / sqrt(variance + eps) * weight + bias, row by row: (R, H) -> (R, H)."""
    x = x - x.mean(1, keepdims=True)
    variance = np.einsum("rh,rh->r", x, x) / x.shape[1]
    x /= np.sqrt(variance + eps)[:, None]
    x *= norm.weight
    x += norm.bias
    return x


def softmax(scores):
    """exp(scores) / sum of exp(scores), over the last axis, in place; the largest is subtracted lest exp overflow."""
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)
    return scores


def sinusoid(length, width):
    """Sines in the even columns, cosines in the odd, of position * exp(-2 i ln(10000) / width): (length, width).

    In float64. The authors compute their table in float32, which is within 1e-5 of this at 128 positions.
    """
    frequency = np.exp(np.arange(0, width, 2) * (-np.log(10000) / width))
    angle = np.arange(length)[:, None] * frequency
    table = np.empty((length, width))
    table[:, 0::2], table[:, 1::2] = np.sin(angle), np.cos(angle[:, : width // 2])
    return table


def attention(x, block, heads, hidden_from):
    """Each position's mixture of the values of all allowed positions of its sequence.

    softmax(q k^T norm_factor) v for every head, then `dense`. x (R, H) -> (R, H); `hidden_from` (B, S), True where
    nobody may look.
    """
    (B, S), (R, H) = hidden_from.shape, x.shape
    qkv = (x @ block.qkv.T).reshape(B, S, heads, 3, H // heads)  # (R, H) @ (H, 3H), a head's q, k and v side by side
    q, k, v = qkv.transpose(3, 0, 2, 1, 4)  # (B, h, S, d) each
    q *= block.norm_factor
    scores = q @ k.swapaxes(2, 3)  # (B, h, S, S)
    if hidden_from.any():
        scores += np.where(hidden_from, -np.inf, 0).astype(x.dtype)[:, None, None]
    mixed = np.empty((B, S, heads, H // heads), x.dtype)
    np.matmul(softmax(scores), v, out=mixed.swapaxes(1, 2))
    return mixed.reshape(R, H) @ block.dense.T


def _hidden_from(mask, shape):
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


# ---------------------------------------------------------------------- the model


@dataclass(frozen=True, eq=False)
class Bert:
    """A crammedBERT whose FF layers are fast feedforward networks (UltraFastBERT) or dense.

    Parameters
    ----------
    arch : Arch
        Its sizes.
    words : ndarray (V, H)
        The word embedding, and, transposed, what turns hidden states into logits.
    positions : ndarray (max_length, H)
        The scaled sinusoid.
    embedding_norm, final_norm : Norm
    blocks : tuple of Block
    ffs : tuple of callable
        What computes each block's FF layer, rows to rows: `forward_hard` of its layer, or something that does the
        same faster, or slower.

    Notes
    -----
        x = norm(words[ids] + positions)
        for every block:  x = x + attention(norm1(x));  x = x + ff(norm2(x))
        logits = final_norm(x) words^T

    A weight of NaN makes NaN of whatever it reaches, silently; in a tree, a logit of NaN turns left.

    References
    ----------
    Belcak and Wattenhofer, arXiv 2311.10770, section 3; the formulas are those of its repository.
    """

    arch: ultrafastbert.Arch
    words: np.ndarray
    positions: np.ndarray
    embedding_norm: Norm
    blocks: tuple
    final_norm: Norm
    ffs: tuple

    def __call__(self, ids, mask=None):
        """Logits of all words at all positions.

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
        return hidden @ self.words.T

    def hidden(self, ids, mask=None):
        """The encoder's output: as `__call__`, but without the head.

        Returns
        -------
        hidden : ndarray (..., S, H)
        """
        ids, hidden_from = self._checked(ids, mask)
        x = self.embed(ids.reshape(hidden_from.shape))
        for block, ff in zip(self.blocks, self.ffs, strict=True):
            x += attention(layer_norm(x, block.norm1, self.arch.eps), block, self.arch.heads, hidden_from)
            x += ff(layer_norm(x, block.norm2, self.arch.eps))
        return layer_norm(x, self.final_norm, self.arch.eps).reshape(*ids.shape, self.arch.hidden)

    def embed(self, ids):
        """Words and positions: (B, S) -> (R, H)."""
        x = self.words[ids]  # (B, S, H)
        x += self.positions[: ids.shape[1]]
        return layer_norm(x.reshape(-1, self.arch.hidden), self.embedding_norm, self.arch.eps)

    def _checked(self, ids, mask):
        """Token ids, and where not to look (B, S)."""
        ids = np.asarray(ids)
        if ids.ndim == 0 or ids.size == 0:
            raise checks.InputError(f"ids must have shape (..., S) with at least one token, got {ids.shape}")
        if ids.dtype.kind not in "iu":
            raise checks.InputTypeError(
                f"ids must be integers, got {ids.dtype}; pass token numbers, as a tokenizer gives them"
            )
        S, last = ids.shape[-1], self.arch.vocabulary - 1
        if S > self.arch.max_length:
            raise checks.InputError(
                f"a sequence has at most {self.arch.max_length} tokens, got {S}; shorten or split it"
            )
        if ids.min() < 0 or ids.max() > last:
            wrong = ids.min() if ids.min() < 0 else ids.max()
            raise checks.InputError(f"ids must lie in 0 to {last}, got {wrong}; is the tokenizer this model's?")
        return ids, np.zeros((ids.size // S, S), bool) if mask is None else _hidden_from(mask, ids.shape)

    # ------------------------------------------------------------------ where models come from

    @classmethod
    def load(cls, folder, fast=False, threads=1):
        """Read a model in the form of UltraFastBERT's release.

        Parameters
        ----------
        folder : path-like
            Holds config.json and model.safetensors. Every tensor is accounted for.
        fast : bool
            Compile the FF layers, as `compiled` does.
        threads : int, at least 1
            Among which rows are shared out if `fast`; they also share the work of loading. (Matrix products are the
            BLAS's, which has threads of its own.)

        Returns
        -------
        Bert
            Its weights are the file's, mapped and read when first used, but for the FF layers' output weights,
            which have to be turned over. The file must stay as it is.

        Raises
        ------
        TypeError, ValueError
            If a file is missing or damaged, asks for another model, or does not hold what it should.
        """
        threads = checks.integer("threads", threads, 1)
        bert = cls.of(*ultrafastbert.load(folder), threads)
        return bert.compiled(threads) if fast else bert

    @classmethod
    def of(cls, arch, tensors, threads=1):
        """Make a model of an `Arch` and the released tensors, a dict by name."""
        tensors = ultrafastbert.checked(arch, tensors)
        norm = lambda name: Norm(tensors[name + "weight"], tensors[name + "bias"])  # noqa: E731

        def block(i):
            """Layer i of the encoder."""
            layer = ultrafastbert.LAYER.format(i)
            own = layer + "attn.self_attention."
            return Block(
                norm(layer + "norm1."), tensors[own + "query_key_value.weight"], tensors[own + "norm_factor"],
                tensors[layer + "attn.dense.weight"], norm(layer + "norm2."), ultrafastbert.ff_layer(arch, tensors, i),
            )  # fmt: skip

        with ThreadPoolExecutor(threads) as pool:
            blocks = tuple(pool.map(block, range(arch.layers)))
        words, scale = tensors[ultrafastbert.WORDS], tensors["encoder.embedding.pos_embedding.scale_factor"]
        positions = scale * sinusoid(arch.max_length, arch.hidden).astype(words.dtype)
        return cls(
            arch, words, positions, norm("encoder.embedding.norm."), blocks, norm("encoder.final_norm."),
            tuple(block.ff.forward_hard for block in blocks),
        )  # fmt: skip

    @classmethod
    def init(cls, rng, arch, dtype=np.float32):
        """Draw a model, as the authors' code does before training.

        Parameters
        ----------
        rng : numpy.random.Generator
        arch : Arch
        dtype : float32 or float64

        Returns
        -------
        Bert
        """
        return cls.of(arch, ultrafastbert.draw(rng, arch, dtype))

    def compiled(self, threads=1):
        """The same model, its FF layers compiled.

        Parameters
        ----------
        threads : int, at least 1
            As in `fffref.jit`.

        Returns
        -------
        Bert
        """
        from ..fast import jit  # imported where needed: Numba takes its time

        return replace(self, ffs=tuple(jit(block.ff, threads) for block in self.blocks))
