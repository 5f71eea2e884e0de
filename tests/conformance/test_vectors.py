"""The test vectors: frozen, complete, exact where they say so, and the same as what the layers compute."""

import hashlib
import math
import pathlib
import re
import sys

import numpy as np
import pytest

from fffref import LeafFFF, PathFFF
from fffref.conformance import answers, arrays, checker, planted, specs, vectors

# Of v1/index.txt, which has the digest of every case: released vectors never change.
FROZEN = "65a4718f5e7b168644d0cfc8f4568fba867e838881d965eb7b2083bccddbc7c1"
ENTRIES = checker.index()
EPSILON = {"float32": 2.0**-23, "float64": 2.0**-50}


@pytest.fixture(scope="module")
def cases():
    """All committed cases by number."""
    return {entry.number: checker.load(entry) for entry in ENTRIES}


def test_they_are_those_that_were_released(cases):
    index = (checker.VECTORS / "index.txt").read_bytes()
    assert hashlib.sha256(index).hexdigest() == FROZEN
    assert {path.name for path in checker.VECTORS.iterdir()} == {
        "index.txt", "faults.json", *(entry.file for entry in ENTRIES)
    }  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry.number))
def test_they_are_written_from_the_algorithms(entry, cases):
    written = vectors.complete(entry.number)
    assert list(written) == list(cases[entry.number])
    for name, array in cases[entry.number].items():
        assert (written[name].dtype, written[name].shape) == (array.dtype, array.shape)
        exact = not name.startswith(("expected", "margin")) or ("dyadic" in entry.flags and name != "expected_entropy")
        rtol = 0 if exact else 4 * EPSILON[array.dtype] if array.dtype != "int32" else 0  # another libm's last digit
        scale = np.abs(array.values)[np.isfinite(array.values)].max(initial=0)
        np.testing.assert_allclose(written[name].values, array.values, rtol=rtol, atol=rtol * scale)


def test_every_level_layer_activation_and_flag_is_there():
    flags = {flag for entry in ENTRIES for flag in entry.flags}
    assert flags == set(specs.FLAGS)
    assert sum("dyadic" in entry.flags for entry in ENTRIES) >= 20
    assert 55 <= len(ENTRIES) <= 80
    for layer in specs.LAYERS:
        depths = {spec.sizes[3] for spec in specs.SPECS.values() if spec.layer == layer}
        assert {0, 1, 2, 3, 11} <= depths
        for level in specs.LEVELS:
            claimed = [entry for entry in ENTRIES if entry.level == level and layer in entry.flags]
            assert (len(claimed) == 0) == (layer == "path" and level == 3)
            assert level == 5 or not claimed or {"one", "none", "depth-0"} <= {f for e in claimed for f in e.flags}
    assert {spec.sizes[3] for spec in specs.SPECS.values()} == set(range(12))


def test_they_are_small_enough_for_the_wheel():
    assert sum(path.stat().st_size for path in vectors.FOLDER.rglob("*") if path.is_file()) < 1e6


@pytest.mark.parametrize("module", [arrays, specs, answers, vectors])
def test_numpy_has_no_say_in_them(module):
    imports = re.findall(r"^(?:from|import) .*", pathlib.Path(module.__file__).read_text(), re.M)
    ours = r"from (\.\.? import (algorithms|checks|files|answers)(, (checks|files))*$|\.(arrays|specs) import)"
    rest = {line for line in imports if not re.match(ours, line)}
    assert all(line.split()[1] in sys.stdlib_module_names for line in rest), rest


@pytest.mark.parametrize("entry", [e for e in ENTRIES if "dyadic" in e.flags], ids=lambda entry: str(entry.number))
def test_dyadic_sums_are_exact_in_any_order_in_float32(entry, cases):
    answer, case = planted.port(), cases[entry.number]
    given = {name: np.array(a.values, a.dtype).reshape(a.shape) for name, a in case.items()}
    for seed in range(5):
        order = np.random.default_rng(seed)
        inputs = order.permutation(given["x"].shape[1])
        moved = dict(given)
        for name in ("x", "node_weight", "leaf_in_weight", "in_weight"):
            if name in given:
                moved[name] = given[name][..., inputs]
        with np.errstate(all="ignore"):
            found = answer(entry.level, moved)
        for name in ("y", "leaf", "node", "d_node_bias", "d_leaf_out_weight", "d_out_weight"):
            if f"expected_{name}" in case:
                np.testing.assert_array_equal(np.asarray(found[name], np.float32), given[f"expected_{name}"])


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.level >= 2], ids=lambda entry: str(entry.number))
def test_routes_are_decided_but_where_a_flag_says_otherwise(entry, cases):
    margin = np.array(cases[entry.number]["margin"].values)
    if "dyadic" not in entry.flags and (entry.level == 2 or "path" in entry.flags):
        assert (margin > 1e-4).all()


