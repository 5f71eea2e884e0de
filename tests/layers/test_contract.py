"""One contract, four layers: shapes, dtypes, untouched inputs, seeds, NaN and inf, and what is refused."""

from dataclasses import FrozenInstanceError, replace

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fffref import DenseFF, LeafFFF, MoE, PathFFF
from fffref.layers.record import Layer

kinds = pytest.mark.parametrize("kind", cases.LAYERS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
LEADS = [(), (1,), (4,), (2, 3), (2, 1, 2), (0,), (2, 0)]


@kinds
@dtypes
@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("lead", LEADS, ids=str)
def test_shapes_and_dtypes(kind, dtype, depth, lead, rng):
    layer = cases.make(kind, rng, depth=depth, dtype=dtype)
    x = rng.standard_normal((*lead, 5)).astype(dtype)
    y, tape = layer.forward(x)
    assert y.shape == (*lead, 3) and y.dtype == dtype
    grads, dx = layer.backward(tape, y)
    assert type(grads) is type(layer) and grads.sizes == layer.sizes and grads.dtype == dtype
    assert dx.shape == x.shape and dx.dtype == dtype
    hard = layer.forward_hard(x)
    assert hard.shape == (*lead, 3) and hard.dtype == dtype
    assert layer.route(x).shape[: len(lead)] == lead and layer.route(x).dtype.kind == "i"
    if 0 in lead:
        assert all(not gradient.any() for gradient in grads.arrays().values())


@kinds
def test_leading_axes_are_all_batch(kind, rng):
    layer, x, dy = cases.make(kind, rng), rng.standard_normal((2, 3, 5)), rng.standard_normal((2, 3, 3))
    (y, tape), (y_flat, tape_flat) = layer.forward(x), layer.forward(x.reshape(6, 5))
    np.testing.assert_array_equal(y, y_flat.reshape(y.shape))
    (grads, dx), (grads_flat, dx_flat) = layer.backward(tape, dy), layer.backward(tape_flat, dy.reshape(6, 3))
    np.testing.assert_array_equal(dx, dx_flat.reshape(dx.shape))
    for name, gradient in grads.arrays().items():
        np.testing.assert_array_equal(gradient, getattr(grads_flat, name))
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(layer.forward(x[i])[0], y[i], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(layer.forward_hard(x[i]), layer.forward_hard(x)[i], rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(layer.route(x[i]), layer.route(x)[i])


def layouts(x):
    """The same values in every layout that NumPy can hand over."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    read_only = x.copy()
    read_only.setflags(write=False)
    shifted = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    assert not shifted.flags.aligned
    return {
        "Fortran order": np.asfortranarray(x), "strided": wide[..., ::2], "reversed": x[::-1].copy()[::-1],
        "read-only": read_only, "unaligned": shifted,
    }  # fmt: skip


@kinds
def test_any_layout_gives_the_same(kind, rng):
    layer, x, dy = cases.make(kind, rng), rng.standard_normal((6, 5)), rng.standard_normal((6, 3))
    y, tape = layer.forward(x)
    _, dx = layer.backward(tape, dy)
    for (name, other), other_dy in zip(layouts(x).items(), layouts(dy).values(), strict=True):
        found, tape = layer.forward(other)
        np.testing.assert_allclose(found, y, rtol=1e-13, atol=1e-15, err_msg=name)
        np.testing.assert_allclose(layer.backward(tape, other_dy)[1], dx, rtol=1e-13, atol=1e-14, err_msg=name)
        np.testing.assert_array_equal(layer.route(other), layer.route(x), err_msg=name)


@kinds
def test_nothing_is_changed(kind, rng):
    layer, x = cases.make(kind, rng), rng.standard_normal((4, 5))
    for array in (x, *layer.arrays().values()):
        array.setflags(write=False)
    y, tape = layer.forward(x)
    for array in (y, *(v for v in vars(tape).values() if isinstance(v, np.ndarray))):
        array.setflags(write=False)
    first, _ = layer.backward(tape, y)
    again, _ = layer.backward(tape, y)
    layer.forward_hard(x), layer.route(x)
    for name, gradient in first.arrays().items():
        np.testing.assert_array_equal(gradient, getattr(again, name))
    with pytest.raises(FrozenInstanceError):
        layer.activation = "relu"


@kinds
def test_the_input_gradient_can_be_left_out(kind, rng):
    layer, x = cases.make(kind, rng), rng.standard_normal((4, 5))
    y, tape = layer.forward(x)
    full, _ = layer.backward(tape, y)
    grads, dx = layer.backward(tape, y, input_gradient=False)
    assert dx is None
    for name, gradient in full.arrays().items():
        np.testing.assert_array_equal(gradient, getattr(grads, name))


@kinds
def test_a_seed_decides_the_layer_whatever_the_dtype(kind):
    one, same, other = (cases.make(kind, np.random.default_rng(s), dtype=np.float32) for s in (1, 1, 2))
    wide = cases.make(kind, np.random.default_rng(1))
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, getattr(same, name))
        assert not np.array_equal(array, getattr(other, name))
        np.testing.assert_array_equal(array, getattr(wide, name).astype(np.float32))


@kinds
def test_initial_values_are_uniform_within_the_fan_in(kind, rng):
    layer = cases.make(kind, rng, n_in=25, n_out=40, depth=3, width=16)
    for name, array in layer.arrays().items():
        outward = "out" in name
        bound = 1 / np.sqrt((16 if kind != "PathFFF" else 16 * 4) if outward else 25)
        assert np.abs(array).max() <= bound
        if array.size > 100:
            np.testing.assert_allclose(array.std(), bound / np.sqrt(3), rtol=0.15)


@kinds
@dtypes
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_and_inf_spoil_their_own_row_and_no_other(kind, dtype, value, rng):
    layer = cases.make(kind, rng, depth=3, dtype=dtype, activation="tanh")
    x = rng.standard_normal((5, 5)).astype(dtype)
    spoilt = x.copy()
    spoilt[2, 1] = value
    for forward in (lambda x: layer.forward(x)[0], layer.forward_hard):
        y, found = forward(x), forward(spoilt)
        np.testing.assert_allclose(np.delete(found, 2, 0), np.delete(y, 2, 0), rtol=1e-5)
        if np.isnan(value):
            assert np.isnan(found[2]).all()
        else:
            assert not np.array_equal(found[2], y[2])


@kinds
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_nan_routes_left_and_in_bounds(kind, rng):
    layer = cases.make(kind, rng, depth=4)
    route = layer.route(np.full((2, 5), np.nan))
    leftmost = {"LeafFFF": 0, "DenseFF": 0, "PathFFF": [[0, 1, 3, 7, 15]] * 3, "MoE": [0, 1]}[kind]
    np.testing.assert_array_equal(route, np.broadcast_to(leftmost, route.shape))
    layer.route(np.array([np.inf, -np.inf, 1e308, -1e308, 0]))


@settings(deadline=None)
@given(st.sampled_from(cases.LAYERS).flatmap(cases.layers_and_inputs))
def test_astype_and_back_keeps_everything(drawn):
    layer, _ = drawn
    wide = layer.astype(np.complex128).map(lambda array: array.real.copy())
    assert layer.astype(np.float32).dtype == np.float32 and wide.options() == layer.options()
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(array, getattr(wide, name))


# ---------------------------------------------------------------------- bad input


@kinds
@pytest.mark.parametrize("method", ["forward", "forward_hard", "route"])
@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.zeros((2, 4)), ValueError, r"x must have shape \(\.\.\., 5\), got \(2, 4\)"),
        (np.zeros(()), ValueError, r"x must have shape \(\.\.\., 5\), got \(\)"),
        (np.zeros((2, 5), np.float32), TypeError, r"x must have dtype float64, got float32; convert it"),
        (np.zeros((2, 5), np.int64), TypeError, "x must have dtype float64, got int64"),
        (np.zeros((2, 5), bool), TypeError, "x must have dtype float64, got bool"),
        (np.zeros((2, 5), object), TypeError, "x must have dtype float64, got object"),
        ("hello", TypeError, "x must have dtype float64, got <U5"),
        (None, TypeError, "x must have dtype float64, got object"),
    ],
)
def test_bad_inputs_are_refused(kind, method, x, error, message, rng):
    with pytest.raises(error, match=message):
        getattr(cases.make(kind, rng), method)(x)


@kinds
def test_bad_output_gradients_are_refused(kind, rng):
    layer = cases.make(kind, rng)
    _, tape = layer.forward(np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"dy must have shape \(2, 3\), got \(1, 3\)"):
        layer.backward(tape, np.zeros((1, 3)))
    with pytest.raises(TypeError, match="dy must have dtype float64, got float32"):
        layer.backward(tape, np.zeros((2, 3), np.float32))


SIZES = {
    LeafFFF: {"n_in": 3, "n_out": 2, "depth": 1, "leaf_width": 2},
    PathFFF: {"n_in": 3, "n_out": 2, "depth": 1, "n_trees": 2},
    DenseFF: {"n_in": 3, "n_out": 2, "width": 2},
    MoE: {"n_in": 3, "n_out": 2, "n_experts": 3, "expert_width": 2, "k": 2},
}


@pytest.mark.parametrize("cls, size", [(cls, size) for cls, sizes in SIZES.items() for size in sizes])
@pytest.mark.parametrize(
    "value, error, message",
    [
        (-1, ValueError, "must be at least (0|1), got -1"),
        (1.5, TypeError, "must be an integer, got 1.5"),
        ("2", TypeError, "must be an integer, got '2'"),
        (None, TypeError, "must be an integer, got None"),
    ],
)
def test_bad_sizes_are_refused(cls, size, value, error, message, rng):
    with pytest.raises(error, match=f"{size} {message}"):
        cls.init(rng, **SIZES[cls] | {size: value})
    if size != "depth":
        with pytest.raises(ValueError, match=f"{size} must be at least 1, got 0"):
            cls.init(rng, **SIZES[cls] | {size: 0})


@pytest.mark.parametrize("cls", SIZES)
def test_bad_options_are_refused(cls, rng):
    with pytest.raises(ValueError, match=r"activation must be one of .*, got 'swish'"):
        cls.init(rng, **SIZES[cls], activation="swish")
    for dtype in (np.int32, np.float16, np.complex128, "nonsense"):
        with pytest.raises(TypeError, match="dtype must be one of float32, float64, got"):
            cls.init(rng, **SIZES[cls], dtype=dtype)
    with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator, got 0; pass np.random.default_rng"):
        cls.init(0, **SIZES[cls])


@kinds
def test_bad_arrays_are_refused(kind, rng):
    layer = cases.make(kind, rng)
    assert isinstance(layer, Layer)
    for name, array in layer.arrays().items():
        with pytest.raises(TypeError, match=f"{name} must be a NumPy array, got list"):
            replace(layer, **{name: array.tolist()})
        with pytest.raises(ValueError, match=f"{name} must have shape"):
            replace(layer, **{name: array[None]})
    with pytest.raises(TypeError, match="dtype float64, got float32"):
        replace(layer, **{name: array.astype(np.float32)})
    with pytest.raises(TypeError, match="dtype must be one of float32, float64, complex128"):
        layer.astype(np.float16)
