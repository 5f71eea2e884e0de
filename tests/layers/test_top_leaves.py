"""The k leaves of the largest mass: against the search, against all leaves, gradients, compiled passes, refusals."""

from dataclasses import replace

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fffref import LeafFFF, algorithms, counting, gradcheck, training
from fffref.fast.top_leaves import FastTop
from fffref.layers.top_leaves import TopLeaves
from fffref.training import evaluation, losses
from fffref.training.penalties import penalty

limits = pytest.mark.parametrize("method, limit", [("complex", 1e-12), ("central", 1e-6)])


@st.composite
def cases_of_top(draw):
    """A layer with some k, and rows."""
    layer, x = draw(cases.layers_and_inputs("LeafFFF"))
    return TopLeaves(layer, draw(st.integers(1, 2**layer.depth))), x


def decisive(rng, depth=3, k=2, **options):
    """A layer whose masses differ."""
    layer = cases.make("LeafFFF", rng, depth=depth, **options)
    return TopLeaves(replace(layer, node_weight=3 * layer.node_weight), k)


@settings(deadline=None, max_examples=60)
@given(cases_of_top())
def test_outputs_of_both_passes_are_the_same_and_gates_sum_to_one(case):
    layer, x = case
    y, tape = layer.forward(x)
    np.testing.assert_allclose(layer.forward_hard(x), y, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(tape.gates.sum(1), 1, rtol=1e-12)
    assert (np.count_nonzero(tape.gates, axis=1) == layer.k).all()
    assert layer.route(x).shape == (*x.shape[:-1], layer.k) and layer.nodes_needed(x).shape == x.shape[:-1]
    fast = FastTop(layer)
    np.testing.assert_allclose(fast.forward(x)[0], y, rtol=1e-10, atol=1e-12)
    leaf, mass, computed = fast.search(x)
    assert leaf.shape == mass.shape == (*x.shape[:-1], layer.k) and computed.shape == x.shape[:-1]
    assert ((0 <= leaf) & (leaf < 2**layer.layer.depth)).all() and (computed < 2**layer.layer.depth).all()


@pytest.mark.parametrize("depth, k", [(0, 1), (1, 1), (2, 3), (4, 1), (4, 2), (4, 5), (5, 2)])
def test_a_search_finds_the_same_leaves_from_the_nodes_that_are_said_to_be_needed(depth, k, rng):
    layer = decisive(rng, depth, k)
    x = rng.standard_normal((20, 5))
    y, leaves, needed = layer.forward(x)[0], layer.route(x), layer.nodes_needed(x)
    compiled = FastTop(layer)
    np.testing.assert_allclose(compiled(x), y, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(compiled.search(x)[0], leaves)
    np.testing.assert_array_equal(compiled.search(x)[2], needed)
    for row, output, leaf, n in zip(x, y, leaves, needed, strict=True):
        found, heaviest, computed = algorithms.SEARCH(row, layer.layer, k)
        np.testing.assert_allclose(output, found, rtol=1e-10, atol=1e-12)
        assert heaviest == leaf.tolist() and len(computed) == n
    if depth == 5:
        assert needed.mean() < 31 / 2  # that is what it is for


def test_with_all_leaves_it_is_the_soft_mixture(rng):
    layer, x = cases.make("LeafFFF", rng, depth=3), rng.standard_normal((6, 5))
    whole, dy = TopLeaves(layer, 8), rng.standard_normal((6, 3))
    y, tape = whole.forward(x)
    np.testing.assert_allclose(y, layer.forward(x)[0], rtol=1e-12, atol=1e-14)
    grads, dx = whole.backward(tape, dy)
    expected, dexpected = layer.backward(layer.forward(x)[1], dy)
    np.testing.assert_allclose(dx, dexpected, rtol=1e-10, atol=1e-13)
    for name, array in expected.arrays().items():
        np.testing.assert_allclose(grads.arrays()[f"layer.{name}"], array, rtol=1e-10, atol=1e-13)


@limits
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "identity"])
@pytest.mark.parametrize("depth, k", [(0, 1), (1, 1), (1, 2), (2, 3), (3, 2), (4, 7)])
def test_gradients(depth, k, activation, method, limit, rng):
    layer = decisive(rng, depth, k, activation=activation)
    x, dy = rng.standard_normal((2, 3, 5)), rng.standard_normal((2, 3, 3))
    tape = layer.forward(x)[1]
    dgates = rng.standard_normal(tape.gates.shape)

    def value(layer, x):
        y, tape = layer.forward(x)
        return (y * dy).sum() + (tape.gates * dgates).sum()

    grads, dx = layer.backward(tape, dy, dgates)
    assert type(grads) is TopLeaves and grads.k == k
    for name, report in gradcheck.check_layer(value, layer, x, grads, dx, method).items():
        rounding = abs(report.claimed - report.numeric) <= 1e-14  # with k = 1, nodes have a gradient of 0
        assert report.error <= limit or rounding, f"{name}: {report}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("depth, k", [(0, 1), (3, 1), (3, 2), (5, 4)])