@pytest.mark.parametrize("number", [n for n, spec in specs.SPECS.items() if n > 500 and spec.layer == "path"])
def test_no_step_of_sgd_comes_near_a_tie(number, cases, monkeypatch):
    seen, spec, case = [], specs.SPECS[number], cases[number]
    real = answers.hard

    def watched(rows, layer, spec):
        seen.extend(abs(z) for row in rows for z in answers._logits(row, layer, spec))
        return real(rows, layer, spec)

    monkeypatch.setattr(answers, "hard", watched)
    answers.descend(case, spec, answers.layer_of(case, spec))
    assert min(seen, default=math.inf) > 1e-4


def of_layers(level, c):
    """What the library's layers answer: the adapter of a port that is this package."""
    leaf = c["layer"] == 1
    cls, names = (LeafFFF, answers.PARAMETERS["leaf"]) if leaf else (PathFFF, answers.PARAMETERS["path"])
    activation = specs.ACTIVATIONS[int(c.get("activation", 0))]

    def layer(c):
        I = c["x"].shape[1]  # noqa: E741
        ends = {"in_weight": (1, I), "in_bias": (1,), "out_weight": (1, 1), "out_bias": (1,)}
        empty = {f"leaf_{name}": (len(c["node_bias"]) + 1, *shape) for name, shape in ends.items()} if leaf else {}
        empty |= {} if leaf else {"out_weight": (*c["in_bias"].shape, 1)}
        zeros = {name: np.zeros(shape, c["x"].dtype) for name, shape in empty.items()}  # what only routes has no more
        return cls(*(c.get(name, zeros.get(name)) for name in names), activation=activation)

    if level == 1:
        return {"leaf" if leaf else "node": layer(c).route(c["x"])}
    if level == 2:
        return {"y": layer(c).forward_hard(c["x"])}
    if level == 3:
        y, entropy, _ = passed(layer(c), c, np.zeros_like)
        return {"y": y, "entropy": entropy}
    if level == 4:
        return {f"d_{name}": g for name, g in passed(layer(c), c, lambda y: c["dy"])[2].items()}
    losses = []
    for _ in range(10):
        y, entropy, d = passed(layer(c), c, lambda y, target=c["target"]: y - target)
        losses.append(((y - c["target"]) ** 2).sum() / 2 + c.get("entropy_weight", 0) * entropy)
        c = c | {name: c[name] - c["rate"] * d[name] for name in names}
    return {"loss": losses} | {name: c[name] for name in names}


def passed(layer, c, dy_of):
    """Output, entropy and gradients by name; a row's temperature and transpositions are multiplied into its nodes."""
    from fffref.training import losses

    if isinstance(layer, PathFFF):
        y, tape = layer.forward(c["x"])
        grads, dx = layer.backward(tape, dy_of(y))
        return y, 0, grads.dense().arrays() | {"x": dx}
    marks = np.broadcast_to(c.get("transposed", 0), (len(c["x"]), len(c["node_bias"])))
    scale = np.where(marks, -1, 1) / c["temperature"]
    d = {name: np.zeros_like(array) for name, array in layer.arrays().items()}
    y, dx, entropy = np.zeros((len(c["x"]), layer.n_out), layer.dtype), np.zeros_like(c["x"]), 0
    for b, s in enumerate(scale.astype(layer.dtype)):
        own = layer.arrays() | {"node_weight": s[:, None] * layer.node_weight, "node_bias": s * layer.node_bias}
        row = LeafFFF(**own, activation=layer.activation)
        y[b : b + 1], tape = row.forward(c["x"][b : b + 1])
        H, dlogit = losses.node_entropy(tape.logit, "sum")
        entropy += H
        dy = dy_of(y)[b : b + 1]
        grads, dx[b : b + 1] = row.backward(tape, dy, dlogit=c.get("entropy_weight", layer.dtype.type(0)) * dlogit)
        for name, gradient in grads.dense().arrays().items():
            times = s.reshape(-1, *[1] * (gradient.ndim - 1)) if name.startswith("node") else 1
            d[name] += gradient * times
    return y, entropy, d | {"x": dx}


def test_the_layers_pass(cases):
    failed = {v.entry.number: v.complaints for v in planted.verdicts(of_layers) if v.complaints}
    assert failed == {}
