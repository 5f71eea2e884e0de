"""Optimisers: they walk the arrays of a layer or model, whatever it is made of.

`step` returns a new record and a new state and changes nothing; `update` does the same in place, for a loop that owns
its record. The state is a tuple of records (velocities, moments), so that a checkpoint saves it as it saves a layer.

Where a gradient is `Rows`, only those rows move: what was not visited is neither read nor written.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np

from .. import checks

BLOCK = 1 << 14  # numbers at a time: temporaries stay in the cache


class Optimizer:
    """What both share: checks, and `step` by way of `update`."""

    def step(self, layer, grads, state, count, learning_rate):
        """Return layer and state after one step.

        Parameters
        ----------
        layer, grads : Layer, or any record
            A gradient may hold `Rows` in place of arrays.
        state : tuple of the same
            From `init` or from the step before.
        count : int
            Number of steps taken before this one.
        learning_rate : float, at least 0

        Returns
        -------
        layer : Layer
        state : tuple of Layer

        Raises
        ------
        TypeError, ValueError
            If a gradient has another dtype or shape than its array, or the learning rate is no number or negative.
        """
        # `update` writes into what it is given
        layer, state = layer.map(np.copy), tuple(record.map(np.copy) for record in state)
        self.update(layer, grads, state, count, learning_rate)
        return layer, state

    def update(self, layer, grads, state, count, learning_rate):
        """Take one step in place: the arrays of `layer` and `state` change; parameters as in `step`."""
        rate = checks.number("learning_rate", learning_rate, "[0, inf)")
        constants = self._constants(layer.dtype.type, count, rate)  # once a step, not once an array
        gradients, states = grads.arrays(), [record.arrays() for record in state]  # dicts by the same names
        for name, array in layer.arrays().items():
            gradient, moments = gradients[name], [arrays[name] for arrays in states]
            _check_gradient(name, gradient, array)
            # the short way is only right where a row without a gradient stays as it is
            if _are_rows(gradient) and self._leaves_other_rows_alone():
                move_rows(self, array, gradient, moments, constants)
            else:
                move_array(self, array, gradient.dense() if _are_rows(gradient) else gradient, moments, constants)


def move_array_by_blocks(optimizer, array, gradient, moments, constants):
    """Move a whole array, a block at a time."""
    arrays = (array, gradient, *moments)
    # strided arrays cannot be cut without a copy
    if array.size <= BLOCK or not all(a.flags.c_contiguous for a in arrays):
        optimizer._move(array, gradient, moments, constants)
        return
    flat = [a.reshape(-1) for a in arrays]  # views, as all are contiguous
    for start in range(0, array.size, BLOCK):
        p, g, *m = (a[start : start + BLOCK] for a in flat)  # elementwise: where a block ends changes nothing
        optimizer._move(p, g, m, constants)


def move_rows_by_blocks(optimizer, array, gradient, moments, constants):
    """Move the rows that have a gradient, a block at a time: take them out, move them, put them back."""
    views = [gradient.rows_of(whole) for whole in (array, *moments)]  # (..., I) -> (n, I), no copy
    n_rows = max(1, BLOCK // max(1, gradient.values[:1].size))  # a block of all arrays stays in the nearer caches
    for start in range(0, len(gradient.index), n_rows):
        index, values = gradient.index[start : start + n_rows], gradient.values[start : start + n_rows]
        rows = [view[index] for view in views]  # (n, I) -> (v, I), a copy: indexing by numbers
        optimizer._move(rows[0], values, rows[1:], constants)
        for view, moved in zip(views, rows, strict=True):
            view[index] = moved  # (v, I) -> (n, I); no row twice, `Rows` saw to it


# one answer per optimiser; fast training registers compiled ones, `compiled_steps.py`
move_array, move_rows = map(functools.singledispatch, (move_array_by_blocks, move_rows_by_blocks))


def _are_rows(gradient):
    """Whether a gradient is `Rows`, which can be made dense, instead of an array."""
    return hasattr(gradient, "dense")


def _check_gradient(name, gradient, array):
    """Refuse a gradient of another shape, or dtype: a step in float64 would be rounded without a word."""
    if gradient.shape != array.shape:
        raise checks.InputError(f"the gradient of {name} must have shape {array.shape}, got {gradient.shape}")
    if gradient.dtype != array.dtype:
        raise checks.InputTypeError(
            f"the gradient of {name} must have dtype {array.dtype}, got {gradient.dtype}; "
            "compute it in the layer's dtype, or convert it (grads.astype)"
        )


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum: v <- momentum v + g, p <- p - learning_rate v.

    Parameters
    ----------
    momentum : float in [0, 1)

    Notes
    -----
    `Rows` give exactly what the dense gradient gives. Without momentum, only those rows are touched. With momentum a
    row that is not visited still moves by the velocity that it has, so all rows are touched.

    References
    ----------
    PyTorch's form; Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    """

    momentum: float = 0.0

    def __post_init__(self):
        checks.settle(self, momentum=checks.number("momentum", self.momentum, "[0, 1)"))

    def init(self, layer):
        """Return the state before the first step: no velocity yet."""
        return (layer.map(np.zeros_like),) if self.momentum else ()  # no velocities to keep without momentum

    def _leaves_other_rows_alone(self):
        """Whether a row without a gradient stays as it is."""
        return not self.momentum  # with it, velocities move rows that were not visited

    def _constants(self, of, count, rate):
        """What is the same for all arrays of a step, in their dtype."""
        return of(self.momentum), of(rate)

    def _move(self, p, g, moments, constants):
        """One array's step."""
        momentum, rate = constants
        if moments:
            (v,) = moments
            # v <- momentum v + g, without Nesterov's look ahead
            v *= momentum
            v += g
            g = v  # the state's own array: read below, not written
        p -= rate * g


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: steps of about the learning rate, whatever the gradient's scale; with weight decay, AdamW.

    Parameters
    ----------
    beta1, beta2 : float in [0, 1)
        Decay of the first and second moment.
    epsilon : float, above 0
    weight_decay : float, at least 0
        Every parameter, biases included, shrinks by this times the learning rate, beside the gradient and not in it.

    Notes
    -----
    m <- beta1 m + (1 - beta1) g,  v <- beta2 v + (1 - beta2) g^2, and after t steps
    p <- (1 - learning_rate weight_decay) p - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).

    Where the gradient is `Rows`, this is a *lazy* Adam: the moments of a row that was not visited stay as they are
    instead of decaying, and the row does not move or shrink. That is another algorithm than the dense one, which moves
    such a row by its old moments, about 10 steps long with beta1 = 0.9. t counts all steps, not a row's own. Where
    every row is visited at every step, the two are the same.

    References
    ----------
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", arXiv 1412.6980, Algorithm 1; Loshchilov and Hutter,
    "Decoupled Weight Decay Regularization", arXiv 1711.05101, Algorithm 2, but that the decay is multiplied by the
    learning rate, as in PyTorch. The lazy form is that of PyTorch's SparseAdam.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self):
        intervals = {"beta1": "[0, 1)", "beta2": "[0, 1)", "epsilon": "(0, inf)", "weight_decay": "[0, inf)"}
        checks.settle(self, **{
            name: checks.number(name, getattr(self, name), interval) for name, interval in intervals.items()
        })  # fmt: skip

    def init(self, layer):
        """Return the state before the first step: both moments 0."""
        return layer.map(np.zeros_like), layer.map(np.zeros_like)

    def _leaves_other_rows_alone(self):
        """Always: that is what makes this Adam lazy."""
        return True

    def _constants(self, of, count, rate):
        """The same; learning rate and first correction are one factor."""
        # 1 - beta^t, t = count + 1; m and v start at 0
        unbias1, unbias2 = (of(1 - beta ** (count + 1)) for beta in (self.beta1, self.beta2))
        return of, of(rate) / unbias1, unbias2, of(rate * self.weight_decay)  # rate / (1 - beta1^t): one factor for m

    def _move(self, p, g, moments, constants):
        """One array's step, with two temporaries."""
        of, rate, unbias2, shrink = constants
        m, v = moments
        part = of(1 - self.beta1) * g  # the one temporary, used again and again
        m *= of(self.beta1)
        m += part  # m <- beta1 m + (1 - beta1) g
        np.multiply(g, g, out=part)
        part *= of(1 - self.beta2)
        v *= of(self.beta2)
        v += part  # v <- beta2 v + (1 - beta2) g^2
        np.divide(v, unbias2, out=part)  # Algorithm 1: the bias-corrected second moment
        np.sqrt(part, out=part)
        part += of(self.epsilon)  # outside of the root, as in the paper
        # a second temporary: `part` is wanted once more, for the decay
        moved = rate * m
        moved /= part
        if shrink:  # AdamW: beside the gradient, so that v does not scale it
            np.multiply(p, shrink, out=part)
            p -= part
        p -= moved


