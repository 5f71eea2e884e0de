"""What a layer or a transformer costs, without running it."""

from .counts import BYTES, Count, Work, amdahl, itemsize
from .layers import dense_ff, leaf_fff, moe, of, path_fff

__all__ = ["BYTES", "Count", "Work", "amdahl", "dense_ff", "itemsize", "leaf_fff", "moe", "of", "path_fff"]
