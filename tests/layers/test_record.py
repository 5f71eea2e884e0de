"""Records that nest: walked with dotted names, rebuilt of their arrays, refused where they do not fit together."""

from dataclasses import dataclass, replace
from typing import ClassVar

import cases
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fffref import gradcheck
from fffref.formats import checkpoints
from fffref.layers.record import Layer, Record, Rows


@dataclass(frozen=True, eq=False)
class Scale(Record):
    """A vector."""

    weight: np.ndarray

    SHAPES: ClassVar[dict[str, str]] = {"weight": "I"}


@dataclass(frozen=True, eq=False)
class Stack(Record):
    """Scale, layers one after the other, and an array: every kind of field."""

    scale: Scale
    layers: tuple
    shift: np.ndarray
    name: str = "stack"
    absent: Layer | None = None

    def value(self, x):
        """A number that depends on everything."""
        x = x * self.scale.weight
        for layer in self.layers:
            x = layer.forward(x)[0]
        return ((x + self.shift) ** 3).sum()

    def gradient(self, x):
        """The gradient of `value`: a Stack."""
        h, tapes = x * self.scale.weight, []
        for layer in self.layers:
            h, tape = layer.forward(h)
            tapes.append(tape)
        dh = 3 * (h + self.shift) ** 2
        shift, grads = dh.sum(0), []
        for layer, tape in zip(reversed(self.layers), reversed(tapes), strict=True):
            grad, dh = layer.backward(tape, dh)
            grads.insert(0, grad)
        return replace(self, scale=Scale((dh * x).sum(0)), layers=tuple(grads), shift=shift), dh * self.scale.weight


def stack(rng, dtype=np.float64):
    """A stack of three layers of different kinds."""
    kinds = ("DenseFF", "LeafFFF", "PathFFF")
    layers = tuple(cases.make(kind, rng, n_in=5, n_out=5, dtype=dtype) for kind in kinds)
    draw = lambda: rng.standard_normal(5).astype(dtype)  # noqa: E731
    return Stack(Scale(draw()), layers, draw())


def test_names_are_dotted_and_in_the_order_of_the_fields(rng):
    record = stack(rng)
    names = list(record.arrays())
    assert names[:3] == ["scale.weight", "layers.0.in_weight", "layers.0.in_bias"] and names[-1] == "shift"
    assert "layers.2.out_weight" in names and record.arrays()["layers.1.node_bias"] is record.layers[1].node_bias
    assert record.options() == {"name": "stack", "absent": None} | {f"layers.{i}.activation": "gelu" for i in range(3)}
    assert record.n_parameters == 10 + sum(layer.n_parameters for layer in record.layers)


def test_map_walks_everything_with_the_others_beside_it(rng):
    record, other = stack(rng), stack(rng)
    total = record.map(np.add, other)
    assert type(total) is Stack and type(total.layers[1]) is type(record.layers[1])
    for name, array in total.arrays().items():
        np.testing.assert_array_equal(array, record.arrays()[name] + other.arrays()[name])
    assert record.astype(np.float32).dtype == record.astype(np.float32).layers[2].dtype == np.float32
    assert all(array.ctypes.data % 64 == 0 for array in record.aligned().arrays().values())


def test_with_arrays_exchanges_some_and_leaves_the_rest(rng):
    record = stack(rng)
    new = np.zeros_like(record.layers[1].node_bias)
    changed = record.with_arrays({"layers.1.node_bias": new})
    assert changed.layers[1].node_bias is new and changed.layers[0].in_weight is record.layers[0].in_weight
    assert record.layers[1].node_bias is not new
    with pytest.raises(ValueError, match=r"Stack has no arrays layers\.7\.node_bias"):
        record.with_arrays({"layers.7.node_bias": new})


