"""Soft trees of which only reached leaves are computed: outputs and gradients are the reference's."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fffref import LeafFFF, checks, gradcheck, jit, training
from fffref.fast import leaf
from fffref.fast.leaf import ReachedTape
from fffref.layers.choices import Choices
from fffref.layers.leaf_fff import LeafTape


@pytest.fixture(autouse=True, scope="module")
def however_many():
    """Leaves reached by many are computed one by one too, so that small cases go the way that is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaf, "MANY", 2)
        yield


def drawn(rng, depth=3, leaf_width=2, lead=(7,), n_in=5, n_out=3, activation="gelu", dtype=np.float64):
    """A layer and rows of which most choices are decided."""
    layer = LeafFFF.init(rng, n_in, n_out, depth, leaf_width, activation, dtype)
    return layer, rng.standard_normal((*lead, n_in)).astype(dtype)


def same(found, expected, scale=1e-12):
    """Equal to rounding, and not by being 0."""
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=scale * max(1, np.abs(expected).max(initial=0)))


def compare(layer, x, choices, threads=1, seed=0):
    """Both passes against the layer's own, further losses included."""
    fast = jit(layer, threads=threads)
    y, tape = fast.forward(x, choices, np.random.default_rng(seed))
    expected, whole = layer.forward(x, choices, np.random.default_rng(seed))
    assert type(tape) is ReachedTape and y.shape == expected.shape and y.dtype == expected.dtype
    same(y, expected)
    rng = np.random.default_rng(1)
    dy = rng.standard_normal(y.shape)
    extra = {"dlogit": whole.logit, "dchoice": whole.choice, "dmixture": whole.mixture}
    extra = {name: rng.standard_normal(like.shape) for name, like in extra.items()}
    grads, dx = fast.backward(tape, dy, **extra)
    right, dright = layer.backward(whole, dy, **extra)
    same(dx, dright)
    for name, array in right.arrays().items():
        found = grads.arrays()[name]
        same(found.dense() if hasattr(found, "dense") else found, array)
    return tape


@settings(deadline=None)
@given(
    st.integers(0, 5), st.integers(1, 6), st.sampled_from([(), (0,), (1,), (9,), (2, 3)]), st.integers(1, 9),
    st.sampled_from([0.02, 0.3, 2.0]), st.sampled_from(["relu", "gelu", "tanh", "identity"]), st.integers(0, 99),
)  # fmt: skip
def test_outputs_and_gradients_are_the_references(depth, leaf_width, lead, n_in, temperature, activation, seed):
    layer, x = drawn(np.random.default_rng(seed), depth, leaf_width, lead, n_in, activation=activation)
    compare(layer, x, Choices(temperature=temperature, smooth_step=True))


@pytest.mark.parametrize("choices", [
    Choices(temperature=0.1, smooth_step=True, noise=1.0),
    Choices(temperature=0.1, smooth_step=True, transpose_prob=0.5),
])  # fmt: skip
def test_noise_and_transposition_are_the_layers(choices, rng):
    compare(*drawn(rng, lead=(40,)), choices)


def test_threads_change_nothing(rng):
    layer, x = drawn(rng, depth=4, leaf_width=3, lead=(300,), n_in=40, n_out=20, dtype=np.float32)
    choices = Choices(temperature=0.2, smooth_step=True)
    results = []
    for threads in (1, 2):
        fast = jit(layer, threads=threads)
        y, tape = fast.forward(x, choices)
        grads, dx = fast.backward(tape, y)
        results.append((y, dx, *(grads.dense().arrays().values())))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_decided_tree_computes_a_leaf_a_sample_and_an_undecided_one_all(rng):
    layer, x = drawn(rng, depth=4, lead=(50,))
    decided = jit(layer).forward(x, Choices(temperature=1e-4, smooth_step=True))[1]
    assert len(decided.leaf) < 60 and (decided.leaf[np.unique(decided.sample, return_index=True)[1]] < 16).all()
    assert len(jit(layer).forward(x, Choices(temperature=1e4, smooth_step=True))[1].leaf) == 50 * 16


@pytest.mark.parametrize("choices", [None, Choices(), Choices(smooth_step=True, straight_through=True)])
def test_where_every_leaf_counts_it_is_the_layers_own_pass(choices, rng):
    layer, x = drawn(rng)
    y, tape = jit(layer).forward(x, choices, rng)
    expected, whole = layer.forward(x, choices, rng)
    assert type(tape) is LeafTape
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(jit(layer).backward(tape, y)[1], layer.backward(whole, y)[1])


