"""The sizes of a crammedBERT in one record, `Arch`; which tensors it has, and how config.json says all of it.

Of the many models that the cramming repository can configure, one is computed here: any setting that asks for another
is refused by name, and never passed over.

# H hidden width

Reference: https://github.com/pbelcak/UltraFastBERT, a fork of https://github.com/JonasGeiping/cramming.
"""

from dataclasses import dataclass

from .. import checks
from ..counting import layers as counted
from ..counting import presets
from ..layers import tree

CONFIG = "config.json"
WORDS, OUT = "encoder.embedding.word_embedding.weight", "decoder.weight"  # tied: one array, the file may hold both
LAYER = "encoder.layers.{}."
LARGEST = {"layers": 2**16, "max_length": 2**16}  # what is beyond exhausts memory before anything is compared
SIZES = {  # of an Arch: where config.json has them, under "arch"
    "layers": "num_transformer_layers", "hidden": "hidden_size", "heads": "attention.num_attention_heads",
    "max_length": "embedding.max_seq_length",
}  # fmt: skip
ONLY = {  # settings of which we compute one value, the released model's
    "norm": "LayerNorm", "norm_scheme": "pre", "nonlin": "GELU", "tie_weights": True, "decoder_bias": False,
    "use_bias": False, "final_norm": True, "skip_head_transform": True, "ffn_layer_frequency": 1,
    "embedding.pos_embedding": "scaled-sinusoidal", "embedding.normalization": True,
    "attention.type": "self-attention", "attention.causal_attention": False, "attention.qkv_bias": False,
    "attention.skip_output_projection": False, "attention.rotary_embedding": False,
    "attention.sequence_op": "torch-softmax",
}  # fmt: skip
VARIANTS = (
    "of crammedBERTs, UltraFastBERT and its dense twin are computed: GELU, not gated, scaled-sinusoidal positions, no "
    "biases but the trees'"
)


