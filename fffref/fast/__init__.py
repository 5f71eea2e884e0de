"""The layers, compiled for inference on the CPU. Only here is Numba."""

from .base import jit

__all__ = ["jit"]
