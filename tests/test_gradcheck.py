"""The checker itself: it accepts what is right, refuses what is 0.05 % wrong, and says where and why."""

import importlib
import math
import pathlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fffref import DenseFF, LeafFFF, gradcheck, probes, training
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
@pytest.mark.parametrize(
    "spoil", [np.zeros_like, np.flip, np.negative, lambda g: g + np.nan], ids=["zeros", "flip", "negative", "nan"]
)
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


def softmax(z):
    e = np.exp(z - z.real.max())
    return e / e.sum()


def layer_norm(z):
    d = z - z.mean(0)
    return d / np.sqrt((d * d).mean(0) + 1e-5)


@pytest.mark.parametrize("method", gradcheck.METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "f", [lambda z: softmax(z).sum(), lambda z: layer_norm(z).sum()], ids=["softmax", "layer norm"]
)
def test_a_gradient_of_zero_is_right_where_f_is_a_sum_that_stands_still(f, dtype, method, rng):
    x = rng.standard_normal((6, 3)).astype(dtype)
    for claim in (np.zeros_like(x), np.full_like(x, 1e-17)):
        report = gradcheck.check(f, x, claim, method=method)
        assert report.passed and not report.warnings, report
    assert gradcheck.check(f, x, np.full_like(x, 1e-2), method=method).wrong == x.size


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 1e3, 1e8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_are_relative_to_the_entries(scale, dtype, rng):
    x = (scale * rng.uniform(1, 2, 5)).astype(dtype)
    for gradient, passes in ((1 / x, True), ((1.0005 if dtype == np.float64 else 1.01) / x, False), (0 / x, False)):
        for report in (
            gradcheck.check(lambda z: np.log(z).sum(), x, gradient),
            gradcheck.check_projection(lambda z: np.log(z).sum(), x, gradient, rng),
        ):
            assert report.passed is passes, report


def test_a_step_below_rounding_is_no_proof_that_f_stands_still(rng):
    x = np.linspace(3.0e5, 3.2e5, 50).astype(np.float32)
    for passes, claim in ((False, np.zeros_like(x)), (True, 2 * x / 50)):
        assert gradcheck.check_projection(lambda z: (z * z).mean(), x, claim, rng).passed is passes


def test_two_exchanged_entries_are_found_by_every_seed():
    x = np.arange(1.0, 8.0)
    claim = (3 * x**2)[[1, 0, 2, 3, 4, 5, 6]]
    assert not any(gradcheck.check_projection(cubes, x, claim, np.random.default_rng(s)).passed for s in range(100))


def test_a_small_entry_does_not_hide_behind_a_large_one(rng):
    f, x = lambda z: 1e3 * z[0] ** 4 + z[1] ** 2, np.array([10.0, 1e-3])
    assert gradcheck.check(f, x, np.array([4e6, 2e-3])).passed
    report = gradcheck.check(f, x, np.array([4e6, -2e-3]))
    assert report.wrong == 1 and report.index == (1,) and report.worst["agrees"][0] == (0,)
    assert not gradcheck.check_projection(f, x, np.array([4e6, -2e-3]), rng).passed


def test_dy_has_the_shape_of_the_value(rng):
    x, dy = np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0])
    column = lambda z: z[:, None] ** 2  # noqa: E731
    assert gradcheck.check(column, x, 2 * x * dy, dy[:, None]).passed
    for wrong in (dy, np.ones((2, 3)), np.float64(1)):
        with pytest.raises(ValueError, match=r"dy must have the shape of f's value, \(3, 1\), got"):
            gradcheck.check(column, x, 2 * x * dy.sum(), wrong)
        with pytest.raises(ValueError, match="dy must have the shape"):
            gradcheck.check_projection(column, x, 2 * x, rng, wrong)


MATRIX = np.array([[2.0, 1.0], [1.0, 3.0]])
NOT_ANALYTIC = {
    "abs": (lambda z: (z * np.abs(z)).sum(), lambda v: 2 * np.abs(v), np.abs),
    "conj": (lambda z: z.conj() @ MATRIX @ z, lambda v: 2 * MATRIX @ v, np.zeros_like),
    "vdot": (lambda z: np.vdot(z, z) + 0j, lambda v: 2 * v, np.zeros_like),
    "norm": (lambda z: z.sum() * np.linalg.norm(z), None, lambda v: np.full(2, np.linalg.norm(v))),
    "real": (lambda z: (z * z.real).sum(), lambda v: 2 * v, np.copy),
}


