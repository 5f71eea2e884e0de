"""The playground, in a browser: it computes what `LeafFFF` computes, learns, hardens and can be drawn on."""

import json
import pathlib
import re

import browser
import numpy as np
import pytest

from fffref import Choices, LeafFFF
from fffref.training import losses

BLUE, GREEN = (0, 114, 178), (0, 158, 115)
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
    shares: [false, true].map((hard) => [...SoftTree.shares(tree, tape, points, temperature, hard)]),
  };
})(%s)
"""
# The loss after so many steps of the page's first tree, which is always the same.
LOSS_AFTER = """
((steps) => {
  const tree = SoftTree.init(3, 2, 3, generator(1)), tape = SoftTree.tape(tree);
  const points = examplePoints("pinwheel"), adam = {};
  for (; steps; steps--) SoftTree.adam(tree, SoftTree.loss(tree, tape, points, 1, 0).grads, adam, 0.02);
  return SoftTree.loss(tree, tape, points, 1, 0).value;
})(%d)
"""
READ = """
Object.fromEntries([...document.querySelectorAll(".playground output span")]
  .map((span) => [span.lastChild.data.trim(), parseFloat(span.firstChild.textContent)]))
"""
TEXT = "document.querySelector('.playground %s').textContent"
MOVE = """((slider) => {
  slider.value = %s;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
})(document.querySelector("[name=%s]"))"""
BOX = "(b => [b.left, b.top, b.width])(document.querySelector('.plane').getBoundingClientRect())"


def numbers(window):
    """What the playground reports, by name."""
    return window.evaluate(READ)


def frames(window, count):
    """Let so many pictures go by."""
    wait = "new Promise((done) => { let n = %d; (function next() { n-- ? requestAnimationFrame(next) : done(); })(); })"
    for _ in range(0, count, 20):  # a busy machine takes its time, but not for so few
        window.evaluate(wait % min(count, 20))


def click(window, name, times=1):
    """Press a button, and see what it does."""
    window.evaluate(f"for (let i = 0; i < {times}; i++) document.querySelector('[name={name}]').click()")
    frames(window, 2)


def choose(window, name, value):
    """Choose one of several."""
    window.evaluate(f"document.querySelector('[name={name}][value=\"{value}\"]').click()")
    frames(window, 2)


def move(window, name, value):
    """Move a slider."""
    window.evaluate(MOVE % (value, name))
    frames(window, 2)


def on_screen(window, x, y):
    """Where a place of the picture is in the window; places are fractions of the picture."""
    left, top, side = window.evaluate(BOX)
    return {"x": left + x * side, "y": top + y * side}


def drag(window, *places):
    """Press the mouse at the first place, move along the others, let go."""
    kinds = ["mousePressed", *["mouseMoved"] * (len(places) - 1), "mouseReleased"]
    for kind, place in zip(kinds, [*places, places[-1]], strict=True):
        at = on_screen(window, *place)
        window.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **at)
    frames(window, 2)


def coloured(window, x, y, colour):
    """Whether a colour, undiluted, is at this place of the picture."""
    pixel = f"((c) => [...c.getContext('2d').getImageData(c.width * {x}, c.height * {y}, 1, 1).data])"
    return window.evaluate(f"{pixel}(document.querySelector('.plane'))")[:3] == list(colour)


@pytest.fixture(scope="module")
def window():
    with browser.Browser() as window:
        window.resize(360, 740)
        yield window


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The playground without the book around it."""
    markup = (STATIC.parent / "playground.html").read_text().replace("_static/", f"{STATIC.as_uri()}/")
    path = tmp_path_factory.mktemp("playground") / "index.html"
    path.write_text(
        f"<!doctype html><meta charset=utf-8><title>Playground</title>"
        f"<meta name=viewport content='width=device-width'>{markup}"
    )
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


