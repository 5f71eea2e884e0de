"""LeafFFF against the first paper's recursion, and the identities that a reader would expect of a soft tree."""

from dataclasses import replace

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fffref import DenseFF, LeafFFF, algorithms
from fffref.layers import tree
from fffref.layers.choices import Choices, mix

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def rows(function, x, n_out):
    """One row at a time through the oracle."""
    return np.array([function(row) for row in x]).reshape(len(x), n_out)


# ---------------------------------------------------------------------- against the oracle


@settings(deadline=None, max_examples=150)
@given(cases.layers_and_inputs("LeafFFF"), st.sampled_from([1.0, 0.3, 4.0]))
def test_soft_forward_is_forward_t(drawn, temperature):
    layer, x = drawn
    expected = rows(lambda row: algorithms.FORWARD_T(row, layer, temperature=temperature), x, layer.n_out)
    np.testing.assert_allclose(layer.forward(x, Choices(temperature))[0], expected, **CLOSE)


@settings(deadline=None, max_examples=150)
@given(cases.layers_and_inputs("LeafFFF"), st.sampled_from([1.0, 0.3, 4.0]))
def test_soft_forward_with_smooth_steps_is_forward_t_with_them(drawn, temperature):
    layer, x = drawn

    def oracle(row):
        return algorithms.FORWARD_T(row, layer, temperature=temperature, choice=algorithms.smooth_step)

    expected = rows(oracle, x, layer.n_out)
    np.testing.assert_allclose(layer.forward(x, Choices(temperature, smooth_step=True))[0], expected, **CLOSE)


@settings(deadline=None, max_examples=150)
@given(cases.layers_and_inputs("LeafFFF"))
def test_hard_forward_is_forward_i_ties_included(drawn):
    layer, x = drawn
    expected = rows(lambda row: algorithms.FORWARD_I(row, layer)[0], x, layer.n_out)
    np.testing.assert_allclose(layer.forward_hard(x), expected, **CLOSE)
    assert layer.route(x).tolist() == [algorithms.FORWARD_I(row, layer)[1] for row in x]


@settings(deadline=None, max_examples=100)
@given(cases.layers_and_inputs("LeafFFF"))
def test_straight_through_computes_the_hard_output(drawn):
    layer, x = drawn
    y, tape = layer.forward(x, Choices(straight_through=True))
    np.testing.assert_allclose(y, layer.forward_hard(x), **CLOSE)
    assert np.isin(tape.mixture, (0, 1)).all()


def test_a_tie_goes_right(rng):
    layer = cases.make("LeafFFF", rng).map(np.zeros_like)
    assert layer.route(np.ones((1, 5))).tolist() == [3]
    assert algorithms.FORWARD_I(np.ones(5), layer)[1] == 3
    hard = layer.forward(np.ones((1, 5)), Choices(straight_through=True))[1].mixture
    assert hard.tolist() == [[0, 0, 0, 1]]


def test_a_hand_computed_tree():
    """Depth 1, one input: choice sigmoid(x), left leaf relu(x) + 1, right leaf 10 relu(2 x) - 1."""
    layer = LeafFFF(
        node_weight=np.array([[1.0]]), node_bias=np.array([0.0]),
        leaf_in_weight=np.array([[[1.0]], [[2.0]]]), leaf_in_bias=np.zeros((2, 1)),
        leaf_out_weight=np.array([[[1.0]], [[10.0]]]), leaf_out_bias=np.array([[1.0], [-1.0]]),
    )  # fmt: skip
    x = np.log(3)  # the choice is 3/4
    y, tape = layer.forward(np.array([x]))
    np.testing.assert_allclose(tape.mixture, [[0.25, 0.75]])
    np.testing.assert_allclose(y, [0.25 * (x + 1) + 0.75 * (20 * x - 1)])
    np.testing.assert_allclose(layer.forward_hard(np.array([x])), [20 * x - 1])
    np.testing.assert_allclose(layer.forward_hard(np.array([-x])), [1])


# ---------------------------------------------------------------------- identities


