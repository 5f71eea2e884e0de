"""The conditional backward pass: exact gradients, of the neurons visited alone; and tapes that do not fit."""

from dataclasses import replace

import cases
import numpy as np
import pytest
from closeness import decided
from hypothesis import given, settings
from hypothesis import strategies as st

import fffref
from fffref import gradcheck, training
from fffref.fast import kernels as fast_kernels
from fffref.layers.activations import ACTIVATIONS
from fffref.layers.record import Rows


def steps(layer, x, dy):
    """Gradients of the reference, and of the compiled layer."""
    fast = fffref.jit(layer)
    y, tape = fast.forward(x)
    np.testing.assert_allclose(y, layer.forward(x)[0], rtol=1e-11, atol=1e-12)
    return layer.backward(layer.forward(x)[1], dy), fast.backward(tape, dy)


@settings(deadline=None, max_examples=60)
@given(cases.layers_and_inputs("PathFFF"), st.integers(0, 2**32 - 1))
def test_gradients_are_those_of_the_masked_dense_formulation(drawn, seed):
    """By way of the reference, which tests/test_path_fff.py holds against it."""
    layer, x = drawn
    x = x if np.array_equal(x, np.rint(x)) else decided(layer, x)
    layer = layer.aligned()
    dy = np.random.default_rng(seed).standard_normal((len(x), layer.n_out))
    (expected, expected_dx), (grads, dx) = steps(layer, x, dy)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-11, atol=1e-12)
    visited = np.unique(layer.forward(x)[1].node)
    for name, array in expected.arrays().items():
        rows = getattr(grads, name)
        assert isinstance(rows, Rows) and rows.shape == array.shape
        np.testing.assert_array_equal(rows.index, visited)
        np.testing.assert_allclose(rows.dense(), array, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("method", gradcheck.METHODS)
@pytest.mark.parametrize("depth", range(6))
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n_trees", [1, 3])
def test_gradients_numerically(method, depth, activation, n_trees, rng):
    layer = cases.make("PathFFF", rng, n_in=3, n_out=2, depth=depth, width=n_trees, activation=activation)
    x, dy = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    fast = fffref.jit(layer)
    grads, dx = fast.backward(fast.forward(x)[1], dy)
    # The complex step goes through the reference: kernels take real numbers. Differences go through the kernel.
    through = (lambda layer, x: layer.forward(x)[0]) if method == "complex" else (lambda layer, x: fffref.jit(layer)(x))
    reports = gradcheck.check_layer(
        lambda layer, x: (dy * through(layer, x)).sum(), layer, x, grads.dense(), dx, method
    )
    for name, report in reports.items():
        assert report.error <= {"complex": 1e-12, "central": 1e-6}[method], f"{name}: {report}"


def test_a_tape_may_come_from_the_reference_and_go_to_it(rng):
    layer = cases.make("PathFFF", rng, depth=4)
    fast, x, dy = fffref.jit(layer), np.asfortranarray(rng.standard_normal((6, 5))), rng.standard_normal((6, 3))
    ours, _ = fast.backward(layer.forward(x)[1], dy)
    theirs, _ = layer.backward(fast.forward(x)[1], dy)
    for name, rows in ours.arrays().items():
        np.testing.assert_allclose(rows.dense(), getattr(theirs, name), rtol=1e-11, atol=1e-13)


def test_training_may_be_compiled(rng):
    """Plain SGD is the same on visited rows alone."""
    x, labels = rng.standard_normal((120, 5)), rng.integers(3, size=120)
    layer, task = cases.make("PathFFF", rng, depth=3), training.Classification(x, labels)
    recipes = [
        training.Recipe(epochs=3, fast=fast, optimizer=training.SGD(), learning_rate=0.1) for fast in (False, True)
    ]
    plain, compiled = (training.train(layer, task, recipe, progress=False)[0] for recipe in recipes)
    for name, array in plain.arrays().items():
        np.testing.assert_allclose(getattr(compiled, name), array, rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match="PathFFF"):
        training.train(cases.make("DenseFF", rng), task, training.Recipe(fast=True), progress=False)


# ---------------------------------------------------------------------- tapes: every field is checked


@pytest.fixture
def taped(rng):
    """A compiled layer, an output and its tape."""
    fast = fffref.jit(cases.make("PathFFF", rng, depth=2, width=2))
    return fast, *fast.forward(rng.standard_normal((2, 3, 5)))


FORGED = {
    "lead shorter": lambda tape: {"lead": (1,)},
    "lead longer": lambda tape: {"lead": (2, 3, 2)},
    "lead negative": lambda tape: {"lead": (-2, -3)},
    "lead no tuple": lambda tape: {"lead": 6},
    "lead of floats": lambda tape: {"lead": (2.0, 3.0)},
    "x of fewer rows": lambda tape: {"x": tape.x[:1]},
    "x of another width": lambda tape: {"x": tape.x[:, :4]},
    "x of another dtype": lambda tape: {"x": tape.x.astype(np.float32)},
    "nodes as floats": lambda tape: {"node": tape.node.astype(float)},
    "nodes as truths": lambda tape: {"node": tape.node > 0},
    "nodes beyond": lambda tape: {"node": tape.node + 14},
    "nodes negative": lambda tape: {"node": tape.node - 1},
    "nodes beyond as unsigned": lambda tape: {"node": tape.node.astype(np.uint64) + np.uint64(2**63)},
    "nodes of one row": lambda tape: {"node": tape.node[:1]},
    "no nodes": lambda tape: {"node": None},
    "logits of one row": lambda tape: {"logit": tape.logit[:1]},
    "logits of another dtype": lambda tape: {"logit": tape.logit.astype(np.float32)},
    "hidden of one column": lambda tape: {"hidden": tape.hidden[:, :1]},
    "hidden of another dtype": lambda tape: {"hidden": tape.hidden.astype(np.float32)},
    "hidden flat": lambda tape: {"hidden": tape.hidden.ravel()},
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_tape_is_refused_before_a_kernel_sees_it(forged, taped):
    fast, y, tape = taped
    fast.backward(tape, y)
    kernels = [fast_kernels.pair_dots_jit, fast_kernels.combine_rows_jit, fast_kernels.sort_by_key_jit]
    signatures = [list(kernel.signatures) for kernel in kernels]
    with pytest.raises((TypeError, ValueError), match="tape comes from another layer"):
        fast.backward(replace(tape, **FORGED[forged](tape)), y)
    assert signatures == [list(kernel.signatures) for kernel in kernels]


def test_tapes_and_gradients_of_others_are_refused(taped, rng):
    fast, y, tape = taped
    deeper = fffref.jit(cases.make("PathFFF", rng, depth=4)).forward(rng.standard_normal((2, 3, 5)))[1]
    with pytest.raises(ValueError, match="tape comes from another layer"):
        fast.backward(deeper, y)
    with pytest.raises(TypeError, match="tape must be the PathTape that forward returned, got NoneType"):
        fast.backward(None, y)
    with pytest.raises(ValueError, match="dy must have shape"):
        fast.backward(tape, y[:1])
    with pytest.raises(TypeError, match="dy must have dtype"):
        fast.backward(tape, y.astype(np.float32))


def test_a_tape_in_another_layout_gives_the_same_gradients(taped):
    """Nothing is compiled for it: Fortran order, strides, read-only memory, small integers as nodes."""
    fast, y, tape = taped
    expected, expected_dx = fast.backward(tape, y)
    signatures = list(fast_kernels.combine_rows_jit.signatures)
    read_only = tape.x.copy()
    read_only.setflags(write=False)
    other = replace(
        tape, x=read_only, node=tape.node.astype(np.uint8), logit=np.asfortranarray(tape.logit),
        hidden=np.repeat(tape.hidden, 2, axis=1)[:, ::2],
    )  # fmt: skip
    grads, dx = fast.backward(other, np.asfortranarray(y))
    np.testing.assert_array_equal(dx, expected_dx)
    for name, rows in grads.arrays().items():
        np.testing.assert_array_equal(rows.values, getattr(expected, name).values)
    assert signatures == list(fast_kernels.combine_rows_jit.signatures)


def test_some_neurons_with_most_visits_are_shared_out_too(rng):
    """The root has a visit of every row; threads get equal numbers of visits, and the same gradients."""
    layer = cases.make("PathFFF", rng, depth=6, width=1)
    x, dy = rng.standard_normal((700, 5)), rng.standard_normal((700, 3))
    one, several = (fffref.jit(layer, threads) for threads in (1, 3))
    (expected, expected_dx), (grads, dx) = (f.backward(f.forward(x)[1], dy) for f in (one, several))
    np.testing.assert_array_equal(dx, expected_dx)
    for name, rows in grads.arrays().items():
        np.testing.assert_array_equal(rows.values, getattr(expected, name).values)