@dataclass(frozen=True, kw_only=True)
class Arch:
    """The sizes of a crammedBERT; those of UltraFastBERT-1x11 unless told otherwise.

    Parameters
    ----------
    layers, hidden, heads, vocabulary : int
    max_length : int
        Positions: no sequence is longer.
    n_trees, depth : int
        Of every FF layer, a `PathFFF` with GELU.
    width : int, optional
        Makes the FF layers dense, of this many neurons; trees and depth then say nothing.
    eps : float
        Added to the variance in every LayerNorm.

    Raises
    ------
    TypeError, ValueError
        If a size is no whole number or too small, or `heads` does not divide `hidden`.
    """

    layers: int = 16
    hidden: int = 768
    heads: int = 12
    vocabulary: int = 32768
    max_length: int = 128
    n_trees: int = 1
    depth: int = 11
    width: int | None = None
    eps: float = 1e-12

    def __post_init__(self):
        """Refuse sizes that are none."""
        for name in ("layers", "hidden", "heads", "vocabulary", "max_length", "n_trees"):
            checks.integer(name, getattr(self, name), 1, LARGEST.get(name, 2**31))
        checks.integer("depth", self.depth, 0, tree.DEEPEST - 1)
        if self.width is not None:
            checks.integer("width", self.width, 1, 2**31)
        checks.number("eps", self.eps, "[0, 1]")
        if self.hidden % self.heads:
            raise checks.InputError(f"heads must divide hidden, got {self.heads} and {self.hidden}")

    @property
    def neurons(self):
        """Neurons of an FF layer."""
        return self.n_trees * tree.n_nodes(self.depth + 1) if self.width is None else self.width

    def shapes(self):
        """Every tensor's name and shape, a dict."""
        H, n = self.hidden, self.neurons
        # outputs are columns: (H, n), as nn.Linear stores them
        ff = {"ffn.linear_in.weight": (n, H), "ffn.linear_in.bias": (n,), "ffn.linear_out.weight": (H, n)}
        if self.width is not None:
            ff = {"ffn.dense_in.weight": (n, H), "ffn.dense_out.weight": (H, n)}
        layer = {
            "norm1.weight": (H,), "norm1.bias": (H,), "attn.self_attention.query_key_value.weight": (3 * H, H),
            "attn.self_attention.norm_factor": (), "attn.dense.weight": (H, H),
            "norm2.weight": (H,), "norm2.bias": (H,), **ff,
        }  # fmt: skip
        return {
            WORDS: (self.vocabulary, H),
            "encoder.embedding.pos_embedding.scale_factor": (1,),
            "encoder.embedding.norm.weight": (H,), "encoder.embedding.norm.bias": (H,),
            **{LAYER.format(i) + name: shape for i in range(self.layers) for name, shape in layer.items()},
            "encoder.final_norm.weight": (H,), "encoder.final_norm.bias": (H,),
            OUT: (self.vocabulary, H),
        }  # fmt: skip

    def counted(self):
        """What it stores and computes, a `counting.transformers.Transformer`."""
        H = self.hidden
        if self.width is None:
            ff = counted.path_fff(H, H, self.depth, self.n_trees)
        else:
            ff = counted.dense_ff(H, H, self.width, in_bias=False, out_bias=False)
        return presets.crammed(ff, self.layers, self.heads, self.vocabulary)

    def config(self):
        """What config.json holds for this, a dict."""
        ff = {"intermed_type": "fff", "intermed_size": self.n_trees, "intermed_depth": self.depth}
        if self.width is not None:
            ff = {"intermed_type": "ff", "intermed_size": self.width}
        flat = ONLY | {key: getattr(self, name) for name, key in SIZES.items()} | ff  # dotted keys, nested below
        flat |= {"norm_eps": self.eps, "embedding.vocab_size": self.vocabulary, "embedding.embedding_dim": self.hidden}
        arch = {key: value for key, value in flat.items() if "." not in key}
        for outer in ("embedding", "attention"):  # "attention.type" -> {"attention": {"type": ...}}
            arch[outer] = {key.split(".")[1]: value for key, value in flat.items() if key.startswith(f"{outer}.")}
        return {"model_type": "crammedBERT", "arch": arch}

    @classmethod
    def of(cls, config, vocabulary=None):
        """The sizes that a configuration describes.

        Parameters
        ----------
        config : dict
            As in config.json.
        vocabulary : int, optional
            Number of words, for a configuration that leaves it open.

        Returns
        -------
        Arch

        Raises
        ------
        ValueError
            If a size is missing, or a setting asks for another model than this.
        """
        arch = config.get("arch") if isinstance(config, dict) else None
        if not isinstance(arch, dict):
            raise checks.InputError(
                f"{CONFIG} has no 'arch': it describes no crammedBERT; take the one of UltraFastBERT"
            )
        # a setting that is missing counts as ours
        for key, value in (ONLY | {"embedding.embedding_dim": _setting(arch, "hidden_size")}).items():
            if (found := _setting(arch, key, value)) != value:
                raise checks.InputError(
                    f"{CONFIG}: arch.{key} must be {value!r} here, got {checks.shown(found)}; {VARIANTS}"
                )
        # without the key, layers are dense
        kind = checks.one_of(f"{CONFIG}: arch.intermed_type", _setting(arch, "intermed_type", "ff"), ("ff", "fff"))
        size = _setting(arch, "intermed_size")
        ff = {"width": size} if kind == "ff" else {"n_trees": size, "depth": _setting(arch, "intermed_depth")}
        words = _setting(arch, "embedding.vocab_size", None)  # then it is the length of the word embedding
        try:
            return cls(
                **{name: _setting(arch, key) for name, key in SIZES.items()}, **ff,
                vocabulary=vocabulary if words is None else words, eps=_setting(arch, "norm_eps"),
            )  # fmt: skip
        except (TypeError, ValueError) as error:  # `Arch` names the size; which file it is from is said here
            raise checks.InputError(f"{CONFIG}: {error}") from error


def _setting(arch, key, *default):
    """arch["attention"]["type"] for "attention.type"; the default if it is not there, or an error."""
    found = arch
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            if default:
                return default[0]
            raise checks.InputError(f"{CONFIG} lacks arch.{key}")
        found = found[part]
    return found
