"""Optimisers: textbook steps by hand, PyTorch as an optional oracle, and nothing changed in place."""

import cases
import numpy as np
import pytest

from fffref import PathFFF
from fffref.layers.record import Rows
from fffref.training.optim import SGD, Adam, Clipped

OPTIMIZERS = [SGD(), SGD(momentum=0.9), Adam(), Adam(beta1=0.5, beta2=0.9, epsilon=1e-3), Adam(weight_decay=0.1)]


def run(optimizer, layer, gradients, rates):
    """The layer after some steps."""
    state = optimizer.init(layer)
    for count, (grads, rate) in enumerate(zip(gradients, rates, strict=True)):
        layer, state = optimizer.step(layer, grads, state, count, rate)
    return layer


def test_sgd_with_momentum_by_hand(rng):
    layer = cases.make("DenseFF", rng)
    one, two = (layer.map(lambda a, g=g: np.full_like(a, g)) for g in (1.0, 2.0))
    after = run(SGD(momentum=0.5), layer, [one, two], [0.1, 0.1])
    for name, array in after.arrays().items():  # velocities 1 and 2.5
        np.testing.assert_allclose(array, getattr(layer, name) - 0.1 - 0.25, rtol=1e-12, atol=1e-14)


def test_the_first_step_of_adam_is_the_learning_rate_whatever_the_scale(rng):
    layer = cases.make("DenseFF", rng)
    for scale in (1e-3, 1.0, 1e3):
        grads = layer.map(lambda a, scale=scale: scale * np.sign(a))
        after = run(Adam(), layer, [grads], [0.01])
        for name, array in after.arrays().items():
            before = getattr(layer, name)
            np.testing.assert_allclose(array, before - 0.01 * np.sign(before), atol=1e-6)


def test_weight_decay_is_no_part_of_the_gradient(rng):
    layer = cases.make("DenseFF", rng)
    grads = layer.map(lambda a: np.where(rng.random(a.shape) < 0.5, 0, rng.standard_normal(a.shape)))
    plain, decayed = (run(Adam(weight_decay=w), layer, [grads] * 3, [0.0, 0.0, 0.1]) for w in (0.0, 0.5))
    for name, array in plain.arrays().items():  # one step counts: the others' rate is 0
        np.testing.assert_allclose(getattr(decayed, name), array - 0.1 * 0.5 * getattr(layer, name), atol=1e-14)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_steps_are_those_of_pytorch(optimizer, rng):
    torch = pytest.importorskip("torch")
    layer = cases.make("DenseFF", rng)
    gradients = [layer.map(lambda a: rng.standard_normal(a.shape)) for _ in range(5)]
    rates = [0.1, 0.2, 0.05, 0.1, 0.01]
    parameters = [torch.tensor(array) for array in layer.arrays().values()]
    if isinstance(optimizer, SGD):
        theirs = torch.optim.SGD(parameters, momentum=optimizer.momentum)
    else:
        options = {"betas": (optimizer.beta1, optimizer.beta2), "eps": optimizer.epsilon}
        theirs = torch.optim.AdamW(parameters, weight_decay=optimizer.weight_decay, **options)  # of 0, it is Adam
    for grads, rate in zip(gradients, rates, strict=True):
        theirs.param_groups[0]["lr"] = rate
        for parameter, gradient in zip(parameters, grads.arrays().values(), strict=True):
            parameter.grad = torch.tensor(gradient)
        theirs.step()
    ours = run(optimizer, layer, gradients, rates)
    for parameter, array in zip(parameters, ours.arrays().values(), strict=True):
        np.testing.assert_allclose(array, parameter.numpy(), rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("kind", cases.LAYERS)
def test_nothing_is_changed_and_the_dtype_stays(kind, optimizer, dtype, rng):
    layer = cases.make(kind, rng, dtype=dtype)
    state = optimizer.init(layer)
    for one in (layer, *state):
        for array in one.arrays().values():
            array.setflags(write=False)
    after, new_state = optimizer.step(layer, layer, state, 0, 0.1)
    assert after.dtype == dtype and all(one.dtype == dtype for one in new_state)
    assert len(new_state) == len(state) and after.options() == layer.options()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: SGD(momentum=1.0), r"momentum must lie in \[0, 1\), got 1.0"),
        (lambda: Adam(beta1=-0.1), "beta1 must lie in"),
        (lambda: Adam(beta2=1.0), "beta2 must lie in"),
        (lambda: Adam(epsilon=0.0), r"epsilon must lie in \(0, inf\)"),
        (lambda: Adam(weight_decay=-0.1), r"weight_decay must lie in \[0, inf\), got -0.1"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------------- rows


def some_rows(layer, rng, index):
    """A gradient that is zero but for some neurons of a `PathFFF`."""
    return layer.map(lambda a: Rows(index, rng.standard_normal((len(index), *a.shape[2:])), a.shape))


@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0.9)], ids=str)
def test_sgd_of_rows_is_exactly_that_of_the_dense_gradient(optimizer, rng):
    layer = cases.make("PathFFF", rng)
    gradients = [some_rows(layer, rng, np.array(index, np.intp)) for index in ([0, 5], [5, 6, 20], [], [1])]
    ours = run(optimizer, layer, gradients, [0.1] * 4)
    dense = run(optimizer, layer, [grads.dense() for grads in gradients], [0.1] * 4)
    for name, array in ours.arrays().items():
        np.testing.assert_array_equal(array, getattr(dense, name))
        assert not np.array_equal(array, getattr(layer, name))