@pytest.mark.parametrize("name", NOT_ANALYTIC)
def test_a_complex_step_through_a_function_that_is_not_analytic_is_not_believed(name):
    f, right, wrong = NOT_ANALYTIC[name]
    v = np.array([0.5, -1.0])
    claim = right(v) if right else np.linalg.norm(v) + v.sum() * v / np.linalg.norm(v)
    report = gradcheck.check(f, v, claim, method="complex")
    assert report.passed and "not analytic" in report.warnings[0]
    assert gradcheck.check(f, v, wrong(v), method="complex").wrong > 0


def test_two_complex_steps_have_to_agree():
    def f(z):  # right to 1e-14 at real arguments and steps above 1e-20, as some library functions are
        return (np.sin(z) * np.where(np.abs(z.imag) < 1e-20, z.real + 2j * z.imag, z)).sum()

    x = np.array([0.5, 1.5])
    assert gradcheck.check(f, x, np.sin(x) + x * np.cos(x), method="complex").passed


def test_the_v_curve_goes_to_its_end(rng):
    x = np.array([1.0])
    errors = gradcheck.error_versus_step(lambda z: np.exp(z).sum(), x, np.exp(x), 0.5 ** np.arange(1, 60))
    assert errors[-1, 0] == 1 and errors.min() < 1e-9
    for step in (1e-17, 0.0, -1e-3, float("nan")):
        with pytest.raises(ValueError, match=r"does not move x|step must lie in"):
            gradcheck.check(cubes, x, 3 * x**2, step=step)
    assert gradcheck.check(cubes, x, 3 * x**2, step=1e-2).passed
    assert not gradcheck.check(cubes, x, 3.001 * x**2, step=1e-2).passed


def test_numeric_gradient_refuses_and_accepts_what_check_does():
    np.testing.assert_allclose(gradcheck.numeric_gradient(cubes, [1.0, 2.0, 3.0]), [3, 12, 27], rtol=1e-10)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        gradcheck.numeric_gradient(cubes, np.array([1, 2]))
    with pytest.raises(ValueError, match="method must be one of"):
        gradcheck.numeric_gradient(cubes, [1.0], method="forward")


@pytest.mark.parametrize(
    "value", [lambda y: y.sum(keepdims=True), lambda y: int(2**20 * y.sum()), lambda y: np.float32(y.sum())]
)
def test_f_may_return_one_number_in_any_form(value):
    x = np.array([1.0, 2.0])
    assert gradcheck.check(lambda z: value(z**2), x, 2 * x if value(x).__class__ is not int else 2**21 * x).wrong == 0


def test_f_may_work_in_place(rng):
    x = np.array([1.0, 2.0, 3.0])
    kept = x.copy()

    def f(z):
        z -= 1.0
        return np.exp(z).sum()

    for claim in (np.exp(x - 1), np.ones(3)):
        for method in gradcheck.METHODS:
            gradcheck.check(f, x, claim, method=method)
        gradcheck.check_projection(f, x, claim, rng)
        gradcheck.numeric_gradient(f, x)
        np.testing.assert_array_equal(x, kept)
    x.setflags(write=False)
    assert gradcheck.check(f, x, np.exp(x - 1)).passed


def test_what_happened_is_said_and_only_that(rng):
    x = np.array([1.0, 2.0])
    dropout = gradcheck.check(lambda z: (z * rng.random(2)).sum(), x, x)
    assert dropout.unresolved == 2 and "random" in dropout.warnings[0]
    infinite = gradcheck.check(lambda z: np.log(z - 1).sum(), x, x)
    assert infinite.verdict == "cannot be resolved" and "not finite" in infinite.warnings[0]
    edge = gradcheck.check(lambda z: np.sqrt(z - 1).sum(), x, np.array([0, 0.5]))
    assert edge.unresolved == 1 and edge.index == (0,) and "both sides" in edge.warnings[0]
    for f, gradient in ((lambda z: np.abs(z).sum(), np.sign), (lambda z: np.maximum(z, 0).sum(), np.heaviside)):
        near = np.array([1e-7, -1e-7, 1e-12, 3.0])
        claim = gradient(near) if gradient is np.sign else gradient(near, 0.0)
        assert gradcheck.check(f, near, claim).passed
        assert not gradcheck.check(f, near, -claim).passed


def test_on_a_kink_the_slopes_between_cannot_be_resolved_and_others_are_wrong():
    x = np.zeros(1)
    for claim, verdict in (
        (0.0, "cannot be resolved"),
        (1.0, "cannot be resolved"),
        (0.5, "cannot be resolved"),
        (-1.0, "wrong"),
    ):
        assert gradcheck.check(lambda z: np.maximum(z, 0).sum(), x, np.array([claim])).verdict == verdict


