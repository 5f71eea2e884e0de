"""The usual form of a released BERT: a folder with config.json and model.safetensors, whole or in parts.

What is read here is what `models.encoder` computes: post-norm layers, learned positions, token types, biases, GELU.
Names may begin with "bert." or another prefix that wrappers add; weights of a pooler or of a masked-word head are left
alone, and said.
"""

import json
import pathlib
from dataclasses import dataclass, fields

import numpy as np

from .. import checks, files
from . import names as naming
from .names import listed
from .safetensors import mapped, what_it_is

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
LARGEST_TEXT = 2**24  # bytes of a configuration or an index: more is none
LARGEST_COUNT = 2**20  # of layers, words, widths
WORDS = "embeddings.word_embeddings.weight"
LAYER = "encoder.layer.{}."
UNUSED = ("pooler.", "cls.", "embeddings.position_ids")


@dataclass(frozen=True)
class Config:
    """Sizes of a BERT, by the names of its config.json.

    Attributes
    ----------
    num_hidden_layers, hidden_size, num_attention_heads, intermediate_size : int
    vocab_size, max_position_embeddings, type_vocab_size : int
    layer_norm_eps : float
    """

    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float

    def __post_init__(self):
        for field in fields(self):
            if field.name != "layer_norm_eps":
                checks.integer(field.name, getattr(self, field.name), 1, LARGEST_COUNT)
        checks.number("layer_norm_eps", self.layer_norm_eps, "[0, 1)")
        if self.hidden_size % self.num_attention_heads:
            raise checks.InputError(
                f"hidden_size must be a multiple of num_attention_heads, got {self.hidden_size} and "
                f"{self.num_attention_heads}"
            )

    def shapes(self):
        """Name and shape of every tensor that the encoder needs, a dict."""
        H, w = self.hidden_size, self.intermediate_size
        # query, key and value have one shape: only names tell them apart
        found = {
            WORDS: (self.vocab_size, H),
            "embeddings.position_embeddings.weight": (self.max_position_embeddings, H),
            "embeddings.token_type_embeddings.weight": (self.type_vocab_size, H),
        } | _norm("embeddings.LayerNorm", H)
        for i in range(self.num_hidden_layers):
            name = LAYER.format(i)
            for part in ("query", "key", "value"):
                found |= _linear(f"{name}attention.self.{part}", H, H)
            found |= _linear(f"{name}attention.output.dense", H, H) | _norm(f"{name}attention.output.LayerNorm", H)
            found |= _linear(f"{name}intermediate.dense", w, H) | _linear(f"{name}output.dense", H, w)
            found |= _norm(f"{name}output.LayerNorm", H)
        return found


def load(folder):
    """Read a BERT's sizes and weights.

    Parameters
    ----------
    folder : path-like
        Holds config.json, and model.safetensors or its parts with model.safetensors.index.json.

    Returns
    -------
    config : Config
    tensors : dict of str to ndarray
        By the names of `Config.shapes`, prefixes removed; mapped from the file.

    Raises
    ------
    ValueError
        If a file is missing or damaged, another kind of model is described, or a tensor is missing or does not fit.
    """
    folder = files.path_of(folder)
    config = read_config(folder / "config.json")
    tensors = _unprefixed(folder, read_tensors(folder))  # names as in `Config.shapes`
    shapes = config.shapes()
    missing = [name for name in shapes if name not in tensors]
    unknown = [name for name in tensors if name not in shapes and not name.startswith(UNUSED)]
    if missing or unknown:
        text = "; ".join(filter(None, (listed("missing", missing), listed("unknown", unknown))))
        raise checks.InputError(f"{folder}: the weights are not those that config.json describes: {text}")
    dtype = tensors[WORDS].dtype  # of all: mixed ones would be widened silently
    return config, {name: checks.array(name, tensors[name], shape, dtype) for name, shape in shapes.items()}


