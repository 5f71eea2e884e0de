"""The playground's own layer, in the browser page, answers the test vectors: trees of relu leaves over two inputs."""

import json
import pathlib

import browser
import pytest

from fffref.conformance import checker
from fffref.conformance.arrays import Array

STATIC = pathlib.Path(__file__).parent.parent.parent / "docs" / "_static"
CLAIMED = [e for e in checker.claimed(only=("leaf", "two-inputs"), without=("identity",)) if e.level == 1 or "relu" in e.flags]
pytestmark = pytest.mark.skipif(
    browser.find() is None,
    reason="no Chromium on PATH, so the playground was not held against the vectors (Debian: apt-get install chromium)",
)
# The port: SoftTree is the playground's. It has no gradient of the input, which follows from those of the biases, row by row.
PORT = """
((level, c) => {
  const arrays = {}, names = Object.keys(c).filter((name) => /^(node|leaf)_/.test(name)), [B] = c.x.shape;
  for (const name of names) arrays[name] = Float64Array.from(c[name].v);
  const [N, [, width, classes]] = [c.node_bias.shape[0], c.leaf_out_weight?.shape ?? [0, 0, 0]];
  const tree = { N, L: N + 1, width, classes, arrays }, tape = SoftTree.tape(tree), temperature = c.temperature?.v[0] ?? 1;
  const rows = Array.from({ length: B }, (_, b) => [c.x.v[2 * b], c.x.v[2 * b + 1]]), weight = c.entropy_weight?.v[0] ?? 0;
  const zeros = () => Object.fromEntries(names.map((name) => [name, new Float64Array(arrays[name].length)]));
  const entropy = () => SoftTree.loss(tree, tape, rows.map(([x1, x2]) => ({ x1, x2, label: 0 })), temperature, 0).entropy * B * N;
  function step(dyOf) { // gradients of all arrays, and of x
    const d = zeros(), dx = [], y = [];
    rows.forEach(([x1, x2], b) => {
      y.push(...SoftTree.forward(tree, tape, x1, x2, temperature));
      dyOf(b).forEach((g, o) => (tape.dy[o] = g));
      const own = zeros();
      SoftTree.backward(tree, tape, x1, x2, temperature, 1, weight, own);
      for (const name of names) own[name].forEach((g, i) => (d[name][i] += g));
      for (const i of [0, 1])
        dx.push(["node_", "leaf_in_"].reduce((sum, kind) =>
          own[kind + "bias"].reduce((part, g, n) => part + g * arrays[kind + "weight"][2 * n + i], sum), 0));
    });
    return { d, dx, y };
  }
  if (level === 1) return { leaf: rows.map(([x1, x2]) => SoftTree.route(tree, x1, x2)) };
  if (level === 2) return { y: rows.flatMap(([x1, x2]) => [...SoftTree.forwardHard(tree, tape, x1, x2)]) };
  if (level === 3) return { y: rows.flatMap(([x1, x2]) => [...SoftTree.forward(tree, tape, x1, x2, temperature)]), entropy: [entropy()] };
  if (level === 4) {
    const { d, dx } = step((b) => c.dy.v.slice(b * classes, (b + 1) * classes));
    return Object.fromEntries([...names.map((name) => ["d_" + name, [...d[name]]]), ["d_x", dx]]);
  }
  const loss = [], miss = (y, b) => [...y].map((v, o) => v - c.target.v[b * classes + o]);
  for (let t = 0; t < 10; t++) {
    const h = entropy(), { d, y } = step((b) => miss(tape.y, b));
    loss.push(y.reduce((sum, v, i) => sum + (v - c.target.v[i]) ** 2 / 2, 0) + weight * h);
    for (const name of names) d[name].forEach((g, i) => (arrays[name][i] -= c.rate.v[0] * g));
  }
  return { loss, ...Object.fromEntries(names.map((name) => [name, [...arrays[name]]])) };
})(%d, %s)
"""


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
    found = window.evaluate(PORT % (entry.level, json.dumps(given)))
    answer = {n: Array("float64", case[f"expected_{n}"].shape, [float(v) for v in values]) for n, values in found.items()}
    assert checker.judge(entry, case, answer).complaints == []
