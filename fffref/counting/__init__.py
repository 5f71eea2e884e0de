"""What a layer or a transformer costs, without running it."""

from .layers import BYTES, Count, Work, amdahl, dense_ff, itemsize, leaf_fff, moe, of, path_fff

__all__ = ["BYTES", "Count", "Work", "amdahl", "dense_ff", "itemsize", "leaf_fff", "moe", "of", "path_fff"]
