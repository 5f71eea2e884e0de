"""UltraFastBERT, whole: the encoder for masked words that the second paper trained, and its dense twin.

A `Transformer` that is not causal, read from and written to the form in which it was released.

References: P. Belcak and R. Wattenhofer, "Exponentially Faster Language Modelling", arXiv 2311.10770, 2023;
J. Geiping and T. Goldstein, "Cramming: Training a Language Model on a Single GPU in One Day", arXiv 2212.14034, 2022.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .. import checks
from ..formats import ultrafastbert
from ..formats.ultrafastbert import LAYER, Arch
from ..layers.dense_ff import DenseFF
from ..layers.path_fff import PathFFF
from .parts import Attention, Embedding, Norm
from .transformer import Block, Transformer

SCALE = "encoder.embedding.pos_embedding.scale_factor"


@dataclass(frozen=True, eq=False)
class Bert(Transformer):
    """A crammedBERT whose FF layers are fast feedforward networks (UltraFastBERT) or dense; see `Transformer`."""

    @property
    def arch(self):
        """Its sizes, an `Arch`."""
        return arch_of(self)

    @classmethod
    def load(cls, folder, fast=False, threads=1):
        """Read a model in the form of UltraFastBERT's release.

        Parameters
        ----------
        folder : path-like
            Holds config.json and model.safetensors. Every tensor is accounted for.
        fast : bool
            Compile the FF layers, as `compiled` does.
        threads : int, at least 1
            Among which rows are shared out if `fast`; they also share the work of loading. (Matrix products are the
            BLAS's, which has threads of its own.)

        Returns
        -------
        Bert, or Exchanged if `fast`
            Its weights are the file's, mapped and read when first used, but for the FF layers' output weights,
            which have to be turned over. The file must stay as it is.

        Raises
        ------
        TypeError, ValueError
            If a file is missing or damaged, asks for another model, or does not hold what it should.
        """
        threads = checks.integer("threads", threads, 1)  # before minutes of loading
        bert = cls.of(*ultrafastbert.load(folder), threads)
        return bert.compiled(threads) if fast else bert

    @classmethod
    def of(cls, arch, tensors, threads=1):
        """Make a model of an `Arch` and the released tensors, a dict by name."""
        tensors = ultrafastbert.checked(arch, tensors)
        norm = lambda name: Norm(tensors[name + "weight"], tensors[name + "bias"])  # noqa: E731

        def block(i):
            """Layer i of the encoder."""
            # a head's query, key and value stand one below the other in the file: `Attention.qkv` has the same order
            layer = LAYER.format(i)
            factor = float(tensors[layer + "attn.self_attention.norm_factor"])  # 1 / sqrt(d), stored by the authors
            qkv, out = (tensors[layer + f"attn.{name}.weight"] for name in ("self_attention.query_key_value", "dense"))
            attention = Attention(qkv, out, arch.heads, factor)
            ff = ultrafastbert.ff_layer(arch, tensors, i)
            return Block(norm(layer + "norm1."), attention, norm(layer + "norm2."), ff)

        with ThreadPoolExecutor(threads) as pool:  # turning output weights over takes most of the time
            blocks = tuple(pool.map(block, range(arch.layers)))
        embedding = Embedding(tensors[ultrafastbert.WORDS], tensors[SCALE], norm("encoder.embedding.norm."))
        return cls(embedding, blocks, norm("encoder.final_norm."), max_length=arch.max_length, eps=arch.eps)

    @classmethod
    def init(cls, rng, arch, dtype=np.float32):
        """Draw a model, as the authors' code does before training.

        Parameters
        ----------
        rng : numpy.random.Generator
        arch : Arch
        dtype : float32 or float64

        Returns
        -------
        Bert
        """
        return cls.of(arch, ultrafastbert.draw(rng, arch, dtype))


# ---------------------------------------------------------------------- writing


def save(folder, model):
    """Write a model in the released form, as `Bert.load` and `fffref fill-mask` read it.

    Parameters
    ----------
    folder : path-like
    model : Transformer
        Not causal, its FF layers all `PathFFF`, or all `DenseFF` without biases, with GELU and of one size.

    Raises
    ------
    ValueError
        If the form has no room for the model.
    """
    ultrafastbert.save(folder, arch_of(model), tensors_of(model))


def arch_of(model):
    """Return the `Arch` of a model that the released form can hold; ValueError says why it cannot."""
    ffs = model.ffs()
    # one entry if all blocks are alike
    kinds = {(type(ff), getattr(ff, "activation", None), str(getattr(ff, "sizes", None))) for ff in ffs}
    kind, activation, _ = next(iter(kinds))  # of which the first is told if there are several
    if model.causal or len(kinds) > 1 or kind not in (PathFFF, DenseFF) or activation != "gelu":
        raise checks.InputError(
            "the released form is for models that fill gaps, with PathFFF or DenseFF and GELU, all of one size; got "
            f"causal={model.causal} and {', '.join(sorted({of.__name__ for of, _, _ in kinds}))} with {activation}"
        )
    if kind is DenseFF and any(ff.in_bias.any() or ff.out_bias.any() for ff in ffs):  # biases that are 0 need no room
        raise checks.InputError("the released form has no biases in dense FF layers; train with ff_bias=False, from 0")
    ff = ffs[0]
    sizes = {"width": ff.width} if kind is DenseFF else {"n_trees": ff.n_trees, "depth": ff.depth}
    return Arch(
        layers=len(ffs), hidden=model.hidden_width, heads=model.blocks[0].attention.heads, eps=model.eps,
        vocabulary=model.vocabulary, max_length=model.max_length, **sizes,
    )  # fmt: skip


def tensors_of(model):
    """Return a model's arrays under the released names, a dict; the output weights of neurons become columns."""
    of = model.dtype.type
    tensors = {ultrafastbert.WORDS: model.embedding.words, SCALE: model.embedding.scale}
    # two tensors each, added at the end
    norms = {"encoder.embedding.norm": model.embedding.norm, "encoder.final_norm": model.final_norm}
    for i, block in enumerate(model.blocks):
        layer, ff = LAYER.format(i), block.ff
        norms |= {layer + "norm1": block.norm1, layer + "norm2": block.norm2}
        tensors[layer + "attn.self_attention.query_key_value.weight"] = block.attention.qkv
        tensors[layer + "attn.self_attention.norm_factor"] = np.array(block.attention.factor, of)
        tensors[layer + "attn.dense.weight"] = block.attention.out
        name = "dense" if isinstance(ff, DenseFF) else "linear"  # the authors' names for the two
        tensors[layer + f"ffn.{name}_in.weight"] = ff.in_weight.reshape(-1, ff.n_in)  # (K, M, H) -> (K M, H)
        # (K M, H) -> (H, K M): a neuron is a column there
        tensors[layer + f"ffn.{name}_out.weight"] = np.ascontiguousarray(ff.out_weight.reshape(-1, ff.n_out).T)
        if isinstance(ff, PathFFF):
            tensors[layer + "ffn.linear_in.bias"] = ff.in_bias.reshape(-1)
    for name, norm in norms.items():
        tensors |= {name + ".weight": norm.weight, name + ".bias": norm.bias}
    return tensors
