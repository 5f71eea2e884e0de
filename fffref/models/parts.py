"""The parts of a transformer, each forward pass above its backward pass. A complex step passes through all.

Tokens of all sequences are rows of one matrix, because only attention looks at more than one of them. A backward pass
takes the tape of the forward pass and the gradient of its output, and walks the forward's lines in reverse.

# B sequences, S positions, R = B S rows, H hidden width, h heads of width d = H / h, V words

References: J. Geiping and T. Goldstein, "Cramming: Training a Language Model on a Single GPU in One Day", arXiv
2212.14034, 2022, whose model this is: norms first, no biases in attention, one matrix for words going in and out.
"""

import functools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ..layers.record import Record

# ---------------------------------------------------------------------- layer norm


@dataclass(frozen=True, eq=False)
class Norm(Record):
    """A layer norm's scale and shift, `weight (H,)` and `bias (H,)`."""

    weight: np.ndarray
    bias: np.ndarray

    SHAPES: ClassVar[dict[str, str]] = {"weight": "H", "bias": "H"}


class NormTape(NamedTuple):
    """What `layer_norm` keeps: `normal (R, H)`, the rows of mean 0 and variance 1, and `deviation (R, 1)`."""

    normal: np.ndarray
    deviation: np.ndarray


def layer_norm(x, norm, eps):
    """y = n * weight + bias, with n = (x - mean) / sqrt(variance + eps), row by row.

    Parameters
    ----------
    x : ndarray (R, H)
    norm : Norm
    eps : float

    Returns
    -------
    y : ndarray (R, H)
    tape : NormTape
    """
    mean = np.add.reduce(x, 1, keepdims=True) / x.dtype.type(x.shape[1])  # x.mean, without its overhead: (R, 1)
    normal = x - mean  # (R, H)
    variance = np.einsum("rh,rh->r", normal, normal) / x.shape[1]  # (R,), over H and not H - 1
    deviation = np.sqrt(variance + eps)[:, None]  # (R, 1)
    normal /= deviation  # in place: normal is an array of its own
    y = normal * norm.weight  # (R, H) * (H,)
    y += norm.bias
    return y, NormTape(normal, deviation)


def layer_norm_backward(tape, norm, dy):
    """dx = (g - mean(g) - n mean(g n)) / deviation, with g = dy * weight: what is left after mean and scale are taken.

    Parameters
    ----------
    tape : NormTape
    norm : Norm
    dy : ndarray (R, H)

    Returns
    -------
    grads : Norm
    dx : ndarray (R, H)
    """
    normal, deviation = tape
    grads = Norm(np.einsum("rh,rh->h", dy, normal), dy.sum(0))  # weight (H,), bias (H,)
    dx = dy * norm.weight  # g above (R, H)
    along = np.einsum("rh,rh->r", dx, normal) / dx.shape[1]  # mean(g n)
    dx -= dx.mean(1, keepdims=True)  # the mean was taken off: a shift of x moves nothing
    dx -= normal * along[:, None]  # the scale was taken off: nor does a stretch
    dx /= deviation
    return grads, dx


# ---------------------------------------------------------------------- embedding


@dataclass(frozen=True, eq=False)
class Embedding(Record):
    """What a token's number and its position become: `words (V, H)`, `scale (1,)` of the sinusoid, and a norm."""

    words: np.ndarray
    scale: np.ndarray
    norm: Norm

    SHAPES: ClassVar[dict[str, str]] = {"words": "VH", "scale": "1"}


class EmbeddingTape(NamedTuple):
    """What `embed` keeps: the token ids (B, S) and the norm's tape."""

    ids: np.ndarray
    norm: NormTape


