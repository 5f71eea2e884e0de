"""Noisy top-k mixture of experts: against plain loops, by hand, and its gradients away from ties."""

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fffref import DenseFF, MoE, algorithms, counting, datasets, gradcheck, training
from fffref.layers import gate
from fffref.layers.activations import ACTIVATIONS
from fffref.training import losses

LIMITS = {"complex": 1e-12, "central": 1e-6}
methods = pytest.mark.parametrize("method", LIMITS)


def make(rng, n_experts=4, k=2, width=3, activation="gelu", n_in=5, n_out=3):
    return cases.with_gate(MoE.init(rng, n_in, n_out, n_experts, width, k, activation, np.float64), rng)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.data())
def test_forward_is_the_papers_equations(seed, data):
    """Ties included: on small integers, scores are often equal."""
    rng = np.random.default_rng(seed)
    n_experts = data.draw(st.integers(1, 6), label="experts")
    k = data.draw(st.integers(1, n_experts), label="k")
    layer = make(rng, n_experts, k, activation=data.draw(st.sampled_from(tuple(ACTIVATIONS))))
    x = rng.standard_normal((data.draw(st.integers(0, 5), label="rows"), 5))
    if data.draw(st.booleans(), label="integers"):
        layer, x = layer.map(lambda array: rng.integers(-1, 2, array.shape).astype(float)), np.round(x)
    y, tape = layer.forward(x, np.random.default_rng(1))
    hard = layer.forward_hard(x)
    for b, row in enumerate(x):
        for found, noise in ((y[b], tape.noise[b]), (hard[b], None)):
            expected, gates, load = algorithms.MoE(row, layer, noise)
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)
            if noise is not None:
                np.testing.assert_allclose(tape.gates[b], gates, rtol=1e-11)
                np.testing.assert_allclose(tape.load[b], load, rtol=1e-9, atol=1e-15)
            else:
                assert sorted(layer.route(row)) == [i for i, gate in enumerate(gates) if gate > 0]


def test_the_gates_are_what_the_paper_says_of_them(rng):
    layer, x = make(rng, 6, 3), rng.standard_normal((50, 5))
    _, tape = layer.forward(x, rng)
    np.testing.assert_allclose(tape.gates.sum(1), 1, rtol=1e-12)
    assert ((tape.gates > 0).sum(1) == 3).all()
    best = np.sort(tape.score, axis=1)[:, -3:]
    np.testing.assert_array_equal(np.sort(np.where(tape.gates > 0, tape.score, -np.inf), axis=1)[:, -3:], best)


def test_route_names_the_experts_by_falling_gate(rng):
    layer, x = make(rng, 6, 3), rng.standard_normal((4, 7, 5))
    gates = layer.forward(x)[1].gates.reshape(4, 7, 6)
    route = layer.route(x)
    chosen = np.take_along_axis(gates, route, -1)
    assert route.shape == (4, 7, 3) and (chosen > 0).all() and (np.diff(chosen) <= 0).all()


def test_load_is_how_often_an_expert_is_chosen_when_its_own_noise_is_drawn_again(rng):
    layer, x = make(rng, 5, 2), rng.standard_normal((1, 5))
    _, tape = layer.forward(x, rng)
    sigma = gate.deviation(tape.noise_logit)[0]
    n = 40_000
    for i in range(5):
        score = np.tile(tape.score, (n, 1))
        score[:, i] = tape.clean[0, i] + sigma[i] * rng.standard_normal(n)
        share = (np.argsort(-score, axis=1)[:, :2] == i).any(1).mean()
        assert abs(share - tape.load[0, i]) < 5 * np.sqrt(0.25 / n)


def test_a_new_gate_leaves_the_choice_to_the_noise(rng):
    layer = MoE.init(rng, 5, 3, n_experts=8, expert_width=2, k=2)
    x = rng.standard_normal((4000, 5)).astype(np.float32)
    _, tape = layer.forward(x, rng)
    share = (tape.gates > 0).mean(0)
    np.testing.assert_allclose(share, 2 / 8, atol=5 * np.sqrt(0.25 / 4000))
    np.testing.assert_array_equal(layer.route(x), np.tile([0, 1], (4000, 1)))  # without noise, a tie


