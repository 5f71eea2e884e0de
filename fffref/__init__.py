"""fffref: fast feedforward networks (FFF) in plain NumPy, to read, to check and to time.

Layers: `LeafFFF` (arXiv 2308.14711), `PathFFF` (arXiv 2311.10770), `DenseFF` (the baseline).
"""

from .dense_ff import DenseFF
from .leaf_fff import LeafFFF
from .path_fff import PathFFF

__all__ = ["DenseFF", "LeafFFF", "PathFFF"]
__version__ = "0.1.0"
