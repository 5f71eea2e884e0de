"""Is this gradient right? Central differences, complex step and random projections, for any f(x) -> y.

Central differences ask nothing of f but cannot be exact: the error falls with the step h like h^2 until
rounding, growing like 1/h, takes over. The complex step f(x + ih) = f(x) + ih f'(x) + O(h^2) subtracts nothing,
so h can be 1e-30 and the derivative is exact to rounding, if f is analytic: `abs`, `maximum` and
`scipy.special.expit` are not. Near a kink or a jump, differences lie; the report says so.
"""

from dataclasses import dataclass, replace

import numpy as np

from . import checks

COMPLEX_STEP = 1e-30
METHODS = ("central", "complex")
# error / largest derivative; the narrower of f's and the gradient's dtype decides
TOLERANCE = {
    ("central", "float64"): 1e-6, ("central", "float32"): 2e-2,
    ("complex", "float64"): 1e-12, ("complex", "float32"): 1e-4,
}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """Outcome of one check.

    Attributes
    ----------
    method : str
        "central", "complex", or one of them with "projection" behind it.
    error : float
        Largest |claimed - numeric|, divided by the largest |numeric| or |claimed|; nan if anything is not finite.
    tolerance : float
    index : tuple of int or None
        The worst entry; None for a projection.
    claimed, numeric : float
        The two values there.
    warnings : tuple of str
        Kinks and jumps found where the two disagree.
    """

    method: str
    error: float
    tolerance: float
    index: tuple | None
    claimed: float
    numeric: float
    warnings: tuple = ()

    @property
    def passed(self):
        """Whether the error is within the tolerance (a NaN is not)."""
        return bool(self.error <= self.tolerance)

    def __str__(self):
        where = "along a random direction" if self.index is None else f"worst at {list(self.index)}"
        verdict = "ok   " if self.passed else "WRONG"
        line = (
            f"{verdict} {self.method}: error {self.error:.1e} (tolerance {self.tolerance:.0e}), {where}: "
            f"claimed {self.claimed:.9g}, numeric {self.numeric:.9g}"
        )
        return "\n".join((line, *(f"      warning: {warning}" for warning in self.warnings)))

    def expect(self):
        """Raise AssertionError, with the report as its message, unless the check passed."""
        if not self.passed:
            raise AssertionError(str(self))


def check(f, x, gradient, dy=None, method="central", step=None, tolerance=None):
    """Hold a claimed gradient against a numerical one, entry by entry.

    Parameters
    ----------
    f : callable
        From an array like `x` to a number; or to an array, then `dy` is needed.
    x : ndarray of float32 or float64
    gradient : ndarray, shape of `x`
        The claim: d f / d x, or d sum(dy * f) / d x.
    dy : ndarray, optional
        Weights that make a number of an array-valued f: the gradient that `backward` is given.
    method : {"central", "complex"}
    step : float, optional
        Relative to max(1, |x|); by default eps^(1/3) of x's dtype for central, 1e-30 for complex.
    tolerance : float, optional
        By default what method and dtype allow, see `TOLERANCE`.

    Returns
    -------
    Report

    Raises
    ------
    TypeError, ValueError
        If `x` or `gradient` is unsuitable, or f drops the imaginary part of a complex step.

    Examples
    --------
    >>> x = np.array([1.0, 2.0])
    >>> check(lambda x: (x**3).sum(), x, 3 * x**2).passed
    True
    """
    f, x, gradient = _prepare(f, x, gradient, dy, method)
    numeric = numeric_gradient(f, x, method, step)
    scale = max(_largest(numeric), _largest(gradient))
    difference = np.abs(gradient.astype(np.float64) - numeric)
    worst = np.unravel_index(np.argmax(difference), x.shape) if x.size else None
    tolerance = _tolerance(method, x, gradient) if tolerance is None else tolerance
    report = Report(
        method=method,
        error=_ratio(_largest(difference), scale),
        tolerance=tolerance,
        index=worst and tuple(map(int, worst)),
        claimed=float(gradient[worst]) if x.size else 0.0,
        numeric=float(numeric[worst]) if x.size else 0.0,
    )
    if method == "complex" or report.passed:
        return report
    suspects = np.argwhere(~(difference <= tolerance * scale))[:10]
    found = (_roughness(f, x, tuple(map(int, index))) for index in suspects)
    return replace(report, warnings=tuple(warning for warning in found if warning))