@dataclass(frozen=True)
class Clipped(Optimizer):
    """An optimiser whose gradients are shortened to a length: g <- g min(1, length / |g|), |g| over all arrays.

    Parameters
    ----------
    optimizer : SGD or Adam
    length : float, above 0

    References
    ----------
    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", arXiv 1211.5063.
    """

    optimizer: Optimizer
    length: float = 1.0

    def __post_init__(self):
        checks.number("length", self.length, "(0, inf)")

    def init(self, layer):
        """Return the state before the first step."""
        return self.optimizer.init(layer)

    def step(self, layer, grads, state, count, learning_rate):
        """Return layer and state after one step, as in `Optimizer.step`."""
        return self.optimizer.step(layer, self.clipped(grads), state, count, learning_rate)

    def update(self, layer, grads, state, count, learning_rate):
        """Take one step in place, as in `Optimizer.update`."""
        self.optimizer.update(layer, self.clipped(grads), state, count, learning_rate)

    def clipped(self, grads):
        """Return the gradients, shortened where they are longer than `length`; a length that is not finite stays."""
        # zeros that are not stored add nothing
        values = [g.values if _are_rows(g) else g for g in grads.arrays().values()]
        # of all arrays as one vector: the direction stays
        norm = float(np.sqrt(sum(float(np.vdot(v, v).real) for v in values)))
        if not norm > self.length or not np.isfinite(norm):  # written so that NaN passes, for the loop to name
            return grads
        factor = grads.dtype.type(self.length / norm)
        return grads.map(lambda g: replace(g, values=g.values * factor) if _are_rows(g) else g * factor)
