"""Where data are looked for, what is refused, and the download, against a server on loopback."""

import gzip
import hashlib
import http.server
import os
import pathlib
import struct
import threading

import numpy as np
import pytest

from fffref import datasets

SIZES = {"train": 30, "t10k": 20}


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def contents(rng):
    """The four files of a tiny data set, uncompressed."""
    shapes = {"images-idx3": (28, 28), "labels-idx1": ()}
    return {
        f"{kind}-{part}-ubyte": idx(rng.integers(10, size=(n, *shape)).astype(np.uint8))
        for kind, n in SIZES.items()
        for part, shape in shapes.items()
    }


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path, contents):
    """No data on this machine, an empty cache, checksums of the tiny data set, no proxy, no patience."""
    monkeypatch.delenv("FFFREF_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(datasets, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr(datasets, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(datasets, "TIMEOUT", 5)
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    monkeypatch.setattr(datasets, "SHA256", {name: sums for name in datasets.MIRRORS})


def write(folder, contents, compress=True):
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        (folder / f"{file}{'.gz' if compress else ''}").write_bytes(gzip.compress(content) if compress else content)
    return folder


# ---------------------------------------------------------------------- the sample inside the package


def test_the_embedded_sample_is_balanced():
    data = datasets.load("mnist-small")
    assert data.x_train.shape == (7000, 784) and data.x_test.shape == (1500, 784)
    assert data.x_train.dtype == np.float32 and data.y_train.dtype == np.int64
    assert data.x_train.min() == 0 and data.x_train.max() == 1
    assert np.bincount(data.y_train).tolist() == [700] * 10
    assert np.bincount(data.y_test).tolist() == [150] * 10
    assert (datasets.EMBEDDED / "mnist-small" / "LICENSE.md").exists()
    assert sum(f.stat().st_size for f in (datasets.EMBEDDED / "mnist-small").iterdir()) < 1.6e6


@pytest.mark.skipif("FFFREF_DATA" not in os.environ, reason="FFFREF_DATA names no folder with the full MNIST")
def test_the_embedded_sample_is_a_part_of_mnist(monkeypatch):
    monkeypatch.undo()
    small, full = datasets.load("mnist-small"), datasets.load("mnist")
    for part in ("train", "test"):
        known = {x.tobytes(): y for x, y in zip(getattr(full, f"x_{part}"), getattr(full, f"y_{part}"), strict=True)}
        x, y = getattr(small, f"x_{part}"), getattr(small, f"y_{part}")
        assert len({row.tobytes() for row in x}) == len(x)
        assert all(known[row.tobytes()] == label for row, label in zip(x, y, strict=True))


@pytest.mark.skipif("FFFREF_DATA" not in os.environ, reason="FFFREF_DATA names no folder with the full data sets")
@pytest.mark.parametrize("name", datasets.MIRRORS)
def test_the_checksums_are_those_of_the_real_files(name, monkeypatch):
    monkeypatch.undo()
    folder = datasets._find(name, None)
    for file, expected in datasets.SHA256[name].items():
        path = datasets._existing(folder / file)
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == expected


# ---------------------------------------------------------------------- files on this machine


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("name", datasets.MIRRORS)
def test_files_are_found_in_a_folder_or_its_sub_folder(name, compress, tmp_path, contents):
    for place in (tmp_path / "a", tmp_path / "b" / name):
        write(place, contents, compress)
    for folder in (tmp_path / "a", tmp_path / "b", str(tmp_path / "b")):
        data = datasets.load(name, folder)
        assert data.x_train.shape == (30, 784) and data.y_test.shape == (20,)
        raw = np.frombuffer(contents["t10k-images-idx3-ubyte"], np.uint8, offset=16)
        np.testing.assert_array_equal(data.x_test.ravel(), raw / np.float32(255))


def test_places_are_searched_in_order(tmp_path, monkeypatch, contents):
    places = [tmp_path / "own" / "mnist", tmp_path / "system" / "mnist", tmp_path / "cache" / "mnist"]
    monkeypatch.setenv("FFFREF_DATA", str(tmp_path / "own"))
    for place in reversed(places):
        write(place, contents)
        assert datasets._find("mnist", None) == place
    assert datasets._find("fashion-mnist", None) is None


def test_a_folder_without_the_files_is_refused(tmp_path, contents):
    with pytest.raises(ValueError, match=r"lacks train-images-idx3-ubyte, train-labels.*FFFREF_DATA"):
        datasets.load("mnist", tmp_path)
    del contents["t10k-labels-idx1-ubyte"]
    with pytest.raises(ValueError, match="lacks t10k-labels-idx1-ubyte "):
        datasets.load("mnist", write(tmp_path / "mnist", contents).parent)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'mnist-small', 'mnist', 'fashion-mnist', got 'cifar'"):
        datasets.load("cifar")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda content: content[:-1], "truncated or too long"),
        (lambda content: content + b"\0", "truncated or too long"),
        (lambda content: b"PK" + content[2:], "no IDX file"),
        (lambda content: content[:6], "no IDX file"),
        (lambda content: b"", "no IDX file"),
        (lambda content: idx(np.zeros((30, 27, 28), np.uint8)), "do not belong together"),
        (lambda content: idx(np.zeros((29, 28, 28), np.uint8)), "do not belong together"),
    ],
)
def test_damaged_files_are_refused(spoil, message, tmp_path, contents):
    contents["train-images-idx3-ubyte"] = spoil(contents["train-images-idx3-ubyte"])
    with pytest.raises(ValueError, match=message):
        datasets.load("mnist", write(tmp_path, contents))


