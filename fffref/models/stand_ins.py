"""A model whose FF layers, or any of whose parts, are computed by other functions: in inference, and in training."""

from collections.abc import Callable
from dataclasses import dataclass

from ..layers.record import Record
from .blocks import backward, forward


@dataclass(frozen=True, eq=False)
class Exchanged:
    """A model of which some parts, by name, are computed by other functions; it shares the model's weights.

    `compiled`: those functions are compiled layers, and whoever reads one token after the other may compile the rest.
    """

    model: Record
    instead: dict[str, Callable]
    compiled: bool = False

    def __call__(self, ids, mask=None):
        """As `Transformer.__call__`."""
        return self.head(self.hidden(ids, mask))

    def hidden(self, ids, mask=None):
        """As `Transformer.hidden`."""
        # weights are not copied: what was exchanged is handed in at every call
        return self.model.hidden(ids, mask, self.instead)

    def head(self, hidden):
        """As `Transformer.head`."""
        return self.model.head(hidden)

    @property
    def vocabulary(self):
        """Number of words."""
        return self.model.vocabulary


@dataclass(frozen=True, eq=False)
class InTraining:
    """A model whose FF layers are computed by compiled forms, which share its weights."""

    model: Record
    fast: list

    def forward(self, ids, mask=None, at=None, settings=None, rng=None):
        """As `Transformer.forward`."""
        return forward(self.model, self.fast, (ids, mask, at), settings, rng)

    def backward(self, tape, dlogits, extra=None):
        """As `Transformer.backward`; gradients of path trees hold `Rows`."""
        return backward(self.model, self.fast, tape, dlogits, extra)
