"""One token of a sequence through a norm and through attention, compiled. The formulas are those of `models.parts`.

# H hidden width, h heads of width d = H / h, L tokens read before this one
"""

from typing import NamedTuple

import numpy as np

from . import kernels, registers

KERNELS = "2ee7e1755ebd"  # digest of registers.py, instructions.py and kernels.py, see there


class NormWeights(NamedTuple):
    """Scale and shift of a norm, (H,) each, and eps."""

    weight: np.ndarray
    bias: np.ndarray
    eps: float


class AttentionWeights(NamedTuple):
    """Rows for a head's q, k and v side by side, (3H, H); (H, H); h; and what q is multiplied by."""

    qkv: np.ndarray
    out: np.ndarray
    heads: int
    factor: float


def norm(weights, x, y):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias: (H,) -> (H,)."""
    H, mean, variance = x.dtype.type(len(x)), x.dtype.type(0), x.dtype.type(0)
    for j in range(len(x)):
        mean += x[j]
    mean /= H
    for j in range(len(x)):
        y[j] = x[j] - mean
        variance += y[j] * y[j]
    deviation = np.sqrt(variance / H + x.dtype.type(weights.eps))
    for j in range(len(x)):
        y[j] = y[j] / deviation * weights.weight[j] + weights.bias[j]


def add_attention(norm_weights, weights, x, keys, values, length):
    """x += attention(norm(x)); the token's key and value (h, d) are noted at `length` of keys, values (h, L, d)."""
    H, d = len(x), len(x) // weights.heads
    row, z, mixed = np.empty((1, H), x.dtype), np.empty(3 * H, x.dtype), np.empty((1, H), x.dtype)
    score, position = np.empty(length + 1, x.dtype), np.arange(length + 1)
    norm(norm_weights, x, row[0])
    kernels.products(weights.qkv, row, 0, z)  # (3H, H), (H,) -> (3H,)
    q = z.reshape(weights.heads, 3, d)  # a head's q, k and v
    for head in range(weights.heads):
        keys[head, length], values[head, length] = q[head, 1], q[head, 2]
        for j in range(d):
            q[head, 0, j] *= x.dtype.type(weights.factor)
        kernels.products(keys[head], q[head], 0, score)  # (L, d), (d,) -> (L + 1,)
        largest, total = score.max(), x.dtype.type(0)
        for j in range(length + 1):
            score[j] = np.exp(score[j] - largest)
            total += score[j]
        for j in range(length + 1):
            score[j] /= total
        registers.combine(score, position, values[head], mixed[0, head * d : (head + 1) * d], (), False)
    kernels.products(weights.out, mixed, 0, row[0])  # (H, H), (H,) -> (H,)
    for j in range(H):
        x[j] += row[0, j]


kernels.compile_all(globals())
