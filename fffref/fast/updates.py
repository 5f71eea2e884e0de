"""An optimiser's step at some rows of its arrays, compiled: one pass over memory instead of ten.

The lines, and their order, are those of `training.optim`: nothing is fused or reordered, so the bits are the same.

# n rows there are, V rows that move, I numbers a row
"""

from typing import NamedTuple

import numpy as np

from . import kernels


class AdamFactors(NamedTuple):
    """What is the same for all numbers of a step, in their dtype: `rate` is divided by 1 - beta1^t already."""

    beta1: np.floating
    rest1: np.floating
    beta2: np.floating
    rest2: np.floating
    rate: np.floating
    unbias2: np.floating
    epsilon: np.floating
    shrink: np.floating


def adam_rows(factors, p, m, v, index, g):
    """Move rows `index (V,)` of p, m and v (n, I) by their gradients g (V, I)."""
    beta1, rest1, beta2, rest2, rate, unbias2, epsilon, shrink = factors
    for i in range(len(index)):
        a, b, c, d = p[index[i]], m[index[i]], v[index[i]], g[i]  # (I,) each
        for j in range(len(d)):
            b[j] = b[j] * beta1 + rest1 * d[j]
            c[j] = c[j] * beta2 + d[j] * d[j] * rest2
            moved = rate * b[j] / (np.sqrt(c[j] / unbias2) + epsilon)
            if shrink != 0:
                a[j] -= a[j] * shrink
            a[j] -= moved


def sgd_rows(rate, p, index, g):
    """Move rows `index (V,)` of p (n, I) by their gradients g (V, I)."""
    for i in range(len(index)):
        a, d = p[index[i]], g[i]  # (I,) each
        for j in range(len(d)):
            a[j] -= rate * d[j]


# no fast-math: a product and a sum fused into one would round once instead of twice
adam_rows_jit, sgd_rows_jit = (kernels.compiled(rows, fastmath=False) for rows in (adam_rows, sgd_rows))
