"""The fast path: the reference's answers, the reference's refusals, exact gradients, any thread, any process."""

import os
import pathlib
import subprocess
import sys
import threading
from dataclasses import replace

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fffref
from fffref import LeafFFF, PathFFF, algorithms, gradcheck, training
from fffref.fast import kernels
from fffref.fast.base import ROWS_A_THREAD, _check_out
from fffref.layers import tree
from fffref.layers.activations import ACTIVATIONS

kinds = pytest.mark.parametrize("kind", cases.KINDS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
LEADS = [(), (1,), (2,), (7,), (2, 3), (0,), (2, 0), (4 * ROWS_A_THREAD + 3,)]
SIZES = [(0, 1, 5, 3), (1, 2, 17, 33), (4, 3, 40, 7), (6, 1, 64, 48)]  # depth, width, n_in, n_out


def near(found, expected, terms):
    """Equal to a few ulp of the sums: `terms` numbers of order 1 are added up in another order."""
    eps = np.finfo(expected.dtype).eps
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=8 * eps * np.sqrt(terms) * max(1, np.abs(expected).max(initial=0))
    )
    assert found.dtype == expected.dtype and found.shape == expected.shape


def decided(layer, x):
    """Rows of `x` none of whose logits, at any node, is within rounding of 0: there all routes agree."""
    if isinstance(layer, fffref.DenseFF):
        return x
    weight, bias = (
        (layer.in_weight, layer.in_bias) if isinstance(layer, PathFFF) else (layer.node_weight, layer.node_bias)
    )
    rows = x.reshape(-1, layer.n_in)
    logit = rows @ weight.reshape(-1, layer.n_in).T + bias.ravel()
    scale = np.abs(rows) @ np.abs(weight.reshape(-1, layer.n_in)).T + np.abs(bias.ravel())
    undecided = np.abs(logit) <= 4 * np.finfo(x.dtype).eps * scale
    rows = rows.copy()
    rows[undecided.any(axis=1)] = 0  # biases decide there
    return rows.reshape(x.shape)


# ---------------------------------------------------------------------- the reference's answers


@kinds
@dtypes
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("threads", [1, 3])
def test_answers_and_routes_are_the_references(kind, dtype, activation, threads, rng):
    for depth, width, n_in, n_out in SIZES:
        layer = cases.make(kind, rng, n_in, n_out, depth, width, activation, dtype)
        fast = fffref.jit(layer, threads)
        for lead in LEADS:
            x = decided(layer, rng.standard_normal((*lead, n_in)).astype(dtype))
            expected, route = layer.forward_hard(x), layer.route(x)
            near(fast(x), expected, n_in)
            np.testing.assert_array_equal(fast.route(x), route, strict=True)
            out = np.full_like(expected, 7)
            assert fast(x, out=out) is out
            near(out, expected, n_in)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(cases.KINDS).flatmap(cases.layers_and_inputs))
def test_random_shapes_ties_included(drawn):
    """Half of the draws are small integers, whose sums are exact: ties go where the papers say."""
    layer, x = drawn
    fast = fffref.jit(layer.aligned())
    if np.array_equal(x, np.rint(x)):
        np.testing.assert_array_equal(fast.route(x), layer.route(x))
        near(fast(x), layer.forward_hard(x), layer.n_in)
        for row in x:
            np.testing.assert_array_equal(fast(row), fast(row[None])[0])
    else:
        x = decided(layer, x)
        np.testing.assert_array_equal(fast.route(x), layer.route(x))


def test_cmm_is_algorithm_1(rng):
    layer = cases.make("PathFFF", rng, n_in=6, n_out=4, depth=3, width=2)
    x = rng.standard_normal((9, 6))
    expected, _ = algorithms.FFF_I(x, layer)
    flat = [array.reshape(-1, *array.shape[2:]) for array in layer.arrays().values()]
    for kernel in (kernels._cmm_jit, kernels._cmm_plain_jit):
        for row, wanted in zip(x, expected, strict=True):
            y = np.full(4, np.nan)
            kernel(*flat, 2, kernels.KINDS["gelu"], row, y)
            np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-13)


@kinds
def test_the_result_does_not_depend_on_the_number_of_threads(kind, rng):
    layer = cases.make(kind, rng, 33, 17, 5, 4, dtype=np.float32)
    x = rng.standard_normal((11 * ROWS_A_THREAD + 5, 33)).astype(np.float32)
    if kind == "DenseFF":  # BLAS decides
        near(fffref.jit(layer, 4)(x), fffref.jit(layer)(x), 33)
        return
    one = fffref.jit(layer, 1)(x)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(fffref.jit(layer, threads)(x), one)
    if kind == "PathFFF":
        dy = rng.standard_normal((len(x), 17)).astype(np.float32)
        grads = [fffref.jit(layer, n).backward(fffref.jit(layer, n).forward(x)[1], dy) for n in (1, 3)]
        np.testing.assert_array_equal(grads[0][1], grads[1][1])
        for name, array in grads[0][0].arrays().items():
            np.testing.assert_array_equal(array, getattr(grads[1][0], name))