def test_shares_of_the_points_are_masses_or_counts(window, page, rng):
    layer = LeafFFF.init(rng, n_in=2, n_out=3, depth=3, leaf_width=2, dtype=np.float64)
    x, labels = rng.uniform(-1, 1, (40, 2)), rng.integers(3, size=40)
    window.open(page)
    soft, hard = (np.reshape(found, (15, 3)) for found in in_the_browser(window, layer, x, labels, 0.5, 0.0)["shares"])
    one_hot = np.eye(3)[labels] / 40
    np.testing.assert_allclose(soft[7:], layer.forward(x, Choices(0.5))[1].mixture.T @ one_hot, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(hard[7:], np.eye(8)[layer.route(x)].T @ one_hot, rtol=1e-9, atol=1e-12)
    for share in (soft, hard):  # what comes to a node goes to its children
        np.testing.assert_allclose(share[:7], share[1::2] + share[2::2], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(share[0], one_hot.sum(0), rtol=1e-9)


def test_a_step_is_one_step(window, page):
    window.open(page)
    click(window, "step")
    before = numbers(window)
    assert before["loss"] == pytest.approx(window.evaluate(LOSS_AFTER % before["steps"]), abs=6e-4)
    click(window, "step")
    after = numbers(window)
    assert after["steps"] == before["steps"] + 1
    assert after["loss"] == pytest.approx(window.evaluate(LOSS_AFTER % after["steps"]), abs=6e-4)
    frames(window, 20)
    assert numbers(window) == after and window.evaluate("document.querySelector('[name=play]').textContent") == "Train"


def test_it_begins_slowly_and_is_as_fast_as_one_likes(window, page):
    def pace(seconds=0.5):
        """Steps a second of the page's own clock."""
        now = f"({{ time: performance.now() / 1000, steps: ({READ}).steps }})"
        first = window.evaluate(now)
        window.evaluate(f"new Promise((done) => setTimeout(done, {1000 * seconds}))")
        last = window.evaluate(now)
        return last["steps"] - first["steps"], last["time"] - first["time"]

    window.open(page)
    frames(window, 5)
    steps, seconds = pace()
    assert steps <= 10 * seconds + 2  # a slow machine makes fewer
    move(window, "speed", 2.5)
    assert pace()[0] > steps
    move(window, "speed", 0)
    steps, seconds = pace()
    assert steps <= seconds + 2


def trained(window, page, steps=250):
    """A page whose tree has learnt, and stands still."""
    window.open(page)
    click(window, "step", steps)
    return numbers(window)


def test_a_tree_that_is_cooled_after_training_falls_to_its_hard_accuracy(window, page):
    before = trained(window, page)
    assert before["soft accuracy"] > 97 and before["hard accuracy"] < before["soft accuracy"] - 5
    move(window, "temperature", -1.7)
    after = numbers(window)
    assert after["soft accuracy"] == after["hard accuracy"] == before["hard accuracy"]
    assert after["steps"] == before["steps"]


def test_a_tree_that_is_cooled_in_training_learns_to_answer_with_one_leaf(window, page):
    before = trained(window, page)
    click(window, "harden")
    click(window, "step", 150)
    after = numbers(window)
    assert min(after["soft accuracy"], after["hard accuracy"]) > 95 and after["entropy"] < before["entropy"] / 5
    assert float(window.evaluate("document.querySelector('[name=temperature]').value")) == -1.7


def test_too_much_entropy_loss_collapses_the_tree(window, page):
    window.open(page)
    move(window, "weight", 3.1)
    click(window, "step", 400)
    found = numbers(window)
    assert found["leaves used"] <= 2 and found["entropy"] < 0.05 and found["hard accuracy"] < 80


def test_the_example_comes_back(window, page):
    trained(window, page)
    before = numbers(window)
    click(window, "clear")
    assert "No points" in window.evaluate(TEXT % "output")
    click(window, "again")
    assert numbers(window) == before  # the same points, and the same tree


def test_points_are_drawn_dragged_and_erased(window, page):
    window.open(page)
    click(window, "step")
    click(window, "clear")
    choose(window, "pen", 2)
    drag(window, (0.2, 0.2), (0.4, 0.2), (0.6, 0.2))
    assert all(coloured(window, x, 0.2, GREEN) for x in (0.2, 0.4, 0.6))
    drag(window, (0.6, 0.2), (0.6, 0.7))
    assert coloured(window, 0.6, 0.7, GREEN) and not coloured(window, 0.6, 0.2, GREEN)
    choose(window, "pen", 3)
    drag(window, (0.6, 0.7))
    assert not coloured(window, 0.6, 0.7, GREEN) and coloured(window, 0.2, 0.2, GREEN)


@pytest.fixture
def touched(window, page):
    """The page on a screen that is touched, without points."""
    window.fingers(True)
    window.open(page)
    click(window, "step")
    yield window
    window.fingers(False)


def test_a_finger_that_scrolls_paints_nothing(touched):
    before = numbers(touched)
    touched.touch(**on_screen(touched, 0.5, 0.8), dy=-200)
    frames(touched, 2)
    assert touched.evaluate("scrollY") > 100 and numbers(touched) == before
    touched.touch(**on_screen(touched, 0.2, 0.9), dx=100)
    frames(touched, 2)
    assert numbers(touched) == before


def test_a_tap_puts_one_point(touched):
    click(touched, "clear")
    touched.touch(**on_screen(touched, 0.3, 0.3))
    frames(touched, 2)
    assert numbers(touched)["points"] == 1 and coloured(touched, 0.3, 0.3, BLUE)


def test_a_finger_draws_if_it_is_told_to(touched):
    click(touched, "clear")
    click(touched, "finger")
    touched.touch(**on_screen(touched, 0.5, 0.8), dy=-200)
    frames(touched, 2)
    assert touched.evaluate("scrollY") == 0 and numbers(touched)["points"] > 3
    assert touched.evaluate("getComputedStyle(document.querySelector('.touch')).display") == "block"


def test_the_keyboard_draws(window, page):
    window.open(page)
    click(window, "step")
    click(window, "clear")
    window.evaluate("document.body.focus()")
    window.key("Tab")
    assert window.evaluate("document.activeElement.className") == "plane"
    assert window.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for _ in range(4):
        window.key("ArrowRight")
    window.key("ArrowUp", shift=True)
    window.key("3")
    frames(window, 2)
    assert numbers(window)["points"] == 1 and coloured(window, 0.6, 0.375, GREEN)
    assert re.match(r"0\.20 right, 0\.25 up: \w+, \d+ %; leaf [1-8]; 1 points$", window.evaluate(TEXT % ".said"))
    window.key("ArrowDown", shift=True)
    window.key("1")
    window.key("Enter")
    frames(window, 2)
    assert numbers(window)["points"] == 3 and coloured(window, 0.6, 0.5, BLUE)
    window.key("0")
    window.key("Delete")
    frames(window, 2)
    assert numbers(window)["points"] == 1 and coloured(window, 0.6, 0.375, GREEN)


def test_the_hand_shows_the_way_through_the_tree(window, page):
    picture = "document.querySelector('.tree').toDataURL()"
    window.open(page)
    click(window, "step")
    before = window.evaluate(picture)
    window.call("Input.dispatchMouseEvent", type="mouseMoved", **on_screen(window, 0.3, 0.3))
    frames(window, 2)
    assert window.evaluate(picture) != before


def test_the_tree_is_drawn_for_any_depth_and_any_points(window, page):
    window.open(page)
    for depth in (0, 1, 4, 5):
        move(window, "depth", depth)
        choose(window, "view", "hard" if depth % 2 else "soft")
        click(window, "step", 3)
        assert "NaN" not in window.evaluate(TEXT % "output")
    click(window, "clear")
    click(window, "step")
    assert not [e for e in window.events if e["method"] == "Runtime.exceptionThrown"]
    told = window.evaluate("document.querySelector('.tree').getAttribute('aria-label')")
    assert told.endswith(", ".join(["0"] * 32))


def test_what_is_seen_is_told_when_it_pauses_and_not_before(window, page):
    window.open(page)
    frames(window, 20)
    assert window.evaluate(TEXT % ".said") == ""
    assert window.evaluate("document.querySelector('output').getAttribute('aria-live')") == "off"
    click(window, "play")
    found = numbers(window)
    assert window.evaluate(TEXT % ".said") == (
        f"Step {found['steps']}: soft accuracy {found['soft accuracy']} %, hard accuracy {found['hard accuracy']} %"
    )


def test_the_dark_has_light_lines(window, page):
    window.open(page)
    click(window, "step")
    root = "((c) => c.getContext('2d').getImageData(c.width / 2, 9 * devicePixelRatio, 1, 1).data[0])"
    assert window.evaluate(f"{root}(document.querySelector('.tree'))") == 20
    window.evaluate("document.documentElement.style.setProperty('--color-background-primary', '#131416')")
    frames(window, 2)
    assert window.evaluate(f"{root}(document.querySelector('.tree'))") == 240


def test_picture_numbers_and_tree_are_seen_together_on_a_phone(window, page):
    window.open(page)
    frames(window, 2)
    box = "document.querySelector('%s').getBoundingClientRect()"
    parts = (".plane", ".playground output", ".tree", "[name=harden]", "[name=temperature]")
    ends = [window.evaluate(f"{box % part}.bottom") for part in parts]
    assert ends == sorted(ends) and ends[-1] - window.evaluate(f"{box % '.plane'}.top") < 700
    assert window.evaluate("document.documentElement.scrollWidth") <= 360


def test_who_wants_no_motion_gets_none_unless_asked_for(window, page):
    still = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    window.call("Emulation.setEmulatedMedia", features=still)
    try:
        window.open(page)
        frames(window, 2)
        before = numbers(window)
        frames(window, 20)
        assert numbers(window) == before and before["soft accuracy"] > 90  # trained already, and still
        move(window, "speed", 2.5)
        click(window, "play")
        frames(window, 20)
        assert numbers(window) != before
    finally:
        window.call("Emulation.setEmulatedMedia", features=[])


def test_every_control_has_a_label_and_is_reached_by_the_keyboard(window, page):
    window.open(page)
    controls = "[...document.querySelectorAll('.playground input, .playground select')]"
    assert window.evaluate(f"{controls}.length") == 12
    assert window.evaluate(f"{controls}.filter((c) => !c.labels[0]?.textContent.trim() || c.tabIndex < 0).length") == 0
    window.evaluate("document.querySelector('[name=temperature]').focus()")
    before = window.evaluate("+document.activeElement.value")
    window.key("ArrowRight")
    assert window.evaluate("+document.activeElement.value") > before
