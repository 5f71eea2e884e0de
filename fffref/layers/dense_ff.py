"""DenseFF, the plain feedforward layer that every figure is held against.

# B batch, I inputs, O outputs, w width
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import checks
from . import activations, tapes
from .record import Layer, uniform


@dataclass(frozen=True, eq=False)
class DenseTape:
    """What the forward pass keeps: the input rows `x (B, I)`, their leading axes, and `logit, hidden (B, w)`."""

    x: np.ndarray
    lead: tuple
    logit: np.ndarray
    hidden: np.ndarray

    SHAPES: ClassVar[dict[str, str]] = {"x": "BI", "logit": "Bw", "hidden": "Bw"}


@dataclass(frozen=True, eq=False)
class DenseFF(Layer):
    """Two matrices with an activation between them: y = act(x W_in^T + b_in) W_out + b_out.

    Parameters
    ----------
    in_weight, in_bias : ndarray (w, n_in), (w,)
    out_weight, out_bias : ndarray (w, n_out), (n_out,)
        A neuron is a row.
    activation : {"relu", "gelu", "tanh", "identity"}

    Raises
    ------
    TypeError, ValueError
        If the arrays differ in dtype or do not fit together.
    """

    in_weight: np.ndarray
    in_bias: np.ndarray
    out_weight: np.ndarray
    out_bias: np.ndarray
    activation: str = "relu"

    SHAPES: ClassVar[dict[str, str]] = {"in_weight": "wI", "in_bias": "w", "out_weight": "wO", "out_bias": "O"}

    @classmethod
    def init(cls, rng, n_in, n_out, width, activation="relu", dtype=np.float32):
        """Draw a layer: uniform within 1/sqrt(fan in), biases included.

        Parameters
        ----------
        rng : numpy.random.Generator
        n_in, n_out, width : int, at least 1
        activation : {"relu", "gelu", "tanh", "identity"}
        dtype : float32 or float64

        Returns
        -------
        DenseFF

        Raises
        ------
        TypeError, ValueError
            If a size is no whole number or too small, or the activation or dtype is unknown.
        """
        checks.generator("rng", rng)
        n_in, n_out, width = (
            checks.integer(name, value, 1) for name, value in (("n_in", n_in), ("n_out", n_out), ("width", width))
        )
        inward, outward = 1 / np.sqrt(n_in), 1 / np.sqrt(width)  # 1/sqrt(fan in) of either matrix
        return cls(
            in_weight=uniform(rng, inward, (width, n_in), dtype),
            in_bias=uniform(rng, inward, (width,), dtype),
            out_weight=uniform(rng, outward, (width, n_out), dtype),
            out_bias=uniform(rng, outward, (n_out,), dtype),
            activation=activation,
        )

    @property
    def width(self):
        """Number of hidden neurons."""
        return len(self.in_bias)

    @property
    def neurons_stored(self):
        """All of them."""
        return self.width

    @property
    def neurons_engaged(self):
        """All of them, for every sample."""
        return self.width

    def forward(self, x):
        """Compute every neuron.

        Parameters
        ----------
        x : ndarray (..., n_in)

        Returns
        -------
        y : ndarray (..., n_out)
        tape : DenseTape

        Raises
        ------
        TypeError, ValueError
            If `x` has another dtype or last axis than the layer.
        """
        x, lead = self.as_rows(x)  # (B, I)
        logit = x @ self.in_weight.T + self.in_bias  # (B, I) -> (B, w)
        hidden = activations.get(self.activation).function(logit)
        y = hidden @ self.out_weight + self.out_bias  # (B, w) -> (B, O)
        return y.reshape(*lead, self.n_out), DenseTape(x, lead, logit, hidden)

    def backward(self, tape, dy, input_gradient=True):
        """Gradients of a loss, as `LeafFFF.backward` gives them.

        Parameters
        ----------
        tape, dy, input_gradient
            As there; the tape is a `DenseTape`.
        """
        tapes.check(self, tape, DenseTape)
        tapes.check_origin(tape, self.in_weight[0], self.in_bias[0], tape.logit)
        dy = self.gradient_rows(dy, tape.lead)  # (B, O)
        # (B, O) -> (B, w)
        dlogit = (dy @ self.out_weight.T) * activations.get(self.activation).derivative(tape.logit)
        grads = DenseFF(
            in_weight=dlogit.T @ tape.x,  # (w, B) @ (B, I)
            in_bias=dlogit.sum(0),
            out_weight=tape.hidden.T @ dy,  # (w, B) @ (B, O)
            out_bias=dy.sum(0),
            activation=self.activation,
        )
        if not input_gradient:
            return grads, None
        return grads, (dlogit @ self.in_weight).reshape(*tape.lead, self.n_in)  # (B, w) @ (w, I)

    def forward_hard(self, x):
        """The output of `forward`: there is nothing to harden.

        Parameters
        ----------
        x : ndarray (..., n_in)
        """
        return self.forward(x)[0]

    def route(self, x):
        """Return zeros `(...)`: a dense net is a tree of one leaf, and every sample reaches it."""
        x, lead = self.as_rows(x)
        return np.zeros(lead, np.intp)
