"""Safetensors files are mapped as they are, and refused if they are not, in bounded time and memory."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fffref import checks
from fffref.formats import safetensors


def raw(path, header, data=b""):
    """Write a safetensors file by hand: any header, no padding."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


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
        (b"[" * 100_000, "its header is no JSON"),
        (b'{"a": ' * 100_000, "its header is no JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "its header is no JSON"),
        ([1, 2], "no complete safetensors file"),
        (b'{"a": 1, "a": 2}', "its header names a twice"),
        ({"a": 3}, "does not say where a is"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "does not say where a is"),
        ({"a": ENTRY | {"data_offsets": [0]}}, "does not say where a is"),
        ({"a": ENTRY | {"data_offsets": [0.0, 8.0]}}, "does not say where a is"),
        ({"a": ENTRY | {"data_offsets": [True, 8]}}, "does not say where a is"),
        ({"a": ENTRY | {"data_offsets": "08"}}, "does not say where a is"),
        ({"a": ENTRY | {"dtype": 32}}, "does not say where a is"),
        ({"a": ENTRY | {"dtype": ["F32"]}}, "does not say where a is"),
        ({"a": ENTRY | {"shape": [1] * 40 + [2]}}, "does not say where a is"),
        ({"a": ENTRY | {"shape": [-2]}}, "does not say where a is"),
        ({"a": ENTRY | {"shape": [2**64]}}, "does not say where a is"),
        ({"a": ENTRY | {"data_offsets": [-8, 0]}}, "does not say where a is"),
        ({"a": ENTRY, "__metadata__": {"states": 3}}, "metadata are no texts"),
        ({"a": ENTRY, "__metadata__": "text"}, "metadata are no texts"),
        ({"a": ENTRY | {"data_offsets": [4, 12]}}, "truncated or damaged at a"),
        ({"a": ENTRY | {"data_offsets": [8, 0]}}, "truncated or damaged at a"),
        ({"a": ENTRY, "b": ENTRY}, "truncated or damaged at b"),
        ({"a": ENTRY | {"shape": [1], "data_offsets": [0, 4]}}, "4 bytes behind its last array"),
        ({}, "8 bytes behind its last array"),
    ],
)
def test_damaged_headers_are_refused_at_once(header, message, tmp_path):
    with pytest.raises(checks.InputError, match=message):
        safetensors.mapped(raw(tmp_path / "a.safetensors", header, bytes(8)))


@pytest.mark.parametrize(
    "entry, message",
    [
        (ENTRY | {"dtype": "F8_E4M3"}, "a is F8_E4M3, expected F32, F64, F16 or BF16"),
        (ENTRY | {"dtype": "x" * 10_000}, "a is x{20}, expected"),
        (ENTRY | {"shape": [3]}, "truncated or damaged at a"),
        (ENTRY | {"shape": [2**62, 2**62]}, "truncated or damaged at a"),
    ],
)
def test_an_array_that_is_none_is_refused_when_asked_for(entry, message, tmp_path):
    header = {"a": entry, "b": ENTRY | {"data_offsets": [8, 16]}}
    tensors = safetensors.mapped(raw(tmp_path / "a.safetensors", header, bytes(16)))
    assert tensors["b"].tolist() == [0, 0] and set(tensors) == {"a", "b"} and tensors.kind("a") == entry["dtype"]
    with pytest.raises(checks.InputError, match=message):
        tensors["a"]


