"""Safetensors files are mapped as they are, and refused if they are not; the published module's weights come back."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fffref import LeafFFF
from fffref.formats import fastfeedforward, safetensors


def raw(path, header, data=b""):
    """Write a safetensors file by hand: any header, no padding."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


# ---------------------------------------------------------------------- mapping


def test_arrays_are_the_files(tmp_path, rng):
    path = tmp_path / "a.safetensors"
    arrays = {
        "f4": rng.standard_normal((3, 5), np.float32), "f8": rng.standard_normal((2, 1, 4)), "number": np.array(0.5),
        "i8": np.arange(4), "none": np.zeros((0, 3), np.float32), "nan": np.array([np.nan, -0.0, np.inf]),
    }  # fmt: skip
    save_file(arrays, path, {"about": "metadata are no tensor"})
    found = safetensors.mapped(path)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert type(found[name]) is np.ndarray and found[name].flags.carray


def test_nothing_is_read_before_it_is_used_and_the_file_is_never_written(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.zeros(1000, np.float32)}, path)
    before = path.read_bytes()
    array = safetensors.mapped(path)["a"]
    with path.open("r+b") as file:  # what the file says now is what the array says now
        file.seek(len(before) - 4)
        file.write(np.float32(7).tobytes())
    assert array[-1] == 7
    array[0] = 1
    assert path.read_bytes()[:-4] == before[:-4] and array[0] == 1


@pytest.mark.parametrize("shift", range(9))
def test_arrays_may_start_anywhere(shift, tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}) + " " * shift
    found = safetensors.mapped(raw(tmp_path / "a.safetensors", header.encode(), values.tobytes()))["a"]
    np.testing.assert_array_equal(found, values, strict=True)
    assert found.flags.aligned


def test_what_is_written_is_read_whatever_the_layout(tmp_path, rng):
    path, array = tmp_path / "new" / "a.safetensors", rng.standard_normal((4, 6))
    safetensors.write(path, {"t": array.T, "step": array[:, ::2], "number": np.array(3.0)})
    for found in (safetensors.mapped(path), load_file(path)):
        np.testing.assert_array_equal(found["t"], array.T, strict=True)
        np.testing.assert_array_equal(found["step"], array[:, ::2], strict=True)
        assert found["number"].shape == ()


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.zeros(100, np.float32), "b": np.zeros(3)}, path)
    whole = path.read_bytes()
    for length in (0, 4, 8, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.safetensors is (no complete|truncated)"):
            safetensors.mapped(path)


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header, message",
    [
        (b"{not json", "its header is no JSON"),
        (b"\xff\xfe\x00", "its header is no JSON"),
        ([1, 2], "no complete safetensors file"),
        ({"a": 3}, "does not say where a is"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "does not say where a is"),
        ({"a": ENTRY | {"data_offsets": [0]}}, "does not say where a is"),
        ({"a": ENTRY | {"dtype": "BF16"}}, "a is BF16, expected F32 or F64"),
        ({"a": ENTRY | {"shape": [3]}}, "truncated or damaged at a"),
        ({"a": ENTRY | {"shape": [-2]}}, "truncated or damaged at a"),
        ({"a": ENTRY | {"data_offsets": [4, 12]}}, "truncated or damaged at a"),
        ({"a": ENTRY | {"data_offsets": [-8, 0]}}, "truncated or damaged at a"),
    ],
)
def test_damaged_headers_are_refused(header, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        safetensors.mapped(raw(tmp_path / "a.safetensors", header, bytes(8)))


def test_other_files_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        safetensors.mapped(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="cannot read"):
        safetensors.mapped(tmp_path)
    archive = tmp_path / "module.pt"
    archive.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match=r"a zip archive, as torch\.save writes it; safetensors\.torch\.save_file"):
        safetensors.mapped(archive)


# ---------------------------------------------------------------------- fastfeedforward


def layer_of(rng, depth=3, dtype=np.float32):
    return LeafFFF.init(rng, 5, 3, depth, 2, "gelu", dtype)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("prefix", ["", "head.ff."])
