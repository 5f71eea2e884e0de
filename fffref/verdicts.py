"""Is a claimed slope right? Agrees, wrong, or cannot be resolved: a claim against the values of f along a line.

A claim *agrees* if it lies within the error bar of the slope and that bar is short. It is *wrong* if it lies outside,
and still does at the finest step whose rounding could tell the two apart: a kink or a wiggle of f closer to x than the
first steps would show there. It *cannot be resolved* where f has no slope: on a kink, on a jump, at its domain's edge.
"""

from dataclasses import dataclass, replace

import numpy as np

from .differences import RATIO, Estimate

AGREES, WRONG, UNRESOLVED = "agrees", "wrong", "cannot be resolved"
KINK, JUMP, EDGE, NOT_FINITE, RANDOM = "kink", "jump", "edge", "not finite", "random"
ADVICE = {
    KINK: "a kink (as of relu) lies there: the slopes from the two sides differ",
    JUMP: "a jump (decision boundary) lies there: differences mean nothing",
    NOT_FINITE: "f(x) itself is not finite",
    RANDOM: "f is random: evaluated twice at x, it gave two values; fix its seed",
    EDGE: "f has no finite values on both sides, or none that agree",
}
ROUNDS = 16  # further pairs of values, at most
LEAP = 16  # the longest way to the next step: a longer one would pass over what f does in between


@dataclass(frozen=True)
class Verdict:
    """What became of one claim: `kind`, the estimate that decided, and why if there is something to say."""

    kind: str
    estimate: Estimate
    reason: str = ""


@dataclass(frozen=True)
class Question:
    """A claim and how closely it is looked at.

    Attributes
    ----------
    claim : float
    size : float
        What tolerances refer to: |claim|, or more where a claim is a sum.
    start, top : float
        The first step and the largest.
    tolerance : float
        By which fraction of itself the claim may be off.
    blur : float
        By which fraction of `curvature` it may be off: x is only known to rounding.
    enough : float
        A bar shorter than this fraction of the slope is not shortened further.
    """

    claim: float
    size: float
    start: float
    top: float
    tolerance: float
    blur: float
    enough: float
    floor: float = 0.0
    scale: float = 1.0

    def miss(self, estimate):
        """How far the claim is from the slope."""
        return abs(self.claim - estimate.slope)

    def allowed(self, estimate):
        """How far it may be."""
        # bar of the slope, and leeway of the claim: neither is free
        return estimate.bar + self.tolerance * self.size + self.blur * abs(estimate.curvature) + self.floor

    def larger(self, estimate):
        """The larger of claim and slope."""
        return max(self.size, abs(estimate.slope))

    def settled(self, estimate):
        """Whether more steps would change nothing."""
        enough = self.enough * self.larger(estimate)
        # wrong beyond doubt, with a bar of a hundredth
        far = self.miss(estimate) > 4 * self.allowed(estimate) and estimate.bar <= 1e-2 * self.larger(estimate)
        return estimate.bar <= enough or far


def judge(line, question):
    """Hold a claim against the values of f along a line.

    Parameters
    ----------
    line : Line
        Its levels are added to.
    question : Question

    Returns
    -------
    Verdict
    """
    # two steps, coarse first: most right claims need no more
    for factor in (RATIO, 1):
        line.look(factor * question.start)
    estimate = line.estimate()
    if _at_once(line, question):  # four values of f an entry: what makes a check quick
        return Verdict(AGREES, estimate)
    line.look(question.start / RATIO)  # from here on, a third, to extrapolate with
    estimate = refine(line, question)
    if question.miss(estimate) > question.allowed(estimate):  # never call it wrong before looking closer
        estimate = _confirm(line, question, estimate)
    return _conclude(line, question, estimate)


def measure(line, question):
    """The slope without a claim (`question.claim` is NaN), as precise as steps can make it."""
    for factor in (RATIO, 1, 1 / RATIO):
        line.look(factor * question.start)
    return refine(line, question)


def refine(line, question):
    """Add steps until the slope is known well enough or no step makes its bar shorter; return the estimate."""
    estimate = line.estimate()
    for _ in range(ROUNDS):
        # f that stands still may have been looked at too closely
        if question.settled(estimate) and not (line.still and question.claim):
            break
        h = _next_step(line, question, estimate)
        if h is None:
            break
        line.look(h)
        estimate = line.estimate()
    return estimate


def _at_once(line, question):
    """Whether the first two steps suffice: they agree with the claim to rounding, and show no kink."""
    if len(line.levels) < 2:
        return False
    if line.still and question.claim == 0:  # f does not move, and nobody claims that it does
        return True
    slopes, rounding = line.tableau()
    tolerance = question.tolerance * question.size + rounding[-1]  # what the claim may be off by, and rounding
    # a kink inside the steps would show as a gap
    smooth = abs(line.kink(1)) <= 100 * question.enough * question.size + rounding[-1]
    # tolerance small: rounding must not hide an error
    return smooth and abs(question.claim - slopes[-1][-1]) <= tolerance <= 1e-4 * question.size


