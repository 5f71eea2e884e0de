"""UltraFastBERT: its FFF module alone, and the folder in which it was released, config.json and model.safetensors.

What the configuration asks for and what the file holds must agree, name by name and shape by shape. A dense model
where an FFF is configured, or another package's model, is refused, not filled up with random weights.

# H hidden width, V words, K trees, M = 2^(depth + 1) - 1 neurons of a tree, w dense width

Reference: https://github.com/pbelcak/UltraFastBERT, a fork of https://github.com/JonasGeiping/cramming.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from .. import checks, files
from ..counting import layers as counted
from ..counting import presets
from ..layers import tree
from ..layers.dense_ff import DenseFF
from ..layers.path_fff import PathFFF
from ..layers.record import aligned
from . import names, safetensors

CONFIG, WEIGHTS = "config.json", "model.safetensors"
WORDS, OUT = "encoder.embedding.word_embedding.weight", "decoder.weight"  # tied: one array, the file may hold both
LAYER = "encoder.layers.{}."
MODULE = ("linear_in.weight", "linear_in.bias", "linear_out.weight")  # of its class FFF
MARK = "written_together"  # in both files: the same word, or a writer was killed between them
LARGEST_CONFIG = 2**24  # bytes
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
            raise checks.InputError(
                f"{CONFIG} has no 'arch': it describes no crammedBERT; take the one of UltraFastBERT"
            )
        for key, value in (ONLY | {"embedding.embedding_dim": _setting(arch, "hidden_size")}).items():
            if (found := _setting(arch, key, value)) != value:
                raise checks.InputError(
                    f"{CONFIG}: arch.{key} must be {value!r} here, got {checks.shown(found)}; {VARIANTS}"
                )
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
    InputError
        If a file is missing or no such file, or if they do not agree.
    """
    folder = files.path_of(folder)
    config = _config(folder / CONFIG)
    if not (folder / WEIGHTS).exists() and (folder / "pytorch_model.bin").exists():
        raise checks.InputError(f'{folder} holds pytorch_model.bin; convert it there: python -c "{CONVERT}"')
    mapped = safetensors.mapped(folder / WEIGHTS)
    tensors = _unprefixed(mapped)
    words = next((tensors[name] for name in (WORDS, OUT) if name in tensors), None)
    arch = Arch.of(config, None if words is None else _rows(words))
    tensors = checked(arch, tensors)
    mark = mapped.metadata.get(MARK)
    if mark is not None and config.get(MARK) != mark:
        raise checks.InputError(
            f"{folder}: {CONFIG} and {WEIGHTS} were not written together, a writer was stopped between them; write the "
            "folder again"
        )
    return arch, tensors


def _rows(words):
    """Length of the word embedding."""
    if words.ndim != 2:
        raise checks.InputError(f"{WEIGHTS}: {WORDS} must have shape (words, hidden), got {words.shape}")
    return len(words)


def _config(path):
    """The configuration, a dict."""
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise checks.InputError(f"{path} has {path.stat().st_size:,} bytes: that is no configuration")
        content = path.read_bytes()
        return json.loads(content)
    except FileNotFoundError:
        raise checks.InputError(f"there is no {path}; the folder must hold {CONFIG} and {WEIGHTS}") from None
    except OSError as error:
        raise checks.InputError(f"cannot read {path}: {error.strerror or error}") from error
    except checks.InputError:
        raise
    except (ValueError, RecursionError) as error:
        kind = safetensors.what_it_is(content[:512])
        said = f"is {kind}" if kind else f"is no readable JSON: {str(error)[:200]}"
        raise checks.InputError(f"{path} {said}") from error


def _unprefixed(tensors):
    """The tensors without what wrappers, or a larger model around this one, put before all their names."""
    prefixes = [prefix for name in (WORDS, OUT) for prefix in names.prefixes_of(tensors, name)]
    return names.under(tensors, prefixes[0]) if len(set(prefixes)) == 1 else names.unwrapped(tensors)


def checked(arch, tensors):
    """Return the tensors that an `Arch` needs, all of them and no others, the tied one once; or say what is wrong."""
    checks.instance("arch", arch, Arch, "an Arch")
    if arch.layers > len(names.checked(tensors)):  # names of a million layers would fill the memory
        raise checks.InputError(
            f"{WEIGHTS} is not the model that {CONFIG} describes{_diagnosis(arch, tensors)}: "
            f"{len(tensors)} tensors cannot be {arch.layers} layers"
        )
    shapes = arch.shapes()
    there = {WORDS: OUT} if WORDS not in tensors and OUT in tensors else {}  # a file may hold a tied pair once
    missing = [name for name in shapes if there.get(name, name) not in tensors and name != OUT]
    unknown = [name for name in tensors if name not in shapes]
    if missing or unknown:
        lists = "; ".join(filter(None, (names.listed("missing:", missing), names.listed("unknown:", unknown))))
        raise checks.InputError(
            f"{WEIGHTS} is not the model that {CONFIG} describes{_diagnosis(arch, tensors)}. {lists}"
        )
    tensors = {name: tensors[there.get(name, name)] for name in shapes if name in tensors or name in there}
    dtype = checks.dtype(tensors[WORDS].dtype, allowed=checks.DTYPES[:2])
    for name, array in tensors.items():
        checks.array(f"{WEIGHTS}: {name}", array, shapes[name], dtype)
    out = tensors.pop(OUT, tensors[WORDS])
    if out is not tensors[WORDS] and not np.array_equal(_bits(out), _bits(tensors[WORDS])):
        raise checks.InputError(f"{WEIGHTS}: {OUT} differs from {WORDS}, but {CONFIG} ties them; take another copy")
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
    checks.instance("arch", arch, Arch, "an Arch")
    names.checked(tensors)
    name = LAYER.format(checks.integer("layer", number, 0, arch.layers - 1)) + "ffn."
    tensors = {key.removeprefix(name): tensors[key] for key in tensors if key.startswith(name)}
    if arch.width is not None:
        inward, outward = tensors["dense_in.weight"], tensors["dense_out.weight"]
        none = np.zeros(arch.width + arch.hidden, inward.dtype)  # a crammedBERT has no biases
        return DenseFF(inward, none[: arch.width], aligned(outward.T), none[arch.width :], "gelu")
    return _of_module(tensors, arch.n_trees, "gelu")


