"""Situations that users of such tools have reported, about files: one test each, with what a user should get."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fffref import DenseFF, LeafFFF, PathFFF, checks, jit
from fffref.formats import checkpoints, fastfeedforward, names, safetensors, ultrafastbert
from fffref.formats.ultrafastbert import OUT, WORDS, Arch
from fffref.models.bert import Bert

TINY = Arch(layers=2, hidden=8, heads=2, vocabulary=11, max_length=8, depth=2)


@pytest.fixture
def folder(tmp_path, rng):
    """A tiny UltraFastBERT, as it is released."""
    ultrafastbert.save(tmp_path / "model", TINY, ultrafastbert.draw(rng, TINY))
    return tmp_path / "model"


def logits(folder):
    return Bert.load(folder)(np.arange(6))


# ---------------------------------------------------------------------- byte order


@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_big_endian_weights_are_refused_when_a_layer_is_made(dtype, rng):
    layer = LeafFFF.init(rng, n_in=5, n_out=3, depth=2, leaf_width=2)
    with pytest.raises(checks.InputTypeError, match=r"byte order.*\.astype\(np\.float(32|64)\)"):
        layer.map(lambda array: array.astype(dtype))
    with pytest.raises(checks.InputTypeError, match="byte order"):
        PathFFF.init(rng, 3, 2, 1, dtype=dtype)


def test_big_endian_inputs_are_refused_with_what_to_do(rng):
    layer = PathFFF.init(rng, n_in=5, n_out=3, depth=2)
    x = np.zeros((2, 5), ">f4")
    for act in (layer.forward, layer.forward_hard, jit(layer)):
        with pytest.raises(
            checks.InputTypeError, match=r"x must have dtype float32, got >f4; convert it with \.astype"
        ):
            act(x)


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module.", "model.bert."])
def test_a_model_saved_from_a_wrapper_is_read(wrapper, folder):
    expected = logits(folder)
    weights = folder / "model.safetensors"
    save_file({wrapper + name: array for name, array in load_file(weights).items()}, weights)
    np.testing.assert_array_equal(logits(folder), expected)


def test_a_model_whose_parts_were_compiled_is_read(folder):
    expected = logits(folder)
    weights = folder / "model.safetensors"
    tensors = {
        name.replace("layers.1.", "layers.1._orig_mod.").replace("ffn.", "ffn._fsdp_wrapped_module."): array
        for name, array in load_file(weights).items()
    }
    save_file(tensors, weights)
    np.testing.assert_array_equal(logits(folder), expected)


def test_a_module_called_module_inside_keeps_its_name():
    assert names.bare("head.module.weight") == "head.module.weight"
    assert names.bare("module._orig_mod.module.head._orig_mod.weight") == "head.weight"


# ---------------------------------------------------------------------- half precision


@pytest.mark.parametrize("other", [np.float16, np.uint8])
def test_a_foreign_dtype_elsewhere_does_not_matter(other, rng, tmp_path):
    layer = LeafFFF.init(rng, n_in=5, n_out=3, depth=2, leaf_width=2)
    head = {name: np.ascontiguousarray(a) for name, a in fastfeedforward.fastfeedforward(layer, "head.").items()}
    save_file(head | {"backbone.weight": np.zeros((4, 4), other)}, tmp_path / "mixed.safetensors")
    again = fastfeedforward.leaf_fff(safetensors.mapped(tmp_path / "mixed.safetensors"), prefix="head.")
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(getattr(again, name), array.reshape(getattr(again, name).shape), strict=True)


def test_a_model_in_half_precision_is_read_and_said(folder):
    weights = folder / "model.safetensors"
    halves = {name: array.astype(np.float16) for name, array in load_file(weights).items()}
    save_file(halves, weights)
    with pytest.warns(UserWarning, match="holds F16: its numbers are widened to float32"):
        arch, tensors = ultrafastbert.load(folder)
        bert = Bert.load(folder)
    np.testing.assert_array_equal(tensors[WORDS], halves[WORDS].astype(np.float32), strict=True)
    assert bert(np.arange(6)).dtype == np.float32 and arch == TINY


# ---------------------------------------------------------------------- UltraFastBERT's FFF alone


@pytest.mark.parametrize("trees, depth", [(1, 2), (3, 1), (2, 0)])
def test_the_layer_alone_from_ultrafastberts_code(trees, depth, rng):
    layer = PathFFF.init(rng, 5, 3, depth, trees)
    state = ultrafastbert.module(layer)
    neurons = trees * (2 ** (depth + 1) - 1)
    assert {name: array.shape for name, array in state.items()} == {
        "linear_in.weight": (neurons, 5), "linear_in.bias": (neurons,), "linear_out.weight": (3, neurons),
    }  # fmt: skip
    again = ultrafastbert.path_fff(state, trees)
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(getattr(again, name), array, strict=True)
    assert again.activation == "gelu" and again.in_weight.ctypes.data % 64 == 0


def test_its_formula_as_the_authors_write_it(rng):
    """cramming/architectures/fff.py, in NumPy: logits of all neurons, a path by their signs, one product."""
    trees, depth, n_in, n_out = 2, 2, 5, 3
    M = 2 ** (depth + 1) - 1
    state = {
        "linear_in.weight": rng.standard_normal((trees * M, n_in)), "linear_in.bias": rng.standard_normal(trees * M),
        "linear_out.weight": rng.standard_normal((n_out, trees * M)),
    }  # fmt: skip
    x = rng.standard_normal((20, n_in))
    logit = (x @ state["linear_in.weight"].T + state["linear_in.bias"]).reshape(-1, trees, M)
    mask, node = np.zeros_like(logit), np.zeros((20, trees), int)
    for _ in range(depth + 1):
        np.put_along_axis(mask, node[..., None], 1, 2)
        node = 2 * node + 1 + (np.take_along_axis(logit, node[..., None], 2)[..., 0] > 0)
    from scipy.special import ndtr

    expected = (logit * ndtr(logit) * mask).reshape(20, -1) @ state["linear_out.weight"].T
    np.testing.assert_allclose(ultrafastbert.path_fff(state, trees).forward_hard(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "change, trees, message",
    [
        ({}, 2, r"7 neurons are not 2 complete trees; possible numbers of trees: 1, 7"),
        ({"linear_in.bias": np.zeros(6)}, 1, r"linear_in.bias must have shape \(7\)"),
        ({"linear_out.weight": np.zeros((7, 3))}, 1, r"linear_out.weight must have shape \(any, 7\)"),
        ({"linear_out.bias": np.zeros(3)}, 1, "unknown linear_out.bias"),
        ({"linear_in.weight": np.zeros(7)}, 1, "linear_in.weight must have shape"),
        ({"linear_in.bias": np.zeros(7, np.float32)}, 1, "linear_in.bias must have dtype float64"),
        ({}, 0, "n_trees must be at least 1"),
        ({}, 1.0, "n_trees must be an integer"),
    ],
)
def test_weights_that_are_no_trees_are_refused(change, trees, message):
    state = {"linear_in.weight": np.zeros((7, 5)), "linear_in.bias": np.zeros(7), "linear_out.weight": np.zeros((3, 7))}
    with pytest.raises(checks.InputError, match=message):
        ultrafastbert.path_fff(state | change, trees)


# ---------------------------------------------------------------------- what is no checkpoint


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 123456\n"


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("text, said", [(POINTER, "git lfs pull"), ("<!DOCTYPE html><html>Sign in", "an HTML page")])
def test_a_pointer_or_a_page_is_said_to_be_one(file, text, said, folder):
    (folder / file).write_text(text)
    with pytest.raises(checks.InputError, match=f"{file} is .*{said}"):
        Bert.load(folder)
    with pytest.raises(checks.InputError, match=said):
        (folder / "leaf.safetensors").write_text(text)
        checkpoints.load(folder / "leaf.safetensors")


def test_the_gated_crammedbert_is_refused_with_the_variants_that_are_not(folder):
    config = json.loads((folder / "config.json").read_text())
    config["arch"]["nonlin"] = "GELUglu"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(checks.InputError, match=r"must be 'GELU' here, got 'GELUglu'; of crammedBERTs, .* not gated"):
        Bert.load(folder)


def change_arch(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    for name, value in changes.items():
        part, _, key = name.rpartition("__")
        (config["arch"][part] if part else config["arch"])[key] = value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_transformer_layers": 10**6}, "layers must be at most"),
        ({"num_transformer_layers": 60_000}, r"\d+ tensors cannot be 60000 layers"),
        ({"hidden_size": 2**40, "embedding__embedding_dim": 2**40}, "hidden must be at most"),
        ({"embedding__max_seq_length": 10**9}, "max_length must be at most"),
        ({"embedding__vocab_size": 2**31}, "must have shape"),
        ({"intermed_size": 2**30}, "must have shape"),
        ({"intermed_depth": 29}, "must have shape"),
        ({"intermed_depth": 10**9}, "depth must be at most"),
        ({"norm_eps": float("nan")}, "eps must lie in"),
        ({"norm_eps": "1e-12"}, "eps must be a number"),
        ({"intermed_type": ["fff"]}, "intermed_type must be one of"),
        ({"hidden_size": True, "embedding__embedding_dim": True}, "hidden must be an integer"),
    ],
)
def test_a_configuration_of_an_absurd_size_is_refused_before_it_takes_memory(changes, message, folder):
    change_arch(folder, **changes)
    with pytest.raises(checks.InputError, match=message):
        Bert.load(folder)


@pytest.mark.parametrize("text", ["[" * 10**6, '{"arch":' * 10**6, "9" * 10**5, "", "null", "[]", "\x00", "{}"])
def test_a_configuration_without_end_is_refused(text, folder):
    (folder / "config.json").write_text(text)
    with pytest.raises(checks.InputError, match=r"config\.json"):
        Bert.load(folder)


def test_a_configuration_of_a_gigabyte_is_not_read(folder):
    with (folder / "config.json").open("wb") as file:
        file.truncate(2**30)  # sparse
    with pytest.raises(checks.InputError, match="that is no configuration"):
        Bert.load(folder)


# ---------------------------------------------------------------------- written together


@pytest.mark.parametrize("killed_after", ["model.safetensors", "config.json"])
def test_a_folder_half_of_which_is_new_is_refused(killed_after, folder, rng, monkeypatch):
    """Another model of the same shapes, but for what no shape says: heads and the longest sequence."""
    other = Arch(layers=2, hidden=8, heads=4, vocabulary=11, max_length=6, depth=2)
    old, real = logits(folder), ultrafastbert.files.os.replace

    def replace_then_die(source, target):
        real(source, target)
        if str(target).endswith(killed_after):
            raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", replace_then_die)
    tensors = ultrafastbert.draw(rng, other)
    with pytest.raises(KeyboardInterrupt):
        ultrafastbert.save(folder, other, tensors)
    monkeypatch.undo()
    if killed_after == "model.safetensors":
        with pytest.raises(checks.InputError, match="were not written together"):
            Bert.load(folder)
        ultrafastbert.save(folder, other, tensors)
    assert Bert.load(folder).arch == other and not np.array_equal(logits(folder), old)


def test_a_foreign_configuration_beside_our_weights_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    del config[ultrafastbert.MARK]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(checks.InputError, match="were not written together"):
        Bert.load(folder)


def test_what_others_have_written_has_no_mark_and_is_read(folder):
    expected = logits(folder)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {OUT: tensors[WORDS]}, folder / "model.safetensors")
    np.testing.assert_array_equal(logits(folder), expected)


# ---------------------------------------------------------------------- checkpoints


def forged(path, change):
    """Write a checkpoint again with another description, its SHA-256 made to fit."""
    tensors = safetensors.mapped(path)
    arrays, description = dict(tensors), json.loads(tensors.metadata["description"])
    text = change(description)
    text = text if isinstance(text, str) else json.dumps(description)
    metadata = {"format": checkpoints.FORMAT, "description": text, "sha256": checkpoints._digest(text, arrays)}
    safetensors.write(path, arrays, metadata)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(states=10**12), lambda d: d.update(states=-1), lambda d: d.update(states="2"),
        lambda d: d.update(options=3), lambda d: d.update({"class": ["LeafFFF"]}),
        lambda d: d.update({"class": "Record"}),
        lambda d: d.update(shapes=3), lambda d: d.update(shapes=[]), lambda d: "[" * 10**5, lambda d: "null",
        lambda d: '{"class": ' * 10**5, lambda d: "3", lambda d: d.update(records=3), lambda d: "not JSON",
        lambda d: d.update(records={"x": d | {"records": None}}), lambda d: d.pop("info"), lambda d: d.pop("options"),
    ],
)  # fmt: skip
def test_a_forged_checkpoint_is_refused_by_name(change, tmp_path, rng):
    path = tmp_path / "layer.safetensors"
    checkpoints.save(path, LeafFFF.init(rng, 3, 2, 1, 2))
    forged(path, change)
    with pytest.raises(checks.InputError, match=r"layer\.safetensors contradicts itself"):
        checkpoints.load(path)


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(2), np.bool_(True), [np.float64(1)]])
def test_facts_that_are_numpys_scalars_are_saved(value, tmp_path, rng):
    checkpoints.save(tmp_path / "a.safetensors", DenseFF.init(rng, 3, 2, 2), info={"fact": value})
    assert checkpoints.load(tmp_path / "a.safetensors").info == {
        "fact": json.loads(json.dumps(value, default=lambda v: v.item()))
    }


@pytest.mark.parametrize("value", [{1, 2}, object(), np.zeros(3), b"x", 1j])
def test_facts_that_json_cannot_hold_are_refused_before_anything_is_written(value, tmp_path, rng):
    with pytest.raises(checks.InputTypeError, match="info must hold what JSON can"):
        checkpoints.save(tmp_path / "a.safetensors", DenseFF.init(rng, 3, 2, 2), info={"fact": value})
    assert not list(tmp_path.iterdir())


def test_mutated_checkpoints_are_refused_or_what_they_were(tmp_path, rng):
    """A thousand bytes changed, cut off or put in: never another exception, never another layer."""
    path, layer = tmp_path / "a.safetensors", LeafFFF.init(rng, 3, 2, 1, 2)
    checkpoints.save(path, layer, info={"epochs": 3})
    whole, counts = path.read_bytes(), {"refused": 0, "the same": 0}
    for _ in range(1000):
        content = bytearray(whole)
        at, way = int(rng.integers(len(content))), rng.integers(3)
        if way == 0:
            content[at] = rng.integers(256)
        elif way == 1:
            del content[at : at + int(rng.integers(1, 40))]
        else:
            content[at:at] = rng.bytes(int(rng.integers(1, 40)))
        path.write_bytes(content)
        try:
            found = checkpoints.load(path)
        except checks.InputError as error:
            assert str(path) in str(error)
            counts["refused"] += 1
            continue
        counts["the same"] += 1
        assert found.info == {"epochs": 3}
        for name, array in found.layer.arrays().items():
            np.testing.assert_array_equal(array, getattr(layer, name), strict=True)
    print("mutated checkpoints:", counts)
    assert counts["refused"] > 900
