"""Is this gradient right? Each numerical derivative carries its own error bar, and each entry gets a verdict.

An entry *agrees* with the claim, is *wrong*, or *cannot be resolved*, as on a kink or a jump. How slopes and bars come
about is told in `differences`, how a claim is judged in `verdicts`. There are three ways to a slope.

"central" asks nothing of f: it takes differences at several steps and extrapolates them.

"complex" is Im f(x + ih) / h with h = 1e-30. It subtracts nothing and is exact to rounding, if f is analytic. One
central difference along a random direction shows whether it is; if not (`abs`, `conj`, `.real`), central differences
decide.

`check_projection` looks along a few random directions, however large x is.
"""

import numpy as np

from . import checks
from .probes import METHODS, Probe
from .reports import Report, report_of  # noqa: F401 (the class is documented as gradcheck.Report)


def check(f, x, gradient, dy=None, method="central", step=None, tolerance=None):
    """Hold a claimed gradient against a numerical one, entry by entry.

    Parameters
    ----------
    f : callable
        From an array like `x` to a number; or to an array, then `dy` is needed. It is given copies of x.
    x : ndarray of float32 or float64
    gradient : ndarray, shape of `x`
        The claim: d f / d x, or d sum(dy * f) / d x.
    dy : ndarray, shape of f's value, optional
        Weights that make a number of an array-valued f: the gradient that `backward` is given.
    method : {"central", "complex"}
    step : float, optional
        The first step, relative to max(1, |x|); by default 1e-3 (float32: 0.05) of each entry for central, 1e-30 for
        complex. Central differences go on from there to smaller or larger ones.
    tolerance : float, optional
        By which fraction of itself a claim may be off, beyond the error bar; by default 1e-12, or 1e-5 if f, x or the
        gradient is in float32.

    Returns
    -------
    Report

    Raises
    ------
    TypeError, ValueError
        If an argument is unsuitable, or f drops the imaginary part of a complex step.

    Examples
    --------
    >>> x = np.array([1.0, 2.0])
    >>> check(lambda x: (x**3).sum(), x, 3 * x**2).passed
    True
    """
    # an entry at a time: four values of f each, or more where they do not settle it
    probe = Probe(f, x, gradient, (dy, method, step, tolerance))
    return report_of(probe, method, [probe.entry(index) for index in np.ndindex(probe.x.shape)])


def check_projection(f, x, gradient, rng, dy=None, method="central", step=None, tolerance=None):
    """Hold <gradient, v> against the slope of f along a few random directions v, however large x is.

    A gradient whose error is e escapes only if |<e, v>| is within the error bar b for each of the directions. Along a
    normal v, <e, v> is normal with standard deviation |e * scale|, so a direction misses with probability below
    0.8 b / |e * scale|, and all of them with that to the power of their number.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws `probes.DIRECTIONS` normal directions. Half are scaled like x; half move entries with small claims
        farther, so that an error there is not drowned by large ones.
    f, x, gradient, dy, method, step, tolerance
        As in `check`.

    Returns
    -------
    Report
        Its error is relative to the Euclidean norm of gradient * v.

    Raises
    ------
    TypeError, ValueError
        As in `check`.
    """
    checks.generator("rng", rng)
    probe = Probe(f, x, gradient, (dy, method, step, tolerance))
    return report_of(probe, f"{method} projection", list(probe.directions(rng)))


def check_layer(value, layer, x, grads, dx=None, method="central", step=None):
    """Check every array of a layer's gradient, and that of its input.

    Parameters
    ----------
    value : callable
        `value(layer, x)` returns the loss, a number; it must pass complex128 layers through.
    layer : Record
        Whatever has `arrays()`, `map` and `astype`; nested fields have dotted names.
    x : ndarray (..., n_in)
    grads : Record
    dx : ndarray (..., n_in), optional
        The claims.
    method : {"central", "complex"}
    step : float, optional
        As in `check`.

    Returns
    -------
    dict of str to Report
        One per array of the layer, and "x" if `dx` is given.

    Raises
    ------
    TypeError, ValueError
        As in `check`.
    """
    checks.one_of("method", method, METHODS)
    x = np.asarray(x)
    claims = {name: c.dense() if hasattr(c, "dense") else c for name, c in grads.arrays().items()}  # some are rows
    # every array: a real one would drop the imaginary part
    wide = layer.astype(np.complex128) if method == "complex" else layer

    def with_array(position):
        """The loss as a function of one array of the layer; complex if that is."""

        def loss(array):
            """The loss where this array is in its place."""
            like = wide if np.iscomplexobj(array) else layer  # the check of analyticity also asks at real points
            places = iter(range(len(claims)))  # `map` walks arrays in the order of `arrays()`
            return value(like.map(lambda old: array if next(places) == position else old), x.astype(like.dtype))

        return loss

    reports = {
        name: check(with_array(position), array, claims[name], method=method, step=step)
        for position, (name, array) in enumerate(layer.arrays().items())
    }
    if dx is not None:
        loss = lambda x: value(wide if np.iscomplexobj(x) else layer, x)  # noqa: E731
        reports["x"] = check(loss, x, dx, method=method, step=step)
    return reports


def numeric_gradient(f, x, method="central", step=None, bars=False):
    """The numerical gradient of a number-valued f, entry by entry.

    central:  (f(x + h e_i) - f(x - h e_i)) / 2h        complex:  Im f(x + ih e_i) / h

    Parameters
    ----------
    f, x, method
        As in `check`, f with numbers for values.
    step : float, optional
        One difference with this step, relative to max(1, |x|), instead of several that are extrapolated; 0 where it
        does not move x.
    bars : bool
        Whether to return error bars, too.

    Returns
    -------
    gradient : ndarray of float64, shape of `x`
    bars : ndarray of float64, shape of `x`
        Only if asked for; inf where f has no slope.
    """
    x = np.asarray(x)
    probe = Probe(f, x, np.zeros(x.shape), (None, method, step, None))
    slopes = [probe.slope(probe.entry(index)) for index in np.ndindex(x.shape)]  # slope and bar of each entry
    gradient, bar = np.array(slopes).reshape(-1, 2).T.reshape(2, *x.shape)  # (size, 2) -> two of x.shape
    return (gradient, bar) if bars else gradient


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
    gradient = np.asarray(gradient)
    scale = np.abs(gradient).max(initial=0) or 1.0  # of all entries: small ones would drown the V in noise
    errors = [np.abs(numeric_gradient(f, x, method, step) - gradient).ravel() / scale for step in steps]
    return np.sort(np.array(errors), axis=1)  # (steps, entries), so that columns are quantiles
