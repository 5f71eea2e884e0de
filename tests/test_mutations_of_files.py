"""Do the checks of input, files and counts find faults? As `test_mutations.py`, for what reads, writes and refuses."""

import gzip
import hashlib
import json
import os
import struct

import numpy as np
import pytest
from mutants import make_tests

from fffref import LeafFFF, PathFFF, counting

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in (".*widened to float32", ".*does not hold .* as it was published", "the matrix subclass")
]


def refuses(act, *arguments, **options):
    """Whether bad input is refused, and by nothing else than the exceptions for that, with a message."""
    try:
        act(*arguments, **options)
    except ValueError as error:
        return type(error).__name__ in ("InputError", "InputTypeError") and bool(str(error))
    return False


def verify_checks(module, folder):
    """Each check accepts what it should and refuses the neighbours of it."""
    assert module.integer("n", np.int64(3), 3, 3) == 3
    for value in (True, 3.0, "3", 2, 4, None, 2**70):
        assert refuses(module.integer, "n", value, 3, 3 if value != 2**70 else 2**63)
    assert refuses(module.integer, "n", 2**70, 0) and refuses(module.integer, "n", True, 0, 3)
    assert module.number("x", 0, "[0, 1)") == 0 and refuses(module.number, "x", 1, "[0, 1)")
    assert refuses(module.number, "x", float("nan"), "[0, 1]") and refuses(module.number, "x", False, "[0, 1]")
    assert refuses(module.dtype, ">f4") and refuses(module.dtype, "float16") and module.dtype("<f4") == np.float32
    x = np.zeros((2, 3), np.float32)
    assert module.array("x", x, (..., 3), np.float32) is x and module.array("x", x, (None, 3), np.float32) is x
    assert refuses(module.array, "x", x[:, :2], (None, 3), np.float32)
    for bad in (x[:, :2], x[0, 0], x.astype(">f4"), x.astype(np.float64), np.ma.masked_array(x), np.matrix(x)):
        assert refuses(module.array, "x", bad, (..., 3), np.float32)
    assert refuses(module.one_of, "c", ["a"], ("a", "b")) and module.one_of("c", None, (None, "a")) is None
    assert refuses(module.flag, "f", 1) and refuses(module.flag, "f", "no") and module.flag("f", np.True_) is True
    with pytest.raises(ValueError, match=r"holds NaN, first at \[1, 0\]"):
        module.finite("x", np.array([[0, 1], [np.nan, np.inf]]))
    assert refuses(module.labels, np.array([0, 3]), (2,), 3) and refuses(module.labels, np.array([0, -1]), (2,), 3)


