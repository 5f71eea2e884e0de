"""The playground's own layer, in the browser page, answers the test vectors: trees of relu leaves over two inputs."""

import json
import pathlib

import browser
import pytest

from fffref.conformance import checker
from fffref.conformance.arrays import Array

STATIC = pathlib.Path(__file__).parent.parent.parent / "docs" / "_static"
CLAIMED = checker.claimed(only=("leaf", "two-inputs"), without=("identity",))  # what is left are relu leaves
pytestmark = pytest.mark.skipif(
    browser.find() is None,
    reason="no Chromium on PATH, so the playground was not held against the vectors (Debian: apt-get install chromium)",
)
PORT = (pathlib.Path(__file__).parent / "playground_port.js").read_text().strip()


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    """The playground's page, without the book around it."""
    markup = (STATIC.parent / "playground.html").read_text().replace("_static/", f"{STATIC.as_uri()}/")
    path = tmp_path_factory.mktemp("playground") / "index.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><title>Playground</title>{markup}")
    with browser.Browser() as window:
        window.open(path.as_uri())
        yield window


def test_it_claims_every_level():
    assert {entry.level for entry in CLAIMED} == {1, 2, 3, 4, 5} and len(CLAIMED) >= 10


@pytest.mark.parametrize("entry", CLAIMED, ids=lambda entry: str(entry.number))
def test_its_layer_passes(entry, window):
    case = checker.load(entry)
    given = {n: {"shape": a.shape, "v": a.values} for n, a in case.items() if not n.startswith(("expected", "margin"))}
    found = window.evaluate(f"({PORT})({entry.level}, {json.dumps(given)})")
    shapes = {name: case[f"expected_{name}"].shape for name in found}
    answer = {name: Array("float64", shapes[name], list(map(float, values))) for name, values in found.items()}
    assert checker.judge(entry, case, answer).complaints == []