def test_damaged_compression_is_refused(tmp_path, contents):
    file = write(tmp_path, contents) / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for damaged in (whole[:-20], b"not gzip", whole[:100] + b"\xff" * 50 + whole[150:]):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="cannot read"):
            datasets.load("mnist", tmp_path)


# ---------------------------------------------------------------------- download


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files` from memory, and counts."""

    def do_GET(self):
        """Send a file, or only part of what was announced."""
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        self.send_response(404 if content is None else 200)
        announced = len(content or b"") + self.server.missing_bytes
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def server(contents, monkeypatch):
    """A mirror on loopback with the tiny data set, the only mirror known."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files = {f"/mnist/{file}.gz": gzip.compress(content) for file, content in contents.items()}
    server.asked, server.missing_bytes = [], 0
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("FFFREF_MIRROR", f"http://127.0.0.1:{server.server_port}/")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_nowhere_is_downloaded_once(server, tmp_path, capsys):
    data = datasets.load("mnist")
    assert data.x_train.shape == (30, 784) and len(server.asked) == 4
    assert "train-images-idx3-ubyte.gz: 100%" in capsys.readouterr().err
    again = datasets.load("mnist", progress=False)
    assert len(server.asked) == 4 and np.array_equal(again.x_train, data.x_train)
    assert {path.name for path in (tmp_path / "cache" / "mnist").iterdir()} == {f"{f}.gz" for f in datasets.FILES}


def test_a_stopped_download_goes_on_with_the_missing_files(server, tmp_path, contents):
    write(tmp_path / "cache" / "mnist", {"train-images-idx3-ubyte": contents["train-images-idx3-ubyte"]})
    datasets.load("mnist", progress=False)
    assert len(server.asked) == 3


def refused(message, tmp_path):
    with pytest.raises(ValueError, match=rf"cannot download mnist \(.*{message}.*FFFREF_DATA.*mnist-small"):
        datasets.load("mnist", progress=False)
    cache = tmp_path / "cache" / "mnist"
    assert not cache.exists() or not list(cache.iterdir()), "a bad file was kept"


def test_a_truncated_download_is_refused(server, tmp_path):
    server.missing_bytes = 7
    refused("truncated|IncompleteRead", tmp_path)


def test_a_truncated_file_is_refused(server, tmp_path):
    file = "/mnist/train-images-idx3-ubyte.gz"
    server.files[file] = server.files[file][:-9]
    refused("end-of-stream", tmp_path)


def test_a_wrong_checksum_is_refused(server, tmp_path, contents):
    other = bytearray(contents["train-images-idx3-ubyte"])
    other[-1] ^= 1
    server.files["/mnist/train-images-idx3-ubyte.gz"] = gzip.compress(other)
    refused("wrong SHA-256", tmp_path)


def test_what_is_no_gzip_file_is_refused(server, tmp_path):
    server.files["/mnist/train-images-idx3-ubyte.gz"] = b"<html>sign in to the hotel's network</html>"
    refused("Not a gzipped file", tmp_path)


def test_a_missing_file_is_refused(server, tmp_path):
    server.files.clear()
    refused("404", tmp_path)


def test_without_network_all_ways_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("FFFREF_MIRROR", "http://127.0.0.1:1")
    refused("refused", tmp_path)
    with pytest.raises(ValueError) as caught:
        datasets.load("fashion-mnist", progress=False)
    for way in ("folder=", "FFFREF_DATA", "dataset-fashion-mnist", str(tmp_path / "cache"), "FFFREF_MIRROR"):
        assert way in str(caught.value)


def test_the_next_mirror_is_asked_when_one_fails(server, monkeypatch):
    monkeypatch.delenv("FFFREF_MIRROR")
    mirrors = ("http://127.0.0.1:1", f"http://127.0.0.1:{server.server_port}/mnist")
    monkeypatch.setitem(datasets.MIRRORS, "mnist", mirrors)
    assert datasets.load("mnist", progress=False).x_train.shape == (30, 784)


def test_an_unwritable_cache_is_refused(server, monkeypatch, tmp_path):
    (tmp_path / "afile").write_text("")
    monkeypatch.setattr(datasets, "_cache", lambda: pathlib.Path(tmp_path / "afile" / "cache"))
    with pytest.raises(ValueError, match="cannot write to the folder"):
        datasets.load("mnist", progress=False)
