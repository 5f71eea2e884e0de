"""The one check of tapes, what forward passes keep: no backward pass trusts what it was given.

A tape spells its fields as a layer does, a letter a dimension: the layer's letters, B for rows, and what it adds.
After a colon stands what is special: "int", "real" (never complex), "optional" (None without noise), "or number".
"""

import functools
import math
import numbers

import numpy as np

from .. import checks


def check(layer, tape, kind, **letters):
    """Refuse a tape that `layer.forward` did not return; it takes microseconds.

    Parameters
    ----------
    layer : Layer
    tape
        What `backward` was given.
    kind : class
        What it should be, with `x`, `lead` and `SHAPES`.
    **letters : int
        Dimensions that are none of the layer's.

    Raises
    ------
    TypeError, ValueError
        If it is another kind of tape, or a field has another dtype or shape than it must have.
    """
    if type(tape) is not kind:
        raise checks.InputTypeError(
            f"tape must be the {kind.__name__} that forward returned, got {type(tape).__name__}"
        )
    lead = tape.lead
    if type(lead) is not tuple or not all(isinstance(n, numbers.Integral) and n >= 0 for n in lead):
        raise checks.InputError(f"the tape's lead must be a tuple of lengths, got {lead!r}; {ADVICE}")
    # once for all fields: both walk the layer
    sizes, layer_dtype = layer.sizes | letters | {"B": math.prod(lead)}, layer.dtype
    real = np.finfo(layer_dtype).dtype  # draws of noise stay real in a complex step
    for name, dimensions, special in _spelled(kind):
        array = getattr(tape, name)
        if "optional" in special and array is None:  # a pass without noise
            continue
        # the layer's lengths, not the tape's: they are what is to be met
        shape = tuple(sizes[letter] for letter in dimensions)
        if isinstance(array, STRANGE) or not isinstance(array, (np.ndarray, np.number)):
            raise checks.InputTypeError(
                f"the tape's {name} must be a plain NumPy array, got {type(array).__name__}; {ADVICE}"
            )
        actual, dtype = array.shape, array.dtype
        if actual != shape and not ("or number" in special and actual == ()):
            raise checks.InputError(f"the tape's {name} must have shape {shape}, got {actual}; {ADVICE}")
        if "int" in special:
            fits = dtype.kind in "iu"
        else:
            fits = dtype == (real if "real" in special else layer_dtype)  # a mixed product would widen the gradient
        if not fits:
            raise checks.InputTypeError(f"the tape's {name} must have dtype {layer_dtype}, got {dtype}; {ADVICE}")


ADVICE = "the tape comes from another layer, pass what forward of this one returned"

STRANGE = (np.ma.MaskedArray, np.matrix)  # their arithmetic is another


@functools.cache
def _spelled(kind):
    """A tape's fields: name, letters, and what is special."""
    return [(name, *spelling.partition(":")[::2]) for name, spelling in kind.SHAPES.items()]


def check_range(name, index, n):
    """Refuse indices outside 0 to n - 1: a kernel would read past the end of an array."""
    # NumPy would count from the end, a kernel would not look at all
    if index.size and not (0 <= index.min() and index.max() < n):
        raise checks.InputError(f"the tape's {name} must lie in 0 to {n - 1}; {ADVICE}")


def further(name, gradient, like):
    """Return the gradient of a further loss with respect to `like`, checked, or 0 if there is none."""
    return 0 if gradient is None else checks.array(name, gradient, like.shape, like.dtype)


def check_origin(tape, weight, bias, logit):
    """Refuse the tape of another layer of the same sizes: recompute the first logit of the first row.

    Parameters
    ----------
    tape
        Whose `x` is used.
    weight, bias : ndarray (I,), scalar
        Of the neuron that computed it.
    logit : ndarray
        As recorded; its first entry counts, if there is one.
    """
    if logit.size == 0:  # no rows, nothing to compare
        return
    x, weight, recorded = np.asarray(tape.x[0]), np.asarray(weight), np.asarray(logit).flat[0]  # (I,), (I,), scalar
    # scale: the largest that the sum could be
    computed, scale = x @ weight + bias, np.abs(x) @ np.abs(weight) + np.abs(bias)
    slack = np.sqrt(np.finfo(x.dtype).eps) * scale  # orders of summation differ, half of the digits do not
    if np.abs(computed - recorded) > slack and np.isfinite(scale):  # where x holds NaN or inf, nothing can be said
        raise checks.InputError(
            f"the tape's first logit is not that of these weights, or they have changed since; {ADVICE}"
        )
