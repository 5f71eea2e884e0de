"""fffref: fast feedforward networks (FFF) in plain NumPy, to read, to check and to time.

Layers: `LeafFFF` (arXiv 2308.14711), `PathFFF` (arXiv 2311.10770), `DenseFF` and `MoE` (the baselines).
`jit(layer)` compiles any of them but the last for inference on the CPU; Numba is imported when it is first asked for.
"""

from .layers.choices import Choices
from .layers.dense_ff import DenseFF
from .layers.leaf_fff import LeafFFF
from .layers.moe import MoE
from .layers.path_fff import PathFFF

__all__ = ["Choices", "DenseFF", "LeafFFF", "MoE", "PathFFF", "jit"]
__version__ = "0.1.0"


def __getattr__(name):
    if name == "jit":
        from .fast import jit

        return jit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