@settings(deadline=None)
@given(st.integers(0, 6), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_mixtures_sum_to_one_and_are_products_along_paths(depth, B, seed):
    choice = np.random.default_rng(seed).random((B, tree.n_nodes(depth)))
    mixture = mix(choice, 1 - choice)
    np.testing.assert_allclose(mixture.sum(1), 1, rtol=1e-12)
    for leaf in range(tree.n_leaves(depth)):
        nodes, rights = tree.path(leaf, depth)
        expected = np.prod(np.where(rights, choice[:, nodes], 1 - choice[:, nodes]), axis=1)
        np.testing.assert_allclose(mixture[:, leaf], expected, rtol=1e-12)


@pytest.mark.parametrize("depth", range(5))
def test_zero_nodes_make_a_dense_net_with_uniformly_scaled_outputs(depth, rng):
    layer = cases.make("LeafFFF", rng, depth=depth)
    layer = replace(layer, node_weight=0 * layer.node_weight, node_bias=0 * layer.node_bias)
    leaves = 2**depth
    dense = DenseFF(
        layer.leaf_in_weight.reshape(-1, 5), layer.leaf_in_bias.ravel(),
        layer.leaf_out_weight.reshape(-1, 3) / leaves, layer.leaf_out_bias.mean(0), "gelu",
    )  # fmt: skip
    x = rng.standard_normal((7, 5))
    np.testing.assert_allclose(layer.forward(x)[0], dense.forward(x)[0], **CLOSE)


def test_depth_0_is_a_dense_net(rng):
    layer = cases.make("LeafFFF", rng, depth=0)
    dense = DenseFF(
        layer.leaf_in_weight[0], layer.leaf_in_bias[0], layer.leaf_out_weight[0], layer.leaf_out_bias[0], "gelu"
    )
    x, dy = rng.standard_normal((7, 5)), rng.standard_normal((7, 3))
    (y, tape), (y_dense, tape_dense) = layer.forward(x), dense.forward(x)
    (grads, dx), (grads_dense, dx_dense) = layer.backward(tape, dy), dense.backward(tape_dense, dy)
    np.testing.assert_allclose(y, y_dense, **CLOSE)
    np.testing.assert_allclose(layer.forward_hard(x), y_dense, **CLOSE)
    np.testing.assert_allclose(dx, dx_dense, **CLOSE)
    for ours, theirs in zip(list(grads.arrays().values())[2:], grads_dense.arrays().values(), strict=True):
        np.testing.assert_allclose(ours[0], theirs, **CLOSE)


def test_soft_tends_to_hard_as_the_temperature_tends_to_0(rng):
    layer, x = cases.make("LeafFFF", rng, depth=4), rng.standard_normal((50, 5))
    gaps = [np.abs(layer.forward(x, Choices(t))[0] - layer.forward_hard(x)).max() for t in (1, 0.1, 0.01, 1e-9)]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[3] < 1e-12


def test_transposing_always_is_negating_every_node(rng):
    layer, x = cases.make("LeafFFF", rng, depth=3), rng.standard_normal((6, 5))
    negated = replace(layer, node_weight=-layer.node_weight, node_bias=-layer.node_bias)
    (_, plain), (y, transposed) = layer.forward(x), layer.forward(x, Choices(transpose_prob=1.0), rng)
    np.testing.assert_allclose(transposed.choice, 1 - plain.choice, **CLOSE)
    np.testing.assert_allclose(y, negated.forward(x)[0], **CLOSE)


def test_transposition_happens_per_sample_and_node_with_its_probability(rng):
    layer, x = cases.make("LeafFFF", rng, depth=3), rng.standard_normal((2000, 5))
    (_, plain), (_, some) = layer.forward(x), layer.forward(x, Choices(transpose_prob=0.3), rng)
    transposed = ~np.isclose(some.choice, plain.choice)
    np.testing.assert_allclose(transposed.mean(0), 0.3, atol=0.05)  # five standard deviations
    assert np.isclose(some.choice[transposed], 1 - plain.choice[transposed]).all()
    again = [layer.forward(x, Choices(transpose_prob=0.3), np.random.default_rng(1))[0] for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_noise_makes_a_choice_a_coin_of_its_own_probability(rng):
    layer = cases.make("LeafFFF", rng, depth=1)
    x = np.tile(rng.standard_normal(5), (20_000, 1))
    (_, plain), (y, noisy) = layer.forward(x, Choices(0.5)), layer.forward(x, Choices(0.5, noise=1.0), rng)
    expected = plain.choice[0, 0]
    spread = np.sqrt(expected * (1 - expected) / len(x))
    assert abs((noisy.choice > 0.5).mean() - expected) < 5 * spread  # the concrete distribution's property
    added = noisy.logit - plain.logit
    assert abs(added.mean()) < 5 * added.std() / np.sqrt(len(x))
    np.testing.assert_allclose(added.std(), np.pi / np.sqrt(3), rtol=0.05)  # a logistic variable's
    assert np.isfinite(y).all()


def test_straight_through_rounds_the_noisy_choice(rng):
    layer = cases.make("LeafFFF", rng, depth=3)
    x = rng.standard_normal((50, 5))
    _, tape = layer.forward(x, Choices(noise=2.0, straight_through=True), rng)
    np.testing.assert_array_equal(tape.right, tape.logit >= 0)
    assert (tape.right != (layer.forward(x)[1].logit >= 0)).any()


def test_smooth_steps_leave_most_leaves_of_a_cold_tree_out_exactly(rng):
    layer, x = cases.make("LeafFFF", rng, depth=4), rng.standard_normal((50, 5))
    y, tape = layer.forward(x, Choices(0.1, smooth_step=True))
    assert (tape.mixture == 0).mean() > 0.5 and (layer.forward(x, Choices(0.1))[1].mixture > 0).all()
    np.testing.assert_allclose(tape.mixture.sum(1), 1, rtol=1e-12)
    few, few_tape = layer.forward(x[:2], Choices(0.1, smooth_step=True))
    grads, _ = layer.backward(few_tape, np.ones_like(few))
    left_out = (few_tape.mixture == 0).all(0)
    assert left_out.any()
    for name in ("leaf_in_weight", "leaf_in_bias", "leaf_out_weight", "leaf_out_bias"):
        assert (getattr(grads, name)[left_out] == 0).all(), name
    decided = (tape.mixture == 1).any(1)  # samples that no node on the way is in doubt about: soft is hard
    assert decided.any()
    np.testing.assert_allclose(y[decided], layer.forward_hard(x[decided]), **CLOSE)


def test_no_array_of_batch_times_leaves_times_outputs_exists(rng):
    """Peak memory of forward and backward stays below the size of one such array."""
    import tracemalloc

    B, L, n_out = 64, 32, 500
    layer = LeafFFF.init(rng, 4, n_out, 5, 2)
    x, dy = np.zeros((B, 4), np.float32), np.zeros((B, n_out), np.float32)
    tracemalloc.start()
    _, tape = layer.forward(x)
    layer.backward(tape, dy)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < B * L * n_out * 4


def test_counts(rng):
    layer = LeafFFF.init(rng, 784, 10, depth=4, leaf_width=8)
    assert (layer.neurons_stored, layer.neurons_engaged) == (15 + 16 * 8, 4 + 8)
    assert layer.n_parameters == 15 * 785 + 128 * 785 + 128 * 10 + 16 * 10


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"temperature": 0}, ValueError, r"temperature must lie in \[1e-30, inf\), got 0"),
        ({"temperature": -1.0}, ValueError, "temperature must lie in"),
        ({"temperature": np.nan}, ValueError, "temperature must lie in"),
        ({"temperature": "hot"}, TypeError, "temperature must be a number"),
        ({"transpose_prob": 1.5}, ValueError, r"transpose_prob must lie in \[0, 1\], got 1.5"),
        ({"transpose_prob": -0.1}, ValueError, r"transpose_prob must lie in \[0, 1\], got -0.1"),
        ({"transpose_prob": 0.5}, TypeError, "rng must be a numpy.random.Generator, got None"),
        ({"noise": -1}, ValueError, r"noise must lie in \[0, inf\), got -1"),
        ({"straight_through": "no"}, TypeError, "straight_through must be True or False, got 'no'"),
        ({"smooth_step": 1}, TypeError, "smooth_step must be True or False, got 1"),
        ({"noise": 1.0}, TypeError, "rng must be a numpy.random.Generator, got None"),
    ],
)
def test_bad_options_are_refused(options, error, message, rng):
    with pytest.raises(error, match=message):
        cases.make("LeafFFF", rng).forward(np.zeros((1, 5)), Choices(**options))


def test_arrays_that_do_not_fit_are_refused(rng):
    layer = cases.make("LeafFFF", rng)
    with pytest.raises(ValueError, match="3 nodes lead to 4 leaves, got 3"):
        replace(layer, leaf_in_weight=layer.leaf_in_weight[:3], leaf_in_bias=layer.leaf_in_bias[:3],
                leaf_out_weight=layer.leaf_out_weight[:3], leaf_out_bias=layer.leaf_out_bias[:3])  # fmt: skip
    with pytest.raises(ValueError, match=r"node_bias must have shape \(3\), got \(2,\)"):
        replace(layer, node_bias=layer.node_bias[:2])


@pytest.mark.parametrize("name", ["dlogit", "dchoice", "dmixture"])
def test_further_gradients_of_the_wrong_shape_or_dtype_are_refused(name, rng):
    layer = cases.make("LeafFFF", rng)
    y, tape = layer.forward(np.zeros((2, 5)))
    with pytest.raises(ValueError, match=f"{name} must have shape"):
        layer.backward(tape, y, **{name: np.zeros((1, 1))})
    with pytest.raises(TypeError, match=f"{name} must have dtype float64, got float32"):
        layer.backward(tape, y, **{name: np.zeros((1, 1), np.float32)})