@kinds
def test_several_python_threads_may_call_at_once(kind, rng):
    layer = cases.make(kind, rng, 33, 17, 5, 4)
    fast = fffref.jit(layer, 2)
    x = rng.standard_normal((16, 2 * ROWS_A_THREAD, 33))
    expected = [fast(rows) for rows in x]
    wrong = []

    def work(rows, y):
        for _ in range(20):
            if not np.array_equal(fast(rows), y):
                wrong.append(rows)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(x, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---------------------------------------------------------------------- the conditional backward pass


def steps(layer, x, dy):
    """Gradients of the reference, of the compiled layer, and of the compiled layer by rows."""
    fast = fffref.jit(layer)
    y, tape = fast.forward(x)
    np.testing.assert_allclose(y, layer.forward(x)[0], rtol=1e-11, atol=1e-12)
    return layer.backward(layer.forward(x)[1], dy), fast.backward(tape, dy), fast.backward_rows(tape, dy)


@settings(deadline=None, max_examples=60)
@given(cases.layers_and_inputs("PathFFF"), st.integers(0, 2**32 - 1))
def test_gradients_are_those_of_the_masked_dense_formulation(drawn, seed):
    """By way of the reference, which tests/test_path_fff.py holds against it."""
    layer, x = drawn
    x = x if np.array_equal(x, np.rint(x)) else decided(layer, x)
    layer = layer.aligned()
    dy = np.random.default_rng(seed).standard_normal((len(x), layer.n_out))
    (expected, expected_dx), (grads, dx), (rows, rows_dx) = steps(layer, x, dy)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(rows_dx, dx)
    visited = np.unique(layer.forward(x)[1].node)
    np.testing.assert_array_equal(rows.node, visited)
    for name, array in expected.arrays().items():
        np.testing.assert_allclose(getattr(grads, name), array, rtol=1e-11, atol=1e-12)
        flat = getattr(grads, name).reshape(layer.neurons_stored, *array.shape[2:])
        np.testing.assert_array_equal(getattr(rows, name), flat[visited])
        assert not np.delete(flat, visited, axis=0).any()


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
    reports = gradcheck.check_layer(lambda layer, x: (dy * through(layer, x)).sum(), layer, x, grads, dx, method)
    for name, report in reports.items():
        assert report.error <= {"complex": 1e-12, "central": 1e-6}[method], f"{name}: {report}"


def test_a_tape_may_come_from_the_reference_and_go_to_it(rng):
    layer = cases.make("PathFFF", rng, depth=4)
    fast, x, dy = fffref.jit(layer), np.asfortranarray(rng.standard_normal((6, 5))), rng.standard_normal((6, 3))
    ours, _ = fast.backward(layer.forward(x)[1], dy)
    theirs, _ = layer.backward(fast.forward(x)[1], dy)
    for name, array in ours.arrays().items():
        np.testing.assert_allclose(array, getattr(theirs, name), rtol=1e-11, atol=1e-13)


def test_an_update_moves_the_visited_neurons_as_sgd_would_and_no_other(rng):
    layer = cases.make("PathFFF", rng, depth=5, width=2)
    x, dy = rng.standard_normal((3, 5)), rng.standard_normal((3, 3))
    grads, _ = layer.backward(layer.forward(x)[1], dy)
    expected = layer.map(lambda p, g: p - 0.1 * g, grads)
    fast = fffref.jit(layer)
    fast.update(fast.backward_rows(fast.forward(x)[1], dy)[0], 0.1)
    for name, array in expected.arrays().items():
        np.testing.assert_allclose(getattr(layer, name), array, rtol=1e-12, atol=1e-14)


def test_training_may_be_compiled(rng):
    x, labels = rng.standard_normal((120, 5)), rng.integers(3, size=120)
    layer, task = cases.make("PathFFF", rng, depth=3), training.Classification(x, labels)
    plain, compiled = (
        training.train(layer, task, training.Recipe(epochs=3, fast=fast), progress=False)[0] for fast in (False, True)
    )
    for name, array in plain.arrays().items():
        np.testing.assert_allclose(getattr(compiled, name), array, rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match="fast training is for PathFFF, got LeafFFF"):
        training.train(cases.make("LeafFFF", rng), task, training.Recipe(fast=True), progress=False)


# ---------------------------------------------------------------------- safety


@kinds
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_and_inf_stay_in_bounds_and_in_their_row(kind, value, rng):
    layer = cases.make(kind, rng, depth=6, activation="tanh")
    fast, x = fffref.jit(layer), rng.standard_normal((9, 5))
    y = fast(x)
    x[4, 1] = value
    np.testing.assert_array_equal(np.delete(fast(x), 4, 0), np.delete(y, 4, 0))
    np.testing.assert_array_equal(fast.route(x)[:4], layer.route(x)[:4])
    assert np.isnan(fast(x)[4]).all() == np.isnan(value) == np.isnan(fast(x[4])).all()
    everywhere = np.full((3, 5), value)
    assert fast.route(everywhere).max() < max(1, layer.neurons_stored)
    if np.isnan(value):
        np.testing.assert_array_equal(fast.route(everywhere), layer.route(everywhere))


@kinds
def test_any_layout_of_the_input_works_and_nothing_is_changed(kind, rng):
    layer = cases.make(kind, rng, depth=3)
    fast, x = fffref.jit(layer), rng.standard_normal((6, 5))
    y = fast(x)
    wide = np.zeros((6, 10))
    wide[:, ::2] = x
    read_only = x.copy()
    read_only.setflags(write=False)
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(float).reshape(x.shape)
    for other in (np.asfortranarray(x), wide[:, ::2], x[::-1].copy()[::-1], read_only, unaligned):
        before = other.copy()
        np.testing.assert_array_equal(fast(other), y)
        np.testing.assert_array_equal(fast(other[2]), fast(x[2]))
        np.testing.assert_array_equal(fast.route(other), fast.route(x))
        np.testing.assert_array_equal(other, before)


@kinds
def test_weights_changed_in_place_are_seen(kind, rng):
    layer = cases.make(kind, rng, depth=3)
    fast, x = fffref.jit(layer), rng.standard_normal((6, 5))
    fast(x)
    for array in layer.arrays().values():
        array *= -1.5
    near(fast(x), layer.forward_hard(x), 5)
    near(fast(x[0]), layer.forward_hard(x[0]), 5)


@kinds
def test_read_only_weights_work(kind, rng):
    layer = cases.make(kind, rng, depth=2)
    for array in layer.arrays().values():
        array.setflags(write=False)
    x = rng.standard_normal((3, 5))
    near(fffref.jit(layer)(x), layer.forward_hard(x), 5)


@kinds
def test_weights_that_cannot_be_shared_are_refused(kind, rng):
    layer = cases.make(kind, rng, depth=2)
    with pytest.raises(ValueError, match=r"not C-contiguous, .* pass layer.aligned\(\)"):
        fffref.jit(layer.map(lambda a: np.repeat(a, 2, axis=-1)[..., ::2]))
    fffref.jit(layer.map(np.asfortranarray).aligned())


@kinds
def test_layers_are_born_on_cache_lines(kind, rng):
    layer = cases.make(kind, rng, dtype=np.float32)
    for one in (layer, layer.astype(np.float64), layer.map(np.negative).aligned()):
        assert all(array.ctypes.data % 64 == 0 and array.flags.carray for array in one.arrays().values() if array.size)


@kinds
@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.zeros((2, 4)), ValueError, r"x must have shape \(\.\.\., 5\), got \(2, 4\)"),
        (np.zeros(4), ValueError, r"x must have shape \(\.\.\., 5\), got \(4,\)"),
        (np.zeros(5, np.float32), TypeError, "x must have dtype float64, got float32"),
        (np.zeros((2, 5), int), TypeError, "x must have dtype float64, got int64"),
        (np.zeros(5, ">f8"), TypeError, "x must have dtype float64, got >f8"),
        ([0.0] * 4, ValueError, "x must have shape"),
        (None, TypeError, "x must have dtype"),
    ],
)
def test_bad_inputs_are_refused(kind, x, error, message, rng):
    fast = fffref.jit(cases.make(kind, rng))
    for call in (fast, fast.route):
        with pytest.raises(error, match=message):
            call(x)