def verify_files(module, folder):
    """Modes, links, leftovers, what is kept when something fails."""
    path = folder / "a.txt"
    before = os.umask(0o027)
    try:
        with module.replacing(path) as temporary:
            temporary.unlink()
            temporary.write_text("old")
            temporary.chmod(0o600)  # as libraries do that write a temporary file of their own
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o600)
        with pytest.raises(RuntimeError), module.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError
        assert path.read_text() == "old" and [p.name for p in folder.iterdir()] == ["a.txt"]
        (folder / "link").symlink_to(path)
        left = folder / f".a.txt.{module._host()}-{2**22 + 1}-00000000.part"
        left.write_text("left")
        with module.replacing(folder / "link") as temporary:
            temporary.write_text("new")
        assert (folder / "link").is_symlink() and path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o600
        assert not left.exists()
    finally:
        os.umask(before)
    assert refuses(module.writable, folder) and refuses(module.writable, folder / ("x" * 300))
    assert refuses(module.writable, "a\0b") and module.path_of("~/a") == module.pathlib.Path.home() / "a"


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def verify_datasets(module, folder):
    """The set is recognised, whichever folder it is in; what is damaged or too large is refused."""
    rng = np.random.default_rng(0)
    sets = {
        name: {
            file: idx(rng.integers(10, size=(4, 28, 28) if "images" in file else 4).astype(np.uint8))
            for file in module.FILES
        }
        for name in module.MIRRORS
    }  # fmt: skip
    module.SHA256 = {n: {f: hashlib.sha256(c).hexdigest() for f, c in s.items()} for n, s in sets.items()}
    for name, place in (("mnist", folder), ("fashion-mnist", folder / "fashion-mnist")):
        place.mkdir(exist_ok=True)
        for file, content in sets[name].items():
            (place / f"{file}.gz").write_bytes(gzip.compress(content))
    data = module.load("mnist", folder)
    assert data.published and data.x_train.max() <= 10 / 255 and module.load("fashion-mnist", folder).published
    (folder / "fashion-mnist").rename(folder / "moved")
    assert refuses(module.load, "fashion-mnist", folder) and refuses(module.load, "mnist", folder / "moved")
    for content in (b"\0\0\x08", idx(np.zeros((4, 27, 28), np.uint8)), idx(np.zeros((0, 28, 28), np.uint8)), b"",
                    sets["mnist"][module.FILES[0]][:-1], b"\0\0\x08\x03" + b"\xff" * 12):  # fmt: skip
        (folder / f"{module.FILES[0]}.gz").write_bytes(gzip.compress(content))
        assert refuses(module.load, "mnist", folder)
    for file, shape in ((module.FILES[0], (0, 28, 28)), (module.FILES[1], (0,))):
        (folder / f"{file}.gz").write_bytes(gzip.compress(idx(np.zeros(shape, np.uint8))))
    assert refuses(module.load, "mnist", folder)
    module.LARGEST = 1000
    assert refuses(module.read_idx, folder / f"{module.FILES[2]}.gz")


def raw(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def verify_safetensors(module, folder):
    """What is written comes back; halves are widened; layouts that lie are refused at once."""
    path, rng = folder / "a.safetensors", np.random.default_rng(0)
    arrays = {"t": rng.standard_normal((3, 4)).T, "big": np.arange(3, dtype=">f4"), "n": np.array(2.5)}
    module.write(path, arrays)
    for name, array in module.mapped(path).items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype.isnative and array.flags.carray
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    half = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}
    assert module.mapped(raw(path, {"a": half}, b"\x80\x3f\x00\xc0"))["a"].tolist() == [1, -2]
    assert module.mapped(raw(path, {"a": half | {"dtype": "F16"}}, b"\x00\x3c\x00\xc0"))["a"].tolist() == [1, -2]
    late = {"data_offsets": [4, 12]}
    for header, size in (({"a": entry, "b": entry}, 8), ({"a": entry}, 12), ({"a": entry}, 4), ({"a": entry | late}, 12),
                         ({"a": entry | {"shape": [-2]}}, 8), ({"a": entry, "__metadata__": {"a": 1}}, 8)):  # fmt: skip
        assert refuses(module.mapped, raw(path, header, bytes(size)))
    tensors = module.mapped(
        raw(path, {"a": entry | {"dtype": "F8"}, "b": entry | {"data_offsets": [8, 16], "shape": [3]}}, bytes(16))
    )
    assert refuses(tensors.__getitem__, "a") and refuses(tensors.__getitem__, "b")
    assert refuses(module.mapped(raw(path, {"a": entry | {"shape": [1]}}, bytes(8))).__getitem__, "a")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 3\n")
    with pytest.raises(ValueError, match="git lfs pull"):
        module.mapped(path)


