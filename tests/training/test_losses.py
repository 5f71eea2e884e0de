"""Losses: values by another way, gradients by both numerical ones, safety at logits of +-1000 in float32."""

import numpy as np
import pytest
from scipy.special import entr, expit, logsumexp

from fffref import gradcheck
from fffref.training import losses


def cases(rng):
    """Name, function of one array, array."""
    labels = rng.integers(4, size=(3, 2))
    target = rng.standard_normal((3, 4))
    return {
        "cross-entropy": (lambda z: losses.cross_entropy(z, labels), rng.normal(0, 3, (3, 2, 4))),
        "mean squared error": (
            lambda y: losses.mean_squared_error(y, target.astype(y.dtype)),
            rng.standard_normal((3, 4)),
        ),
        "entropy, sum": (lambda z: losses.node_entropy(z, "sum"), rng.normal(0, 3, (5, 7))),
        "entropy, mean": (lambda z: losses.node_entropy(z, "mean"), rng.normal(0, 3, (5, 7))),
        "balance": (losses.leaf_balance, rng.dirichlet(np.ones(4), size=5)),
        "switch balance": (losses.switch_balance, rng.dirichlet(np.ones(4), size=5)),
    }


CASES = tuple(cases(np.random.default_rng(0)))


@pytest.mark.parametrize("method", gradcheck.METHODS)
@pytest.mark.parametrize("name", CASES)
def test_gradients(name, method, rng):
    loss, at = cases(rng)[name]
    gradcheck.check(lambda z: loss(z)[0], at, loss(at)[1], method=method).expect()


@pytest.mark.parametrize("name", CASES)
def test_float32_stays_and_agrees(name, rng):
    loss, at = cases(rng)[name]
    if name == "mean squared error":
        wide = np.zeros_like(at)
        value, gradient = losses.mean_squared_error(at.astype(np.float32), wide.astype(np.float32))
        expected, expected_gradient = losses.mean_squared_error(at, wide)
    else:
        value, gradient = loss(at.astype(np.float32))
        expected, expected_gradient = loss(at)
    assert value.dtype == gradient.dtype == np.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