@kinds
def test_bad_outputs_are_refused(kind, rng):
    fast, x = fffref.jit(cases.make(kind, rng, n_in=3)), np.zeros((4, 3))
    for out, error, message in (
        (np.zeros((4, 2)), ValueError, r"out must have shape \(4, 3\), got \(4, 2\)"),
        (np.zeros((4, 3), np.float32), TypeError, "out must have dtype float64, got float32"),
        ([[0.0] * 3] * 4, TypeError, "out must be a NumPy array, got list"),
        (np.zeros((4, 6))[:, ::2], ValueError, "C-contiguous, aligned and writeable"),
        (np.broadcast_to(0.0, (4, 3)), ValueError, "C-contiguous, aligned and writeable"),
        (x, ValueError, "out must not overlap x"),
    ):
        with pytest.raises(error, match=message):
            fast(x, out=out)
    memory = np.zeros(24)
    with pytest.raises(ValueError, match="overlap"):
        _check_out(memory[3:15].reshape(4, 3), (4, 3), np.float64, memory[:12].reshape(4, 3))


def test_what_cannot_be_compiled_is_refused(rng):
    with pytest.raises(TypeError, match="layer must be a PathFFF, LeafFFF or DenseFF, got ndarray"):
        fffref.jit(np.zeros(3))
    with pytest.raises(TypeError, match="dtype must be one of float32, float64, got"):
        fffref.jit(cases.make("PathFFF", rng).astype(np.complex128))
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        fffref.jit(cases.make("PathFFF", rng), threads=0)
    with pytest.raises(AttributeError, match="no attribute 'compile'"):
        fffref.compile  # noqa: B018