OTHERS = {
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 123456\n",
    "an HTML page": b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
    "an XML page": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "a zip archive, as torch.save writes it; safetensors.torch.save_file": b"PK\x03\x04" + bytes(100),
    "a pickle, which may run code": b"\x80\x02}q\x00X\x03\x00\x00\x00w1sq\x01K\x03s.",
    "a gzip archive": b"\x1f\x8b\x08\x00" + bytes(range(1, 40)),
    "a NumPy array file": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}",
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(30),
    "a GGUF file": b"GGUF\x03\x00\x00\x00" + b"\x01" * 30,
    "no complete safetensors file": b"",
    "no complete safetensors file; ": b"ab",
    "no complete safetensors file; safetensors": b"\xff" * 7 + b"\x7f" + b"{}",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_told_by_name(kind, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(OTHERS[kind])
    with pytest.raises(checks.InputError, match=f"model.safetensors is {kind}"):
        safetensors.mapped(path)


def test_a_length_that_looks_like_another_file_is_a_length(tmp_path):
    """640 bytes of header begin as a pickle does, 35,615 as a gzip archive, 20,560 as a zip archive nearly does."""
    for length in (0x0280, 0x0480, 0x8B1F, 0x5050):
        header = json.dumps({"a": ENTRY}).encode()
        path = raw(tmp_path / "a.safetensors", header + b" " * (length - len(header)), bytes(8))
        assert safetensors.mapped(path)["a"].tolist() == [0, 0]


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(checks.InputError, match="there is no file"):
        safetensors.mapped(tmp_path / "none.safetensors")
    with pytest.raises(checks.InputError, match=r"cannot read .*: it is no regular file"):
        safetensors.mapped(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(checks.InputError, match="no regular file"):  # and does not wait for somebody to write
        safetensors.mapped(tmp_path / "pipe")
    for path in ("x" * 300, "a\0b", 3, None):
        with pytest.raises(checks.InputError, match=r"cannot read|is no path"):
            safetensors.mapped(path)


# ---------------------------------------------------------------------- half precision


def test_half_precision_is_widened_and_said(tmp_path):
    """All 65,536 numbers of either kind, NaN by NaN."""
    bits = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    header = {
        name: {"dtype": name, "shape": [256, 256], "data_offsets": [i * 131_072, (i + 1) * 131_072]}
        for i, name in enumerate(("F16", "BF16"))
    }
    tensors = safetensors.mapped(raw(tmp_path / "a.safetensors", header, bits.tobytes() * 2))
    with pytest.warns(UserWarning, match=r"a\.safetensors holds F16: its numbers are widened to float32"):
        half = tensors["F16"]
    with pytest.warns(UserWarning, match="holds BF16"):
        brain = tensors["BF16"]
    np.testing.assert_array_equal(half, bits.view(np.float16).astype(np.float32), strict=True)
    assert brain.dtype == np.float32 and (brain.view(np.uint32) == bits.astype(np.uint32) << 16).all()
    assert (brain[0x3F, 0x80], brain[0xC0, 0x00], brain[0x7F, 0x80]) == (1, -2, np.inf)


def test_pytorch_writes_the_same_halves(tmp_path, rng):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save

    x = torch.from_numpy(rng.standard_normal((3, 5)))
    save({"a": x.to(torch.float16), "b": x.to(torch.bfloat16)}, tmp_path / "a.safetensors")
    with pytest.warns(UserWarning, match="widened"):
        for name, array in safetensors.mapped(tmp_path / "a.safetensors").items():
            kind = torch.float16 if name == "a" else torch.bfloat16
            np.testing.assert_array_equal(array, x.to(kind).float().numpy(), strict=True)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i8"])
def test_a_foreign_byte_order_is_written_as_numbers(dtype, tmp_path):
    safetensors.write(tmp_path / "a.safetensors", {"a": np.arange(6, dtype=dtype).reshape(2, 3)})
    array = safetensors.mapped(tmp_path / "a.safetensors")["a"]
    assert array.dtype == np.dtype(dtype).newbyteorder("=") and array.tolist() == [[0, 1, 2], [3, 4, 5]]


# ---------------------------------------------------------------------- mutated files


def mutate(rng, content):
    """One of the ways in which a file goes wrong."""
    content = bytearray(content)
    at = int(rng.integers(len(content)))
    way = rng.integers(6)
    if way == 0:
        content[at] = rng.integers(256)
    elif way == 1:
        del content[at:]
    elif way == 2:
        content[at:at] = rng.bytes(int(rng.integers(1, 20)))
    elif way == 3:
        del content[at : at + int(rng.integers(1, 20))]
    elif way == 4:  # a number of the header becomes another
        digits = [i for i, byte in enumerate(content) if 48 <= byte < 58]
        content[digits[at % len(digits)]] = 48 + int(rng.integers(10))
    else:
        content += rng.bytes(int(rng.integers(1, 9)))
    return bytes(content)


def test_mutated_files_are_refused_or_read_as_the_safetensors_library_reads_them(tmp_path, rng):
    """Never another exception, never a file that the library refuses; the counts are printed (pytest -rP)."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path, counts = tmp_path / "a.safetensors", {"refused": 0, "read": 0}
    save_file({"w": np.arange(6.0), "b": np.ones((2, 3), np.float32), "n": np.array(3)}, path, {"about": "x"})
    whole = path.read_bytes()
    for _ in range(2000):
        content = mutate(rng, whole)
        path.write_bytes(content)
        try:
            arrays = dict(safetensors.mapped(path))
        except checks.InputError as error:
            assert str(path) in str(error)
            counts["refused"] += 1
            continue
        counts["read"] += 1
        try:
            expected = load(content)
        except (SafetensorError, KeyError) as error:
            raise AssertionError(f"the library refuses {content}") from error
        assert set(arrays) == set(expected)
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, expected[name], strict=True)
    print("mutated safetensors files:", counts)
    assert min(counts.values()) > 100