def test_lazy_adam_is_adam_where_every_row_is_visited(rng):
    layer = cases.make("PathFFF", rng)
    gradients = [some_rows(layer, rng, np.arange(layer.neurons_stored)) for _ in range(3)]
    for optimizer in (Adam(), Adam(weight_decay=0.1)):
        ours = run(optimizer, layer, gradients, [0.1] * 3)
        dense = run(optimizer, layer, [grads.dense() for grads in gradients], [0.1] * 3)
        for name, array in ours.arrays().items():
            np.testing.assert_array_equal(array, getattr(dense, name))


def test_lazy_adam_touches_no_other_row_and_goes_on_where_a_row_left_off(rng):
    layer = cases.make("PathFFF", rng)
    adam, first, other = (
        Adam(weight_decay=0.1),
        some_rows(layer, rng, np.array([3])),
        some_rows(layer, rng, np.array([4])),
    )
    one, state = adam.step(layer, first, adam.init(layer), 0, 0.1)
    two, state_two = adam.step(one, other, state, 1, 0.1)
    lazy, _ = adam.step(two, first, state_two, 2, 0.1)
    for name in layer.arrays():
        rows = [getattr(record, name).reshape(layer.neurons_stored, -1) for record in (layer, one, two, lazy)]
        np.testing.assert_array_equal(np.delete(rows[3], [3, 4], 0), np.delete(rows[0], [3, 4], 0))
        np.testing.assert_array_equal(rows[2][3], rows[1][3])  # the dense Adam would have moved it by its old moments
        np.testing.assert_array_equal(
            getattr(state_two[0], name).reshape(layer.neurons_stored, -1)[3],
            getattr(state[0], name).reshape(layer.neurons_stored, -1)[3],
        )
        # by hand: the gradient is the same g twice, the count is 3, so m = (1 - 0.9^2) g, v = (1 - 0.999^2) g^2
        g = getattr(first, name).values.reshape(1, -1)
        step = (1 - 0.9**2) / (1 - 0.9**3) * g / (np.sqrt((1 - 0.999**2) / (1 - 0.999**3)) * np.abs(g) + 1e-8)
        np.testing.assert_allclose(rows[3][[3]], 0.99 * rows[2][[3]] - 0.1 * step, rtol=1e-10)


def test_update_in_place_is_step(rng):
    layer = cases.make("DenseFF", rng, n_in=200, width=300)  # more than a block
    gradients = [layer.map(lambda a: rng.standard_normal(a.shape)) for _ in range(3)]
    for optimizer in OPTIMIZERS:
        expected, moved = run(optimizer, layer, gradients, [0.1] * 3), layer.map(np.copy)
        state = optimizer.init(moved)
        for count, grads in enumerate(gradients):
            optimizer.update(moved, grads, state, count, 0.1)
        for name, array in moved.arrays().items():
            np.testing.assert_array_equal(array, getattr(expected, name))


@pytest.mark.parametrize("optimizer", [SGD(), Adam()], ids=str)
def test_unfit_gradients_and_rates_are_refused(optimizer, rng):
    layer = cases.make("DenseFF", rng, dtype=np.float32)
    state = optimizer.init(layer)
    with pytest.raises(TypeError, match="gradient of in_weight must have dtype float32, got float64"):
        optimizer.step(layer, layer.astype(np.float64), state, 0, 0.1)
    with pytest.raises(ValueError, match=r"gradient of in_weight must have shape \(3, 5\), got \(4, 5\)"):
        optimizer.step(layer, cases.make("DenseFF", rng, width=4, dtype=np.float32), state, 0, 0.1)
    for rate, kind in ((-0.1, ValueError), (np.nan, ValueError), (np.inf, ValueError), ("0.1", TypeError)):
        with pytest.raises(kind, match="learning_rate must"):
            optimizer.step(layer, layer, state, 0, rate)


