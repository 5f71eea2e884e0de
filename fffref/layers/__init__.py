"""The reference layers: NumPy only. A layer is a record of arrays, and knows no loss, no file and no compiler."""

from .choices import Choices
from .dense_ff import DenseFF
from .leaf_fff import LeafFFF
from .moe import MoE
from .path_fff import PathFFF

__all__ = ["Choices", "DenseFF", "LeafFFF", "MoE", "PathFFF"]