def test_tapes_and_gradients_that_do_not_fit_are_refused(rng):
    fast = fffref.jit(cases.make("PathFFF", rng, depth=2))
    y, tape = fast.forward(rng.standard_normal((2, 5)))
    deeper = fffref.jit(cases.make("PathFFF", rng, depth=4)).forward(rng.standard_normal((2, 5)))[1]
    forged = replace(tape, node=tape.node + 1000)
    for bad in (deeper, forged, replace(tape, node=tape.node - 1000), replace(tape, x=tape.x[:1])):
        with pytest.raises(ValueError, match="tape comes from another layer"):
            fast.backward(bad, y)
    with pytest.raises(ValueError, match="dy must have shape"):
        fast.backward(tape, y[:1])
    with pytest.raises(TypeError, match="dy must have dtype"):
        fast.backward(tape, y.astype(np.float32))


# ---------------------------------------------------------------------- in other modes, in another process

WHOLE = """
import numpy as np, fffref, sys
sys.path.insert(0, {tests!r})
import cases
rng = np.random.default_rng(0)
for kind in cases.KINDS:
    for dtype in (np.float32, np.float64):
        for depth in (0, 1, 3):
            layer = cases.make(kind, rng, 5, 3, depth, 2, dtype=dtype)
            fast = fffref.jit(layer, 2)
            for x in (rng.standard_normal((70, 5)), np.full((3, 5), np.nan), np.zeros((0, 5))):
                x = x.astype(dtype)
                with np.errstate(all="ignore"):
                    np.testing.assert_allclose(fast(x), layer.forward_hard(x), rtol=1e-4, atol=1e-5)
                    assert np.array_equal(fast.route(x), layer.route(x))
                    if kind == "PathFFF":
                        y, tape = fast.forward(x)
                        ours, theirs = fast.backward(tape, y)[0], layer.backward(tape, y)[0]
                        np.testing.assert_allclose(ours.in_weight, theirs.in_weight, rtol=1e-3, atol=1e-5)
            fast(np.zeros(5, dtype))
"""


@pytest.mark.parametrize("mode", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_kernels_are_valid_python_and_stay_in_bounds(mode, tmp_path):
    code = WHOLE.format(tests=str(pathlib.Path(__file__).parents[1]))
    environment = os.environ | {mode: "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_second_process_compiles_nothing(tmp_path):
    code = """
import numpy as np, fffref
from fffref.fast import kernels
layer = fffref.PathFFF.init(np.random.default_rng(0), 5, 3, 2)
fffref.jit(layer).warm_up()
stats = [kernel.stats for name, kernel in vars(kernels).items() if name.endswith("_jit")]
print(sum(sum(s.cache_hits.values()) for s in stats), sum(sum(s.cache_misses.values()) for s in stats))
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def run():
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return tuple(map(int, done.stdout.split()))

    (_, first_misses), (hits, misses) = run(), run()
    assert first_misses > 3 and hits > 3 and misses == 0


def test_every_kernel_has_its_plain_function():
    compiled = [name for name in vars(kernels) if name.endswith("_jit")]
    assert len(compiled) > 10
    for name in compiled:
        assert callable(getattr(kernels, name.removesuffix("_jit"))), name


def test_paths_of_all_depths_end_at_the_right_leaf(rng):
    """Every leaf of a tree is reached: nodes that send right exactly where the leaf's number has a 1."""
    for depth in range(1, 6):
        for leaf in range(2**depth):
            nodes, rights = tree.path(leaf, depth)
            layer = LeafFFF.init(rng, 1, 1, depth, 1)
            weight = np.zeros((2**depth - 1, 1), np.float32)
            weight[nodes, 0] = np.where(rights, 1, -1)
            layer = replace(layer, node_weight=weight, node_bias=0 * layer.node_bias)
            assert fffref.jit(layer).route(np.ones(1, np.float32)) == leaf