def test_cross_entropy_is_minus_the_log_of_the_softmax(rng):
    z, labels = rng.normal(0, 3, (6, 4)), rng.integers(4, size=6)
    expected = np.mean(logsumexp(z, axis=1) - z[np.arange(6), labels])
    np.testing.assert_allclose(losses.cross_entropy(z, labels)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_at_a_thousand(dtype):
    z = np.array([[1000, -1000, 0], [-1000, 1000, 1000]], dtype)
    value, gradient = losses.cross_entropy(z, np.array([1, 1]))
    np.testing.assert_allclose(value, (2000 + np.log(2)) / 2, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[0.5, -0.5, 0], [0, -0.25, 0.25]], atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_node_entropy_is_the_entropy_of_the_choice(dtype, rng):
    z = rng.normal(0, 4, (5, 7)).astype(dtype)
    entropy = entr(expit(z.astype(np.float64))) + entr(expit(-z.astype(np.float64)))
    np.testing.assert_allclose(losses.node_entropy(z, "sum")[0], entropy.sum(), rtol=1e-5)
    np.testing.assert_allclose(losses.node_entropy(z, "mean")[0], entropy.mean(), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_node_entropy_at_a_thousand_and_at_zero(dtype):
    for z, expected in ((1000, 0), (-1000, 0), (0, np.log(2))):
        value, gradient = losses.node_entropy(np.full((1, 1), z, dtype), "sum")
        assert gradient == 0
        np.testing.assert_allclose(value, expected, rtol=1e-6)
    value, gradient = losses.node_entropy(np.array([[30.0, -30.0]], dtype), "sum")  # no cancellation in the tails
    np.testing.assert_allclose(value, 2 * 31 * np.exp(-30.0), rtol=1e-5)
    np.testing.assert_allclose(gradient, [[-30 * np.exp(-30.0), 30 * np.exp(-30.0)]], rtol=1e-5)


def test_sum_and_mean_differ_1792_fold_at_batch_256_and_7_nodes(rng):
    z = rng.standard_normal((256, 7))
    (total, dtotal), (mean, dmean) = losses.node_entropy(z, "sum"), losses.node_entropy(z, "mean")
    np.testing.assert_allclose(total / mean, 1792)
    np.testing.assert_allclose(dtotal, 1792 * dmean)


@pytest.mark.parametrize("balance", losses.BALANCES.values())
def test_balance_of_even_and_collapsed_leaves(balance):
    assert balance(np.full((6, 8), 1 / 8))[0] == 0
    assert balance(np.eye(8))[0] == 0  # each sample is decided, together they are even
    assert balance(np.tile(np.eye(8)[0], (6, 1)))[0] == 1
    assert balance(np.ones((6, 1)))[0] == 0  # one leaf is as even as it can be


def test_the_two_balances_agree_where_every_choice_is_hard_and_differ_in_their_gradient_where_it_is_soft(rng):
    hard = np.eye(4)[rng.integers(4, size=30)]
    np.testing.assert_allclose(losses.switch_balance(hard)[0], losses.leaf_balance(hard)[0])
    np.testing.assert_allclose(2 * losses.switch_balance(hard)[1], losses.leaf_balance(hard)[1])
    soft = np.tile([0.4, 0.3, 0.2, 0.1], (5, 1))  # all prefer the first
    np.testing.assert_allclose(losses.switch_balance(soft)[0], (4 * 0.4 - 1) / 3)
    np.testing.assert_allclose(losses.switch_balance(soft)[1], np.tile([4 / 15, 0, 0, 0], (5, 1)))


@pytest.mark.parametrize("name", ["cross-entropy", "mean squared error", "entropy, sum", "entropy, mean", "balance"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_empty_batch_costs_nothing(name, dtype):
    nothing = np.zeros((0, 4), dtype)
    value, gradient = {
        "cross-entropy": lambda: losses.cross_entropy(nothing, np.zeros(0, int)),
        "mean squared error": lambda: losses.mean_squared_error(nothing, nothing),
        "entropy, sum": lambda: losses.node_entropy(nothing, "sum"),
        "entropy, mean": lambda: losses.node_entropy(nothing, "mean"),
        "balance": lambda: losses.leaf_balance(nothing),
        "switch balance": lambda: losses.switch_balance(nothing),
    }[name]()
    assert value == 0 and value.dtype == dtype and gradient.shape == (0, 4) and gradient.dtype == dtype


def test_inputs_are_untouched(rng):
    for loss, at in cases(rng).values():
        at.setflags(write=False)
        loss(at)


Z = np.zeros((2, 3))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: losses.cross_entropy(Z, np.array([0, 3])), ValueError, "labels must lie in 0 to 2, got 3"),
        (lambda: losses.cross_entropy(Z, np.array([0, -1])), ValueError, "labels must lie in 0 to 2, got -1"),
        (lambda: losses.cross_entropy(Z, np.array([0])), ValueError, r"labels must have shape \(2,\)"),
        (lambda: losses.cross_entropy(Z, np.array([0.0, 1.0])), TypeError, "labels must be integers, got float64"),
        (lambda: losses.cross_entropy(Z.astype(int), np.array([0, 1])), TypeError, "logits must be a NumPy array"),
        (lambda: losses.cross_entropy([[0.0]], np.array([0])), TypeError, "logits must be a NumPy array .* got list"),
        (lambda: losses.mean_squared_error(Z, Z[:1]), ValueError, r"target must have shape \(2, 3\), got \(1, 3\)"),
        (lambda: losses.mean_squared_error(Z, Z.astype("f")), TypeError, "target must have .* float64, got float32"),
        (lambda: losses.node_entropy(Z, "max"), ValueError, "reduction must be one of 'sum', 'mean', got 'max'"),
        (lambda: losses.node_entropy(Z.astype(int), "sum"), TypeError, "logit must be a NumPy array"),
        (lambda: losses.leaf_balance(Z.astype(int)), TypeError, "mixture must be a NumPy array"),
        (lambda: losses.switch_balance(Z.astype(int)), TypeError, "mixture must be a NumPy array"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
