"""A gradient that is zero but for some rows: what a backward pass gives where only a few neurons were visited.

It stands in a record in place of an array; an optimiser that knows it moves those rows alone.

# V rows that are held, n rows there are
"""

import math
from dataclasses import dataclass

import numpy as np

from .. import checks


@dataclass(frozen=True, eq=False)
class Rows:
    """An array that is zero but for some of its rows: what stands in a gradient record for neurons that were visited.

    Parameters
    ----------
    index : ndarray of int (V,)
        The rows, ascending, counted over all leading axes: neuron n of tree k is k M + n.
    values : ndarray (V, ...)
        What they hold.
    shape : tuple of int
        Of the whole array. Its last axes are those of a row, `values.shape[1:]`; the axes before count rows.

    Raises
    ------
    TypeError, ValueError
        If the three do not fit together.
    """

    index: np.ndarray
    values: np.ndarray
    shape: tuple

    def __post_init__(self):
        tail = self.values.shape[1:]
        lead = self.shape[: len(self.shape) - len(tail)]  # (K, M) of a weight (K, M, I), of a bias as well
        if len(lead) == 0 or tuple(self.shape[len(lead) :]) != tail:
            raise checks.InputError(f"values {self.values.shape} are no rows of an array of shape {self.shape}")
        checks.array("index", self.index, self.values.shape[:1], np.intp)
        n = math.prod(lead)
        if len(self.index) and not (self.index[0] >= 0 and self.index[-1] < n and (np.diff(self.index) > 0).all()):
            raise checks.InputError(
                f"index must ascend within 0 to {n - 1}, each row once; add up rows that occur twice"
            )

    @property
    def dtype(self):
        """That of the values."""
        return self.values.dtype

    @property
    def size(self):
        """Number of entries of the whole array."""
        return math.prod(self.shape)

    def __len__(self):
        """Length of the whole array's first axis."""
        return self.shape[0]

    def rows_of(self, array):
        """View `array`, of the shape of the whole, as rows: (..., I) -> (n, I)."""
        return array.reshape(-1, *self.values.shape[1:])  # C order: leading axes count rows

    def dense(self):
        """Return the whole array, zeros included."""
        whole = np.zeros(self.shape, self.dtype)  # (..., I)
        self.rows_of(whole)[self.index] = self.values  # a view: what is written arrives in `whole`
        return whole
