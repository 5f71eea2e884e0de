"""Numbers that change during training, as functions of progress: 0 at the first step, 1 at the end."""

import math
from dataclasses import dataclass

from .. import checks


@dataclass(frozen=True)
class Constant:
    """`value`, always."""

    value: float

    def __call__(self, progress):
        return self.value


@dataclass(frozen=True)
class Linear:
    """Straight line from `start` to `end`."""

    start: float
    end: float

    def __post_init__(self):
        _settle(self, "start", "end")

    def __call__(self, progress):
        return self.start + (self.end - self.start) * progress  # exactly start at 0


@dataclass(frozen=True)
class Geometric:
    """From `start` to `end` by equal factors, start (end / start)^progress; both above 0. Suits temperatures."""

    start: float
    end: float

    def __post_init__(self):
        _settle(self, "start", "end")
        if not (self.start > 0 and self.end > 0):
            raise checks.InputError(
                f"a geometric schedule goes between numbers above 0, got {self.start} and {self.end}"
            )

    def __call__(self, progress):
        return self.start * (self.end / self.start) ** progress  # start^(1 - p) end^p


@dataclass(frozen=True)
class Step:
    """`before` until the progress is `at`, `after` from there on. Suits straight-through choices: soft first."""

    before: float | bool
    after: float | bool
    at: float

    def __post_init__(self):
        _settle(self, "at")
        _settle(self, "before", "after", check=checks.number_or_flag)
        if not 0 <= self.at <= 1:
            raise checks.InputError(f"a step lies between 0 and 1, got {self.at}")

    def __call__(self, progress):
        return self.before if progress < self.at else self.after  # at progress `at` it has happened


@dataclass(frozen=True)
class OneCycle:
    """Up to `peak` over the first `warmup` share by a half cosine, then down to 0 by another. Suits learning rates.

    Smith and Topin, "Super-Convergence", arXiv 1708.07120; the cosine form is PyTorch's.
    """

    peak: float
    warmup: float = 0.25

    def __post_init__(self):
        _settle(self, "peak", "warmup")
        if not 0 < self.warmup < 1:
            raise checks.InputError(f"warmup must lie between 0 and 1, got {self.warmup}")

    def __call__(self, progress):
        # half a cosine is flat at both ends: no jump of the rate where the pieces meet
        if progress < self.warmup:
            return self.peak * (1 - math.cos(math.pi * progress / self.warmup)) / 2  # 0 -> peak
        return self.peak * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))) / 2  # peak -> 0


def _settle(record, *names, check=checks.number):
    """Refuse what is no finite number; make Python's numbers of NumPy's, so that a recipe can be written down."""
    # ends of a schedule may be negative: what it stands for is checked later
    checks.settle(record, **{name: check(name, getattr(record, name), "(-inf, inf)") for name in names})


def schedule(value):
    """Return `value` if it is a schedule (anything callable), else the constant of that value."""
    return value if callable(value) else Constant(value)