def test_where_many_leaves_are_reached_it_is_the_layers_own_pass(rng, monkeypatch):
    monkeypatch.setattr(leaf, "MANY", 0.1)
    layer, x = drawn(rng, depth=4, lead=(50,))
    for temperature, kind in ((1e-4, ReachedTape), (10, LeafTape)):
        choices = Choices(temperature=temperature, smooth_step=True, noise=0.5)
        y, tape = jit(layer).forward(x, choices, np.random.default_rng(3))
        assert type(tape) is kind
        same(y, layer.forward(x, choices, np.random.default_rng(3))[0])


def test_central_differences_agree(rng):
    layer, x = drawn(rng, activation="tanh")
    choices, dy = Choices(temperature=0.3, smooth_step=True), rng.standard_normal((7, 3))
    grads, dx = jit(layer).backward(jit(layer).forward(x, choices)[1], dy)
    value = lambda moved, z: (jit(moved).forward(z, choices)[0] * dy).sum()  # noqa: E731
    for report in gradcheck.check_layer(value, layer, x, grads.dense(), dx, "central").values():
        report.expect()


def test_a_tape_that_does_not_fit_is_refused(rng):
    layer, x = drawn(rng)
    fast, other = jit(layer), jit(drawn(rng, depth=2)[0])
    choices = Choices(temperature=0.2, smooth_step=True)
    y, tape = fast.forward(x, choices)
    for wrong in (
        replace(tape, leaf=tape.leaf + 8), replace(tape, sample=tape.sample + 7),
        replace(tape, sample=tape.sample[::-1]),
        replace(tape, hidden=tape.hidden[:1]), replace(tape, lead=(1,)), replace(tape, leaf=tape.leaf.astype(float)),
        other.forward(x, choices)[1], None,
    ):  # fmt: skip
        with pytest.raises(checks.InputError):
            fast.backward(wrong, y)


def test_nan_reaches_the_output(rng):
    layer, x = drawn(rng)
    x[2, 1] = np.nan
    y, _ = jit(layer).forward(x, Choices(temperature=0.2, smooth_step=True))
    assert np.isnan(y[2]).all() and np.isfinite(np.delete(y, 2, 0)).all()


@pytest.mark.parametrize("entropy", [0.0, 0.5])
def test_training_goes_the_same_way(entropy, rng):
    layer, x = drawn(rng, lead=(60,))
    task = training.Classification(x, rng.integers(3, size=60))
    recipe = training.Recipe(
        epochs=3, batch_size=16, optimizer=training.SGD(), learning_rate=0.1, temperature=0.2, smooth_step=True,
        entropy_weight=entropy,
    )  # fmt: skip
    slow, before = training.train(layer, task, recipe, progress=False)
    fast, history = training.train(layer, task, replace(recipe, fast=True), progress=False)
    for name, array in slow.arrays().items():
        same(fast.arrays()[name], array)
    assert abs(history[-1]["loss"] - before[-1]["loss"]) < 1e-12 and history[-1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "identity"])
def test_wide_leaves_are_computed_leaf_by_leaf(activation, dtype, rng, monkeypatch):
    """In a batch that brings many rows to each leaf, BLAS takes over; a leaf that nobody reaches is passed over."""
    layer, x = drawn(rng, depth=3, leaf_width=leaf.WIDE, lead=(leaf.ROWS_A_LEAF, 8), activation=activation, dtype=dtype)
    layer = replace(layer, node_bias=layer.node_bias + np.array([0, 9, 0, 0, 0, 0, 0], dtype))  # two leaves are out
    expected = layer.forward_hard(x)
    assert len(np.unique(layer.route(x))) < 8
    tolerance, compute, counts = 1e-4 if dtype == np.float32 else 1e-12, leaf.FastLeaf._leaf_by_leaf, []
    monkeypatch.setattr(
        leaf.FastLeaf, "_leaf_by_leaf", lambda self, x, y: (counts.append(len(x)), compute(self, x, y))
    )
    for threads in (1, 2):
        np.testing.assert_allclose(jit(layer, threads=threads)(x), expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(jit(layer)(x[:1, :3]), expected[:1, :3], rtol=tolerance, atol=tolerance)
    assert counts == [x[..., 0].size] * 2  # of the few rows, none