def read_config(path):
    """Read and check config.json; refuse what is no BERT of the usual form, by name."""
    found = read_json(path)
    expected = {
        "model_type": ("bert",), "hidden_act": ("gelu",), "position_embedding_type": ("absolute", None),
        "is_decoder": (False, None),
    }  # fmt: skip
    for name, values in expected.items():
        if found.get(name) not in values:  # a relu or a decoder would give other numbers without an error
            raise checks.InputError(
                f"{path}: {name} must be {values[0]!r} here, got {found.get(name)!r}; another kind of model"
            )
    missing = [field.name for field in fields(Config) if field.name not in found]
    if missing:
        raise checks.InputError(f"{path} does not say {', '.join(missing)}")
    try:
        return Config(**{field.name: found[field.name] for field in fields(Config)})
    except (TypeError, ValueError) as error:
        raise checks.InputError(f"{path}: {error}") from None


def read_json(path):
    """Read a small JSON object."""
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise checks.InputError(f"{path} is {path.stat().st_size:,} bytes long: no configuration is")
        content = path.read_bytes()
        found = json.loads(content)
    except FileNotFoundError:
        raise checks.InputError(f"there is no {path.name} in {path.parent}; pass the folder of a BERT") from None
    except OSError as error:
        raise checks.InputError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):  # brackets without end
        raise checks.InputError(f"{path} is {what_it_is(content[:512]) or 'no JSON; take another copy'}") from None
    if not isinstance(found, dict):
        raise checks.InputError(f"{path} must hold a JSON object, got {type(found).__name__}")
    return found


def read_tensors(folder):
    """Map the weights, of one file or of the parts that the index lists."""
    if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
        return mapped(folder / WEIGHTS)
    places = read_json(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(part, str) for part in places.values()):
        raise checks.InputError(f"{folder / INDEX} has no weight_map from names to files; take another copy")
    # "../other": an index may be anybody's
    outside = [part for part in places.values() if pathlib.PurePath(part).name != part]
    if outside:
        raise checks.InputError(f"{folder / INDEX} names {outside[0]!r}, which is no file of this folder")
    # each file once, in the order of the index
    parts = {part: mapped(folder / part) for part in dict.fromkeys(places.values())}
    missing = [name for name, part in places.items() if name not in parts[part]]
    if missing:
        raise checks.InputError(
            f"{folder}: the index lists tensors that their files lack: {listed('missing', missing)}"
        )
    return {name: parts[part][name] for name, part in places.items()}


def _unprefixed(folder, tensors):
    """Remove what stands before the usual names, such as "bert." or "module.bert."."""
    prefixes = naming.prefixes_of(tensors, WORDS)
    if not prefixes:
        raise checks.InputError(f"{folder / WEIGHTS} holds no BERT: no tensor is named ...{WORDS}")
    prefix = min(prefixes, key=len)  # of several, the outermost
    rest = naming.unwrapped(tensors)  # without _orig_mod and the like, before the prefix is taken off
    return naming.Renamed(rest, {name.removeprefix(prefix): name for name in rest})


def _linear(name, n_out, n_in):
    """Names and shapes of PyTorch's Linear: an output a row."""
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def _norm(name, width):
    """Names and shapes of a LayerNorm."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def draw(rng, config, dtype=np.float32, deviation=0.1):
    """Draw weights for a small BERT, for tests and demonstrations: normal, norms around 1.

    Parameters
    ----------
    rng : numpy.random.Generator
    config : Config
    dtype : float32 or float64
    deviation : float, at least 0
        BERT's own is 0.02; a larger one makes the rows of small models differ more, and those of a deep one less.

    Returns
    -------
    dict of str to ndarray
    """
    dtype, deviation = checks.dtype(dtype), checks.number("deviation", deviation, "[0, inf)")
    checks.generator("rng", rng)
    # a norm's scale of 0 would silence its layer
    around = lambda name: 1.0 if name.endswith("LayerNorm.weight") else 0.0  # noqa: E731
    return {
        name: (around(name) + deviation * rng.standard_normal(shape)).astype(dtype)
        for name, shape in config.shapes().items()
    }
