"""A layer with an activation behind its sum: y = act(f(x)).

Around a `PathFFF` whose own activation is the identity, this asks where the activation of a tree should stand: the
output is then act(sum over the path of z v) instead of the sum over the path of act(z) v.
"""

from dataclasses import dataclass

import numpy as np

from .. import checks
from . import activations
from .record import Layer, Record


@dataclass(frozen=True, eq=False)
class ActivatedTape:
    """What the forward pass keeps: the layer's own tape, and its output (..., O) before the activation."""

    inner: object
    logit: np.ndarray


@dataclass(frozen=True, eq=False)
class Activated(Record):
    """A layer, and an activation behind it.

    Parameters
    ----------
    layer : Layer
        Such as `PathFFF`, whose neurons can have the activation "identity".
    behind : {"gelu", "relu", "tanh", "identity"}
        What its output goes through.

    Raises
    ------
    TypeError, ValueError
        If `layer` is no layer or there is no such activation. So do the methods, if what they are given does not fit.

    Notes
    -----
    With y = act(s), s = f(x): ds = dy act'(s), and from there the layer's own backward pass.

    References
    ----------
    R. Sedghi et al., "Dynamic sparsity in tree-structured feed-forward layers at scale", arXiv 2604.08565, on
    asymmetric activations under hard routing.
    """

    layer: Layer
    behind: str = "gelu"

    def __post_init__(self):
        checks.instance("layer", self.layer, Layer, "a layer")
        activations.get(self.behind)
        super().__post_init__()

    def forward(self, x):
        """Return act(f(x)) (..., O) for `x` (..., I), and an `ActivatedTape`."""
        logit, inner = self.layer.forward(x)  # (..., I) -> (..., O)
        return activations.get(self.behind).function(logit), ActivatedTape(inner, logit)

    def backward(self, tape, dy, **options):
        """Gradients, an `Activated`, and dx (..., I); options are for the layer's own `backward`."""
        checks.instance("tape", tape, ActivatedTape, "the tape that forward returned")
        dy = checks.array("dy", dy, tape.logit.shape, self.dtype)
        dlogit = dy * activations.get(self.behind).derivative(tape.logit)  # (..., O)
        grads, dx = self.layer.backward(tape.inner, dlogit, **options)
        return Activated(grads, self.behind), dx

    def forward_hard(self, x):
        """Return act(f(x)) by the layer's hard inference."""
        return activations.get(self.behind).function(self.layer.forward_hard(x))

    def route(self, x):
        """Where the layer sends `x`, as its own `route` tells it."""
        return self.layer.route(x)

    @property
    def neurons_stored(self):
        """Of the layer."""
        return self.layer.neurons_stored

    @property
    def neurons_engaged(self):
        """Of the layer."""
        return self.layer.neurons_engaged
