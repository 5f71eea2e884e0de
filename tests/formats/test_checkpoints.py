"""Checkpoints come back bit for bit, and whatever is not what it says is refused."""

import json
import os

import cases
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fffref import DenseFF, LeafFFF, MoE, PathFFF, files
from fffref.formats import checkpoints


def same(one, other):
    assert type(one) is type(other) and one.options() == other.options() and one.dtype == other.dtype
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, getattr(other, name), strict=True)


@pytest.mark.parametrize("kind", cases.LAYERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("depth", [0, 3])
def test_round_trip(kind, dtype, depth, tmp_path, rng):
    layer = cases.make(kind, rng, depth=depth, dtype=dtype, activation="tanh")
    state = (layer.map(np.square), layer.map(np.negative))
    info = {"history": [{"epoch": 1, "soft": None}], "π": "ünïcode"}
    checkpoints.save(tmp_path / "a.safetensors", layer, state, info)
    found = checkpoints.load(tmp_path / "a.safetensors", type(layer))
    same(found.layer, layer)
    assert len(found.state) == 2 and found.info == info
    for one, other in zip(found.state, state, strict=True):
        same(one, other)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=-1)[..., ::2], np.flip])
def test_arrays_that_are_not_in_c_order_are_saved_rightly(layout, tmp_path, rng):
    layer = cases.make("LeafFFF", rng).map(layout)
    checkpoints.save(tmp_path / "a.safetensors", layer)
    same(checkpoints.load(tmp_path / "a.safetensors").layer, layer)


def test_nan_and_inf_come_back(tmp_path, rng):
    layer = cases.make("DenseFF", rng).map(lambda a: np.where(a > 0, np.nan, np.inf))
    checkpoints.save(tmp_path / "a.safetensors", layer)
    same(checkpoints.load(tmp_path / "a.safetensors").layer, layer)


@pytest.fixture
def saved(tmp_path, rng):
    """A file, and the layer that it holds."""
    path, layer = tmp_path / "layer.safetensors", cases.make("LeafFFF", rng)
    checkpoints.save(path, layer)
    return path, layer


def test_another_layer_is_refused(saved):
    with pytest.raises(ValueError, match="holds a LeafFFF, expected a PathFFF"):
        checkpoints.load(saved[0], PathFFF)


def test_a_truncated_file_is_refused_wherever_it_ends(saved):
    whole = saved[0].read_bytes()
    for length in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        saved[0].write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"no complete safetensors file|is truncated"):
            checkpoints.load(saved[0])


def test_an_edited_byte_is_noticed_wherever_it_is(saved, rng):
    whole = saved[0].read_bytes()
    for at in [*rng.integers(8, len(whole), 60), len(whole) - 1]:
        edited = bytearray(whole)
        edited[at] ^= 1
        saved[0].write_bytes(edited)
        with pytest.raises(ValueError, match=r"layer\.safetensors"):
            checkpoints.load(saved[0])


def resave(path, change):
    """Write the file again with another description, SHA-256 made to fit: a deliberate forgery."""
    from safetensors import safe_open

    arrays = load_file(path)
    with safe_open(path, framework="numpy") as file:
        description = json.loads(file.metadata()["description"])
    change(description, arrays)
    text = json.dumps(description)
    metadata = {"format": checkpoints.FORMAT, "description": text, "sha256": checkpoints._digest(text, arrays)}
    save_file(arrays, path, metadata)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d, a: d.update(dtype="float32"), "should be"),
        (lambda d, a: d["shapes"].update(node_bias=[2]), "should be"),
        (lambda d, a: d["options"].update(activation="swish"), "activation must be one of"),
        (lambda d, a: d.update({"class": "Swindle"}), "Swindle"),
        (lambda d, a: d.update({"class": "DenseFF"}), "layer.in_weight"),
        (lambda d, a: d.pop("states"), "states"),
        (lambda d, a: d["options"].update(colour="red"), "colour"),
        (lambda d, a: a.pop("layer.node_bias"), "layer.node_bias"),
        (lambda d, a: a.update({"layer.node_bias": np.zeros(2)}), "node_bias must have shape"),
        (lambda d, a: a.update({"layer.extra": np.zeros(2)}), "extra"),
    ],
)
def test_metadata_that_do_not_fit_the_arrays_are_refused(change, message, saved):
    resave(saved[0], change)
    with pytest.raises(ValueError, match=rf"layer\.safetensors contradicts itself: .*{message}"):
        checkpoints.load(saved[0])


def test_other_files_are_refused(tmp_path, rng):
    path = tmp_path / "other.safetensors"
    with pytest.raises(ValueError, match=r"there is no checkpoint .*other.safetensors; fffref train"):
        checkpoints.load(path)
    save_file({"w1s": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="no 'fffref 1' checkpoint"):
        checkpoints.load(path)
    path.write_text("hello")
    with pytest.raises(ValueError, match="no complete safetensors file"):
        checkpoints.load(path)
    with pytest.raises(ValueError, match=r"cannot read .*: it is no regular file"):
        checkpoints.load(tmp_path)
    with pytest.raises(TypeError, match=r"one of LeafFFF, PathFFF, DenseFF, MoE or a record of such, got ndarray"):
        checkpoints.save(path, np.zeros(3))


def test_an_interrupted_write_loses_nothing(saved, monkeypatch):
    path, layer = saved
    before = path.read_bytes()

    def interrupted(arrays, temporary, metadata):
        with open(temporary, "wb") as file:
            file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.numpy.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(path, layer.map(np.negative))
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_an_unwritable_folder_is_refused(saved):
    with pytest.raises(ValueError, match=r"cannot write to the folder .*; choose another one"):
        checkpoints.save(saved[0] / "inside.safetensors", saved[1])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(saved):
    saved[0].parent.chmod(0o500)
    try:
        with pytest.raises(ValueError, match="cannot write to the folder"):
            checkpoints.save(saved[0], saved[1])
    finally:
        saved[0].parent.chmod(0o700)


def test_replacing_keeps_the_old_file_if_anything_fails(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with files.replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old" and [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_layers_are_listed():
    assert checkpoints.LAYERS == {"LeafFFF": LeafFFF, "PathFFF": PathFFF, "DenseFF": DenseFF, "MoE": MoE}
