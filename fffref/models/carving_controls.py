"""What a carved tree is held against: other ways to the same multiply-adds, each refitted as the tree is.

    carve.carve_rows(rows, Carving(0, width))   the same neurons for every input
    random_tree(rows, how, rng)                 a tree that routes at random
    low_rank(rows, multiply_adds, ridge)        both matrices of low rank, whitened
    linear(rows, multiply_adds, ridge)          no neurons at all: one matrix, of low rank
    oracle(rows, width, ridge)                  knows the largest neurons of each input, which cannot be had for nothing

Each gives what has `forward_hard`. What is trained by gradients is in `carving_trained`.

# n rows of inputs, I inputs, O outputs, w neurons of the dense layer, r rank
"""

from dataclasses import dataclass, replace

import numpy as np

from .. import checks
from ..layers.dense_ff import DenseFF
from ..layers.record import aligned
from .carve import grow, with_leaves
from .fitting import activate, relative_error, ridge_fit

ROWS_AT_ONCE = 4096
ENOUGH = 10_000  # rows for a fit of all the layer's neurons: a matrix (w, w) is solved


def random_tree(rows, how, rng):
    """Make a tree that parts its rows in halves along random directions; its leaves are those of a carved one.

    Parameters
    ----------
    rows : Rows
    how : Carving
    rng : numpy.random.Generator

    Returns
    -------
    LeafFFF
    """
    checks.generator("rng", rng)
    how.check(rows)
    nodes, leaf = grow(rows, how, lambda rows, here, how: rng.standard_normal(rows.x.shape[1]))
    return with_leaves(rows, nodes, leaf, how)


# ---------------------------------------------------------------------- low rank


@dataclass(frozen=True, eq=False)
class LowRank:
    """A dense layer with both matrices in two factors each: x (I) -> r -> w, activation, w -> r' -> O.

    Parameters
    ----------
    into, out_of : DenseFF
        Each is linear (activation "identity"): its neurons are the rank.
    activation : str
    """

    into: DenseFF
    out_of: DenseFF
    activation: str

    def forward_hard(self, x):
        """Compute all neurons, from few numbers and to few: (B, I) -> (B, O)."""
        return self.out_of.forward_hard(activate(self, self.into.forward_hard(x)))

    @property
    def n_parameters(self):
        """Scalars stored, all of them engaged."""
        return self.into.n_parameters + self.out_of.n_parameters

    @property
    def multiply_adds(self):
        """Of one sample: r (I + w) + r' (w + O)."""
        return sum(part.width * (part.n_in + part.n_out) for part in (self.into, self.out_of))


def low_rank(rows, multiply_adds, ridge):
    """Factor both matrices so that the error is least on these rows: logits along their principal directions.

    Parameters
    ----------
    rows : Rows
    multiply_adds : int
        As many as one sample may take.
    ridge : float
        As in `Carving`.

    Returns
    -------
    LowRank

    Notes
    -----
    The logits' principal directions are the singular vectors of W C^(1/2), C the inputs' covariance: a decomposition
    of W alone would ask which weights are large, not which logits vary. How the ranks share the multiply-adds, a
    quarter to three quarters for the inputs' side, is tried before the outputs are refitted.
    """
    few, layer = rows.part(ROWS_AT_ONCE), rows.layer
    found = []
    for part in (0.25, 0.4, 0.55, 0.7):
        r_in = max(1, int(part * multiply_adds / (layer.n_in + layer.width)))
        r_out = max(1, int((1 - part) * multiply_adds / (layer.width + layer.n_out)))
        into = _into(rows, min(r_in, layer.n_in))
        r_out = min(r_out, layer.n_out)
        plain = LowRank(into, _out_of(few, layer.out_weight, layer.out_bias, r_out), layer.activation)
        found.append((relative_error(plain.forward_hard(few.x), few.y), len(found), into, r_out))
    _, _, into, r_out = min(found)
    enough = rows.part(ENOUGH)
    hidden = activate(layer, into.forward_hard(enough.x))
    slope, constant = ridge_fit(hidden, enough.y, ridge, enough.scale, layer.out_weight)
    return LowRank(into, _out_of(enough, slope, constant, r_out, hidden), layer.activation)