def test_the_gradient_of_a_nested_record_is_checked_as_a_layers(rng):
    record, x = stack(rng), rng.standard_normal((4, 5))
    grads, dx = record.gradient(x)
    reports = gradcheck.check_layer(lambda model, x: model.value(x), record, x, grads, dx, method="complex")
    assert set(reports) == {*record.arrays(), "x"} and all(report.passed for report in reports.values())
    wrong = grads.with_arrays({"layers.1.node_bias": grads.layers[1].node_bias * 1.001})
    reports = gradcheck.check_layer(lambda model, x: model.value(x), record, x, wrong, dx, method="complex")
    assert [name for name, report in reports.items() if not report.passed] == ["layers.1.node_bias"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_checkpoint_holds_a_nested_record_and_its_state(dtype, rng, tmp_path):
    record = stack(rng, dtype)
    state = (record.map(np.ones_like), record.map(np.zeros_like))
    checkpoints.save(tmp_path / "model", record, state, {"step": 3})
    loaded = checkpoints.load(tmp_path / "model", Stack)
    assert loaded.info == {"step": 3} and loaded.layer.options() == record.options()
    for before, after in zip((record, *state), (loaded.layer, *loaded.state), strict=True):
        assert [type(layer) for layer in after.layers] == [type(layer) for layer in before.layers]
        for name, array in after.arrays().items():
            np.testing.assert_array_equal(array, before.arrays()[name])
            assert array.dtype == dtype
    with pytest.raises(ValueError, match="holds a Stack, expected a Scale"):
        checkpoints.load(tmp_path / "model", Scale)


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "field, kind, message",
    [
        (np.ma.masked_array(np.zeros(5)), TypeError, "shift must be a plain NumPy array, got a MaskedArray"),
        (np.zeros((1, 5)).view(np.matrix), TypeError, "shift must be a plain NumPy array, got a matrix"),
        (np.zeros(5, ">f8"), TypeError, "byte order"),
        (np.zeros(5, np.float32), TypeError, "shift must have dtype float64, got float32; convert one side"),
        (np.zeros(5, int), TypeError, "dtype must be one of"),
        ([0.0], TypeError, "shift must be a NumPy array, a record, a tuple of records, or one of str.*got list"),
        ((np.zeros(5),), TypeError, "shift must be a NumPy array, a record.*got tuple"),
    ],
)
def test_what_no_record_can_have_is_refused(field, kind, message, rng):
    with pytest.raises(kind, match=message):
        replace(stack(rng), shift=field)


@pytest.mark.parametrize("kind", cases.LAYERS)
@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda a: a.astype(a.dtype.newbyteorder(">")), "byte order"),
        (np.ma.masked_array, "got a MaskedArray; pass np.asarray"),
        (lambda a: a.tolist(), "must be a NumPy array, got list"),
    ],
)
def test_layers_refuse_foreign_arrays_at_construction(kind, spoil, message, rng):
    layer = cases.make(kind, rng)
    name, array = next(iter(layer.arrays().items()))
    with pytest.raises(TypeError, match=message):
        replace(layer, **{name: spoil(array)})
    with pytest.raises(TypeError, match="byte order"):
        cases.make(kind, rng, dtype=">f4")


def test_shapes_that_contradict_each_other_are_refused(rng):
    layer = cases.make("DenseFF", rng)
    with pytest.raises(ValueError, match=r"in_bias must have shape \(3\), got \(4,\)"):
        replace(layer, in_bias=np.zeros(4))


# ---------------------------------------------------------------------- rows


@given(seed=st.integers(0, 2**32 - 1), lead=st.sampled_from([(6,), (2, 3)]), tail=st.sampled_from([(), (4,)]))
def test_rows_are_an_array_with_zeros_left_out(seed, lead, tail):
    rng = np.random.default_rng(seed)
    whole = rng.standard_normal((*lead, *tail))
    index = np.flatnonzero(rng.random(6) < 0.5)
    flat = whole.reshape(6, *tail)
    flat[np.setdiff1d(np.arange(6), index)] = 0
    rows = Rows(index, flat[index], whole.shape)
    np.testing.assert_array_equal(rows.dense(), whole)
    assert rows.dtype == whole.dtype and np.shares_memory(rows.rows_of(whole), whole)


def test_a_gradient_may_hold_rows(rng):
    layer = cases.make("PathFFF", rng)
    index = np.array([1, 4])
    rows = {name: Rows(index, np.ones((2, *array.shape[2:])), array.shape) for name, array in layer.arrays().items()}
    grads = layer.with_arrays(rows)
    assert grads.in_bias is rows["in_bias"] and grads.dtype == layer.dtype and grads.sizes == layer.sizes
    assert grads.dense().in_bias.sum() == 2 and grads.n_parameters == layer.n_parameters
    seen = layer.map(lambda array, gradient: array if type(gradient) is Rows else None, grads)
    assert seen.in_weight is layer.in_weight


@pytest.mark.parametrize(
    "index, values, shape, kind, message",
    [
        (np.array([1, 1]), np.zeros((2, 3)), (4, 3), ValueError, "index must ascend within 0 to 3, each row once"),
        (np.array([2, 1]), np.zeros((2, 3)), (4, 3), ValueError, "index must ascend"),
        (np.array([3, 4]), np.zeros((2, 3)), (4, 3), ValueError, "index must ascend"),
        (np.array([-1, 1]), np.zeros((2, 3)), (4, 3), ValueError, "index must ascend"),
        (np.array([0]), np.zeros((2, 3)), (4, 3), ValueError, "index must have shape"),
        (np.array([0.0, 1.0]), np.zeros((2, 3)), (4, 3), TypeError, "index must have dtype int64"),
        (np.array([0, 1]), np.zeros((2, 3)), (4, 2), ValueError, r"values \(2, 3\) are no rows of .* \(4, 2\)"),
    ],
)
def test_rows_that_are_none_are_refused(index, values, shape, kind, message):
    with pytest.raises(kind, match=message):
        Rows(index, values, shape)