def test_long_gradients_are_shortened_and_short_ones_left_alone(rng):
    layer = cases.make("PathFFF", rng)
    grads = some_rows(layer, rng, np.array([0, 5]))
    norm = np.sqrt(sum((array**2).sum() for array in grads.dense().arrays().values()))
    for length, factor in ((norm / 3, 1 / 3), (2 * norm, 1)):
        clipped = Clipped(SGD(), length)
        for given in (grads, grads.dense()):
            after, _ = clipped.step(layer, given, clipped.init(layer), 0, 0.1)
            moved = layer.map(np.copy)
            clipped.update(moved, given, (), 0, 0.1)
            for name, array in after.arrays().items():
                expected = getattr(layer, name) - 0.1 * factor * getattr(grads.dense(), name)
                np.testing.assert_allclose(array, expected, rtol=1e-10, atol=1e-14)
                np.testing.assert_array_equal(array, getattr(moved, name))
    broken = layer.map(lambda a: np.full_like(a, np.nan))
    assert Clipped(SGD()).clipped(broken) is broken
    with pytest.raises(ValueError, match=r"length must lie in \(0, inf\)"):
        Clipped(SGD(), 0.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", [SGD(), SGD(0.9), Adam(), Adam(0.8, 0.99, 1e-6, 0.1)], ids=str)
@pytest.mark.parametrize("shape", [(37, 5), (37, 64), (3, 37, 130), (37,), (2, 37)], ids=str)
def test_compiled_steps_at_rows_have_the_same_bits(dtype, optimizer, shape, rng):
    from fffref.training import compiled_steps, optim  # noqa: F401 (the first registers)

    lead, tail = (shape[:-1], shape[-1:]) if shape[-1] not in (37,) else (shape, ())
    index = np.sort(rng.choice(np.prod(lead), 20, replace=False))
    gradient = Rows(index, rng.standard_normal((20, *tail)).astype(dtype), shape)
    arrays = [rng.standard_normal(shape).astype(dtype) ** (2 if i == 2 else 1) for i in range(3)]
    n_moments = len(optimizer.init(PathFFF.init(rng, 2, 2, 1)))
    mine, theirs = ([a.copy() for a in arrays[: 1 + n_moments]] for _ in range(2))
    constants = optimizer._constants(np.dtype(dtype).type, 7, 0.01)
    assert optim.move_rows.dispatch(type(optimizer)) is not optim.move_rows_by_blocks
    optim.move_rows(optimizer, mine[0], gradient, mine[1:], constants)
    optim.move_rows_by_blocks(optimizer, theirs[0], gradient, theirs[1:], constants)
    for one, other, before in zip(mine, theirs, arrays, strict=False):
        np.testing.assert_array_equal(one, other)
        moved = (one != before).reshape(np.prod(lead), -1).any(1)
        np.testing.assert_array_equal(np.flatnonzero(moved), index)
    mine, theirs = ([a.copy() for a in arrays[: 1 + n_moments]] for _ in range(2))
    optim.move_array(optimizer, mine[0], gradient.dense(), mine[1:], constants)
    optim.move_array_by_blocks(optimizer, theirs[0], gradient.dense(), theirs[1:], constants)
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_compiled_steps_leave_what_they_cannot_take_to_the_reference(rng):
    from fffref.training import compiled_steps, optim  # noqa: F401

    gradient = Rows(np.array([1, 4]), rng.standard_normal((2, 5)), (9, 5))
    for optimizer in (SGD(), Adam()):
        moments = [np.zeros((5, 9)).T for _ in optimizer.init(PathFFF.init(rng, 2, 2, 1))]
        whole, expected = np.ones((5, 9)).T, np.ones((9, 5))  # strided, and C order
        constants = optimizer._constants(np.float64, 0, 0.1)
        optim.move_rows(optimizer, whole, gradient, moments, constants)
        optim.move_rows_by_blocks(optimizer, expected, gradient, [np.zeros((9, 5)) for _ in moments], constants)
        np.testing.assert_array_equal(whole, expected)
