"""The layers, compiled for inference on the CPU, and `PathFFF` for training too. Only here is Numba."""

from . import dense, leaf, path  # each registers its layer with jit  # noqa: F401
from .base import CompiledLayer, jit

__all__ = ["CompiledLayer", "jit"]
