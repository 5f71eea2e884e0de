"""The slope of a function along a line, from its values alone, with an error bar.

A central difference (f(h) - f(-h)) / 2h has two errors. *Truncation*, a h^2 + b h^4 + ..., falls with the step h.
*Rounding* of f's values, delta / h, grows as h falls. Neither is known beforehand, so

1. `rounding_of` estimates delta from values of f a few units in the last place apart: their third differences would
   vanish if f were evaluated exactly. It never believes less than eps |f|;
2. a *ladder* of steps is climbed or descended, and neighbours are extrapolated to h = 0 (Richardson): two steps
   remove the term in h^2, three that in h^4 as well, while rounding stays about delta / h;
3. what is left is bounded by finer steps (Lepski's rule). They have more rounding and less truncation: where they
   differ by more than rounding explains, the coarser step is refuted;
4. the one-sided slopes are watched: their gap closes like h where f is smooth, stays at a kink, grows at a jump.

References
----------
C. J. F. Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", Adv. Eng. Software 4 (1982), pages 75-76.
J. J. More, S. M. Wild, "Estimating derivatives of noisy simulations", ACM TOMS 38 (2012), article 19.
O. V. Lepski, "On a problem of adaptive estimation in Gaussian white noise", Theory Probab. Appl. 35 (1990).
"""

from dataclasses import dataclass, replace

import numpy as np

SAFETY = 10  # an error bar allows for so many times the rounding that was estimated
DOUBT = 2
RATIO = 4  # of neighbouring steps
ORDERS = 3  # 2, 4 and 6: slopes from one, two and three steps
FLOAT32, FLOAT64 = (float(np.finfo(dtype).eps) for dtype in (np.float32, np.float64))


@dataclass(frozen=True)
class Level:
    """What the values of f at -h and h say: slope, and slope from the right minus slope from the left."""

    h: float
    slope: float
    gap: float
    rounding: float  # how far rounding of f's values may move the slope: SAFETY * delta / h
    move: float  # how far f's values are from f at 0


@dataclass(frozen=True)
class Estimate:
    """A slope and its error bar.

    Attributes
    ----------
    slope, bar : float
        The derivative is slope +- bar; the bar is inf if no two steps agree.
    rounding : float
        The part of the bar that rounding of f's values explains.
    kink : float
        Slope from the right minus slope from the left, extrapolated to h = 0.
    curvature : float
        Second derivative.
    step : float
        The finest step that it comes from.
    """

    slope: float = np.nan
    bar: float = np.inf
    rounding: float = 0.0
    kink: float = 0.0
    curvature: float = 0.0
    step: float = 0.0


def rounding_of(f, x, here, scale):
    """Estimate how far f's values around x are rounded, and the precision in which f computes.

    Values at x moved by 0, 1, ..., 4 times a tiny step differ by a smooth part, of which third differences leave
    nothing, and by rounding, of which they leave sqrt(20) times the standard deviation. Two steps are tried: a few
    units in the last place, and some hundred thousand, as values that are sums with larger ones stand still at first.

    Parameters
    ----------
    f : callable
        From an array to a float.
    x : ndarray of float32 or float64
    here : float
        f(x).
    scale : ndarray, shape of `x`
        Positive, |x| where x is not 0.

    Returns
    -------
    rounding : float
    eps : float
        That of float32 if all values are float32 numbers, else that of float64.
    """
    # entries move by different amounts and ways: moved alike, they could cancel in f
    pattern = np.resize(np.array([1, -2, 3, -1, 2, -3], x.dtype), x.shape)
    steps = np.spacing(np.abs(x)), (scale * np.finfo(x.dtype).eps ** 0.7).astype(x.dtype)
    # (2 steps, 5 values)
    values = np.array([[here, *(f(x + x.dtype.type(k) * pattern * step) for k in (1, 2, 3, 4))] for step in steps])
    # a step that leaves the domain says nothing
    values = np.where(np.isfinite(values).all(1, keepdims=True), values, here)
    eps = FLOAT32 if np.all(values == values.astype(np.float32)) else FLOAT64  # f may compute in less than x has
    thirds, fourths = (np.abs(np.diff(values, n, axis=1)).max(1) for n in (3, 4))  # (2,) each
    noisy = fourths > thirds / 2  # fourth differences of what is smooth are much smaller
    # 20 = 1 + 9 + 9 + 1: variances of a third difference; 2 for few samples
    return max(2 * float((thirds * noisy).max()) / np.sqrt(20), eps * abs(here)), eps


