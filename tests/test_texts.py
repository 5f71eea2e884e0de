"""Texts: what ships, what is found, downloaded and verified, what is refused. Nothing here leaves this machine."""

import hashlib
import http.server
import threading

import pytest

from fffref import datasets, texts


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """No cache, no folder and no mirror of the user's; a short known text in place of the published one."""
    monkeypatch.setattr(texts.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("FFFREF_DATA", raising=False)
    monkeypatch.delenv("FFFREF_MIRROR", raising=False)
    monkeypatch.setattr(texts, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(texts, "MIRRORS", ("http://127.0.0.1:9",))


CONTENT = b"First Citizen:\nBefore we proceed any further, hear me speak.\n"


@pytest.fixture
def server():
    """A mirror on this machine: the content it serves by path, and its address."""
    pages, asked = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if self.path in pages else 404)
            self.end_headers()
            self.wfile.write(pages.get(self.path, b""))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield pages, asked, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_the_embedded_text_is_the_one_described():
    text = datasets.text("shakespeare")
    assert len(text) == 1_054_609 and len(set(text)) == 76 and text.isascii()
    digest = "b0cf20422cd4bc6659c5f0d38ef7964fe62b37cf0af7d514f42b6e8d488cd34f"
    assert hashlib.sha256(text.encode()).hexdigest() == digest
    assert text.startswith("ROMEO AND JULIET") and "To be, or not to be" in text


@pytest.mark.parametrize("sub", ["", "tiny-shakespeare"])
@pytest.mark.parametrize("way", ["argument", "variable", "cache"])
def test_tiny_shakespeare_is_found(way, sub, tmp_path, monkeypatch):
    folder = tmp_path / "cache" / "fffref" if way == "cache" else tmp_path / "texts"
    (folder / sub).mkdir(parents=True)
    (folder / sub / "input.txt").write_bytes(CONTENT)
    if way == "variable":
        monkeypatch.setenv("FFFREF_DATA", str(folder))
    assert datasets.text("tiny-shakespeare", folder if way == "argument" else None) == CONTENT.decode()


def test_it_is_downloaded_once_and_kept(server, monkeypatch, tmp_path):
    pages, asked, address = server
    pages["/tiny-shakespeare/input.txt"] = CONTENT
    monkeypatch.setenv("FFFREF_MIRROR", address + "/")
    for _ in range(2):
        assert datasets.text("tiny-shakespeare") == CONTENT.decode()
    assert asked == ["/tiny-shakespeare/input.txt"]
    assert (tmp_path / "cache" / "fffref" / "tiny-shakespeare" / "input.txt").read_bytes() == CONTENT


@pytest.mark.parametrize("page", [None, b"Another text.\n"], ids=["missing", "wrong"])
def test_a_download_that_fails_says_why_and_what_to_do(page, server, monkeypatch, tmp_path):
    pages, _, address = server
    if page is not None:
        pages["/tiny-shakespeare/input.txt"] = page
    monkeypatch.setenv("FFFREF_MIRROR", address)
    reason = "404" if page is None else "SHA-256 .* instead of"
    with pytest.raises(ValueError, match=f"cannot download tiny-shakespeare .*{reason}.*ways to go on: put input.txt"):
        datasets.text("tiny-shakespeare")
    assert not (tmp_path / "cache").exists()


def test_another_text_of_its_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"lacks input\.txt of tiny-shakespeare; ways to go on"):
        datasets.text("tiny-shakespeare", tmp_path)
    (tmp_path / "input.txt").write_bytes(CONTENT + b"!")
    with pytest.raises(ValueError, match="is not tiny-shakespeare: SHA-256"):
        datasets.text("tiny-shakespeare", tmp_path)


def test_files_are_read_as_they_are(tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes("Grüße\r\naus Köln".encode())
    assert datasets.text(path) == datasets.text(str(path)) == "Grüße\r\naus Köln"
    path.write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(ValueError, match="no text in UTF-8: byte 2 cannot be read"):
        datasets.text(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty; name a file with text"):
        datasets.text(path)
    for missing in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(ValueError, match=r"cannot read .*; name a file, or one of shakespeare, tiny-shakespeare"):
            datasets.text(missing)


def test_the_standard_library_is_a_text(tmp_path):
    content = datasets.text("python")
    assert len(content) == 1_100_000 and content.isascii() and "def abstractmethod" in content
    (tmp_path / "tiny.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="holds 6 characters of modules, expected 1100000"):
        texts._python(tmp_path)
