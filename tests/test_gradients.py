"""Every gradient of every layer, every combination of options: complex step to 1e-12, central differences to 1e-6."""

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fffref import gradcheck, training
from fffref.layers.activations import ACTIVATIONS
from fffref.layers.choices import Choices, mix
from fffref.training import losses

LIMITS = {"complex": 1e-12, "central": 1e-6}  # the promise, whatever gradcheck's own tolerances are
ROUNDING = 32 * np.finfo(float).eps  # of sums of terms of order 1: where random ones cancel, it is all there is
methods = pytest.mark.parametrize("method", LIMITS)
depths = pytest.mark.parametrize("depth", range(6))
activation_names = pytest.mark.parametrize("activation", ACTIVATIONS)


def verify(value, layer, x, grads, dx, method, rounding=0.0):
    """Hold all fields and x against the limits; a difference that is no more than rounding is none."""
    for name, report in gradcheck.check_layer(value, layer, x, grads, dx, method).items():
        agrees = abs(report.claimed - report.numeric) <= rounding
        assert report.error <= LIMITS[method] or agrees, f"{name}: {report}"


def no_extras(tape, rng):
    """The output alone."""
    return 0, {}


def linear_extras(tape, rng):
    """Random weights on logits, choices and mixture: each of backward's further gradients by itself."""
    value, gradients = 0, {}
    for name in ("logit", "choice", "mixture"):
        array = getattr(tape, name)
        gradients[f"d{name}"] = rng.standard_normal(array.shape)
        value = value + (gradients[f"d{name}"] * array).sum()
    return value, gradients


def entropy_and_balance(tape, rng):
    """The hardening loss and the leaf balance."""
    entropy, dlogit = losses.node_entropy(tape.logit, "mean")
    balance, dmixture = losses.leaf_balance(tape.mixture)
    return 0.7 * entropy + 0.3 * balance, {"dlogit": 0.7 * dlogit, "dmixture": 0.3 * dmixture}


@methods
@depths
@activation_names
@pytest.mark.parametrize("temperature", [0.4, 3.0])
@pytest.mark.parametrize("transpose_prob", [0.0, 0.5])
@pytest.mark.parametrize("noise", [0.0, 0.8])
@pytest.mark.parametrize("extras", [no_extras, linear_extras, entropy_and_balance])
@pytest.mark.parametrize("smooth_step", [False, True])
def test_leaf_fff(method, depth, activation, temperature, transpose_prob, noise, smooth_step, extras, rng):
    layer = cases.make("LeafFFF", rng, n_in=3, n_out=2, depth=depth, width=2, activation=activation)
    x, dy = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))

    def forward(layer, x):  # the same transpositions, noise and weights at each call
        choices = Choices(temperature, noise, smooth_step=smooth_step, transpose_prob=transpose_prob)
        y, tape = layer.forward(x, choices, np.random.default_rng(1))
        extra, gradients = extras(tape, np.random.default_rng(2))
        return (dy * y).sum() + extra, tape, gradients

    _, tape, gradients = forward(layer, x)
    grads, dx = layer.backward(tape, dy, **gradients)
    verify(lambda layer, x: forward(layer, x)[0], layer, x, grads, dx, method)


@methods
@depths
@activation_names
@pytest.mark.parametrize("n_trees", [1, 3])
def test_path_fff(method, depth, activation, n_trees, rng):
    layer = cases.make("PathFFF", rng, n_in=3, n_out=2, depth=depth, width=n_trees, activation=activation)
    x, dy = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    grads, dx = layer.backward(layer.forward(x)[1], dy)
    verify(lambda layer, x: (dy * layer.forward(x)[0]).sum(), layer, x, grads, dx, method)


@methods
@activation_names
@pytest.mark.parametrize("width", [1, 7])
def test_dense_ff(method, activation, width, rng):
    layer = cases.make("DenseFF", rng, width=width, activation=activation)
    x, dy = rng.standard_normal((4, 5)), rng.standard_normal((4, 3))
    grads, dx = layer.backward(layer.forward(x)[1], dy)
    verify(lambda layer, x: (dy * layer.forward(x)[0]).sum(), layer, x, grads, dx, method)


