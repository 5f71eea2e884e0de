"""GELU and its derivative in float32, compiled: in training, the exact forms of the reference take a third of a step.

    gelu(z) = z Phi(z),   gelu'(z) = Phi(z) + z phi(z)

Phi is that of `kernels.gelu_single`, right to 4e-6 of its value. `quick(layer)` is the layer with this pair.
"""

from dataclasses import replace

import numpy as np

from ..layers import activations
from . import kernels
from .kernels import ERFCX, EXP, LOG2_E, LOG_2

DENSITY = np.float32(1 / np.sqrt(2 * np.pi))


def slopes(z, slope):
    """slope = gelu'(z), elementwise: flat arrays of float32. The lines are those of `kernels.gelu_single`."""
    for j in range(len(z)):
        x = z[j]
        a = abs(x) if abs(x) < np.float32(13) else np.float32(13)
        v = np.float32(0.5) * a * a
        k = np.int32(v * LOG2_E + np.float32(0.5))
        r = np.float32(k) * LOG_2 - v
        e = ((((EXP[0] * r + EXP[1]) * r + EXP[2]) * r + EXP[3]) * r + EXP[4]) * r * r + r + EXP[6]
        e *= np.int32((127 - k) << 23).view(np.float32)  # exp(-z^2 / 2)
        u = np.float32(1) / (np.float32(1) + np.float32(0.35) * a)
        p = (((ERFCX[0] * u + ERFCX[1]) * u + ERFCX[2]) * u + ERFCX[3]) * u + ERFCX[4]
        p = (((p * u + ERFCX[5]) * u + ERFCX[6]) * u + ERFCX[7]) * u + ERFCX[8]
        tail = e * u * p  # Phi(-a)
        phi = tail if x <= np.float32(0) else np.float32(1) - tail
        slope[j] = phi + x * (e * DENSITY)


slopes_jit = kernels.compiled(slopes, fastmath=False)


def gelu(z):
    """Z Phi(z), elementwise; the reference's where it is not float32."""
    if z.dtype != np.float32:
        return activations.gelu(z)
    hidden = z.copy("K")  # in the order that z has in memory
    kernels.activate_jit(kernels.GELU, hidden.ravel("K"))
    return hidden


def gelu_derivative(z):
    """Phi(z) + z phi(z), elementwise; the reference's where it is not float32."""
    if z.dtype != np.float32:
        return activations.gelu_derivative(z)
    slope = np.empty_like(z)
    slopes_jit(z.ravel("K"), slope.ravel("K"))
    return slope


COMPILED = activations.Activation(gelu, gelu_derivative)


def quick(layer):
    """Return the layer with compiled GELU, sharing its arrays; as it is if it has another activation."""
    return replace(layer, activation=COMPILED) if layer.activation == "gelu" else layer
