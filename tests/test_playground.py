"""The playground, in a browser: it computes what `LeafFFF` computes, learns, hardens and can be drawn on."""

import json
import pathlib
import re

import browser
import numpy as np
import pytest

from fffref import Choices, LeafFFF
from fffref.training import losses

STATIC = pathlib.Path(__file__).parent.parent / "docs" / "_static"
pytestmark = pytest.mark.skipif(
    browser.find() is None,
    reason="no Chromium on PATH, so the playground was not run (Debian: apt-get install chromium)",
)
COMPUTE = """
(({ tree, points, temperature, weight }) => {
  for (const name in tree.arrays) tree.arrays[name] = Float64Array.from(tree.arrays[name]);
  const tape = SoftTree.tape(tree), { grads, ...values } = SoftTree.loss(tree, tape, points, temperature, weight);
  return {
    ...values, grads: Object.fromEntries(Object.entries(grads).map(([name, array]) => [name, [...array]])),
    soft: points.map(({ x1, x2 }) => [...SoftTree.forward(tree, tape, x1, x2, temperature)]),
    hard: points.map(({ x1, x2 }) => [...SoftTree.forwardHard(tree, tape, x1, x2)]),
    leaf: points.map(({ x1, x2 }) => SoftTree.route(tree, x1, x2)),
  };
})(%s)
"""


READ = "document.querySelector('.playground output').textContent"
MOVE = """((slider) => {
  slider.value = %s;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
})(document.querySelector("[name=%s]"))"""


def numbers(window):
    """What the playground reports: soft and hard accuracy, loss, entropy."""
    return [float(number) for number in re.findall(r"[\d.]+", window.evaluate(READ))[:4]]


def frames(window, count):
    """Let so many pictures go by."""
    wait = "new Promise((done) => { let n = %d; (function next() { n-- ? requestAnimationFrame(next) : done(); })(); })"
    for _ in range(0, count, 20):  # a busy machine takes its time, but not for so few
        window.evaluate(wait % min(count, 20))


def click(window, name):
    """Press a button, and see what it does."""
    window.evaluate(f"document.querySelector('[name={name}]').click()")
    frames(window, 2)


def move(window, name, value):
    """Move a slider."""
    window.evaluate(MOVE % (value, name))


def drag(window, *places):
    """Press at the first place, move along the others, let go; places are fractions of the canvas."""
    left, top, side = window.evaluate(
        "(b => [b.left, b.top, b.width])(document.querySelector('canvas').getBoundingClientRect())"
    )
    kinds = ["mousePressed", *["mouseMoved"] * (len(places) - 1), "mouseReleased"]
    for kind, (x, y) in zip(kinds, [*places, places[-1]], strict=True):
        at = {"x": left + x * side, "y": top + y * side}
        window.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **at)
    frames(window, 2)


def green(window, x, y):
    """Whether the third class's colour, undiluted, is at this place of the canvas."""
    pixel = f"((c) => [...c.getContext('2d').getImageData(c.width * {x}, c.height * {y}, 1, 1).data])"
    return window.evaluate(f"{pixel}(document.querySelector('canvas'))")[:3] == [0, 158, 115]