def test_one_expert_alone_is_a_dense_net(rng):
    layer, x, dy = make(rng, 1, 1), rng.standard_normal((6, 5)), rng.standard_normal((6, 3))
    names = ("in_weight", "in_bias", "out_weight", "out_bias")
    dense = DenseFF(**{name: getattr(layer, f"expert_{name}")[0] for name in names}, activation="gelu")
    (y, tape), (dense_y, dense_tape) = layer.forward(x, rng), dense.forward(x)
    np.testing.assert_allclose(y, dense_y, rtol=1e-12)
    (grads, dx), (dense_grads, dense_dx) = layer.backward(tape, dy), dense.backward(dense_tape, dy)
    np.testing.assert_allclose(dx, dense_dx, rtol=1e-12)
    for name in names:
        np.testing.assert_allclose(getattr(grads, f"expert_{name}")[0], getattr(dense_grads, name), rtol=1e-12)
    assert not grads.gate_weight.any() and not grads.noise_weight.any()


def test_sizes_are_counted(rng):
    layer = make(rng, 8, 2, width=3)
    assert (layer.n_experts, layer.neurons_stored, layer.neurons_engaged) == (8, 24, 6)
    count = counting.of(layer)
    assert (count.parameters, count.neurons_stored, count.neurons_engaged) == (layer.n_parameters, 24, 6)


def test_experts_that_nobody_chose_get_no_gradient(rng):
    layer, x = make(rng, 8, 1), rng.standard_normal((2, 5))
    y, tape = layer.forward(x)
    grads, _ = layer.backward(tape, y)
    idle = np.setdiff1d(np.arange(8), layer.route(x))
    assert len(idle) >= 6 and not grads.expert_in_weight[idle].any() and not grads.expert_out_bias[idle].any()


# ---------------------------------------------------------------------- gradients


@methods
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n_experts, k", [(1, 1), (2, 1), (4, 1), (4, 2), (5, 4), (3, 3)])
@pytest.mark.parametrize("noisy", [True, False])
def test_gradients(method, activation, n_experts, k, noisy, rng):
    """Of the output and of any further loss on gates and load; the seed is one without near ties."""
    layer = make(rng, n_experts, k, width=2, activation=activation, n_in=3, n_out=2)
    x, dy = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    dgates, dload = rng.standard_normal((2, 4, n_experts))

    def value(layer, x):
        y, tape = layer.forward(x, np.random.default_rng(1) if noisy else None)
        return (dy * y).sum() + (dgates * tape.gates).sum() + ((dload * tape.load).sum() if noisy else 0)

    _, tape = layer.forward(x, np.random.default_rng(1) if noisy else None)
    ordered = -np.sort(-tape.score, axis=1)
    assert k == n_experts or (ordered[:, k - 1] - ordered[:, k]).min() > 1e-3
    grads, dx = layer.backward(tape, dy, dgates, dload if noisy else None)
    for name, report in gradcheck.check_layer(value, layer, x, grads, dx, method).items():
        assert report.error <= LIMITS[method], f"{name}: {report}"
    if noisy and 1 < k < n_experts:
        assert np.abs(grads.noise_weight).max() > 1e-3  # there is something to check


@methods
def test_the_papers_objective(method, rng):
    """Cross-entropy, importance loss and load loss."""
    layer, x, labels = make(rng, 4, 2), rng.standard_normal((6, 5)), rng.integers(3, size=6)

    def value(layer, x):
        y, tape = layer.forward(x, np.random.default_rng(1))
        return losses.cross_entropy(y, labels)[0] + 0.1 * sum(
            losses.expert_balance(w)[0] for w in (tape.gates, tape.load)
        )

    y, tape = layer.forward(x, np.random.default_rng(1))
    _, dy = losses.cross_entropy(y, labels)
    grads, dx = layer.backward(tape, dy, *(0.1 * losses.expert_balance(w)[1] for w in (tape.gates, tape.load)))
    for name, report in gradcheck.check_layer(value, layer, x, grads, dx, method).items():
        assert report.error <= LIMITS[method], f"{name}: {report}"


@methods
def test_balance(method, rng):
    weight = rng.uniform(0, 1, (5, 4))
    gradcheck.check(
        lambda w: losses.expert_balance(w)[0], weight, losses.expert_balance(weight)[1], method=method
    ).expect()
    totals = weight.sum(0)
    np.testing.assert_allclose(losses.expert_balance(weight)[0], (totals.std() / totals.mean()) ** 2, rtol=1e-12)
    np.testing.assert_allclose(losses.expert_balance(7 * weight)[0], losses.expert_balance(weight)[0], rtol=1e-12)
    mixture = weight / weight.sum(1, keepdims=True)
    np.testing.assert_allclose(
        losses.expert_balance(mixture)[0], 3 * losses.leaf_balance(mixture)[0], rtol=1e-12
    )  # E - 1


