"""Visits of neurons by samples, sorted by neuron: what the gradients of conditional layers are summed over.

# V visits, n neurons
"""

from typing import NamedTuple

import numpy as np

from ..layers.record import Rows
from . import kernels


class Visits(NamedTuple):
    """The visits of a batch, in the order of their neurons; those of neuron[r] are start[r] to start[r + 1].

    visit (V,), numbers of entries of a tape's flat arrays; sample (V,); neuron (n,), ascending; start (n + 1,)
    """

    visit: np.ndarray
    sample: np.ndarray
    neuron: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, neuron, sample_of, n_neurons):
        """Sort visits: neuron (V,), each visit's neuron; `sample_of` gives the samples of visits."""
        count, visit = np.empty(n_neurons + 1, np.intp), np.empty(neuron.size, np.intp)
        kernels.sort_by_key_jit(neuron, count, visit)
        visited = np.flatnonzero(np.diff(count))
        return cls(visit, sample_of(visit), visited, np.append(count[visited], visit.size))

    def sums(self, share_out, products):
        """Sums over each neuron's visits.

        Parameters
        ----------
        share_out : callable
            `CompiledLayer.share_out`.
        products : list of (ndarray (V,), ndarray (B, m))
            A number a visit, in the order of the tape, and the rows that it weighs.

        Returns
        -------
        list of ndarray (n, m)
        """
        weights = [weight[self.visit] for weight, _ in products]
        values = [np.empty((len(self.neuron), rows.shape[1]), rows.dtype) for _, rows in products]

        def work(first, last):
            """Rows that begin within these visits: some neurons have most of the visits, so visits are shared out."""
            first, last = np.searchsorted(self.start[:-1], (first, last))
            begin, part = self.start[first : last + 1], slice(first, last)
            for weight, value, (_, rows) in zip(weights, values, products, strict=True):
                kernels.combine_rows_jit(weight, self.sample, rows, begin, value[part])

        share_out(work, len(self.visit))
        return values

    def numbers(self, weight):
        """The sum of each neuron's numbers: (V,) -> (n,)."""
        return np.add.reduceat(weight[self.visit], self.start[:-1]) if len(self.neuron) else weight[:0]

    def rows(self, values, shape):
        """`values`, a row a visited neuron, as `Rows` of an array of this shape."""
        return Rows(self.neuron, values, shape)


def sums_by_sample(share_out, value, neuron, rows, start):
    """Sums over each sample's visits: value (V,), neuron (V,), rows (n, m), start (B + 1,) -> (B, m)."""
    total = np.empty((len(start) - 1, rows.shape[1]), rows.dtype)

    def work(first, last):
        """The samples from first to last."""
        kernels.combine_rows_jit(value, neuron, rows, start[first : last + 1], total[first:last])

    share_out(work, len(total))
    return total