# ---------------------------------------------------------------------- its FFF module alone


def path_fff(tensors, n_trees=1, activation="gelu", prefix=""):
    """Make a `PathFFF` of the weights of the authors' module `FFF`.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        Its state dict: `linear_in.weight` (K M, I), `linear_in.bias` (K M,), `linear_out.weight` (O, K M). What begins
        with another prefix is left alone, and what torch.compile and the like put into names is passed over.
    n_trees : int
        K; the state dict does not say it. The depth follows.
    activation : {"gelu", "relu", "tanh", "identity"}
        The module's, which a state dict does not say either; the authors' is gelu.
    prefix : str
        What the names begin with, where the module is part of a larger one, such as "encoder.layers.3.ffn.".

    Returns
    -------
    PathFFF

    Raises
    ------
    InputError
        If a weight is missing, unknown, or does not fit the others or the number of trees.
    """
    weights, n_trees = names.under(tensors, prefix), checks.integer("n_trees", n_trees, 1)
    names.expect(weights, MODULE, (), "UltraFastBERT's FFF", names.prefixes_of(tensors, MODULE[0]), prefix)
    weights = {name: weights[name] for name in MODULE}
    inward, bias, outward = weights.values()
    dtype = checks.dtype(inward.dtype, allowed=checks.DTYPES[:2])
    checks.array(MODULE[0], inward, (None, None), dtype)
    checks.array(MODULE[1], bias, inward.shape[:1], dtype)
    checks.array(MODULE[2], outward, (None, len(inward)), dtype)
    _check_trees(len(inward), n_trees)
    return _of_module(weights, n_trees, activation).aligned()


def _check_trees(neurons, n_trees):
    """Refuse a number of trees of which these neurons are none; say which would do."""

    def complete(n):
        """Whether n trees of one depth have as many neurons: each has 2^(depth + 1) - 1."""
        return neurons % n == 0 and (neurons // n).bit_count() == (neurons // n).bit_length() > 0

    if neurons == 0 or not complete(n_trees):
        possible = [n for n in range(1, min(neurons, 100_000) + 1) if complete(n)]
        raise checks.InputError(
            f"{neurons} neurons are not {n_trees} complete tree{'s' * (n_trees > 1)}; "
            f"possible numbers of trees: {', '.join(map(str, possible[:8])) or 'none'}"
        )


def _of_module(tensors, n_trees, activation):
    """A PathFFF whose weights towards the input are the given array, turned over towards the output."""
    inward, bias, outward = (tensors[name] for name in MODULE)
    outward = aligned(outward.T)  # (O, K M) -> (K M, O)
    return PathFFF(
        inward.reshape(n_trees, -1, inward.shape[1]), bias.reshape(n_trees, -1),
        outward.reshape(n_trees, -1, outward.shape[1]), activation,
    )  # fmt: skip


def module(layer, prefix=""):
    """Return the state dict of the authors' module `FFF` with the weights of a `PathFFF`, a dict of arrays.

    Parameters
    ----------
    layer : PathFFF
    prefix : str
        As in `path_fff`.
    """
    inward, outward = (array.reshape(-1, array.shape[2]) for array in (layer.in_weight, layer.out_weight))
    return {prefix + MODULE[0]: inward, prefix + MODULE[1]: layer.in_bias.reshape(-1), prefix + MODULE[2]: outward.T}


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
    checks.instance("arch", arch, Arch, "an Arch")
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

    A reader that finds only one of them new, because the writer was killed in between, refuses the folder: both hold
    the same mark, a digest of the weights.

    Parameters
    ----------
    folder : path-like
        Made if need be.
    arch : Arch
    tensors : dict of str to ndarray
        As the file shall hold them, by name.
    """
    folder, _ = files.folder(folder), checked(arch, tensors)
    config = arch.config() | {MARK: _digest(tensors)}
    safetensors.write(folder / WEIGHTS, tensors, {"format": "pt", MARK: config[MARK]})
    with files.replacing(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _digest(tensors):
    """SHA-256 over names and bytes."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode())
        sha.update(safetensors.native(tensors[name]))
    return sha.hexdigest()
