"""The form in which UltraFastBERT was released: a folder with config.json and model.safetensors, all accounted for.

What the configuration asks for and what the file holds must agree, name by name and shape by shape. A dense model
where an FFF is configured, or another package's model, is refused, not filled up with random weights.

# H hidden width, V words, K trees, M = 2^(depth + 1) - 1 neurons of a tree, w dense width

Reference: https://github.com/pbelcak/UltraFastBERT, a fork of https://github.com/JonasGeiping/cramming.
"""

import json
import pathlib
from dataclasses import dataclass

import numpy as np

from .. import checks, files
from ..layers import tree
from ..layers.dense_ff import DenseFF
from ..layers.path_fff import PathFFF
from ..layers.record import aligned
from . import fastfeedforward

CONFIG, WEIGHTS = "config.json", "model.safetensors"
WORDS, OUT = "encoder.embedding.word_embedding.weight", "decoder.weight"  # tied: one array, the file may hold both
LAYER = "encoder.layers.{}."
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
CONVERT = (
    "import torch, safetensors.torch; w = torch.load('pytorch_model.bin', weights_only=True); "
    "safetensors.torch.save_file({n: t.clone() for n, t in w.items()}, 'model.safetensors')"
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
            checks.integer(name, getattr(self, name), 1)
        checks.integer("depth", self.depth, 0, tree.DEEPEST - 1)
        if self.width is not None:
            checks.integer("width", self.width, 1)
        checks.number("eps", self.eps, "[0, 1]")
        if self.hidden % self.heads:
            raise ValueError(f"heads must divide hidden, got {self.heads} and {self.hidden}")

    @property
    def neurons(self):
        """Neurons of an FF layer."""
        return self.n_trees * tree.n_nodes(self.depth + 1) if self.width is None else self.width

    def shapes(self):
        """Every tensor's name and shape, a dict."""
        H, n = self.hidden, self.neurons
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

    def config(self):
        """What config.json holds for this, a dict."""
        ff = {"intermed_type": "fff", "intermed_size": self.n_trees, "intermed_depth": self.depth}
        if self.width is not None:
            ff = {"intermed_type": "ff", "intermed_size": self.width}
        flat = ONLY | {key: getattr(self, name) for name, key in SIZES.items()} | ff
        flat |= {"norm_eps": self.eps, "embedding.vocab_size": self.vocabulary, "embedding.embedding_dim": self.hidden}
        arch = {key: value for key, value in flat.items() if "." not in key}
        for outer in ("embedding", "attention"):
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
            raise ValueError(f"{CONFIG} has no 'arch': it describes no crammedBERT; take the one of UltraFastBERT")
        for key, value in (ONLY | {"embedding.embedding_dim": _setting(arch, "hidden_size")}).items():
            if (found := _setting(arch, key, value)) != value:
                raise ValueError(f"{CONFIG}: arch.{key} must be {value!r} here, got {found!r}")
        kind = checks.one_of(f"{CONFIG}: arch.intermed_type", _setting(arch, "intermed_type", "ff"), ("ff", "fff"))
        size = _setting(arch, "intermed_size")
        ff = {"width": size} if kind == "ff" else {"n_trees": size, "depth": _setting(arch, "intermed_depth")}
        words = _setting(arch, "embedding.vocab_size", None)
        try:
            return cls(
                **{name: _setting(arch, key) for name, key in SIZES.items()}, **ff,
                vocabulary=vocabulary if words is None else words, eps=_setting(arch, "norm_eps"),
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            raise ValueError(f"{CONFIG}: {error}") from error


def _setting(arch, key, *default):
    """arch["attention"]["type"] for "attention.type"; the default if it is not there, or an error."""
    found = arch
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            if default:
                return default[0]
            raise ValueError(f"{CONFIG} lacks arch.{key}")
        found = found[part]
    return found


# ---------------------------------------------------------------------- reading


def load(folder):
    """Read a folder.

    Parameters
    ----------
    folder : path-like
        Holds config.json and model.safetensors.

    Returns
    -------
    arch : Arch
    tensors : dict of str to ndarray
        Mapped, in one dtype; without `decoder.weight`, which is the word embedding.

    Raises
    ------
    TypeError, ValueError
        If a file is missing or no such file, or if they do not agree.
    """
    folder = pathlib.Path(folder)
    config = _config(folder / CONFIG)
    if not (folder / WEIGHTS).exists() and (folder / "pytorch_model.bin").exists():
        raise ValueError(f'{folder} holds pytorch_model.bin; convert it there: python -c "{CONVERT}"')
    tensors = fastfeedforward.mapped(folder / WEIGHTS)
    words = tensors.get(WORDS, tensors.get(OUT))
    arch = Arch.of(config, None if words is None else len(words))
    return arch, checked(arch, tensors)


def _config(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no {path}; the folder must hold {CONFIG} and {WEIGHTS}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no readable JSON: {error}") from error


def checked(arch, tensors):
    """Return the tensors that an `Arch` needs, all of them and no others, the tied one once; or say what is wrong."""
    shapes = arch.shapes()
    tensors = dict(tensors)
    if WORDS not in tensors and OUT in tensors:  # a file may hold a tied pair once
        tensors[WORDS] = tensors[OUT]
    missing = [name for name in shapes if name not in tensors and name != OUT]
    unknown = [name for name in tensors if name not in shapes]
    if missing or unknown:
        lists = "; ".join(
            fastfeedforward.listed(*pair) for pair in (("missing:", missing), ("unknown:", unknown)) if pair[1]
        )
        raise ValueError(f"{WEIGHTS} is not the model that {CONFIG} describes{_diagnosis(arch, tensors)}. {lists}")
    dtype = checks.dtype(tensors[WORDS].dtype, allowed=checks.DTYPES[:2])
    for name, array in tensors.items():
        checks.array(f"{WEIGHTS}: {name}", array, shapes[name], dtype)
    out = tensors.pop(OUT, tensors[WORDS])
    if out is not tensors[WORDS] and not np.array_equal(_bits(out), _bits(tensors[WORDS])):
        raise ValueError(f"{WEIGHTS}: {OUT} differs from {WORDS}, but {CONFIG} ties them; take another copy")
    return tensors


def _bits(array):
    """The same memory as integers: NaN equals NaN, and comparing is quick."""
    return np.asarray(array, order="C").view(np.int32)


def _diagnosis(arch, tensors):
    """What commonly went wrong, in words."""
    dense, conditional = (any(f".ffn.{name}_in." in key for key in tensors) for name in ("dense", "linear"))
    if not any(key.startswith("encoder.layers.") for key in tensors):
        return ": it holds no crammedBERT at all"
    if arch.width is None and dense and not conditional:
        return ": its FF layers are dense, a crammedBERT's, where fast feedforward networks are configured"
    if arch.width is not None and conditional and not dense:
        return ": its FF layers are fast feedforward networks, where dense ones are configured"
    return ""


def ff_layer(arch, tensors, number):
    """Make a block's FF layer of its tensors.

    Parameters
    ----------
    arch : Arch
    tensors : dict of str to ndarray
    number : int
        The block, from 0.

    Returns
    -------
    PathFFF or DenseFF
        The weights towards the input are the given array; the released matrix towards the output, a column a
        neuron, has to be turned over.
    """
    name = LAYER.format(checks.integer("layer", number, 0, arch.layers - 1)) + "ffn."
    if arch.width is not None:
        inward, outward = tensors[name + "dense_in.weight"], tensors[name + "dense_out.weight"]
        none = np.zeros(arch.width + arch.hidden, inward.dtype)  # a crammedBERT has no biases
        return DenseFF(inward, none[: arch.width], aligned(outward.T), none[arch.width :], "gelu")
    inward, bias = tensors[name + "linear_in.weight"], tensors[name + "linear_in.bias"]
    trees = arch.n_trees, -1
    outward = aligned(tensors[name + "linear_out.weight"].T)  # (H, K M) -> (K M, H)
    return PathFFF(inward.reshape(*trees, arch.hidden), bias.reshape(trees), outward.reshape(*trees, arch.hidden))


# ---------------------------------------------------------------------- making and writing


def draw(rng, arch, dtype=np.float32):
    """Draw all tensors as the authors' code does before training: normal with 0.02, biases 0, word 0 (padding) 0.

    Parameters
    ----------
    rng : numpy.random.Generator
    arch : Arch
    dtype : float32 or float64

    Returns
    -------
    dict of str to ndarray
        By name; without the tied `decoder.weight`.
    """
    checks.generator("rng", rng)
    dtype = checks.dtype(dtype, allowed=checks.DTYPES[:2])
    fixed = {"scale_factor": arch.hidden**-0.5, "norm_factor": (arch.hidden / arch.heads) ** -0.5, "bias": 0}

    def tensor(name, shape):
        """A fixed number where training starts from one, else a small normal draw."""
        last = name.rsplit(".", 1)[1]
        if "norm" in name.split(".")[-2] or last in fixed:
            return np.full(shape, fixed.get(last, 1), dtype)
        return aligned(rng.standard_normal(shape, np.float32) * np.float32(0.02), dtype)

    tensors = {name: tensor(name, shape) for name, shape in arch.shapes().items() if name != OUT}
    tensors[WORDS][0] = 0
    return tensors


def save(folder, arch, tensors):
    """Write config.json and model.safetensors, as `load` reads them.

    Parameters
    ----------
    folder : path-like
        Made if need be.
    arch : Arch
    tensors : dict of str to ndarray
        As the file shall hold them, by name.
    """
    folder, _ = files.folder(folder), checked(arch, tensors)
    fastfeedforward.write(folder / WEIGHTS, tensors)
    with files.replacing(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(arch.config(), indent=1) + "\n")