def check_projection(f, x, gradient, rng, dy=None, method="central", step=None, tolerance=None):
    """Hold <gradient, v> against the slope of f along one random direction v: two evaluations, however large x.

    A wrong gradient escapes only if its error is orthogonal to v, which has probability 0.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws v, with entries +-1.
    f, x, gradient, dy, method, step, tolerance
        As in `check`.

    Returns
    -------
    Report
        Its error is relative to the Euclidean norm of the gradient, which <gradient, v> has on average.

    Raises
    ------
    TypeError, ValueError
        As in `check`.
    """
    checks.generator("rng", rng)
    f, x, gradient = _prepare(f, x, gradient, dy, method)
    v = rng.choice(np.array([-1, 1], x.dtype), size=x.shape)
    numeric = _slope(lambda t: f(x + t * v), np.zeros((), x.dtype), (), method, step)
    claimed = float((gradient.astype(np.float64) * v).sum())
    scale = max(abs(numeric), abs(claimed), float(np.linalg.norm(gradient.astype(np.float64))))
    tolerance = _tolerance(method, x, gradient) if tolerance is None else tolerance
    error = _ratio(abs(claimed - numeric), scale)
    return Report(f"{method} projection", error, tolerance, None, claimed, numeric)


def check_layer(value, layer, x, grads, dx=None, method="central", step=None):
    """Check every array of a layer's or model's gradient, and that of its input.

    Parameters
    ----------
    value : callable
        `value(layer, x)` returns the loss, a number; it must pass complex128 layers through.
    layer : Layer
    x : ndarray (..., n_in)
    grads : Layer
    dx : ndarray (..., n_in), optional
        The claims.
    method : {"central", "complex"}
    step : float, optional

    Returns
    -------
    dict of str to Report
        One per array, by its dotted name, and "x" if `dx` is given.

    Raises
    ------
    TypeError, ValueError
        As in `check`.
    """
    like = layer.astype(np.complex128) if method == "complex" else layer
    x_like, claims = x.astype(like.dtype), grads.dense().arrays()
    reports = {
        name: check(
            lambda array, name=name: value(like.with_arrays({name: array}), x_like),
            array, claims[name], method=method, step=step,
        )
        for name, array in layer.arrays().items()
    }  # fmt: skip
    if dx is not None:
        reports["x"] = check(lambda x: value(like, x), x, dx, method=method, step=step)
    return reports


def numeric_gradient(f, x, method="central", step=None):
    """The numerical gradient of a number-valued f, entry by entry.

    central:  (f(x + h e_i) - f(x - h e_i)) / 2h        complex:  Im f(x + ih e_i) / h

    Parameters
    ----------
    f, x, method, step
        As in `check`, f with numbers for values.

    Returns
    -------
    ndarray of float64, shape of `x`
    """
    return np.array([_slope(f, x, index, method, step) for index in np.ndindex(x.shape)]).reshape(x.shape)


def error_versus_step(f, x, gradient, steps, method="central"):
    """How far each entry of the numerical gradient is off, for each step: the V that everybody should see once.

    Parameters
    ----------
    f, x, gradient, method
        As in `check`, f with numbers for values; the gradient is taken to be exact.
    steps : sequence of float

    Returns
    -------
    ndarray (len(steps), x.size)
        Errors relative to the largest entry of the gradient, each row sorted.
    """
    scale = _largest(gradient)
    errors = [np.abs(numeric_gradient(f, x, method, step) - gradient).ravel() / scale for step in steps]
    return np.sort(np.array(errors), axis=1)


