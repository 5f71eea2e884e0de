"""The checker itself: it accepts what is right, refuses what is 0.05 % wrong, and says where and why."""

from dataclasses import replace

import numpy as np
import pytest

from fffref import DenseFF, LeafFFF, gradcheck, training
from fffref.training import losses


def cubes(x):
    return (x**3).sum()


@pytest.mark.parametrize("method", gradcheck.METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (3, 2), (2, 1, 3), (0,), (2, 0)])
def test_a_right_gradient_passes(method, dtype, shape, rng):
    x = np.asarray(rng.uniform(0.5, 2, shape), dtype)
    assert gradcheck.check(cubes, x, np.asarray(3 * x**2, dtype), method=method).passed


@pytest.mark.parametrize("method", gradcheck.METHODS)
def test_a_gradient_that_is_wrong_by_one_in_two_thousand_fails(method, rng):
    x = rng.uniform(0.5, 2, (3, 4))
    wrong = 3 * x**2 * 1.0005
    assert not gradcheck.check(cubes, x, wrong, method=method).passed
    assert not gradcheck.check_projection(cubes, x, wrong, rng, method=method).passed


@pytest.mark.parametrize("method", gradcheck.METHODS)
@pytest.mark.parametrize("spoil", [np.zeros_like, np.flip, np.negative, lambda g: g + np.nan], ids=["zeros", "flip", "negative", "nan"])
def test_zeros_shuffles_signs_and_nans_fail(method, spoil, rng):
    x = rng.uniform(0.5, 2, 7)
    assert not gradcheck.check(cubes, x, spoil(3 * x**2), method=method).passed
    assert not gradcheck.check_projection(cubes, x, spoil(3 * x**2), rng, method=method).passed


def test_the_report_names_the_worst_entry_its_index_and_both_values():
    x = np.arange(1.0, 7.0).reshape(2, 3)
    wrong = 3 * x**2
    wrong[1, 2] += 1
    report = gradcheck.check(cubes, x, wrong)
    assert report.index == (1, 2) and report.claimed == 109 and report.numeric == pytest.approx(108)
    assert "[1, 2]" in str(report) and "109" in str(report) and "WRONG" in str(report)
    with pytest.raises(AssertionError, match=r"claimed 109"):
        report.expect()
    gradcheck.check(cubes, x, 3 * x**2).expect()


def test_an_array_valued_function_takes_the_gradient_of_its_output(rng):
    A, x, dy = rng.standard_normal((3, 4)), rng.standard_normal(4), rng.standard_normal(3)
    for method in gradcheck.METHODS:
        assert gradcheck.check(lambda x: A @ x, x, dy @ A, dy, method).passed
        assert not gradcheck.check(lambda x: A @ x, x, A.sum(0), dy, method).passed


@pytest.mark.parametrize("evaluations, method", [(30, "central"), (30, "complex")])
def test_a_projection_costs_thirty_evaluations_at_most_however_large_x_is(evaluations, method, rng):
    calls = []
    x = rng.uniform(0.5, 2, 1000)

    def f(x):
        calls.append(1)
        return cubes(x)

    assert gradcheck.check_projection(f, x, 3 * x**2, rng, method=method).passed
    assert len(calls) <= evaluations


def test_a_kink_and_a_jump_are_told_apart_from_a_wrong_gradient():
    x = np.array([1.0, 0.0, -1.0])
    kink = gradcheck.check(lambda x: np.where(x > 0, x, 0).sum(), x, np.array([1.0, 1, 0]))
    jump = gradcheck.check(lambda x: np.where(x > 0, x + 1, x).sum(), x, np.ones(3))
    wrong = gradcheck.check(lambda x: (x**2).sum(), x, 2 * x + 1)
    assert kink.verdict == "cannot be resolved" and "kink" in kink.warnings[0] and "[1]" in kink.warnings[0]
    assert jump.verdict == "cannot be resolved" and "jump (decision boundary)" in jump.warnings[0]
    assert not wrong.passed and not wrong.warnings


def test_check_layer_finds_the_one_field_that_is_wrong(rng):
    layer = LeafFFF.init(rng, 3, 2, 2, 2, activation="tanh", dtype=np.float64)
    x, labels = rng.standard_normal((5, 3)), rng.integers(2, size=5)

    def value(layer, x):
        return training.objective(layer, x, labels)[0]

    _, grads, dx = training.objective(layer, x, labels, input_gradient=True)
    spoilt = replace(grads, node_bias=-grads.node_bias)
    for method in gradcheck.METHODS:
        assert all(r.passed for r in gradcheck.check_layer(value, layer, x, grads, dx, method).values())
        reports = gradcheck.check_layer(value, layer, x, spoilt, dx, method)
        assert [name for name, report in reports.items() if not report.passed] == ["node_bias"]


def test_a_float32_layer_can_be_checked_as_it_is(rng):
    layer = DenseFF.init(rng, 3, 2, 4, activation="tanh")
    x = rng.standard_normal((5, 3)).astype(np.float32)
    y, tape = layer.forward(x)
    grads, dx = layer.backward(tape, losses.mean_squared_error(y, np.zeros_like(y))[1])

    def value(layer, x):
        y = layer.forward(x)[0]
        return losses.mean_squared_error(y, np.zeros_like(y))[0]

    for method in gradcheck.METHODS:
        assert all(r.passed for r in gradcheck.check_layer(value, layer, x, grads, dx, method).values())


def test_the_error_of_differences_is_a_v_and_that_of_complex_steps_is_flat(rng):
    x = rng.uniform(0.5, 2, 6)
    steps = [1e-1, 1e-5, 1e-12]
    central = gradcheck.error_versus_step(cubes, x, 3 * x**2, steps)[:, -1]
    complex_step = gradcheck.error_versus_step(cubes, x, 3 * x**2, [1e-10, 1e-20, 1e-30], "complex")
    assert central[1] < 1e-3 * central[0] and central[1] < 1e-3 * central[2]
    assert complex_step.max() < 1e-15
    assert np.all(np.diff(complex_step, axis=1) >= 0)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda x: gradcheck.check(cubes, x, x, method="forward"), ValueError, "method must be one of"),
        (lambda x: gradcheck.check(cubes, x, x[:2]), ValueError, r"shape of x, \(3,\), got \(2,\)"),
        (lambda x: gradcheck.check(cubes, x.astype(int), x), TypeError, "x must be float32 or float64, got int64"),
        (lambda x: gradcheck.check(lambda x: x, x, x), ValueError, "pass dy"),
        (lambda x: gradcheck.check(lambda x: np.abs(x).sum(), x, x, method="complex"), ValueError, "dropped the imag"),
        (lambda x: gradcheck.check_projection(cubes, x, x, rng=0), TypeError, "default_rng"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(np.arange(3.0))