@methods
@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("reduction", losses.REDUCTIONS)
@pytest.mark.parametrize("balance", losses.BALANCES)
@pytest.mark.parametrize("smooth_step", [False, True])
def test_the_training_objective(method, kind, reduction, balance, smooth_step, rng):
    layer = cases.make(kind, rng, depth=3)
    x, labels = rng.standard_normal((6, 5)), rng.integers(3, size=6)
    choices = Choices(temperature=0.6, smooth_step=smooth_step)
    settings = training.Settings(0.0, choices, 0.5, reduction, 0.3, balance)
    _, grads, dx = training.objective(layer, x, labels, settings, input_gradient=True)
    verify(lambda layer, x: training.objective(layer, x, labels, settings)[0], layer, x, grads, dx, method)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(cases.KINDS), st.integers(0, 2**32 - 1), st.data())
def test_random_shapes(kind, seed, data):
    """Smooth activations only: with random shapes, some sample comes near a kink of relu sooner or later."""
    rng = np.random.default_rng(seed)
    sizes = {name: data.draw(st.integers(1, 5), label=name) for name in ("n_in", "n_out", "width")}
    activation = data.draw(st.sampled_from(["gelu", "tanh", "identity"]))
    lead = data.draw(st.sampled_from([(), (1,), (0,), (3,), (2, 2)]))
    layer = cases.make(kind, rng, depth=data.draw(st.integers(0, 4)), activation=activation, **sizes)
    x, dy = rng.standard_normal((*lead, layer.n_in)), rng.standard_normal((*lead, layer.n_out))
    grads, dx = layer.backward(layer.forward(x)[1], dy)
    verify(lambda layer, x: (dy * layer.forward(x)[0]).sum(), layer, x, grads, dx, "complex", ROUNDING)


@pytest.mark.parametrize("transpose_prob", [0.0, 0.5])
def test_straight_through_differentiates_the_output_at_rounded_choices_by_the_soft_ones(transpose_prob, rng):
    """d output / d choice at the rounded choices, times d sigmoid / d logit at the soft ones."""
    layer = cases.make("LeafFFF", rng, depth=3)
    x, dy = rng.standard_normal((6, 5)), rng.standard_normal((6, 3))
    choices = Choices(0.6, transpose_prob=transpose_prob, straight_through=True)
    _, tape = layer.forward(x, choices, rng)
    grads, _ = layer.backward(tape, dy)
    leaves = np.stack([
        tape.hidden[:, j] @ layer.leaf_out_weight[j] + layer.leaf_out_bias[j] for j in range(8)
    ], axis=1)  # fmt: skip

    def value(choice):
        return (dy * (mix(choice, 1 - choice)[:, :, None] * leaves).sum(1)).sum()

    slope = gradcheck.numeric_gradient(value, tape.right, "complex")
    dnode = slope * tape.choice * (1 - tape.choice) * tape.scale
    np.testing.assert_allclose(grads.node_bias, dnode.sum(0), rtol=1e-11)
    np.testing.assert_allclose(grads.node_weight, dnode.T @ x, rtol=1e-11)
    assert np.abs(grads.node_weight).max() > 1e-3


def test_straight_through_gradients_of_the_leaves_are_exact(rng):
    layer = cases.make("LeafFFF", rng, depth=3)
    x, dy = rng.standard_normal((6, 5)), rng.standard_normal((6, 3))
    grads, _ = layer.backward(layer.forward(x, Choices(straight_through=True))[1], dy)
    reports = gradcheck.check_layer(
        lambda layer, x: (dy * layer.forward(x, Choices(straight_through=True))[0]).sum(),
        layer,
        x,
        grads,
        None,
        "complex",
    )
    for name, report in reports.items():
        assert name.startswith("node") or report.error <= 1e-12, f"{name}: {report}"