def _slope(f, x, index, method, step):
    """Derivative of a number-valued f along one entry."""
    if method == "complex":
        h = COMPLEX_STEP if step is None else step
        stepped = x.astype(np.complex128)
        stepped[index] += 1j * h
        value = f(stepped)
        if not np.iscomplexobj(value):
            raise ValueError(
                "f dropped the imaginary part of a complex step: it must compute in complex128 throughout "
                "(abs, maximum, float() and scipy.special.expit do not); or use method='central'"
            )
        return float(np.imag(value)) / h
    h = (np.finfo(x.dtype).eps ** (1 / 3) if step is None else step) * max(1.0, abs(float(x[index])))
    (low, below), (high, above) = (_moved(f, x, index, s * h) for s in (-1, 1))
    return (above - below) / (high - low)


def _moved(f, x, index, by):
    """x[index] + by as rounded to x's dtype, and f there: what was really stepped, not what was asked."""
    moved = x.copy()
    moved[index] += x.dtype.type(by)
    return float(moved[index]), float(f(moved))


def _roughness(f, x, index):
    """Say if f has a jump or a kink within a step of `x[index]`, else None.

    The difference of the two one-sided slopes shrinks with h where f is smooth, stays at a kink, grows at a jump.
    """
    h = np.finfo(x.dtype).eps ** (1 / 3) * max(1.0, abs(float(x[index])))
    gap, closer = (_slope_gap(f, x, index, h / divisor) for divisor in (1, 8))
    noise = 100 * np.finfo(x.dtype).eps * max(1.0, abs(float(f(x)))) / h
    if max(gap, closer) < noise or 4 < gap / max(closer, noise / 100) < 16:
        return None
    if closer > 4 * gap:
        return f"a jump (decision boundary) lies within {h:.0e} of entry {list(index)}: differences mean nothing there"
    return f"a kink (as of relu) or jump lies within {h:.0e} of entry {list(index)}: differences straddle it"


def _slope_gap(f, x, index, h):
    """|forward difference - backward difference|."""
    here = float(f(x))
    (low, below), (high, above) = (_moved(f, x, index, s * h) for s in (-1, 1))
    at = float(x[index])
    return abs((above - here) / (high - at) - (here - below) / (at - low))


def _prepare(f, x, gradient, dy, method):
    """Check the arguments that all checks share; make f number-valued."""
    checks.one_of("method", method, METHODS)
    x, gradient = np.asarray(x), np.asarray(gradient)
    for name, array in (("x", x), ("gradient", gradient)):
        if array.dtype.name not in ("float32", "float64"):
            raise TypeError(f"{name} must be float32 or float64, got {array.dtype}")
    if gradient.shape != x.shape:
        raise ValueError(f"gradient must have the shape of x, {x.shape}, got {gradient.shape}")

    def number(x):
        """f, weighted by `dy` if there is one."""
        y = f(x)
        if dy is not None:
            y = (dy * y).sum()
        if np.ndim(y) != 0:
            raise ValueError(f"f must return a number, got shape {np.shape(y)}; pass dy, the output's gradient")
        return y

    return number, x, gradient


def _tolerance(method, x, gradient):
    """The narrowest dtype involved decides; a complex step is taken in complex128 whatever x is."""
    dtype = gradient.dtype if method == "complex" else np.result_type(*sorted((x, gradient), key=_width)[:1])
    return TOLERANCE[method, dtype.name]


def _width(array):
    return array.dtype.itemsize


def _largest(array):
    """Largest absolute value, 0 of nothing, nan if any is nan."""
    return float(np.abs(array).max()) if array.size else 0.0


def _ratio(difference, scale):
    """Difference / scale, with 0 / 0 = 0; nan unless both are finite."""
    if not np.isfinite(scale) or not np.isfinite(difference):
        return float("nan")
    return difference / scale if scale > 0 else 0.0