@pytest.fixture(scope="module")
def window():
    with browser.Browser() as window:
        window.resize(390, 844)
        yield window


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The playground without the book around it."""
    markup = (STATIC.parent / "playground.html").read_text().replace("_static/", f"{STATIC.as_uri()}/")
    path = tmp_path_factory.mktemp("playground") / "index.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><title>Playground</title>{markup}")
    return path.as_uri()


def in_the_browser(window, layer, x, labels, temperature, weight):
    tree = {"N": len(layer.node_bias), "L": len(layer.leaf_in_bias), "width": layer.sizes["l"], "classes": layer.n_out}
    tree["arrays"] = {name: array.ravel().tolist() for name, array in layer.arrays().items()}
    points = [{"x1": a, "x2": b, "label": int(label)} for (a, b), label in zip(x.tolist(), labels, strict=True)]
    case = {"tree": tree, "points": points, "temperature": temperature, "weight": weight}
    return window.evaluate(COMPUTE % json.dumps(case))


@pytest.mark.parametrize(("depth", "width", "classes"), [(0, 2, 3), (1, 1, 2), (3, 2, 3), (5, 4, 3)])
@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 0.0), (0.1, 0.7)])
def test_it_computes_what_the_layer_computes(window, page, rng, depth, width, classes, temperature, weight):
    layer = LeafFFF.init(rng, n_in=2, n_out=classes, depth=depth, leaf_width=width, dtype=np.float64)
    x, labels = rng.uniform(-1, 1, (40, 2)), rng.integers(classes, size=40)
    window.open(page)
    theirs = in_the_browser(window, layer, x, labels, temperature, weight)

    y, tape = layer.forward(x, Choices(temperature))
    loss, dy = losses.cross_entropy(y, labels)
    entropy, dlogit = losses.node_entropy(tape.logit, reduction="mean")
    grads, _ = layer.backward(tape, dy, dlogit=weight * dlogit)
    close = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(theirs["soft"], y, **close)
    np.testing.assert_allclose(theirs["hard"], layer.forward_hard(x), **close)
    np.testing.assert_array_equal(theirs["leaf"], layer.route(x))
    np.testing.assert_allclose(theirs["value"], loss + weight * entropy, **close)
    for name, array in grads.arrays().items():
        np.testing.assert_allclose(theirs["grads"][name], array.ravel(), **close, err_msg=name)
        assert array.size == 0 or np.abs(array).max() > 1e-6  # not zero against zero


def test_a_tie_turns_right(window, page):
    layer = LeafFFF.init(np.random.default_rng(0), n_in=2, n_out=2, depth=2, leaf_width=1, dtype=np.float64)
    layer = layer.map(np.zeros_like)
    window.open(page)
    assert (
        in_the_browser(window, layer, np.zeros((1, 2)), [0], 1.0, 0.0)["leaf"]
        == [3]
        == [*layer.route(np.zeros((1, 2)))]
    )


def test_it_learns_and_hardens_while_one_looks(window, page):
    window.open(page)
    frames(window, 2)
    untrained = numbers(window)
    frames(window, 60)
    soft, _, loss, entropy = numbers(window)
    assert soft > 90 and loss < untrained[2] / 3
    click(window, "harden")
    frames(window, 200)
    soft, hard, _, hardened = numbers(window)
    assert min(soft, hard) > 90 and hardened < entropy / 5


def test_the_entropy_loss_hardens_the_choices_alone(window, page):
    window.open(page)
    frames(window, 60)
    entropy = numbers(window)[3]
    move(window, "weight", 1)
    frames(window, 100)
    assert numbers(window)[3] < entropy / 3


def test_points_are_drawn_dragged_and_erased(window, page):
    window.open(page)
    click(window, "clear")
    assert "No points" in window.evaluate(READ)
    window.evaluate("document.querySelector('[name=pen][value=\"2\"]').click()")
    drag(window, (0.2, 0.2), (0.4, 0.2), (0.6, 0.2))
    assert green(window, 0.2, 0.2) and green(window, 0.4, 0.2) and green(window, 0.6, 0.2)
    drag(window, (0.6, 0.2), (0.6, 0.7))
    assert green(window, 0.6, 0.7) and not green(window, 0.6, 0.2)
    window.evaluate("document.querySelector('[name=pen][value=\"3\"]').click()")
    drag(window, (0.6, 0.7))
    assert not green(window, 0.6, 0.7) and green(window, 0.2, 0.2)


def test_who_wants_no_motion_gets_none_unless_asked_for(window, page):
    still = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    window.call("Emulation.setEmulatedMedia", features=still)
    try:
        window.open(page)
        frames(window, 2)
        before = numbers(window)
        frames(window, 20)
        assert numbers(window) == before and before[0] > 90  # trained already, and still
        click(window, "play")
        frames(window, 20)
        assert numbers(window) != before
    finally:
        window.call("Emulation.setEmulatedMedia", features=[])


def test_every_control_has_a_label_and_is_reached_by_the_keyboard(window, page):
    window.open(page)
    controls = "[...document.querySelectorAll('.playground input, .playground select')]"
    assert window.evaluate(f"{controls}.length") == 10
    assert window.evaluate(f"{controls}.filter((c) => !c.labels[0]?.textContent.trim() || c.tabIndex < 0).length") == 0
    window.evaluate("document.querySelector('[name=temperature]').focus()")
    before = window.evaluate("+document.activeElement.value")
    for kind in ("keyDown", "keyUp"):
        window.call("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    assert window.evaluate("+document.activeElement.value") > before
