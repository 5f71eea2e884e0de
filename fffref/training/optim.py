"""Optimisers: they walk a layer's arrays, and return a new layer and a new state instead of changing the old.

The state is a tuple of layers (velocities, moments), so that a checkpoint saves it as it saves a layer.
"""

from dataclasses import dataclass

import numpy as np

from .. import checks


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum: v <- momentum v + g, p <- p - learning_rate v.

    Parameters
    ----------
    momentum : float in [0, 1)

    References
    ----------
    PyTorch's form; Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    """

    momentum: float = 0.0

    def __post_init__(self):
        checks.number("momentum", self.momentum, "[0, 1)")

    def init(self, layer):
        """Return the state before the first step: no velocity yet."""
        return (layer.map(np.zeros_like),) if self.momentum else ()

    def step(self, layer, grads, state, count, learning_rate):
        """Return layer and state after one step.

        Parameters
        ----------
        layer, grads : Layer
        state : tuple of Layer
            From `init` or from the step before.
        count : int
            Number of steps taken before this one.
        learning_rate : float

        Returns
        -------
        layer : Layer
        state : tuple of Layer
        """
        rate = layer.dtype.type(learning_rate)

        def update(p, g):
            """p - rate g, with one new array."""
            moved = rate * g
            return np.subtract(p, moved, out=moved)  # fresh memory costs more than the arithmetic

        if self.momentum:
            grads = state[0].map(lambda v, g: layer.dtype.type(self.momentum) * v + g, grads)
            state = (grads,)
        return layer.map(update, grads), state


@dataclass(frozen=True)
class Adam:
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

    References
    ----------
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", arXiv 1412.6980, Algorithm 1; Loshchilov and Hutter,
    "Decoupled Weight Decay Regularization", arXiv 1711.05101, Algorithm 2, but that the decay is multiplied by the
    learning rate, as in PyTorch.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self):
        checks.number("beta1", self.beta1, "[0, 1)")
        checks.number("beta2", self.beta2, "[0, 1)")
        checks.number("epsilon", self.epsilon, "(0, inf)")
        checks.number("weight_decay", self.weight_decay, "[0, inf)")

    def init(self, layer):
        """Return the state before the first step: both moments 0."""
        return layer.map(np.zeros_like), layer.map(np.zeros_like)

    def step(self, layer, grads, state, count, learning_rate):
        """Return layer and state after one step; parameters as in `SGD.step`."""
        of = layer.dtype.type
        first = state[0].map(lambda m, g: of(self.beta1) * m + of(1 - self.beta1) * g, grads)
        second = state[1].map(lambda v, g: of(self.beta2) * v + of(1 - self.beta2) * (g * g), grads)
        unbias1, unbias2 = (of(1 - beta ** (count + 1)) for beta in (self.beta1, self.beta2))
        shrink = of(learning_rate * self.weight_decay)

        def update(p, m, v):
            """One array's step, from its moments."""
            p = p - shrink * p if shrink else p
            return p - of(learning_rate) / unbias1 * m / (np.sqrt(v / unbias2) + of(self.epsilon))

        return layer.map(update, first, second), (first, second)
