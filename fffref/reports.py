"""What a gradient check found, in one record: how many entries got each verdict, and the worst entry of each.

`gradcheck` asks for the verdicts; here they are counted, and the farthest entry is looked for.
"""

from dataclasses import dataclass

import numpy as np

from .verdicts import ADVICE, AGREES, UNRESOLVED, WRONG


@dataclass(frozen=True)
class Report:
    """Outcome of one check.

    Attributes
    ----------
    method : str
        "central", "complex", or one of them with "projection" behind it.
    error : float
        Largest |claimed - numeric|, divided by the largest |numeric| or |claimed|; 0 if all of these are within the
        error bars of 0, nan if anything is not finite.
    tolerance : float
        By which fraction of itself a claim may be off, beyond the error bar.
    index : tuple of int or None
        The worst entry: wrong before unresolved before agreeing, there the farthest from what is allowed; None for a
        projection.
    claimed, numeric, bar : float
        The claim there, and the slope, which is numeric +- bar.
    agree, wrong, unresolved : int
        How many entries (or directions) got each verdict.
    worst : dict of str to tuple
        From each verdict that occurs to its worst entry: index, claimed, numeric, bar.
    warnings : tuple of str
        Kinks, jumps, randomness, values that are not finite: only where that is what happened.
    """

    method: str
    error: float
    tolerance: float
    index: tuple | None
    claimed: float
    numeric: float
    bar: float
    agree: int
    wrong: int
    unresolved: int
    worst: dict
    warnings: tuple = ()

    @property
    def passed(self):
        """Whether every entry agrees."""
        return self.wrong == 0 and self.unresolved == 0

    @property
    def verdict(self):
        """The worst verdict: "wrong", "cannot be resolved" or "agrees"."""
        return WRONG if self.wrong else UNRESOLVED if self.unresolved else AGREES

    def __str__(self):
        where = "along a random direction" if self.index is None else f"worst at {list(self.index)}"
        verdict = {AGREES: "ok   ", WRONG: "WRONG", UNRESOLVED: "CANNOT BE RESOLVED"}[self.verdict]
        line = (
            f"{verdict} {self.method}: error {self.error:.1e}, {where}: claimed {self.claimed:.9g}, "
            f"numeric {self.numeric:.9g} +- {self.bar:.0e} "
            f"({self.agree} agree, {self.wrong} wrong, {self.unresolved} cannot be resolved)"
        )
        return "\n".join((line, *(f"      warning: {warning}" for warning in self.warnings)))

    def expect(self):
        """Raise AssertionError, with the report as its message, unless every entry agrees."""
        if not self.passed:
            raise AssertionError(str(self))


def report_of(probe, method, directions):
    """Judge all directions; sum up."""
    warnings = []
    if probe.method == "complex" and probe.x.size and not probe.trouble and not probe.analytic():
        # for all entries: a slope that means nothing may look right
        probe.method, method = "central", method.replace("complex", "central")
        warnings.append(
            "f is not analytic (abs, conj, norm, vdot, .real, a real work array): a complex step means nothing, "
            "central differences were taken"
        )
    judged = [(*probe.judged(direction), direction) for direction in directions]  # verdict, claim, direction
    kinds = [verdict.kind for verdict, _, _ in judged]
    for verdict, _, direction in judged:
        if verdict.reason and len(warnings) < 10:  # a network with relu has thousands of kinks
            place = "" if direction.index is None else f"entry {list(direction.index)}: "
            warnings.append(place + ADVICE[verdict.reason])
    # the worst verdict first: its entry is the report's
    worst = {kind: _worst(probe, judged, kind) for kind in (WRONG, UNRESOLVED, AGREES) if kind in kinds}
    index, claimed, numeric, bar = next(iter(worst.values()), (None, 0.0, 0.0, 0.0))
    counts = (kinds.count(kind) for kind in (AGREES, WRONG, UNRESOLVED))
    error = _error(probe, judged)
    return Report(
        method, error, probe.tolerance, index, claimed, numeric, bar, *counts, worst, tuple(dict.fromkeys(warnings))
    )


def _worst(probe, judged, kind):
    """Index, claim, slope and bar of the entry with this verdict that is farthest off, in units of what is allowed."""

    def excess(item):
        """How far off, in units of what is allowed."""
        verdict, claim, _ = item
        allowed = verdict.estimate.bar + probe.tolerance * abs(claim)
        # NaN is farther off than any number
        return np.nan_to_num(abs(claim - verdict.estimate.slope) / max(allowed, 1e-300), nan=np.inf)

    verdict, claim, direction = max((item for item in judged if item[0].kind == kind), key=excess)
    index = None if direction.index is None else tuple(map(int, direction.index))
    return index, claim, float(verdict.estimate.slope), float(verdict.estimate.bar)


def _error(probe, judged):
    """Largest |claim - slope| relative to the largest of either, 0 if all are 0 within the bars, nan if not finite."""
    if not judged:
        return 0.0
    # (directions,) each
    claims, slopes, bars = np.array([(c, v.estimate.slope, v.estimate.bar) for v, c, _ in judged]).T
    if not (np.isfinite(claims).all() and np.isfinite(slopes).all()):
        return float("nan")
    # of projections: a sum may be small where its terms are not
    sizes = [np.linalg.norm(probe.claims * d.vector) for _, _, d in judged if d.index is None]
    # everything is 0 within its bar: no ratio of rounding to rounding
    if np.all(np.abs(claims - slopes) <= bars) and np.all(np.maximum(np.abs(claims), np.abs(slopes)) <= bars):
        return 0.0
    return float(np.abs(claims - slopes).max() / max(np.abs(claims).max(), np.abs(slopes).max(), *sizes, 1e-300))