def _next_step(line, question, estimate):
    """Where to look next: coarser if rounding makes the bar, else finer; None if neither promises anything."""
    tried = sorted([level.h for level in line.levels] + line.refused)  # also those that gave no value
    if len(line.levels) < 2:
        return tried[0] / RATIO**2 if tried[0] > 0 else None  # at an edge: closer to x, where f may have values
    finest = line.levels[-1]
    if estimate.bar > 2 * estimate.rounding and finest.rounding < estimate.bar:  # truncation makes the bar: finer
        finer = max((level.h for level in line.levels if level.h < estimate.step), default=0)
        return max(finest.h if finer > estimate.step / RATIO**2 else estimate.step, finest.h) / RATIO
    coarser = [h for h in tried if h > estimate.step]
    if coarser:  # between steps that lie far apart, by their geometric mean
        return (coarser[0] * estimate.step) ** 0.5 if coarser[0] > RATIO**2 * estimate.step else None
    # how many times coarser, for rounding to be small enough
    wanted = estimate.rounding / max(question.enough * question.larger(estimate) / RATIO, 1e-300)
    h = min(estimate.step * min(max(wanted, RATIO), LEAP), question.top)
    return h if h >= RATIO / 2 * estimate.step else None  # less than that would be no new step


def _look_closer(line, wanted):
    """Look at the finest step at which rounding moves the slope by less than `wanted`, and half way to it."""
    finest = line.levels[-1]
    h = finest.h * finest.rounding / max(wanted, 1e-300)  # rounding goes like 1 / h
    if h < finest.h / 2:
        line.look((h * finest.h) ** 0.5)
        line.look(h)


def _confirm(line, question, estimate):
    """Where a claim misses, ask the finest step that can tell it from the slope."""
    for _ in range(3):
        before = len(line.levels)
        _look_closer(line, question.miss(estimate) / 8)  # an eighth of the miss: rounding cannot explain it then
        if any(level.move == 0 for level in line.levels):  # stood still: perhaps the steps are below f's resolution
            line.look(question.top)
        if len(line.levels) == before:  # nothing new was seen
            break
        estimate = refine(line, question)
        if question.miss(estimate) <= question.allowed(estimate):  # it was a kink or a wiggle farther away
            break
    return estimate


def _conclude(line, question, estimate):
    """The verdict, once the estimate is as good as it gets."""
    rough = _roughness(line, question, estimate)
    # f moves by about its rounding at every step
    if all(level.move * 3 <= level.rounding * level.h for level in line.levels):
        question = replace(question, floor=4 * line.rounding / (question.scale or 1))
    if not np.isfinite(estimate.bar) and not rough:  # no two steps agree, and no shape explains why
        return Verdict(UNRESOLVED, estimate, EDGE)
    if rough == JUMP or (  # on a kink, a claim far outside both slopes is wrong all the same
        rough == KINK and question.miss(estimate) <= abs(estimate.kink) / 2 + question.allowed(estimate)
    ):
        return Verdict(UNRESOLVED, estimate, rough)
    return Verdict(AGREES if question.miss(estimate) <= question.allowed(estimate) else WRONG, estimate, rough)


def _roughness(line, question, estimate):
    """KINK if the gap between the one-sided slopes does not close, JUMP if it grows like 1 / h, else ""."""
    if len(line.levels) < 2:
        return ""
    size = question.larger(estimate)
    if estimate.bar > size and _two_values(line):  # a jump that looked like rounding
        return JUMP
    # more than rounding and curvature make
    suspicious = abs(estimate.kink) > estimate.rounding + 100 * question.enough * size
    unsettled = estimate.bar > 3 * estimate.rounding and estimate.bar > 1e-2 * size
    if not (suspicious or unsettled) or line.still:
        return ""
    # the level that the estimate came from
    reference = min(line.levels, key=lambda level: abs(level.h - estimate.step))
    steep = max(reference.gap, reference.slope, key=abs)  # a jump at x itself shows in the slope, beside x in the gap
    # steps fine enough to tell the two shapes apart
    _look_closer(line, max(abs(estimate.kink), abs(steep) / RATIO) / 8)
    for kind, height in ((JUMP, 2 * steep * reference.h), (KINK, estimate.kink)):
        seen = []
        for level in line.levels:
            # a jump's slope grows as 1 / h, a kink's gap stays
            wanted = height / (2 * level.h) if kind == JUMP else height
            # only levels whose rounding could not feign it
            if wanted and level.h <= reference.h and level.rounding <= abs(wanted) / 4:
                value = level.gap if kind == KINK or steep == reference.gap else level.slope
                seen.append(0.5 <= value / wanted <= 2)
        if len(seen) >= 3 and all(seen):  # three finer steps in a row are no accident
            return kind
    return ""


def _two_values(line):
    """Whether f has one value on each side of x, at six steps: a jump that was taken for rounding."""
    if not _constant([level.h * level.slope for level in line.levels]):  # h slope is half of f(h) - f(-h)
        return False
    while len(line.levels) < 6 and line.levels[-1].h > 0 and len(line.refused) < 6:
        line.look(line.levels[-1].h / RATIO)
    return len(line.levels) >= 6 and _constant([level.h * level.slope for level in line.levels])


def _constant(values):
    """Whether values have one sign and about one size."""
    return min(values) > 0.8 * max(values) > 0 or max(values) < 0.8 * min(values) < 0  # all above 0, or all below