def _into(rows, rank):
    """Logits from `rank` numbers: (I -> r -> w)."""
    layer, centre = rows.layer, (rows.scale**2 @ rows.x) / (rows.scale**2).sum()
    centred = (rows.x - centre) * rows.scale[:, None]
    value, vector = np.linalg.eigh(centred.T @ centred)  # C = V value V^T
    whitened = layer.in_weight @ (vector * np.sqrt(np.maximum(value, 0)))  # (w, I)
    U = np.linalg.svd(whitened, full_matrices=False)[0][:, :rank]  # (w, r)
    down = U.T @ layer.in_weight  # (r, I)
    bias = layer.in_bias + (layer.in_weight - U @ down) @ centre
    return linear_pair(down, U.T, bias, layer.dtype)


def _out_of(rows, slope, constant, rank, hidden=None):
    """Outputs by way of `rank` numbers: (w -> r' -> O), those along which what is fitted varies most."""
    y = (rows.hidden if hidden is None else hidden) @ slope  # (n, O)
    V, left = _directions(y, rows.scale, rank)
    return linear_pair((slope @ V).T, V.T, constant + left, rows.layer.dtype)


def _directions(y, scale, rank):
    """The `rank` directions (O, r) along which weighted rows vary most, and what of their mean they leave out (O,)."""
    mean = (scale**2 @ y) / (scale**2).sum()
    weighted = (y - mean) * scale[:, None]
    V = np.linalg.eigh(weighted.T @ weighted)[1][:, ::-1][:, :rank]
    return V, mean - V @ (V.T @ mean)


def linear_pair(down, up, bias, dtype):
    """The product of two matrices, down (r, I) and up (r, O), as a layer of r linear neurons."""
    arrays = (down, np.zeros(len(down)), up, bias)
    return DenseFF(*(aligned(np.ascontiguousarray(array, dtype)) for array in arrays), activation="identity")


def linear(rows, multiply_adds, ridge):
    """Fit one matrix of low rank from inputs to outputs, and no neurons: what of the layer is linear?

    Parameters
    ----------
    rows : Rows
    multiply_adds : int
    ridge : float

    Returns
    -------
    DenseFF
        Its neurons are linear ones.
    """
    layer = rows.layer
    rank = min(max(1, multiply_adds // (layer.n_in + layer.n_out)), layer.n_in, layer.n_out)
    slope, constant = ridge_fit(rows.x, rows.y, ridge / 100, rows.scale)  # few unknowns: little to be drawn to 0
    V, left = _directions(rows.x @ slope, rows.scale, rank)
    return linear_pair((slope @ V).T, V.T, constant + left, layer.dtype)


# ---------------------------------------------------------------------- the oracle


@dataclass(frozen=True, eq=False)
class Oracle:
    """The layer with the `width` largest neurons of each input, as if they were known before they are computed.

    Parameters
    ----------
    layer : DenseFF
        With output weights refitted.
    size : ndarray (w,)
        |row| of the output weights by which neurons are chosen.
    width : int
    """

    layer: DenseFF
    size: np.ndarray
    width: int

    def forward_hard(self, x):
        """Compute all neurons, keep the largest: (B, I) -> (B, O)."""
        y = np.empty((len(x), self.layer.n_out), self.layer.dtype)
        for start in range(0, len(x), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            hidden = activate(self.layer, x[part] @ self.layer.in_weight.T + self.layer.in_bias)
            y[part] = largest(hidden, self.size, self.width) @ self.layer.out_weight + self.layer.out_bias
        return y

    @property
    def n_parameters(self):
        """Scalars stored; which of them are engaged, nobody knows beforehand."""
        return self.layer.n_parameters


def largest(hidden, size, width):
    """Zeros but for the `width` activations of each row that add most to the output, |activation| |out row|: (n, w)."""
    added = np.abs(hidden) * size
    if width >= hidden.shape[1]:
        return hidden
    least = np.partition(added, -width, axis=1)[:, -width, None]
    return np.where(added >= least, hidden, 0)


def oracle(rows, width, ridge):
    """Choose each input's largest neurons by looking; output weights and bias are refitted.

    Parameters
    ----------
    rows : Rows
    width : int
    ridge : float

    Returns
    -------
    Oracle
    """
    layer, enough = rows.layer, rows.part(ENOUGH)
    size = np.linalg.norm(layer.out_weight, axis=1)
    kept = largest(enough.hidden, size, checks.integer("width", width, 1, layer.width))
    slope, constant = ridge_fit(kept, enough.y, ridge, enough.scale, layer.out_weight)
    return Oracle(replace(layer, out_weight=slope, out_bias=constant), size, width)