def test_balance_by_hand():
    assert losses.expert_balance(np.ones((3, 4)))[0] == 0
    assert losses.expert_balance(np.eye(4)[[1, 1, 1]])[0] == 3  # all to one of four: E - 1
    value, gradient = losses.expert_balance(np.empty((0, 4)))
    assert value == 0 and gradient.shape == (0, 4)
    with pytest.raises(TypeError, match="weight must be"):
        losses.expert_balance([[1.0]])


def test_the_losses_spread_the_load(rng):
    """Gradient steps on the importance and load losses alone even out a gate that prefers one expert."""
    layer, x = make(rng, 4, 1), rng.standard_normal((200, 5))
    x[:, 0] = 1  # stands for a bias
    gate = layer.gate_weight.copy()
    gate[0, 0] += 3
    layer = MoE(**layer.arrays() | {"gate_weight": gate}, **layer.options())
    before = np.bincount(layer.route(x).ravel(), minlength=4) / 200
    for step in range(300):
        y, tape = layer.forward(x, np.random.default_rng(step))
        extras = (losses.expert_balance(w)[1] for w in (tape.gates, tape.load))
        layer = layer.map(lambda p, g: p - 0.5 * g, layer.backward(tape, np.zeros_like(y), *extras)[0])
    after = np.bincount(layer.route(x).ravel(), minlength=4) / 200
    assert before[0] > 0.95 and after.max() < 0.6


# ---------------------------------------------------------------------- extremes and refusals


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_extreme_scores_are_safe_in_float32(scale, rng):
    layer = make(rng, 4, 2).astype(np.float32)
    x, dy = scale * rng.standard_normal((20, 5)).astype(np.float32), rng.standard_normal((20, 3)).astype(np.float32)
    y, tape = layer.forward(x, rng)
    grads, dx = layer.backward(tape, dy, *(losses.expert_balance(w)[1] for w in (tape.gates, tape.load)))
    assert np.isfinite(y).all() and np.isfinite(dx).all()
    assert all(np.isfinite(gradient).all() for gradient in grads.arrays().values())


def test_noise_is_handed_in(rng):
    layer, x = make(rng), rng.standard_normal((50, 5))
    same = [layer.forward(x, np.random.default_rng(3))[0] for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(same[0], layer.forward(x, np.random.default_rng(4))[0])
    np.testing.assert_array_equal(layer.forward_hard(x), layer.forward(x)[0])


def test_bad_options_are_refused(rng):
    layer = make(rng)
    with pytest.raises(ValueError, match="k must be at most 4, got 5"):
        MoE.init(rng, 5, 3, 4, 2, k=5)
    with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator, got 0"):
        layer.forward(np.zeros((2, 5)), 0)
    y, tape = layer.forward(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="without noise there is no load"):
        layer.backward(tape, y, dload=np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"dgates must have shape \(2, 4\), got \(4,\)"):
        layer.backward(tape, y, dgates=np.zeros(4))
    y, tape = layer.forward(np.zeros((2, 5)), rng)
    with pytest.raises(TypeError, match="dload must have dtype float64, got float32"):
        layer.backward(tape, y, dload=np.zeros((2, 4), np.float32))


# ---------------------------------------------------------------------- training


@methods
@pytest.mark.parametrize("seed", [None, 1])
def test_the_training_objective(method, seed, rng):
    layer, x, labels = make(rng, 4, 2), rng.standard_normal((6, 5)), rng.integers(3, size=6)

    def objective(layer, x):
        noise = None if seed is None else np.random.default_rng(seed)
        return training.objective(layer, x, labels, training.Settings(balance_weight=0.3), noise, True)

    _, grads, dx = objective(layer, x)
    for name, report in gradcheck.check_layer(lambda *a: objective(*a)[0], layer, x, grads, dx, method).items():
        assert report.error <= LIMITS[method], f"{name}: {report}"


def test_training_learns_digits_and_uses_all_experts(rng):
    data = datasets.load("mnist-small")
    layer = MoE.init(rng, 784, 10, n_experts=8, expert_width=8, k=2)
    recipe = training.Recipe(epochs=3, balance_weight=0.1)
    task = training.Classification(data.x_train, data.y_train)
    layer, history = training.train(layer, task, recipe, seed=1, progress=False)
    result = training.evaluate(layer, data.x_test, data.y_test)
    assert result["hard_accuracy"] > 0.88 and result["leaves_used"] == 8 and result["soft_accuracy"] is None
    assert sum(result["leaf_share"]) == pytest.approx(2) and max(result["leaf_share"]) < 0.6
    assert history[-1]["leaves_used"] == 8
