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

from fffref import checks, datasets

SIZES = {"train": 30, "t10k": 20}


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def sets(rng):
    """The four files of two tiny data sets, uncompressed, by name."""
    shapes = {"images-idx3": (28, 28), "labels-idx1": ()}
    return {
        name: {
            f"{kind}-{part}-ubyte": idx(rng.integers(10, size=(n, *shape)).astype(np.uint8))
            for kind, n in SIZES.items()
            for part, shape in shapes.items()
        }
        for name in datasets.MIRRORS
    }


@pytest.fixture
def contents(sets):
    """Those of the first."""
    return sets["mnist"]


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path, sets):
    """No data on this machine, an empty cache, checksums of the tiny data set, no proxy, no patience."""
    monkeypatch.delenv("FFFREF_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(datasets, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr(datasets, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(datasets, "TIMEOUT", 5)
    sums = {
        name: {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
        for name, files in sets.items()
    }
    monkeypatch.setattr(datasets, "SHA256", sums)


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
def test_files_are_found_in_a_folder_or_its_sub_folder(name, compress, tmp_path, sets):
    contents = sets[name]
    for place in (tmp_path / "a", tmp_path / "b" / name):
        write(place, contents, compress)
    for folder in (tmp_path / "a", tmp_path / "b", str(tmp_path / "b")):
        data = datasets.load(name, folder)
        assert data.x_train.shape == (30, 784) and data.y_test.shape == (20,) and data.published
        raw = np.frombuffer(contents["t10k-images-idx3-ubyte"], np.uint8, offset=16)
        np.testing.assert_array_equal(data.x_test.ravel(), raw / np.float32(255))


def test_places_are_searched_in_order(tmp_path, monkeypatch, contents):
    places = [tmp_path / "own", tmp_path / "own" / "mnist", tmp_path / "system" / "mnist", tmp_path / "cache" / "mnist"]
    for place in reversed(places[2:]):
        write(place, contents)
        assert datasets._find("mnist", None) == place
    monkeypatch.setenv("FFFREF_DATA", str(tmp_path / "own"))
    for place in places[:2]:  # a sub-folder of the set's name comes first
        write(place, contents)
        assert datasets._find("mnist", None) == place
    monkeypatch.delenv("FFFREF_DATA")
    assert datasets._find("fashion-mnist", None) is None


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_another_set_of_the_same_file_names_is_refused_by_its_name(name, tmp_path, monkeypatch, sets):
    (other,) = sets.keys() - {name}
    write(tmp_path / "data", sets[other])
    message = f"holds {other}, not {name}"
    with pytest.raises(checks.InputError, match=message):
        datasets.load(name, tmp_path / "data")
    monkeypatch.setenv("FFFREF_DATA", str(tmp_path / "data"))
    with pytest.raises(checks.InputError, match=message):
        datasets.load(name)
    write(tmp_path / "data" / name, sets[name])  # its own sub-folder comes first
    assert datasets.load(name).published and datasets.load(name, tmp_path / "data").published
    for place in ("system", "cache"):
        monkeypatch.delenv("FFFREF_DATA", raising=False)
        write(tmp_path / place / name, sets[other])
        with pytest.raises(checks.InputError, match=message):
            datasets.load(name)


@pytest.mark.parametrize("file", datasets.FILES)
def test_one_file_of_the_other_set_is_enough_to_be_refused(file, tmp_path, sets):
    write(tmp_path, sets["mnist"] | {file: sets["fashion-mnist"][file]})
    with pytest.raises(checks.InputError, match=f"holds fashion-mnist, not mnist, as {file} says"):
        datasets.load("mnist", tmp_path)


def test_a_part_of_a_set_is_read_with_a_warning(tmp_path, contents):
    write(tmp_path, contents | {"t10k-labels-idx1-ubyte": idx(np.zeros(20, np.uint8))})
    with pytest.warns(UserWarning, match="does not hold mnist as it was published, t10k-labels-idx1-ubyte differ"):
        assert not datasets.load("mnist", tmp_path).published


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch, contents):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "data", contents)
    monkeypatch.setenv("FFFREF_DATA", "~/data")
    assert datasets.load("mnist").published and datasets.load("mnist", "~/data").published


@pytest.mark.parametrize("place", ["nowhere", ""])
def test_a_variable_that_leads_nowhere_is_said_and_nothing_downloaded(place, server, tmp_path, monkeypatch):
    monkeypatch.setenv("FFFREF_DATA", str(tmp_path / place))
    with pytest.raises(checks.InputError, match=rf"FFFREF_DATA names {tmp_path / place}, which lacks train-images"):
        datasets.load("mnist")
    assert not server.asked


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
        (lambda content: content[:3], "no IDX file"),
        (lambda content: b"\0\0\x08\xff" + b"\0\0\0\1" * 255, "no IDX file"),  # more axes than an array can have
        (lambda content: b"\0\0\x08\x03" + b"\xff" * 12 + content[16:], "truncated or too long"),
        (lambda content: idx(np.zeros((0, 28, 28), np.uint8)), "do not belong together"),
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


def test_a_bomb_is_refused_in_bounded_memory(tmp_path, contents, monkeypatch):
    write(tmp_path, contents)
    monkeypatch.setattr(datasets, "LARGEST", 100_000)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(3_000_000)))
    with pytest.raises(checks.InputError, match="more than 100,000 bytes, uncompressed"):
        datasets.load("mnist", tmp_path)


# ---------------------------------------------------------------------- download


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files` from memory, and counts."""

    def do_GET(self):
        """Send a file, or only part of what was announced."""
        self.server.asked.append(self.path)
        if self.server.raw is not None:  # an answer that is no HTTP
            self.wfile.write(self.server.raw)
            return
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
    server.asked, server.missing_bytes, server.raw = [], 0, None
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


ODD = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a line without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n",
    "an odd length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nhello",
    "a chunk of no length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    "nothing": b"",
    "a circle": b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
}


@pytest.mark.parametrize("answer", ODD)
def test_an_odd_answer_is_refused_and_the_next_mirror_asked(answer, server, contents, monkeypatch, tmp_path):
    server.raw = ODD[answer]
    refused("", tmp_path)
    monkeypatch.delenv("FFFREF_MIRROR")
    good = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    good.files, good.asked, good.missing_bytes, good.raw = server.files, [], 0, None
    thread = threading.Thread(target=good.serve_forever)
    thread.start()
    mirrors = [f"http://127.0.0.1:{one.server_port}/mnist" for one in (server, good)]
    monkeypatch.setitem(datasets.MIRRORS, "mnist", mirrors)
    try:
        assert datasets.load("mnist", progress=False).published and len(good.asked) == 4
    finally:
        good.shutdown()
        thread.join()
        good.server_close()


@pytest.mark.parametrize("mirror", ["nonsense", "ftp://", "http://[", "http://a b", "file:///nowhere"])
def test_a_mirror_that_is_no_address_is_refused(mirror, monkeypatch, tmp_path):
    monkeypatch.setenv("FFFREF_MIRROR", mirror)
    refused("", tmp_path)


def test_a_download_without_end_is_cut_off(server, monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "LARGEST", 1000)
    refused("more than 1,000 bytes", tmp_path)


def test_an_unwritable_cache_is_refused(server, monkeypatch, tmp_path):
    (tmp_path / "afile").write_text("")
    monkeypatch.setattr(datasets, "_cache", lambda: pathlib.Path(tmp_path / "afile" / "cache"))
    with pytest.raises(ValueError, match="cannot write to the folder"):
        datasets.load("mnist", progress=False)