class Line:
    """f along a line through x, seen at as many steps as were asked for.

    Parameters
    ----------
    values : callable
        `values(h)` returns f at -h, f at h, and the h that was really stepped; NaN where f has no value.
    here : float
        f at 0.
    rounding, eps : float
        From `rounding_of`.
    """

    def __init__(self, values, here, rounding, eps):
        self.values, self.here, self.rounding, self.eps = values, here, rounding, eps
        self.levels = []  # from coarse to fine, those with finite values
        self.refused = []  # steps that led to values that are not finite, or did not move x

    def look(self, h):
        """Take the values at -h and h."""
        # too near to a step that was taken: nothing new
        if any(level.h / 1.5 < h < 1.5 * level.h for level in self.levels):
            return
        below, above, h = self.values(h)  # h as it was really stepped
        # rounding of x may have led to a step that was taken
        taken = any(level.h / 1.2 < h < 1.2 * level.h for level in self.levels)
        if taken or not (h > 0 and np.isfinite(below) and np.isfinite(above)):
            self.refused.append(h)
            return
        # a value cannot be better than its own last place
        delta = max(self.rounding, self.eps * max(abs(below), abs(above)))
        rise, fall = above - self.here, self.here - below  # f's change to the right, and from the left
        # central slope; the gap is rise / h - fall / h
        level = Level(h, (above - below) / (2 * h), (rise - fall) / h, SAFETY * delta / h, max(abs(rise), abs(fall)))
        self.levels = sorted([*self.levels, level], key=lambda level: -level.h)
        self._distrust_plateau()

    def _distrust_plateau(self):
        """Where f stands still at fine steps by so little that rounding may be why, take it for rounding."""
        moving = [level for level in self.levels if level.move > 0]
        flat = [level for level in self.levels if level.move == 0]
        if not moving or not flat or flat[0].h > moving[-1].h:
            return
        # what f moved at the finest step at which it did, scaled to the coarsest at which it did not
        quantum = moving[-1].move * flat[0].h / moving[-1].h
        # more than that is no rounding: f is a step function there
        if quantum <= self.eps**0.7 * max(abs(self.here), moving[0].move) and quantum > self.rounding:
            self.rounding = quantum
            self.levels = [
                replace(level, rounding=max(level.rounding, SAFETY * quantum / level.h)) for level in self.levels
            ]

    @property
    def still(self):
        """Whether f stood still at all steps."""
        return all(level.move == 0 for level in self.levels)  # true of no level, too

    def estimate(self):
        """The slope with the shortest error bar."""
        if len(self.levels) < 2:  # one step has nobody to contradict it
            return Estimate()
        slopes, rounding = self.tableau()
        candidates = [
            (self._bar(slopes, rounding, k, order), k, order)
            for k in range(len(slopes)) for order in range(len(slopes[k]))
        ]  # fmt: skip
        bar, k, order = min(candidates)  # the shortest bar; of equals, the coarsest and simplest
        # curvature: (f(h) - 2 f(0) + f(-h)) / h^2 is the gap over h
        h = self.levels[k].h
        return Estimate(slopes[k][order], bar, rounding[k], self.kink(max(k, 1)), self.levels[k].gap / h, h)

    def kink(self, k):
        """The gap between the one-sided slopes at level k, g + a h + O(h^3), extrapolated to h = 0."""
        coarse, fine = self.levels[k - 1], self.levels[k]
        ratio = coarse.h / fine.h
        return (ratio * fine.gap - coarse.gap) / (ratio - 1)  # a h falls out

    def tableau(self):
        """Richardson's: row k has the slopes of order 2, 4 and 6 that end at level k."""
        rows = []
        for k, level in enumerate(self.levels):
            row = [level.slope]
            for order in range(1, min(k + 1, ORDERS)):
                # errors are in even powers of h: Ridders' table, with its squares
                ratio = (self.levels[k - order].h / level.h) ** 2
                row.append(row[-1] + (row[-1] - rows[-1][order - 1]) / (ratio - 1))  # Neville's recursion to h = 0
            rows.append(row)
        rounding = [level.rounding for level in self.levels]
        # the worst of the steps that an entry is made of
        return rows, [max(rounding[max(0, k - ORDERS + 1) : k + 1]) for k in range(len(rows))]

    def _bar(self, slopes, rounding, k, order):
        """Error bar of one entry of the tableau: rounding, and what finer steps say against it.

        The latter is taken whole where rounding does not explain it, and at the nearest step; else it is discounted
        as rounding is, by the ratio of the steps.
        """
        h, last = self.levels[k].h, k + 1 == len(slopes)  # the finest step has only a coarser one beside it
        neighbour = self.levels[k - 1 if last else k + 1].h
        if not RATIO**-3 < neighbour / h < RATIO**3 or (last and not order):
            return np.inf  # nothing near to compare with
        # what the coarser step said, discounted: it is less precise
        jolt = abs(slopes[k][order] - slopes[k - 1][order]) / RATIO if k > order else 0.0
        kink = abs(self.kink(max(k, 1)))
        # on a kink, any slope between the two sides is one
        bar = rounding[k] + (kink / 2 if kink > rounding[k] + 0.1 * abs(self.levels[k].gap) else 0.0)
        bar += 3 * self._scatter(slopes) / h  # rounding that `rounding_of` did not see
        if last:  # no finer step: what the last extrapolation changed
            return bar + DOUBT * max(jolt, abs(slopes[k][order] - slopes[k][order - 1]))
        doubt = jolt
        for j in range(k + 1, len(slopes)):  # Lepski: every finer step may refute this one
            difference = abs(slopes[j][order] - slopes[k][order])
            explained = difference <= rounding[j] + rounding[k]  # both may be off by their rounding
            doubt = max(doubt, difference * (self.levels[j].h / neighbour if explained else 1))
        return bar + DOUBT * doubt

    def _scatter(self, slopes):
        """The least that slopes of order 4 change from step to step, in units of f: rounding that hid before."""
        changes = [
            abs(slopes[k][1] - slopes[k - 1][1]) * self.levels[k].h
            for k in range(2, len(slopes)) if self.levels[k].move > 0  # order 4 needs two steps, and a change one more
        ]  # fmt: skip
        return min(changes, default=0.0)