def test_weights_come_back_bit_for_bit(depth, dtype, prefix, rng, tmp_path):
    layer = layer_of(rng, depth, dtype)
    layer.leaf_in_weight[0, 0, :3] = np.nan, -0.0, np.inf
    safetensors.write(
        tmp_path / "a.safetensors", fastfeedforward.fastfeedforward(layer, prefix) | {"other": np.zeros(2)}
    )
    tensors = safetensors.mapped(tmp_path / "a.safetensors")
    if not prefix:
        tensors.pop("other")
    again = fastfeedforward.leaf_fff(tensors, "gelu", prefix)
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(getattr(again, name).view(np.int32), array.view(np.int32), strict=True)
    assert again.activation == "gelu" and all(a.ctypes.data % 64 == 0 for a in again.arrays().values() if a.size)
    shapes = {name: array.shape for name, array in fastfeedforward.fastfeedforward(again).items()}
    N, L = 2**depth - 1, 2**depth
    assert shapes == {
        "node_weights": (N, 5), "node_biases": (N, 1), "w1s": (L, 5, 2), "b1s": (L, 2), "w2s": (L, 2, 3), "b2s": (L, 3),
        "depth": (),
    }  # fmt: skip


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("w2s"), "no weights of a fastfeedforward.FFF under the prefix '': missing w2s"),
        (lambda t: t.update(colour=np.zeros(3)), "unknown colour"),
        (lambda t: (t.pop("b1s"), t.update(colour=np.zeros(3))), "missing b1s; unknown colour"),
        (lambda t: t.update(depth=np.array(2)), "depth says 2, but there are weights for 3"),
        (lambda t: t.update(w1s=t["w1s"][0]), "w1s must have shape"),
        (lambda t: t.update(w1s=t["w1s"][:, :-1]), "must have shape"),
        (lambda t: t.update(node_biases=t["node_biases"][:, 0]), "node_biases must have shape"),
        (lambda t: t.update(node_weights=t["node_weights"][1:]), "must have shape"),
        (lambda t: [t.update({n: t[n][:-1]}) for n in ("node_weights", "node_biases")], "a complete binary tree"),
    ],
)
def test_weights_that_are_none_are_refused(change, message, rng):
    tensors = fastfeedforward.fastfeedforward(layer_of(rng))
    change(tensors)
    with pytest.raises(ValueError, match=message):
        fastfeedforward.leaf_fff(tensors)


def test_weights_of_two_types_are_refused(rng):
    tensors = fastfeedforward.fastfeedforward(layer_of(rng)) | {"b2s": np.zeros((8, 3))}
    with pytest.raises(TypeError, match="b2s must have dtype float32"):
        fastfeedforward.leaf_fff(tensors)


def test_statistics_are_no_weights(rng):
    tensors = fastfeedforward.fastfeedforward(layer_of(rng)) | {"node_usage": np.zeros(7), "leaf_usage": np.zeros(8)}
    assert fastfeedforward.leaf_fff(tensors).depth == 3
    with pytest.raises(ValueError, match="missing node_weights, node_biases, w1s, b1s and 2 more"):
        fastfeedforward.leaf_fff(tensors, prefix="head.")


@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_published_module_computes_the_same_in_training(depth, activation, rng, tmp_path):
    torch, fastfeedforward = pytest.importorskip("torch"), pytest.importorskip("fastfeedforward")
    from safetensors.torch import load_file, save_file

    kinds = {"relu": torch.nn.ReLU(), "gelu": torch.nn.GELU()}
    torch.manual_seed(0)
    module = fastfeedforward.FFF(6, 3, 4, depth, activation=kinds[activation], usage_mode="soft")
    save_file(module.state_dict(), tmp_path / "module.safetensors")
    layer = fastfeedforward.leaf_fff(safetensors.mapped(tmp_path / "module.safetensors"), activation)
    x = rng.standard_normal((50, 6), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    y, _ = layer.forward(x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    if depth:  # in evaluation the module fails for depth 0, and leaves b2s away
        with torch.no_grad():
            hard = module.eval()(torch.from_numpy(x)).numpy()
        bias = layer.leaf_out_bias[layer.route(x)]
        np.testing.assert_allclose(layer.forward_hard(x) - bias, hard, rtol=1e-5, atol=1e-5 * np.abs(hard).max())
        assert np.abs(bias).max() > 0.1

    safetensors.write(tmp_path / "back.safetensors", fastfeedforward.fastfeedforward(layer))
    other = fastfeedforward.FFF(6, 3, 4, depth, activation=kinds[activation])
    other.load_state_dict(load_file(tmp_path / "back.safetensors"))
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in other.state_dict().items())
