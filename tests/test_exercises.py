"""Every exercise of the course has a checker: the right answer passes, three wrong ones each hear what is wrong."""

import pathlib
import re
import sys
from dataclasses import replace

import answers
import nbformat
import numpy as np
import pytest

from fffref import algorithms

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))
import exercises  # noqa: E402


def cooled(layer, T, weight=-1, bias=-1):
    return replace(layer, node_weight=layer.node_weight * T**weight, node_bias=layer.node_bias * T**bias)


def entropy(c):
    return -c * np.log(c) - (1 - c) * np.log(1 - c)


def by_arrival(choice):
    arrives, total = np.ones((len(choice), 1)), 0
    for k in range(3):
        c = choice[:, 2**k - 1 : 2 ** (k + 1) - 1]
        total = total + (arrives * entropy(c)).sum(axis=1)
        arrives = np.stack([arrives * (1 - c), arrives * c], axis=2).reshape(len(c), -1)
    return total


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def trees(W, b, V, x, over=None):
    for w, c, v in [(W[k], b[k], V[k]) for k in (range(len(W)) if over is None else over)]:
        n = 0
        while n < len(w):
            z = w[n] @ x + c[n]
            yield algorithms.ACTIVATIONS["gelu"](z) * v[n] if hasattr(algorithms, "ACTIVATIONS") else gelu(z) * v[n]
            n = 2 * n + 1 + int(z > 0)


def gelu(z):
    import math

    return z * 0.5 * math.erfc(-z / math.sqrt(2))


def fill(W, b, X, nodes, y, bias=1, last=None):
    y[:] = [sum(W[n] @ x + bias * b[n] for n in path[:last]) for path, x in zip(nodes, X, strict=True)]


def rows(x):
    return (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)