def verify_checkpoints(module, folder):
    """A layer comes back with its state; an edited file, and a forged one, is refused."""
    path, layer = folder / "a.safetensors", LeafFFF.init(np.random.default_rng(0), 3, 2, 1, 2)
    module.save(path, layer.map(np.asfortranarray), (layer.map(np.negative),), {"epochs": np.int64(3)})
    found = module.load(path, LeafFFF)
    assert found.info == {"epochs": 3} and len(found.state) == 1
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(found.layer.arrays()[name], array)
        np.testing.assert_array_equal(found.state[0].arrays()[name], -array)
    assert refuses(module.load, path, PathFFF) and refuses(module.save, path, 3)
    whole = path.read_bytes()
    for at in (whole.index(b"relu"), len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert refuses(module.load, path)
    path.write_bytes(whole)
    tensors = module.safetensors.mapped(path)
    for change in ({"states": 10**12}, {"dtype": "float64"}, {"states": 0}):
        text = json.dumps(json.loads(tensors.metadata["description"]) | change)
        metadata = {"format": module.FORMAT, "description": text, "sha256": module._digest(text, dict(tensors))}
        module.safetensors.write(folder / "b.safetensors", dict(tensors), metadata)
        assert refuses(module.load, folder / "b.safetensors")


def verify_fff_module(module, folder):
    """The module's state dict against the layer, there and back."""
    rng = np.random.default_rng(0)
    layer = PathFFF.init(rng, 5, 3, 2, 2)
    again = module.path_fff({f"a.{name}": array for name, array in module.module(layer).items()}, 2, prefix="a.")
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
    assert refuses(module.path_fff, module.module(layer), 3) and refuses(module.path_fff, module.module(layer), 1)
    assert again.activation == "gelu"


def verify_architecture(module, folder):
    """Sizes by the tensors that they ask for, and back from their configuration; absurd ones are refused."""
    arch = module.Arch(layers=2, hidden=8, heads=2, vocabulary=11, max_length=8, depth=2)
    assert module.Arch.of(arch.config()) == arch
    scalars = sum(int(np.prod(s)) for name, s in arch.shapes().items() if name != module.OUT and s != ())
    assert arch.counted().n_parameters == scalars and arch.counted().ff.neurons_engaged == 3
    assert refuses(module.Arch, layers=10**9) and refuses(module.Arch, heads=5)


def verify_ultrafastbert(module, folder):
    """A folder comes back; one whose halves do not belong together is refused."""
    rng = np.random.default_rng(0)
    arch = module.Arch(layers=2, hidden=8, heads=2, vocabulary=11, max_length=8, depth=2)
    module.save(folder / "a", arch, module.draw(rng, arch))
    module.save(folder / "b", arch, module.draw(rng, arch))
    found, tensors = module.load(folder / "a")
    assert found == arch
    (folder / "b" / "config.json").replace(folder / "a" / "config.json")
    assert refuses(module.load, folder / "a")
    assert refuses(module.checked, module.Arch(layers=60_000), tensors)


def verify_names(module, folder):
    """Wrappers' names are passed over, others are not; two that become one are refused."""
    assert module.bare("module._orig_mod.module.a._orig_mod.module.b") == "a.module.b"
    assert dict(module.under({"_orig_mod.x.a": 1, "y.a": 2}, "module.x.")) == {"a": 1}
    assert refuses(module.unwrapped, {"module.a": 1, "a": 2}) and module.prefixes_of({"x.a": 1, "xa": 2}, "a") == ["x."]
    with pytest.raises(ValueError, match=r"missing a; unknown b; it is there under the prefix 'x\.'"):
        module.expect({"b": 1}, ("a",), (), "it", ["x.", ""], "")


def verify_layers(module, folder):
    """Counts by hand."""
    one = module.path_fff(768, 768, 11)
    assert (one.neurons_stored, one.neurons_engaged, one.parameters) == (4095, 12, 4095 * 1537)
    assert one.speed_up() == 341.25 and one.bytes_touched("float16") == 2 * 12 * 1537
    leaf = module.leaf_fff(3, 2, 1, 2)
    assert (leaf.parameters, leaf.parameters_engaged, leaf.neurons_engaged) == (4 + 2 * (8 + 6), 4 + 8 + 6, 3)
    gated = module.dense_ff(3, 2, 5, gated=True, in_bias=False)
    assert gated.parameters == 2 * 15 + 10 + 2 and gated.forward.multiply_adds == 40
    assert refuses(module.moe, 3, 2, 4, 5, 1) and refuses(module.path_fff, 3, 2, 1.0)
    assert refuses(module.dense_ff, 3, 2, 1, gated="no")


def verify_counts(module, folder):
    """Work adds up, in whole numbers; Amdahl's law by hand."""
    assert (2 * module.Work(3, 1) + module.Work(1)).flops == 16 and refuses(module.Work, 1.5)
    assert module.amdahl(0.5, 2) == 4 / 3 and refuses(module.amdahl, 0.5, 0) and refuses(module.amdahl, float("nan"), 2)


def verify_transformers(module, folder):
    """A model by hand; absurd ones are refused."""
    sizes = {"layers": 2, "width": 12, "heads": 4, "vocabulary": 11, "ff": counting.dense_ff(12, 12, 20)}
    model = module.Transformer(**sizes, causal=True, window=3)
    assert model.pairs(5) == 1 + 2 + 3 + 3 + 3 and model.pairs(5, 1) == 3
    assert model.parameters()["attention"] == 2 * 4 * (144 + 12)
    assert module.Transformer(**sizes, kv_heads=2).parameters()["attention"] == 2 * (2 * 156 + 2 * (12 * 6 + 6))
    for change in ({"kv_heads": 0}, {"kv_heads": -4}, {"layers": 1.5}, {"heads": True}, {"positions": -1}, {"window": 0},
                   {"width": float("nan")}, {"pooler": 2}, {"further": 0.5}, {"ff": None}, {"published": 3},
                   {"head_width": 0}, {"vocabulary": 2**70}, {"kv_heads": 3}):  # fmt: skip
        assert refuses(module.Transformer, **sizes | {"causal": True} | change), change


FAULTS = {
    "a flag is an integer": ("checks", "if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral)", "if not isinstance(value, numbers.Integral)"),
    "no end to integers": ("checks", "if value > most:", "if False:"),
    "NaN lies in an interval": ("checks", "if not (above and below):", "if value < least or value > most:"),
    "any byte order": ("checks", "if not kind.isnative:", "if False:"),
    "masks are dropped": ("checks", "(np.ma.MaskedArray, np.matrix)", "(np.matrix,)"),
    "shapes from the front": ("checks", "zip(tail, lengths, strict=True)", "zip(tail[:1], lengths, strict=False)"),
    "infinity is finite": ("checks", "wrong = ~np.isfinite(value)", "wrong = np.isnan(value[::-1])"),
    "text is a flag": ("checks", "if not isinstance(value, (bool, np.bool_)):\n        raise InputTypeError(f\"{name} must be True", "if value is None:\n        raise InputTypeError(f\"{name} must be True"),
    "a mode of its own": ("files", 'temporary.open("xb").close()', 'os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))'),
    "the old mode is lost": ("files", "(target if target.exists() else temporary)", "temporary"),
    "the writer's mode stays": ("files", "if temporary.stat().st_mode & 0o777 != mode:", "if False:"),
    "a link is replaced": ("files", "pathlib.Path(os.path.realpath(path))", "path"),
    "leftovers stay": ("files", "_dead(int(match[\"process\"]))", "False"),
    "half a file takes its place": ("files", "        yield temporary\n", "        try:\n            yield temporary\n        finally:\n            os.replace(temporary, target)\n            temporary.touch()\n"),
    "a temporary file stays": ("files", "temporary.unlink(missing_ok=True)", "pass"),
    "a tilde is a folder": ("files", "return path.expanduser()", "return path"),
    "a folder can be written": ("files", "if path.exists() and not path.is_file():", "if False:"),
    "the other set is taken": ("datasets", "if other not in (None, name):", "if False:"),
    "the folder before its sub-folder": ("datasets", "(folder / name, folder)", "(folder, folder / name)"),
    "three bytes are enough": ("datasets", "if len(content) > 3 else 0", "if content else 0"),
    "a truncated image is padded": ("datasets", "if len(content) - start != math.prod(shape):", "if False:"),
    "no image is a set": ("datasets", "if len(images) == 0:", "if False:"),
    "overlaps are read": ("safetensors", "if first != end or last < first or last > size:", "if last > size:"),
    "what is behind is ignored": ("safetensors", "if end != size:", "if False:"),
    "the lower half": ("safetensors", "(array.astype(np.uint32) << 16)", "array.astype(np.uint32)"),
    "any type is F32": ("safetensors", "if kind not in DTYPES and kind not in HALF:", "kind = kind if kind in HALF else 'F32'\n    if False:"),
    "shape and bytes differ": ("safetensors", "if last - first != dtype.itemsize * count:", "if last - first < dtype.itemsize:"),
    "pointers are broken files": ("safetensors", 'raise checks.InputError(f"{path} is {kind}" if kind else incomplete)', "raise checks.InputError(incomplete)"),
    "nobody checks the digest": ("checkpoints", 'if metadata.get("sha256") != _digest(text, arrays):', "if False:"),
    "the digest forgets the arrays": ("checkpoints", "        sha.update(arrays[name])\n", ""),
    "a crowd of states": ("checkpoints", "if arrays:\n", "if False:\n"),
    "the said type is not checked": ("checkpoints", "if (str(array.dtype), list(array.shape)) != (said[0], said[1]):", "if False:"),
    "another kind is returned": ("checkpoints", "if kind is not None and type(found.layer) is not kind:", "if False:"),
    "the state is the layer's": ("checkpoints", "(layer, *state), strict=True)", "(layer, *(layer for _ in state)), strict=True)"),
    "halves of two folders": ("ultrafastbert", "if mark is not None and config.get(MARK) != mark:", "if False:"),
    "the mark says nothing": ("ultrafastbert", "        sha.update(safetensors.native(tensors[name]))\n", ""),
    "outputs not turned over": ("fff_module", "{prefix + MODULE[0]: inward, prefix + MODULE[1]: layer.in_bias.reshape(-1), prefix + MODULE[2]: outward.T}", "{prefix + MODULE[0]: inward, prefix + MODULE[1]: layer.in_bias.reshape(-1), prefix + MODULE[2]: outward[::-1].T}"),
    "trees in the other order": ("fff_module", "bias.reshape(n_trees, -1)", "bias.reshape(-1, n_trees).T"),
    "a million layers": ("architecture", "LARGEST.get(name, 2**31)", "2**40"),
    "an FFF counted dense": ("architecture", "ff = counted.path_fff(H, H, self.depth, self.n_trees)", "ff = counted.dense_ff(H, H, self.neurons)"),
    "only the first wrapper": ("names", "while (shorter := WRAPPERS.sub", "if (shorter := WRAPPERS.sub"),
    "any module is a wrapper": ("names", r"^(?:module\.)+|", r"(?:module\.)+|"),
    "the later name wins": ("names", "if new in names:", "if False:"),
    "the prefix is not named": ("names", "if other != bare(prefix)", "if False"),
    "a tree without its last level": ("layers", "checks.integer(\"depth\", depth, 0, tree.DEEPEST - 1) + 1", "checks.integer(\"depth\", depth, 0, tree.DEEPEST - 1)"),
    "nodes without bias": ("layers", "parameters=N * (I + 1)", "parameters=N * I"),
    "a gate costs nothing": ("layers", "inward = 2 * w if gated else w", "inward = w"),
    "all experts at once": ("layers", 'checks.integer("k", k, 1, E)', 'checks.integer("k", k, 1)'),
    "work in fractions": ("counts", "        _whole(self, (\"multiply_adds\", \"elementwise\"), -float(\"inf\"))\n", "        pass\n"),
    "a window sees one more": ("transformers", "full = max(n - window, 0)", "full = max(n - window - 1, 0)"),
    "no heads of keys": ("transformers", 'for name in ("kv_heads", "head_width", "window"):', 'for name in ("window",):'),
    "a fraction of a position": ("transformers", 'for name in ("positions", "token_types", "further"):', "for name in ():"),
    "any flag": ("transformers", "checks.flag(name, getattr(self, name))", "pass"),
    "any layer": ("transformers", "if not isinstance(getattr(self, name), kind):", "if False:"),
}  # fmt: skip

test_the_source_as_it_is_passes, test_a_planted_fault_is_found = make_tests(globals(), FAULTS)