def test_compiled_passes_give_the_same_gradients(depth, k, dtype, rng):
    layer = decisive(rng, depth, k, width=5).astype(dtype)
    fast, tolerance = FastTop(layer), 1e-4 if dtype == np.float32 else 1e-10
    for lead in ((), (7,), (2, 3), (0,)):
        x, dy = (rng.standard_normal((*lead, n)).astype(dtype) for n in (5, 3))
        (y, tape), (fast_y, fast_tape) = layer.forward(x), fast.forward(x)
        dgates = rng.standard_normal(tape.gates.shape).astype(dtype)
        grads, dx = layer.backward(tape, dy, dgates)
        fast_grads, fast_dx = fast.backward(fast_tape, dy, dgates)
        np.testing.assert_allclose(fast_y, y, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(fast_dx, dx, rtol=tolerance, atol=tolerance)
        for name, array in fast_grads.dense().arrays().items():
            np.testing.assert_allclose(array, grads.arrays()[name], rtol=tolerance, atol=tolerance)
        assert fast.backward(fast_tape, dy, input_gradient=False)[1] is None


def test_ties_go_to_the_left_and_nan_to_nan():
    layer = TopLeaves(LeafFFF.init(np.random.default_rng(0), 2, 2, 2, 3, dtype=np.float64).map(np.zeros_like), 2)
    assert layer.route(np.ones((3, 2))).tolist() == [[0, 1]] * 3
    x = np.array([[np.nan, 1.0], [1.0, 1.0]])
    y = layer.forward(x)[0]
    assert np.isnan(y[0]).all() and np.isfinite(y[1]).all()
    np.testing.assert_array_equal(FastTop(layer)(x), y)
    assert layer.route(x).shape == (2, 2)


def test_it_trains_and_its_balance_is_the_experts(rng):
    layer = decisive(rng, 3, 2)
    x = rng.standard_normal((9, 5))
    tape = layer.forward(x)[1]
    recipe = training.Recipe(epochs=1, balance_weight=0.1)
    value, extra = penalty(layer, tape, recipe.at(0))
    balance, dgates = losses.expert_balance(tape.gates)
    assert value == 0.1 * balance and (extra["dgates"] == 0.1 * dgates).all()
    assert evaluation.ends(layer, x)[1] == 8 and evaluation.ends(layer, x)[0].shape == (9, 2)


@pytest.mark.parametrize("depth, k", [(0, 1), (3, 2), (6, 2)])
def test_what_is_counted(depth, k, rng):
    layer = TopLeaves.init(rng, 128, 128, depth, 16, k)
    count = counting.of(layer)
    assert count.parameters == layer.n_parameters and count.neurons_stored == layer.neurons_stored
    nodes = 2**depth - 1
    assert count.neurons_engaged == layer.neurons_engaged == nodes + 16 * k
    assert count.inference.multiply_adds == nodes * 128 + k * (2 * 16 * 128 + 128)


def test_refusals(rng):
    layer = cases.make("LeafFFF", rng, depth=2)
    with pytest.raises(TypeError, match="layer must be a LeafFFF"):
        TopLeaves(cases.make("PathFFF", rng))
    for k in (0, 5):
        with pytest.raises(ValueError, match="k must be"):
            TopLeaves(layer, k)
    top, x = TopLeaves(layer, 2), rng.standard_normal((4, 5))
    y, tape = top.forward(x)
    for kind, kept in ((top, layer.forward(x)[1]), (FastTop(top), tape)):
        with pytest.raises(TypeError, match="tape must be"):
            kind.backward(kept, y)
    with pytest.raises(ValueError, match="gates must have shape"):
        top.backward(replace(tape, gates=tape.gates[:1]), y)
    with pytest.raises(ValueError, match="lead"):
        top.backward(replace(tape, inner=replace(tape.inner, lead=(1.5,))), y)
    with pytest.raises(ValueError, match="dy must have shape"):
        top.backward(tape, y[:1])
    with pytest.raises(ValueError, match="dgates must have shape"):
        top.backward(tape, y, tape.gates[:1])
    fast = FastTop(top)
    _, tape = fast.forward(x)
    with pytest.raises(ValueError, match="mass must have shape"):
        fast.backward(replace(tape, mass=tape.mass[:1]), y)
    with pytest.raises(ValueError, match="must lie in"):
        fast.backward(replace(tape, inner=replace(tape.inner, leaf=tape.inner.leaf + 9)), y)
    with pytest.raises(TypeError, match="layer must be a TopLeaves"):
        FastTop(layer)