BUGS = ["children exchanged", "slope of the sigmoid forgotten", "mean for sum", "tanh not squared"]
LIMIT = (3 * 4096 * 11008 / (2 * 4096), 3 * 8192 * 28672 / (2 * 1024))
ANSWERS = {  # the right one, then wrong ones
    "00.1": [(32, 5), (32, 31), (10, 5), (63, 5)],
    "00.2": [0.5, 0.0, sigmoid(2.0), 1.0],
    "00.3": [(32, 3072, 75_497_472), (768, 3072, 75_497_472), (32, 3072, 98_304), (32, 768, 1)],
    "00.4": [0.75, 0.25, 3.0, 0.5],
    "00.5": [0.293, 12 / 4095, 341.25, 100 * 11 / 4095],
    "01.1": [cooled, lambda layer, T: layer, lambda layer, T: cooled(layer, T, 1, 1),
             lambda layer, T: cooled(layer, T, bias=0), lambda layer, T: layer.node_weight / T],
    "01.2": [(0.45, 0.5, 0.99), (0.5, 0.5, 0.5), (0.9, 0.1, 0.9), (0.45, 0.5, 1.2)],
    "01.3": [[0, 2, 1, 6, 5, 4, 3], range(7), range(6, -1, -1), [0, 2, 1, 5, 6, 3, 4], [0, 1, 1, 2, 3, 4, 5]],
    "02.1": [{1, 3, 4, 5}, {0, 2, 6}, {1}, {1, 2, 3, 4, 5}, {7}],
    "02.2": [[*BUGS, "0.05 % too much"], BUGS, BUGS[:2], ["typos"]],
    "02.3": [lambda x: np.sqrt(x * x).sum(), lambda x: np.abs(x).sum(), lambda x: (x * x).sum(), lambda x: x.sum()],
    "03.1": [by_arrival, lambda c: entropy(c).sum(1), lambda c: entropy(c).mean(1), lambda c: -by_arrival(c)],
    "03.2": [(True, False), (True, True), (False, False), (False, True)],
    "03.3": [lambda z: 2 * np.tanh(z / 2) * sigmoid(z) * sigmoid(-z),
             lambda z: -2 * np.tanh(z / 2) * sigmoid(z) * sigmoid(-z), lambda z: 2 * np.tanh(z / 2),
             lambda z: np.tanh(z / 2) * sigmoid(z) * sigmoid(-z)],
    "03.4": [rows, lambda x: (x - x.mean(0)) / x.std(0), lambda x: x - x.mean(1, keepdims=True),
             lambda x: x / x.std(1, keepdims=True)],
    "04.1": [lambda s, S: s / (1 / S - 1 + s), lambda s, S: s * S, lambda s, S: S / s,
             lambda s, S: 1 / (1 - s + s / S)],
    "04.2": [LIMIT, (2 * LIMIT[0], 2 * LIMIT[1]), (LIMIT[0], LIMIT[1] / 8), (LIMIT[0] / 1.5, LIMIT[1] / 1.5)],
    "04.3": [(("path", "leaf", "moe"), ("path", "moe", "leaf")), (("path", "leaf", "moe"),) * 2,
             (("path", "moe", "leaf"),) * 2, (("leaf", "path"), ("path", "leaf"))],
    "05.1": [lambda *a: sum(trees(*a)), lambda *a: sum(trees(*a, over=[0])), lambda *a: sum(trees(*a, over=[2])),
             lambda *a: sum(trees(*a)) / 3],
    "05.2": [(True, False), (True, True), (False, False), (False, True)],
    "05.3": [fill, lambda *a: None, lambda *a: fill(*a, bias=0), lambda *a: fill(*a, last=-1)],
    "06.1": [lambda s, f: s.max() / f.min(), lambda s, f: s.min() / f.max(), lambda s, f: s.min() / f.min(),
             lambda s, f: np.median(s / f)],
    "06.2": [lambda d: (2 ** (d + 1) - 1) / (d + 1), lambda d: 2**d / (d + 1), lambda d: (2 ** (d + 1) - 1) / d,
             lambda d: (d + 1) / (2 ** (d + 1) - 1)],
    "07.1": [(4095, 12), (2047, 11), (2048, 12), (4095, 11)],
    "07.2": ["identity", "gelu", "relu", "softmax"],
    "07.3": [(True, False), (True, True), (False, False), (False, True)],
    "08.1": [0.9 / (1 - 1 / 78), 0.9, 10 / 78, 91.2],
    "08.2": [1.54, 0.9, -1.5, 15.9],
    "09.1": [lambda s: 9 * s / (1 - s), lambda s: s / (1 - s), lambda s: 1 / (1 - s), lambda s: 0.9 / (1 - s)],
    "09.2": [lambda layer, x: sum(len(np.unique(p)) for p in layer.route(x).swapaxes(0, 1)),
             lambda layer, x: layer.route(x).size, lambda layer, x: layer.neurons_stored,
             lambda layer, x: len(np.unique(layer.route(x)))],
    "09.3": [lambda s: 1 / s, lambda s: 1 / (1 - s), lambda s: s, lambda s: 1 - s],
}  # fmt: skip


def ours(name):
    return int(name[:2]) <= 9  # later notebooks bring tests of their own


def test_every_exercise_has_answers_here():
    assert sorted(ANSWERS) == [name for name in exercises.names() if ours(name)]
    assert all(len(answers) >= 4 for answers in ANSWERS.values())


@pytest.mark.parametrize("name", ANSWERS)
def test_the_right_answer_passes_and_wrong_ones_hear_why(name, capsys):
    said = answers.said_of(*ANSWERS[name], name=name, capsys=capsys)
    assert len(set(said)) >= 2  # what is said depends on the mistake


def test_no_answer_is_not_yet_and_a_broken_one_says_what_breaks(capsys):
    assert exercises.check("01.1", None) is None
    assert capsys.readouterr().out == "Exercise 1: not yet\n"
    assert exercises.check("01.1", lambda layer, T: 1 / 0) is False
    assert "ZeroDivisionError" in capsys.readouterr().out
    with pytest.raises(ValueError, match="already"):
        exercises.exercise("01.1")(None)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("0*.ipynb")), ids=lambda path: path.stem)
def test_every_exercise_in_the_text_is_checked_twice_once_to_try_and_once_solved(path):
    cells = nbformat.read(path, as_version=4).cells
    asked = re.findall(
        r"\*\*(?:Exercise|Question) (\d)[.:]", "\n".join(c.source for c in cells if c.cell_type == "markdown")
    )
    number = path.name[:2]
    for tag in ("attempt", "solution"):
        code = "\n".join(c.source for c in cells if tag in c.metadata.get("tags", ()))
        assert re.findall(rf'check\("{number}\.(\d)"', code) == asked, (path.name, tag)
