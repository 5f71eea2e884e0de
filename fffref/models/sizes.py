"""What a language model is made of, in one record; and how its initial values are drawn."""

from dataclasses import dataclass, replace

import numpy as np

from .. import checks
from ..layers import DenseFF, LeafFFF, MoE, PathFFF
from ..layers.activated import Activated
from ..layers.record import aligned, uniform
from ..layers.top_leaves import TopLeaves
from .parts import Attention, Embedding, Norm
from .transformer import Block, Transformer

KINDS = ("dense", "path", "leaf", "top", "moe", "none")
INITIAL = ("uniform", "normal")
# Deviation of the words, None for 1/sqrt(H), and weight of the norm behind the embedding. With (0.02, 1) for both, what
# a new block adds is a few per cent of the stream, and learns slowly: `fffref reproduce language --arms "dense 512"
# --seeds 1` then ends at 1.97 instead of 1.87 nat (normal, rate 1e-3). 0.03 makes the stream as long as nanoGPT's.
STREAM = {"uniform": (None, 0.1), "normal": (0.02, 0.03)}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of a language model and of its FF layers; those of nanoGPT's setting for a CPU unless told otherwise.

    Parameters
    ----------
    vocabulary, layers, hidden, heads : int
    context : int
        Positions: no sequence is longer.
    causal : bool
    ff : {"dense", "path", "leaf", "top", "moe", "none"}
        "top": a tree that mixes its two leaves of the largest mass, `TopLeaves`.
    width : int
        Neurons of a dense layer; neurons of an expert.
    depth : int
        Choices on the way down a tree.
    trees, leaf_width, experts : int
        Of `PathFFF`, `LeafFFF` and `MoE`.
    activation : str
        Of the neurons.
    behind : str, optional
        An activation of the FF layer's output, as in `Activated`.
    initial : {"uniform", "normal"}
        Initial values of the FF layers: as the layer's own `init` draws them, uniform within 1/sqrt(fan in); or as
        nanoGPT does, normal with 0.02, less for what is added to the residual stream, biases 0.
    drawn_gate : bool, optional
        Whether the gate of a `MoE` is drawn as its experts are, instead of 0, which leaves the choice to noise.
    ff_bias : bool
        Whether a dense FF layer has biases; the released form of crammedBERT has none.
    """

    vocabulary: int
    layers: int = 4
    hidden: int = 128
    heads: int = 4
    context: int = 64
    causal: bool = True
    ff: str = "dense"
    width: int = 512
    depth: int = 3
    trees: int = 1
    leaf_width: int = 64
    experts: int = 8
    activation: str = "gelu"
    behind: str | None = None
    initial: str = "uniform"
    drawn_gate: bool | None = None
    ff_bias: bool = False

    def __post_init__(self):
        """Refuse sizes that are none."""
        for name in ("vocabulary", "layers", "hidden", "heads", "context", "width", "trees", "leaf_width", "experts"):
            checks.integer(name, getattr(self, name), 1)
        checks.integer("depth", self.depth, 0)  # the others are at least 1
        checks.one_of("ff", self.ff, KINDS)
        checks.one_of("initial", self.initial, INITIAL)
        if self.drawn_gate and self.ff != "moe":
            raise checks.InputError(f"drawn_gate is for ff 'moe', got {self.ff!r}; leave it out")
        if self.hidden % self.heads:
            raise checks.InputError(f"heads must divide hidden, got {self.heads} and {self.hidden}")


def draw(rng, sizes, dtype=np.float32):
    """Draw a language model: normal with 0.02, divided by sqrt(2 layers) for what is added to the residual stream.

    Words, and the norm behind the embedding, are drawn as `STREAM` says, FF layers as `sizes.initial` does.

    Parameters
    ----------
    rng : numpy.random.Generator
    sizes : Sizes
    dtype : float32 or float64

    Returns
    -------
    Transformer

    References
    ----------
    Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3, as in nanoGPT.
    """
    checks.generator("rng", rng)
    dtype = checks.dtype(dtype, allowed=checks.DTYPES[:2])
    H = sizes.hidden
    blocks = tuple(_block(rng, sizes, dtype) for _ in range(sizes.layers))
    deviation, gain = STREAM[sizes.initial]
    words = _normal(rng, deviation or H**-0.5, (sizes.vocabulary, H), dtype)  # (V, H)
    norm = replace(_norm(H, dtype), weight=np.full(H, gain, dtype))
    embedding = Embedding(words, np.full(1, H**-0.5, dtype), norm)
    return Transformer(
        embedding, blocks, _norm(H, dtype), max_length=sizes.context, causal=sizes.causal,
        ff_bias=sizes.ff_bias, eps=1e-5,
    )  # fmt: skip


def _block(rng, sizes, dtype):
    """One block; what is added to the residual stream is drawn smaller."""
    # each block adds to the residual stream twice: divided so, all of the sums together are as large as one
    H, added = sizes.hidden, 0.02 / np.sqrt(2 * sizes.layers)
    qkv, out = _normal(rng, 0.02, (3 * H, H), dtype), _normal(rng, added, (H, H), dtype)
    ff = _feedforward(rng, sizes, dtype)
    factor = (H / sizes.heads) ** -0.5  # 1 / sqrt(d)
    norm2 = None if ff is None else _norm(H, dtype)
    return Block(_norm(H, dtype), Attention(qkv, out, sizes.heads, factor), norm2, ff)


def _feedforward(rng, sizes, dtype):
    """The FF layer of one block, or None."""
    if sizes.ff == "none":
        return None
    cls, own = {
        "dense": (DenseFF, {"width": sizes.width}),
        "path": (PathFFF, {"depth": sizes.depth, "n_trees": sizes.trees}),
        "leaf": (LeafFFF, {"depth": sizes.depth, "leaf_width": sizes.leaf_width}),
        "top": (TopLeaves, {"depth": sizes.depth, "leaf_width": sizes.leaf_width}),
        "moe": (MoE, {"n_experts": sizes.experts, "expert_width": sizes.width}),
    }[sizes.ff]
    layer = cls.init(rng, sizes.hidden, sizes.hidden, **own, activation=sizes.activation, dtype=dtype)
    if sizes.initial == "normal":
        layer = _as_nanogpt(rng, layer, sizes.layers)
    if sizes.ff == "dense" and not sizes.ff_bias:
        layer = replace(layer, in_bias=np.zeros_like(layer.in_bias), out_bias=np.zeros_like(layer.out_bias))
    if sizes.drawn_gate:
        layer = replace(layer, gate_weight=uniform(rng, sizes.hidden**-0.5, layer.gate_weight.shape, dtype))
    return layer if sizes.behind is None else Activated(layer, sizes.behind)


def _as_nanogpt(rng, layer, n_layers):
    """The layer with normal weights, and biases 0."""

    def array(name, like):
        """One array's initial values."""
        if name.endswith("bias") or not like.any():  # the gate of a mixture of experts starts at 0
            return np.zeros_like(like)
        # what is added to the stream is smaller
        return _normal(rng, 0.02 / np.sqrt(2 * n_layers) if "out" in name else 0.02, like.shape, like.dtype)

    return layer.with_arrays({name: array(name, like) for name, like in layer.arrays().items()})


def _normal(rng, deviation, shape, dtype):
    """Normal numbers, as a layer holds them."""
    return aligned(rng.standard_normal(shape) * deviation, dtype)  # drawn in float64: both dtypes get the same values


def _norm(H, dtype):
    """A norm that changes nothing yet: scale 1, shift 0."""
    return Norm(np.ones(H, dtype), np.zeros(H, dtype))
