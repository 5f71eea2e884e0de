"""What a soft pass of `LeafFFF` keeps: the nodes' choices, the mixture that they make, and the leaves' neurons.

# B batch, I inputs, N = 2^d - 1 nodes, L = 2^d leaves, l leaf width
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np


@dataclass(frozen=True, eq=False)
class NodeTape:
    """What a soft forward pass keeps of the nodes, for the backward pass and for losses on the tree itself.

    Attributes
    ----------
    x : ndarray (B, I)
        The input, leading axes flattened into B.
    lead : tuple of int
        Those leading axes.
    scale : ndarray (B, N) or float
        d logit / d (x . w + b): 1 / temperature, negative where the children are transposed.
    logit : ndarray (B, N)
        Logits of the choices, `log(c / (1 - c))` of sigmoid ones; temperature, transposition and noise included.
    choice, slope : ndarray (B, N)
        c, the mass of the right child, by sigmoid or smooth step; and dc / d logit.
    right, left : ndarray (B, N)
        The masses that made the mixture: c and 1 - c, or their rounding where the pass was straight-through.
    mixture : ndarray (B, L)
        Weight of each leaf; every row sums to 1.
    """

    x: np.ndarray
    lead: tuple
    scale: np.ndarray
    logit: np.ndarray
    choice: np.ndarray
    slope: np.ndarray
    right: np.ndarray
    left: np.ndarray
    mixture: np.ndarray

    SHAPES: ClassVar[dict[str, str]] = {
        "x": "BI", "scale": "BN:or number", "logit": "BN", "choice": "BN", "slope": "BN", "right": "BN", "left": "BN",
        "mixture": "BL",
    }  # fmt: skip


@dataclass(frozen=True, eq=False)
class LeafTape(NodeTape):
    """A `NodeTape`, and all leaves.

    Attributes
    ----------
    leaf_logit, hidden : ndarray (B, L, l)
        The leaves' neurons before and after the activation.
    """

    leaf_logit: np.ndarray
    hidden: np.ndarray

    SHAPES: ClassVar[dict[str, str]] = NodeTape.SHAPES | {"leaf_logit": "BLl", "hidden": "BLl"}


class Chosen(NamedTuple):
    """What the nodes decide, fields of `NodeTape`: scale, then logit to left (B, N), and the mixture (B, L)."""

    scale: np.ndarray
    logit: np.ndarray
    choice: np.ndarray
    slope: np.ndarray
    right: np.ndarray
    left: np.ndarray
    mixture: np.ndarray