@functools.lru_cache(maxsize=8)
def sinusoid(length, width):
    """Sines in the even columns, cosines in the odd, of position * exp(-2 i ln(10000) / width): (length, width).

    In float64, read-only. The authors compute their table in float32, which is within 1e-5 of this at 128 positions.
    """
    frequency = np.exp(np.arange(0, width, 2) * (-np.log(10000) / width))  # (width / 2,), 1 to about 1 / 10000
    angle = np.arange(length)[:, None] * frequency  # (length, width / 2)
    table = np.empty((length, width))
    table[:, 0::2], table[:, 1::2] = np.sin(angle), np.cos(angle[:, : width // 2])  # an odd width has one sine more
    table.flags.writeable = False  # the cache hands the same array to everybody
    return table


def _positions(start, stop, width):
    """Rows of the sinusoid: of a table whose length is a power of two, so that few are kept."""
    return sinusoid(1 << (stop - 1).bit_length(), width)[start:stop]


def embed(ids, embedding, eps, start=0):
    """x = norm(words[id] + scale * sinusoid[position]).

    Parameters
    ----------
    ids : ndarray of int (B, S)
    embedding : Embedding
    eps : float
    start : int
        Position of the first token.

    Returns
    -------
    x : ndarray (R, H)
    tape : EmbeddingTape
    """
    S, H = ids.shape[1], embedding.words.shape[1]
    x = embedding.words[ids]  # (B, S) -> (B, S, H)
    x += embedding.scale * _positions(start, start + S, H).astype(x.dtype)  # (S, H), broadcast over B
    x, tape = layer_norm(x.reshape(-1, H), embedding.norm, eps)  # (B, S, H) -> (R, H)
    return x, EmbeddingTape(ids, tape)


def embed_backward(tape, embedding, dx):
    """The gradient of a word is the sum over the rows where it stood; that of the scale goes through the sinusoid.

    Parameters
    ----------
    tape : EmbeddingTape
    embedding : Embedding
    dx : ndarray (R, H)

    Returns
    -------
    grads : Embedding
    """
    norm, dx = layer_norm_backward(tape.norm, embedding.norm, dx)  # (R, H)
    (B, S), (V, H) = tape.ids.shape, embedding.words.shape
    by_position = dx.reshape(B, S, H).sum(0)  # (S, H)
    scale = (by_position * _positions(0, S, H)).sum().reshape(1).astype(dx.dtype)  # (S, H) -> (1,)
    return Embedding(sum_by_word(tape.ids.reshape(-1), dx, V), scale, norm)


def sum_by_word(ids, dx, n_words):
    """Sum the rows of `dx` (R, H) that have the same word: (V, H), as a sparse product."""
    from scipy.sparse import csr_array  # imported where needed: `import fffref` stays quick

    R = len(ids)
    where = csr_array((np.ones(R, dx.dtype), ids, np.arange(R + 1)), shape=(R, n_words))  # (R, V)
    return where.T @ dx  # (V, R) @ (R, H)


# ---------------------------------------------------------------------- attention


@dataclass(frozen=True, eq=False)
class Attention(Record):
    """Attention's matrices, `qkv (3 H, H)`, a head's three parts one below the other, and `out (H, H)`.

    `heads` says how many there are; `factor` is what scores are multiplied by, 1 / sqrt(d) as a rule.
    """

    qkv: np.ndarray
    out: np.ndarray
    heads: int
    factor: float

    SHAPES: ClassVar[dict[str, str]] = {"qkv": "QH", "out": "HH"}


class AttentionTape(NamedTuple):
    """What `attention` keeps: x (R, H); scaled q, and k and v (B, h, S, d); weight (B, h, S, S); mixed (R, H)."""

    x: np.ndarray
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    weight: np.ndarray
    mixed: np.ndarray


def softmax(scores):
    """exp(scores) / sum of exp(scores), over the last axis, in place; the largest is subtracted lest exp overflow."""
    scores -= scores.real.max(-1, keepdims=True)  # a row may hold -inf, but never that alone
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)
    return scores


def attention(x, part, hidden_from, causal=False):
    """Each position's mixture of the values of all positions it may see: softmax(q k^T factor) v per head, then `out`.

    Parameters
    ----------
    x : ndarray (R, H)
    part : Attention
    hidden_from : ndarray of bool (B, S)
        True where nobody may look: padding.
    causal : bool
        A position then sees itself and those before it.

    Returns
    -------
    y : ndarray (R, H)
    tape : AttentionTape
    """
    B, S = hidden_from.shape
    q, k, v = split_heads(x, part, B)  # (R, H) @ (H, 3H) -> three of (B, h, S, d)
    q *= part.factor  # not the scores: they are more numbers where S > d
    scores = q @ k.swapaxes(2, 3)  # (B, h, S, S)
    if causal:
        scores += later(S, scores.dtype)  # (S, S), the same for every sequence and head
    if hidden_from.any():
        scores += np.where(hidden_from, -np.inf, 0).astype(x.dtype)[:, None, None]  # (B, 1, 1, S)
    weight = softmax(scores)  # (B, h, S, S), in the scores' memory; exp(-inf) = 0
    mixed = np.empty((B, S, part.heads, q.shape[3]), x.dtype)  # a head's part is written to its place at once
    np.matmul(weight, v, out=mixed.swapaxes(1, 2))  # (B, h, S, S) @ (B, h, S, d)
    mixed = mixed.reshape(x.shape)  # heads side by side: (R, H)
    return mixed @ part.out.T, AttentionTape(x, q, k, v, weight, mixed)  # (R, H) @ (H, H)


def attention_backward(tape, part, dy):
    """Gradients of `attention`. With A = softmax(s): ds = A * (dA - sum of dA * A), 0 where A is 0: what was hidden.

    Parameters
    ----------
    tape : AttentionTape
    part : Attention
    dy : ndarray (R, H)

    Returns
    -------
    grads : Attention
    dx : ndarray (R, H)
    """
    B, h, S, d = tape.q.shape
    dmixed = (dy @ part.out).reshape(B, S, h, d).swapaxes(1, 2)  # (B, h, S, d)
    dscores = dmixed @ tape.v.swapaxes(2, 3)  # so far dA (B, h, S, S)
    dscores -= np.einsum("bhst,bhst->bhs", dscores, tape.weight)[..., None]  # less the sum of dA A, a number a row
    dscores *= tape.weight  # ds (B, h, S, S); 0 where the weight is 0
    dqkv = np.empty((B, S, h, 3, d), dy.dtype)
    dq, dk, dv = dqkv.transpose(3, 0, 2, 1, 4)  # views, as split_heads gives them: (B, h, S, d) each
    np.matmul(dscores, tape.k, out=dq)  # (B, h, S, S) @ (B, h, S, d)
    dq *= part.factor  # q was scaled; dk below uses the scaled q, and so needs no factor
    np.matmul(dscores.swapaxes(2, 3), tape.q, out=dk)
    np.matmul(tape.weight.swapaxes(2, 3), dmixed, out=dv)
    dqkv = dqkv.reshape(B * S, -1)  # (R, 3H)
    grads = Attention(dqkv.T @ tape.x, dy.T @ tape.mixed, part.heads, part.factor)  # (3H, R) @ (R, H), (H, R) @ (R, H)
    return grads, dqkv @ part.qkv  # (R, 3H) @ (3H, H)


def split_heads(x, part, B):
    """q, k and v of every head, (B, h, S, d) each: views of one product."""
    qkv = (x @ part.qkv.T).reshape(B, len(x) // B, part.heads, 3, -1)  # a head's q, k and v side by side
    return qkv.transpose(3, 0, 2, 1, 4)


@functools.lru_cache(maxsize=32)
def later(length, dtype):
    """-inf where a column's position is later than the row's, else 0: (S, S)."""
    return np.triu(np.full((length, length), -np.inf), 1).astype(dtype)  # above the diagonal: each sees itself


# ---------------------------------------------------------------------- head


def head(x, embedding):
    """Logits of all words, by the matrix of the words themselves: (R, H) @ (H, V) -> (R, V)."""
    return x @ embedding.words.T  # tied: the words that go in are the words that come out


def head_backward(x, embedding, dlogits):
    """Gradient of the words (V, H), which adds to that of their embedding, and of x (R, H)."""
    return dlogits.T @ x, dlogits @ embedding.words  # (V, R) @ (R, H), (R, V) @ (V, H)
