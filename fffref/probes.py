"""A function at a point, made ready to be differentiated: arguments checked, copies handed out, lines through x.

Nobody's array is changed: f gets copies. Steps are relative to each entry; an entry that is 0 takes the median size
of the others. What was really stepped is what counts, x + h - x as the dtype rounds it.
"""

from dataclasses import dataclass, replace

import numpy as np

from . import checks
from .differences import FLOAT32, FLOAT64, Line, rounding_of
from .verdicts import AGREES, NOT_FINITE, RANDOM, UNRESOLVED, WRONG, Estimate, Question, Verdict, judge, measure

METHODS = ("central", "complex")
COMPLEX_STEP, SECOND_COMPLEX_STEP = 1e-30, 1e-10  # two, as some library functions are right at one of them only
TOLERANCE = {FLOAT64: 1e-12, FLOAT32: 1e-5}  # by which fraction of itself a claim may be off, beyond the error bar
START = {FLOAT64: 1e-3, FLOAT32: 5e-2}  # first step, as a fraction of an entry
ENOUGH = {FLOAT64: 1e-6, FLOAT32: 1e-4}  # an error bar shorter than this fraction of the slope will do
DIRECTIONS = 4  # of a projection
BLUR = 8  # how many roundings of x a claim's error may be worth


@dataclass(frozen=True)
class Direction:
    """A way through x: the vector, a typical step along it, and which entry it is if it is one."""

    vector: np.ndarray
    scale: float
    index: tuple | None = None


