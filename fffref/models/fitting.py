"""What carving and its controls are fitted to, and how: rows of a dense layer, weighted ridge regression.

Errors are relative, row by row, because the first token of a text has outputs some 30 times larger than the rest, and a
fit that is not weighted sees nothing else.

# n rows of inputs, I inputs, O outputs, w neurons of the dense layer
"""

from dataclasses import dataclass

import numpy as np

from .. import checks
from ..layers import activations
from ..layers.dense_ff import DenseFF

SMALLEST = 1e-6  # of |y|, relative to its mean: a row of zeros has no relative error


def relative_error(y, expected):
    """Mean over the rows of |y - expected|^2 / |expected|^2."""
    size = np.einsum("no,no->n", expected, expected, dtype=np.float64)
    difference = y - expected
    error = np.einsum("no,no->n", difference, difference, dtype=np.float64)
    return float((error / np.maximum(size, SMALLEST**2 * size.mean())).mean())


@dataclass(frozen=True, eq=False)
class Rows:
    """What a fit is made to: a layer, inputs, its hidden activations and outputs, and the rows' scale 1 / |y|."""

    layer: DenseFF
    x: np.ndarray
    hidden: np.ndarray
    y: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, layer, x, y=None):
        """Run the layer on its inputs.

        Parameters
        ----------
        layer : DenseFF
        x : ndarray (n, n_in)
        y : ndarray (n, n_out), optional
            What is to come out, where that is not what the layer gives.

        Returns
        -------
        Rows

        Raises
        ------
        TypeError, ValueError
            If the inputs do not fit, are none, or are not finite.
        """
        x = checks.array("x", x, (None, layer.n_in), layer.dtype)
        if not np.isfinite(x).all():
            raise checks.InputError("x must be finite; fill or drop the rows that are not")
        if len(x) == 0:
            raise checks.InputError("x must hold at least one row to fit to, got none")
        hidden = activate(layer, x @ layer.in_weight.T + layer.in_bias)  # (n, I) -> (n, w)
        if y is None:
            y = hidden @ layer.out_weight + layer.out_bias  # (n, w) -> (n, O)
        else:
            y = checks.finite("y", checks.array("y", y, (len(x), layer.n_out), layer.dtype))
        size = np.linalg.norm(y, axis=1)
        return cls(layer, x, hidden, y, 1 / np.maximum(size, SMALLEST * size.mean() + np.finfo(y.dtype).tiny))

    def part(self, most):
        """Return at most so many of the rows, evenly spread."""
        at = np.linspace(0, len(self.x) - 1, min(most, len(self.x))).astype(np.intp)
        return Rows(self.layer, self.x[at], self.hidden[at], self.y[at], self.scale[at])


def ridge_fit(x, y, ridge, scale=None, towards=None):
    """Weighted ridge regression with a free constant.

    Parameters
    ----------
    x : ndarray (n, k)
    y : ndarray (n, m)
    ridge : float
        Relative to the mean square of the weighted, centred columns of x.
    scale : ndarray (n,), optional
        What each row's error is multiplied by.
    towards : ndarray (k, m), optional
        What the slope is drawn towards; by default 0.

    Returns
    -------
    slope : ndarray (k, m)
    constant : ndarray (m,)

    Notes
    -----
    Minimises sum_i scale_i^2 |x_i slope + constant - y_i|^2 + lambda |slope - towards|^2.
    """
    square = np.ones(len(x)) if scale is None else scale.astype(np.float64) ** 2
    square /= square.sum()
    x_mean, y_mean = square @ x, square @ y
    root = np.sqrt(square)[:, None]
    centred, target = (x - x_mean) * root, (y - y_mean) * root
    towards = np.zeros((x.shape[1], y.shape[1])) if towards is None else towards.astype(np.float64)
    normal = centred.T @ centred  # (k, k)
    penalty = ridge * np.trace(normal) / len(normal) + np.finfo(np.float64).tiny ** 0.5
    normal[np.diag_indices_from(normal)] += penalty
    slope = towards + np.linalg.solve(normal, centred.T @ (target - centred @ towards))
    return slope.astype(x.dtype), (y_mean - x_mean @ slope).astype(x.dtype)


def activate(layer, logit):
    """The layer's activation, (n, w) -> (n, w)."""
    return activations.get(layer.activation).function(logit)
