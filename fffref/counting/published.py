"""Published sizes of models, as they were published: rounded, perhaps with something counted that we do not count."""

from dataclasses import dataclass

from .. import checks


@dataclass(frozen=True)
class Published:
    """A published number of parameters, and how it was rounded.

    Attributes
    ----------
    parameters : int
    unit : int
        It is right to within half of this; 1 if exact.
    source : str
    extra : int
        Parameters that it counts and we do not; `source` says which.
    """

    parameters: int
    unit: int
    source: str
    extra: int = 0

    def __post_init__(self):
        """Refuse what is no count."""
        for name, least in (("parameters", 0), ("unit", 1), ("extra", 0)):
            checks.integer(name, getattr(self, name), least)

    def agrees(self, parameters):
        """Whether a computed number, with the extra ones, rounds to the published one."""
        return 2 * abs(parameters + self.extra - self.parameters) <= self.unit  # within half a unit, in whole numbers