class Probe:
    """f at x, and along lines through it. The parameters are those of `gradcheck.check`."""

    def __init__(self, f, x, gradient, options):
        self.x, self.gradient = _floats("x", x), _floats("gradient", gradient)
        if self.gradient.shape != self.x.shape:
            raise checks.InputError(f"gradient must have the shape of x, {self.x.shape}, got {self.gradient.shape}")
        self.dy, self.method, self.step, tolerance = options
        checks.one_of("method", self.method, METHODS)
        if self.step is not None:
            checks.number("step", self.step, "(0, inf)")
        self.f, self.claims = f, self.gradient.astype(np.float64)
        self.here, again = self.value(self.x), self.value(self.x)  # twice: a function that draws differs from itself
        size = np.abs(self.x.astype(np.float64))
        # what an entry of 0 is taken to be as large as
        self.typical = float(np.median(size[size > 0])) if np.any(size > 0) else 1.0
        self.scales = np.where(size > 0, size, self.typical)
        self.trouble = "" if np.isfinite(self.here) else NOT_FINITE
        if not self.trouble and self.here != again:
            self.trouble = RANDOM
        self.rounding, self.eps = 0.0, FLOAT64
        if not self.trouble and self.x.size:
            self.rounding, self.eps = rounding_of(self.value, self.x, self.here, self.scales)
        # one of the three in float32, and nobody can expect more of the claim
        narrow = FLOAT32 in (np.finfo(self.x.dtype).eps, np.finfo(self.gradient.dtype).eps, self.eps)
        self.claim_eps = FLOAT32 if narrow else FLOAT64
        self.tolerance = (
            TOLERANCE[self.claim_eps] if tolerance is None else checks.number("tolerance", tolerance, "[0, inf)")
        )
        self.warnings = []

    def raw(self, x):
        """f of a copy of x, as a number, complex if f's value is."""
        with np.errstate(all="ignore"):
            y = np.asarray(self.f(x.copy()))  # a copy: f may write into it
            if self.dy is not None:
                dy = np.asarray(self.dy)
                if dy.shape != y.shape:
                    raise checks.InputError(f"dy must have the shape of f's value, {y.shape}, got {dy.shape}")
                single = y.dtype == np.float32
                # the sum in float64: its rounding is none of f's
                y = (dy * (y if np.iscomplexobj(y) else y.astype(np.float64))).sum()
                y = np.float32(y) if single else y  # so that `rounding_of` still sees float32
        if np.size(y) != 1:
            raise checks.InputError(f"f must return a number, got shape {np.shape(y)}; pass dy, the output's gradient")
        return np.asarray(y).reshape(())[()]

    def value(self, x):
        """f as a float."""
        return float(np.real(self.raw(x)))

    def entry(self, index):
        """The direction of one entry."""
        vector = np.zeros(self.x.shape)
        vector[index] = 1  # e_i, in the shape of x
        return Direction(vector, float(self.scales[index]), index)

    def line(self, direction, wide=False):
        """f along a direction; in complex128 with imaginary part 0 if `wide`."""
        x = self.x.astype(np.float64) if wide else self.x
        f = (lambda x: self.value(x.astype(np.complex128))) if wide else self.value

        def values(h):
            """f on both sides, and the step that was taken."""
            high = x + (h * direction.vector).astype(x.dtype)  # x + h v, as the dtype rounds it
            low = x - (high - x)  # as far below as it is above
            step = (high.astype(np.float64) - low) / 2  # what was really stepped, exact in float64
            if not np.any(step):  # h is below rounding of every entry
                return np.nan, np.nan, 0.0
            if direction.index is not None:
                return _tried(f, low), _tried(f, high), float(step[direction.index])
            # rounding of the direction, in the claim's terms: taken off on both sides
            excess = float((self.claims * (step - h * direction.vector)).sum())
            return _tried(f, low) + excess, _tried(f, high) - excess, h

        if not wide:
            return Line(values, self.here, self.rounding, self.eps)
        here = f(x)  # in complex128, f may round otherwise
        return Line(values, here, *rounding_of(f, x, here, self.scales))

    def question(self, direction, claim, line):
        """What `judge` is asked."""
        scale = direction.scale
        # steps are relative to the entry; those that a caller gives, to 1 at least
        start = START[line.eps] * scale
        if self.step is not None and self.method == "central":
            start = self.step * (max(1.0, scale) if direction.index is not None else 1.0)
            if (
                direction.index is not None
                and self.x[direction.index] + self.x.dtype.type(start) == self.x[direction.index]
            ):
                raise checks.InputError(f"step {self.step} does not move x: it is less than rounding; use a larger one")
        longest = float(np.abs(direction.vector).max())
        return Question(
            claim=claim,
            size=float(np.linalg.norm(self.claims * direction.vector)) if direction.index is None else abs(claim),
            start=start,
            # no step leads beyond a third of x: f is another function there
            top=0.3 * max(1.0, float(np.abs(self.x).max())) / longest,
            tolerance=self.tolerance,
            blur=BLUR * self.claim_eps * scale,  # the claim was computed at an x that is rounded
            enough=ENOUGH[line.eps],
            scale=max(scale, self.typical) if direction.index is not None else scale,
        )

    def judged(self, direction):
        """The verdict on one direction; its claim."""
        claim = (
            float((self.claims * direction.vector).sum())
            if direction.index is None
            else float(self.claims[direction.index])
        )
        if self.trouble:  # of no entry anything can be said
            return Verdict(UNRESOLVED, Estimate(), self.trouble), claim
        if not np.isfinite(claim):  # NaN agrees with nothing
            return Verdict(WRONG, Estimate(), ""), claim
        if self.method == "complex":
            verdict = self._complex(direction, claim)
            if verdict is not None:
                return verdict, claim
        line = self.line(direction, wide=self.method == "complex")
        return judge(line, self.question(direction, claim, line)), claim

    def complex_slope(self, direction, h=None, at=None):
        """Im f(x + ih v) / h."""
        h = h or self.step or COMPLEX_STEP * direction.scale  # h^2 vanishes beside 1: no truncation
        value = self.raw((self.x if at is None else at) + 1j * h * direction.vector)
        if not np.iscomplexobj(value):
            raise checks.InputError(
                "f dropped the imaginary part of a complex step: it must compute in complex128 throughout "
                "(abs, maximum, float() and scipy.special.expit do not); or use method='central'"
            )
        return float(np.imag(value)) / h

    def _complex(self, direction, claim):
        """The verdict by complex step; None if central differences have to decide."""
        # the imaginary part subtracts nothing, so only rounding of the claim and of f's terms is left
        slope = self.complex_slope(direction)
        size = float(np.linalg.norm(self.claims * direction.vector))
        largest = float(np.linalg.norm(self.claims)) * float(np.abs(direction.vector).max())
        # a few tens of roundings of what is summed
        bar = 30 * self.claim_eps * (largest if direction.index is not None else size)
        if abs(slope) * direction.scale <= 30 * self.rounding:  # f hardly moves: the claim is a sum of what cancels
            bar += 30 * self.rounding / max(direction.scale, self.typical)
        allowed = bar + self.tolerance * size
        estimate = Estimate(slope, bar, bar)
        if abs(claim - slope) <= allowed:
            return Verdict(AGREES, estimate, "")
        # some functions of SciPy are right at one step only
        second = self.complex_slope(direction, SECOND_COMPLEX_STEP * direction.scale)
        if not abs(second - slope) <= 1e-3 * abs(claim - slope):  # the steps disagree: let differences decide
            return None
        # how much does the slope change within rounding of x?
        moved = self.x + (4 * np.spacing(np.abs(self.x)) if self.x.dtype == np.float32 else 4 * self.claim_eps * self.x)
        bar += 4 * abs(self.complex_slope(direction, at=moved) - slope)  # so much the claim may be off, too
        kind = AGREES if abs(claim - slope) <= bar + self.tolerance * size else WRONG
        return Verdict(kind, replace(estimate, bar=bar), "")

    def analytic(self):
        """Whether complex step and central differences agree along a normal direction."""
        # one direction sees every entry
        direction = Direction(np.random.default_rng(0).standard_normal(self.x.shape) * self.scales, 1.0)
        slope, line = self.complex_slope(direction), self.line(direction, wide=True)
        question = replace(self.question(direction, slope, line), tolerance=1e-9)
        return judge(line, replace(question, size=max(question.size, abs(slope)))).kind != WRONG

    def directions(self, rng):
        """Normal directions, each with its own balance between entries with large and with small claims."""
        effect = np.abs(self.claims) * self.scales  # how far f moves if an entry moves by its size
        effects = effect[np.isfinite(effect) & (effect > 0)]
        for share in np.linspace(2, 0, DIRECTIONS) if effects.size else np.full(DIRECTIONS, 2):
            # entries with more effect are moved less
            reach = np.quantile(effects, share) / np.maximum(effect, 1e-300) if share <= 1 else 1.0
            yield Direction(rng.standard_normal(self.x.shape) * self.scales * np.minimum(reach, 1), 1.0)

    def slope(self, direction):
        """Numerical slope and error bar."""
        if self.method == "complex":
            return self.complex_slope(direction), 0.0
        line = self.line(direction)
        if self.step is not None:
            line.look(self.step * max(1.0, abs(float(self.x[direction.index]))))  # one central difference, as asked for
            return (line.levels[0].slope, np.inf) if line.levels else (0.0, np.inf)
        estimate = measure(line, replace(self.question(direction, np.nan, line), size=0.0, enough=1e-10))
        return estimate.slope, estimate.bar


def _floats(name, value):
    """An array of float32 or float64."""
    array = np.asarray(value)
    if array.dtype.name not in ("float32", "float64"):
        raise checks.InputTypeError(
            f"{name} must be float32 or float64, got {array.dtype}; convert it with .astype(np.float64)"
        )
    return array


def _tried(f, x):
    """f(x), NaN where f refuses x: f has a value at x itself, so that is the edge of its domain."""
    try:
        return f(x)
    except checks.InputError:
        raise
    except (ArithmeticError, ValueError):
        return np.nan