def test_a_math_function_may_refuse_points_outside_its_domain():
    x = np.array([1e-3])
    assert gradcheck.check(lambda z: math.log(z[0]), x, 1 / x, step=0.5).passed


def test_layers_may_nest(rng):
    class Pair:
        """A record of two layers, as far as the check needs to know."""

        def __init__(self, left, right):
            self.left, self.right, self.dtype = left, right, left.dtype

        def arrays(self):
            sides = {"left": self.left, "right": self.right}
            return {f"{side}.{name}": array for side, layer in sides.items() for name, array in layer.arrays().items()}

        def map(self, function):
            return Pair(self.left.map(function), self.right.map(function))

        def astype(self, dtype):
            return Pair(self.left.astype(dtype), self.right.astype(dtype))

    pair = Pair(*(DenseFF.init(rng, 3, 3, 2, activation="tanh", dtype=np.float64) for _ in range(2)))
    x, dy = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    middle, left = pair.left.forward(x)
    _, right = pair.right.forward(middle)
    dright, dmiddle = pair.right.backward(right, dy)
    dleft, dx = pair.left.backward(left, dmiddle)

    def value(pair, x):
        return (dy * pair.right.forward(pair.left.forward(x)[0])[0]).sum()

    for method in gradcheck.METHODS:
        reports = gradcheck.check_layer(value, pair, x, Pair(dleft, dright), dx, method)
        assert set(reports) == {*pair.arrays(), "x"} and all(report.passed for report in reports.values())
        spoilt = Pair(replace(dleft, in_bias=2 * dleft.in_bias), dright)
        wrong = [n for n, r in gradcheck.check_layer(value, pair, x, spoilt, dx, method).items() if not r.passed]
        assert wrong == ["left.in_bias"]


def test_error_bars_hold_and_are_short(rng):
    x = rng.standard_normal(6)
    gradient, bars = gradcheck.numeric_gradient(lambda z: np.exp(np.sin(z)).sum(), x, bars=True)
    exact = np.cos(x) * np.exp(np.sin(x))
    assert np.all(np.abs(gradient - exact) <= bars) and bars.max() < 1e-8


FUNCTIONS = [np.sin, np.tanh, lambda z: z * z, lambda z: 1 / (1 + z * z), lambda z: np.exp(np.sin(z)), np.arctan]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]), st.integers(-6, 6))
def test_right_gradients_of_random_functions_are_never_wrong_and_faults_above_the_bar_always_are(seed, dtype, power):
    rng = np.random.default_rng(seed)
    inner, outer = (FUNCTIONS[i] for i in rng.integers(len(FUNCTIONS), size=2))
    weight, scale = rng.standard_normal((4, 3)), 10.0**power
    x = (scale * rng.standard_normal(3)).astype(dtype)

    def f(z):
        real = z.real.dtype.type
        return outer(weight.astype(real) @ inner(z / real(scale))).sum()

    gradient = gradcheck.numeric_gradient(f, x.astype(np.float64), "complex").astype(dtype)
    report = gradcheck.check(f, x, gradient)
    assert report.passed, report
    _, bars = gradcheck.numeric_gradient(f, x, bars=True)
    tolerance = report.tolerance + probes.ENOUGH[float(np.finfo(dtype).eps)]
    entry = int(rng.integers(3))
    off = 30 * bars[entry] + 30 * tolerance * (np.abs(gradient).max() + 1 / scale)
    for method in gradcheck.METHODS:
        wrong = gradient.copy()
        wrong[entry] += rng.choice([-1, 1]) * off
        assert gradcheck.check(f, x, wrong, method=method).wrong == 1


QUICK_MISSES = {
    ("fffref, central", "float64"): [],
    ("fffref, central", "float32"): [],
    ("fffref, complex", "float64"): [],
    ("fffref, complex", "float32"): ["log of ratio: smallest off by 1 %"],
    ("fffref, projection", "float64"): ["inverse, at its pole: all of the sum"],
    ("fffref, projection", "float32"): [],
}


@pytest.mark.parametrize("name, dtype", QUICK_MISSES)
def test_the_battery_raises_no_false_alarm_and_misses_what_is_known(name, dtype, monkeypatch):
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parent.parent / "benchmarks")
    script = importlib.import_module("gradcheck_battery")
    result = script.run(script.CHECKERS[name][0], np.dtype(dtype).type, quick=True)
    assert result["counts"]["right claims"] > 70 and result["counts"]["faults"] > 600
    assert result["alarms"] == [] and result["missed"] == QUICK_MISSES[name, dtype]
    assert result["evaluations"] < 12
