"""UltraFastBERT: the folder in which it was released, config.json and model.safetensors.

What the configuration asks for and what the file holds must agree, name by name and shape by shape. A dense model
where an FFF is configured, or another package's model, is refused, not filled up with random weights.

What config.json says is told in `architecture.py`; one FF layer alone, the authors' module FFF, in `fff_module.py`.

# H hidden width, V words, K trees, M = 2^(depth + 1) - 1 neurons of a tree, w dense width

Reference: https://github.com/pbelcak/UltraFastBERT, a fork of https://github.com/JonasGeiping/cramming.
"""

import hashlib
import json

import numpy as np

from .. import checks, files
from ..layers.dense_ff import DenseFF
from ..layers.record import aligned
from . import names, safetensors
from .architecture import CONFIG, LAYER, OUT, WORDS, Arch
from .fff_module import MODULE, module, of_module, path_fff  # noqa: F401 (public here, as parts of the release)

WEIGHTS = "model.safetensors"
MARK = "written_together"  # in both files: the same word, or a writer was killed between them
LARGEST_CONFIG = 2**24  # bytes
CONVERT = (
    "import torch, safetensors.torch; w = torch.load('pytorch_model.bin', weights_only=True); "
    "safetensors.torch.save_file({n: t.clone() for n, t in w.items()}, 'model.safetensors')"
)


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
    config = _config(folder / CONFIG)  # first: it is small, and says most of what can be wrong
    if not (folder / WEIGHTS).exists() and (folder / "pytorch_model.bin").exists():
        raise checks.InputError(f'{folder} holds pytorch_model.bin; convert it there: python -c "{CONVERT}"')
    mapped = safetensors.mapped(folder / WEIGHTS)
    tensors = _unprefixed(mapped)
    # the number of words may stand in no other place
    words = next((tensors[name] for name in (WORDS, OUT) if name in tensors), None)
    arch = Arch.of(config, None if words is None else _rows(words))
    tensors = checked(arch, tensors)
    mark = mapped.metadata.get(MARK)  # None in files of other writers
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
    # only if both agree; else the names stay, and the message lists them
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
    out = tensors.pop(OUT, tensors[WORDS])  # the tied one is kept once
    if out is not tensors[WORDS] and not np.array_equal(_bits(out), _bits(tensors[WORDS])):
        raise checks.InputError(f"{WEIGHTS}: {OUT} differs from {WORDS}, but {CONFIG} ties them; take another copy")
    return tensors


def _bits(array):
    """The same memory as integers: NaN equals NaN, and comparing is quick."""
    return np.asarray(array, order="C").view(np.int32)  # a float64 is two of them


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
        # one array, of which both biases are parts
        none = np.zeros(arch.width + arch.hidden, inward.dtype)  # a crammedBERT has no biases
        return DenseFF(inward, none[: arch.width], aligned(outward.T), none[arch.width :], "gelu")
    return of_module(tensors, arch.n_trees, "gelu")


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
    # where the authors' code starts from a number
    fixed = {"scale_factor": arch.hidden**-0.5, "norm_factor": (arch.hidden / arch.heads) ** -0.5, "bias": 0}

    def tensor(name, shape):
        """A fixed number where training starts from one, else a small normal draw."""
        last = name.rsplit(".", 1)[1]  # "weight" of a norm is 1, by the default below
        if "norm" in name.split(".")[-2] or last in fixed:
            return np.full(shape, fixed.get(last, 1), dtype)
        return aligned(rng.standard_normal(shape, np.float32) * np.float32(0.02), dtype)

    tensors = {name: tensor(name, shape) for name, shape in arch.shapes().items() if name != OUT}
    tensors[WORDS][0] = 0  # the padding token
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
    config = arch.config() | {MARK: _digest(tensors)}  # in between, a reader finds marks that differ
    safetensors.write(folder / WEIGHTS, tensors, {"format": "pt", MARK: config[MARK]})
    with files.replacing(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _digest(tensors):
    """SHA-256 over names and bytes."""
    sha = hashlib.sha256()
    for name in sorted(tensors):  # the order of a dict is none of the contents
        sha.update(name.encode())
        sha.update(safetensors.native(tensors[name]))
    return sha.hexdigest()
