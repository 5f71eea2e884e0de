"""Each activation beside its derivative. Both take float32, float64 or complex128 and return the same.

Comparisons look at the real part, so that a complex step passes through; NaN comes out as NaN.
"""

from typing import NamedTuple

import numpy as np

from .. import checks

SQRT_2PI = np.sqrt(2 * np.pi)


def sigmoid(z):
    """1 / (1 + exp(-z)). exp may overflow to inf, and 1 / inf = 0 is the right answer."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-z))  # precise where it is small: no 1 is taken off


def mirrored_sigmoid(z):
    """1 / (1 + exp(z)), which is 1 - sigmoid(z) to the last digit, however small it is."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(z))  # precise where sigmoid rounds to 1


def smooth_step(z):
    """1/2 + z/4 - z^3/108 between -3 and 3, exactly 0 below and exactly 1 above; slope and value at 0 are sigmoid's.

    Hazimeh et al., "The Tree Ensemble Layer", arXiv 2002.07772, equation 3, with gamma = 6; a temperature divides
    z, and so makes a band of another width.
    """
    z = _banded(z)
    return (z + 3) * (z + 3) * (6 - z) / 108  # this form is exactly 0 and 1 at the ends


def smooth_step_derivative(z):
    """1/4 - z^2/36 between -3 and 3, exactly 0 outside."""
    z = _banded(z)
    return (3 - z) * (3 + z) / 36  # in factors: exactly 0 at the ends


def _banded(z):
    """z cut off at -3 and 3, also where it is complex."""
    if z.dtype.kind == "f":
        return np.clip(z, -3, 3)  # np.where takes several times as long
    return np.where(z.real < -3, -3, np.where(z.real > 3, 3, z)).astype(z.dtype)


def relu(z):
    """max(z, 0); for complex numbers, z where its real part is positive."""
    if z.dtype.kind == "f":
        return np.maximum(z, 0)  # np.where takes ten times as long on random signs
    return np.where(z.real <= 0, 0, z)  # <= and not >: NaN comes out


def relu_derivative(z):
    """1 where z > 0, else 0: at the kink we take the left derivative, as PyTorch does."""
    return (z.real > 0).astype(z.dtype)  # 0 at NaN: nothing flows back


def gelu(z):
    """z * Phi(z), Phi the normal distribution function: the exact form, not the tanh approximation."""
    from scipy.special import ndtr  # imported where needed: `import fffref` stays quick

    return z * ndtr(z)  # ndtr takes complex numbers, as a complex step needs


def gelu_derivative(z):
    """Phi(z) + z * phi(z), phi the normal density."""
    from scipy.special import ndtr

    with np.errstate(over="ignore"):
        return ndtr(z) + z * np.exp(-z * z / 2) / z.dtype.type(SQRT_2PI)  # exp(-inf) = 0 where z * z overflows


def tanh(z):
    """The hyperbolic tangent."""
    return np.tanh(z)


def tanh_derivative(z):
    """1 - tanh(z)^2 = 4 e / (1 + e)^2 with e = exp(-2 |z|): the difference would cancel where tanh is near 1."""
    e = np.exp(2 * np.where(z.real < 0, z, -z))  # at most 1
    return 4 * e / (1 + e) ** 2


def identity(z):
    """Return z."""
    return z


def identity_derivative(z):
    """Return ones."""
    return np.ones_like(z)  # complex too, as the others


class Activation(NamedTuple):
    """A function and its derivative, both elementwise."""

    function: callable
    derivative: callable


ACTIVATIONS = {
    "relu": Activation(relu, relu_derivative),
    "gelu": Activation(gelu, gelu_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "identity": Activation(identity, identity_derivative),
}


def get(name):
    """Return the `Activation` of this name, which a layer keeps so that it can be saved; an `Activation` is itself."""
    return name if isinstance(name, Activation) else ACTIVATIONS[checks.one_of("activation", name, tuple(ACTIVATIONS))]


def named(activation):
    """Return the name; refuse a pair of functions, which neither a file nor a kernel can hold."""
    return checks.one_of("activation", activation, tuple(ACTIVATIONS))
