"""What comes in is checked: nothing is changed, nothing out of bounds, nothing compiled for another dtype."""

import cases
import numpy as np
import pytest
from closeness import decided, near

import fffref
from fffref.fast import CompiledLayer, kernels
from fffref.fast.base import check_output, shared

kinds = pytest.mark.parametrize("kind", cases.KINDS)


@kinds
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_and_inf_stay_in_bounds_and_in_their_row(kind, value, rng):
    layer = cases.make(kind, rng, depth=6, activation="tanh")
    fast, x = fffref.jit(layer), rng.standard_normal((9, 5))
    y = fast(x)
    x[4, 1] = value
    np.testing.assert_array_equal(np.delete(fast(x), 4, 0), np.delete(y, 4, 0))
    np.testing.assert_array_equal(fast.route(x)[:4], layer.route(x)[:4])
    assert np.isnan(fast(x)[4]).all() == np.isnan(value) == np.isnan(fast(x[4])).all()
    everywhere = np.full((3, 5), value)
    assert fast.route(everywhere).max() < max(1, layer.neurons_stored)
    if np.isnan(value):
        np.testing.assert_array_equal(fast.route(everywhere), layer.route(everywhere))


@kinds
def test_any_layout_of_the_input_works_and_nothing_is_changed(kind, rng):
    layer = cases.make(kind, rng, depth=3)
    fast, x = fffref.jit(layer), rng.standard_normal((6, 5))
    y = fast(x)
    wide = np.zeros((6, 10))
    wide[:, ::2] = x
    read_only = x.copy()
    read_only.setflags(write=False)
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(float).reshape(x.shape)
    for other in (np.asfortranarray(x), wide[:, ::2], x[::-1].copy()[::-1], read_only, unaligned):
        before = other.copy()
        np.testing.assert_array_equal(fast(other), y)
        np.testing.assert_array_equal(fast(other[2]), fast(x[2]))
        np.testing.assert_array_equal(fast.route(other), fast.route(x))
        np.testing.assert_array_equal(other, before)


@kinds
def test_weights_changed_in_place_are_seen(kind, rng):
    layer = cases.make(kind, rng, depth=3)
    fast, x = fffref.jit(layer), rng.standard_normal((6, 5))
    fast(x)
    for array in layer.arrays().values():
        array *= -1.5
    near(fast(x), layer.forward_hard(x), 5)
    near(fast(x[0]), layer.forward_hard(x[0]), 5)


@kinds
def test_read_only_weights_work(kind, rng):
    layer = cases.make(kind, rng, depth=2)
    for array in layer.arrays().values():
        array.setflags(write=False)
    x = rng.standard_normal((3, 5))
    near(fffref.jit(layer)(x), layer.forward_hard(x), 5)


@kinds
def test_weights_that_cannot_be_shared_are_refused(kind, rng):
    layer = cases.make(kind, rng, depth=2)
    with pytest.raises(ValueError, match=r"not C-contiguous, .* pass layer.aligned\(\)"):
        fffref.jit(layer.map(lambda a: np.repeat(a, 2, axis=-1)[..., ::2]))
    fffref.jit(layer.map(np.asfortranarray).aligned())


@kinds
def test_layers_are_born_on_cache_lines(kind, rng):
    layer = cases.make(kind, rng, dtype=np.float32)
    for one in (layer, layer.astype(np.float64), layer.map(np.negative).aligned()):
        assert all(array.ctypes.data % 64 == 0 and array.flags.carray for array in one.arrays().values() if array.size)


@kinds
@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.zeros((2, 4)), ValueError, r"x must have shape \(\.\.\., 5\), got \(2, 4\)"),
        (np.zeros(4), ValueError, r"x must have shape \(\.\.\., 5\), got \(4,\)"),
        (np.zeros(5, np.float32), TypeError, "x must have dtype float64, got float32"),
        (np.zeros((2, 5), int), TypeError, "x must have dtype float64, got int64"),
        (np.zeros(5, ">f8"), TypeError, "x must have dtype float64, got >f8"),
        ([0.0] * 4, ValueError, "x must have shape"),
        (None, TypeError, "x must have dtype"),
    ],
)
def test_bad_inputs_are_refused(kind, x, error, message, rng):
    fast = fffref.jit(cases.make(kind, rng))
    for call in (fast, fast.route):
        with pytest.raises(error, match=message):
            call(x)


@kinds
def test_bad_outputs_are_refused(kind, rng):
    fast, x = fffref.jit(cases.make(kind, rng, n_in=3)), np.zeros((4, 3))
    for out, error, message in (
        (np.zeros((4, 2)), ValueError, r"out must have shape \(4, 3\), got \(4, 2\)"),
        (np.zeros((4, 3), np.float32), TypeError, "out must have dtype float64, got float32"),
        ([[0.0] * 3] * 4, TypeError, "out must be a plain NumPy array, got list"),
        (np.zeros((4, 6))[:, ::2], ValueError, "C-contiguous, aligned and writeable"),
        (np.broadcast_to(0.0, (4, 3)), ValueError, "C-contiguous, aligned and writeable"),
        (x, ValueError, "out must not overlap x"),
    ):
        with pytest.raises(error, match=message):
            fast(x, out=out)
    memory = np.zeros(24)
    with pytest.raises(ValueError, match="overlap"):
        check_output(memory[3:15].reshape(4, 3), (4, 3), np.float64, {"x": memory[:12].reshape(4, 3)})


def test_what_cannot_be_compiled_is_refused(rng):
    with pytest.raises(TypeError, match="layer must be a DenseFF, LeafFFF or PathFFF, got ndarray"):
        fffref.jit(np.zeros(3))
    with pytest.raises(TypeError, match="dtype must be one of float32, float64, got"):
        fffref.jit(cases.make("PathFFF", rng).astype(np.complex128))
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        fffref.jit(cases.make("PathFFF", rng), threads=0)
    with pytest.raises(AttributeError, match="no attribute 'compile'"):
        fffref.compile  # noqa: B018


@kinds
def test_out_may_not_be_what_is_read(kind, rng):
    layer = cases.make(kind, rng, n_in=3, n_out=3, depth=2)
    fast, x = fffref.jit(layer), rng.standard_normal((1, 3))
    before = {name: array.copy() for name, array in layer.arrays().items()}
    for name, array in layer.arrays().items():
        if array.size >= 3:
            with pytest.raises(ValueError, match=f"out must not overlap {name}"):
                fast(x, out=array.reshape(-1)[-3:].reshape(1, 3))
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(array, before[name])


@kinds
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of np.matrix
def test_masked_arrays_and_matrices_are_refused(kind, rng):
    layer = cases.make(kind, rng, depth=2)
    fast, x = fffref.jit(layer), rng.standard_normal((2, 5))
    for out in (np.ma.zeros((2, 3)), np.asmatrix(np.zeros((2, 3)))):
        with pytest.raises(TypeError, match=f"out must be a plain NumPy array, got {type(out).__name__}"):
            fast(x, out=out)
    name, array = next(iter(layer.arrays().items()))
    with pytest.raises(TypeError, match="must be a plain NumPy array"):
        shared(name, np.ma.masked_array(array), array.dtype)
    with pytest.raises(TypeError, match="must be a plain NumPy array"):
        shared(name, np.asmatrix(array.reshape(1, -1)), array.dtype)


@kinds
def test_foreign_byte_order_is_refused(kind, rng):
    with pytest.raises(TypeError, match="byte order"):
        fffref.jit(cases.make(kind, rng).map(lambda array: array.astype(">f8")))


@kinds
def test_mapped_and_read_only_arrays_are_used_where_they_lie(kind, rng, tmp_path):
    """No copy, and nothing is compiled for them: a read-only array has a type of its own in Numba."""
    layer, x = cases.make(kind, rng, depth=2), rng.standard_normal((3, 5))
    expected = fffref.jit(layer).warm_up()(x)

    def mapped(array):
        path = tmp_path / f"{id(array)}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    compiled = {name: list(kernel.signatures) for name, kernel in vars(kernels).items() if name.endswith("_jit")}
    fast = fffref.jit(layer.map(mapped))
    np.testing.assert_array_equal(fast(x), expected)
    np.testing.assert_array_equal(fast(x[0]), fast(x)[0] if kind != "DenseFF" else fffref.jit(layer)(x[0]))
    for name, array in fast.layer.arrays().items():
        assert np.shares_memory(fast.arrays[name], array)
    assert compiled == {name: list(kernels.__dict__[name].signatures) for name in compiled}


def test_a_layer_of_ones_own_can_register(rng):
    class Twice(fffref.DenseFF):
        """A dense layer, twice."""

    @fffref.jit.register(Twice)
    class FastTwice(CompiledLayer):
        """The same, compiled."""

        @staticmethod
        def single_kernel(weights, x, y):
            y[:] = 2 * kernel_of_dense(weights, x)

        def kernel_weights(self):
            return kernels.DenseWeights(*self.arrays.values(), kernels.GELU)

        def forward_rows(self, x, y):
            for row, output in zip(x, y, strict=True):
                self.single_kernel(self.weights, row, output)

        def route(self, x):
            return self.layer.route(x)

    def kernel_of_dense(weights, x):
        y = np.empty(3)
        kernels.dense_one_jit(weights, x, y)
        return y

    layer = cases.make("DenseFF", rng)
    twice = Twice(**layer.arrays(), **layer.options())
    x = rng.standard_normal((4, 5))
    np.testing.assert_allclose(fffref.jit(twice)(x), 2 * layer.forward_hard(x), rtol=1e-12)
    np.testing.assert_allclose(fffref.jit(twice)(x[0]), 2 * layer.forward_hard(x[0]), rtol=1e-12)

    class Unfinished(CompiledLayer):
        """Lacks everything."""

    with pytest.raises(TypeError, match=r"abstract.*forward_rows.*kernel_weights.*route.*single_kernel"):
        Unfinished(layer)


def test_random_calls_either_answer_rightly_or_refuse():
    """A fuzz with a fixed seed over shapes, layouts, dtypes, outputs: a sentence, or the reference's answer."""
    rng, answered, refused = np.random.default_rng(7), 0, 0
    for _ in range(400):
        kind, dtype = rng.choice(cases.KINDS), rng.choice([np.float32, np.float64])
        n_in, n_out, depth, width = (int(n) for n in rng.integers((1, 1, 0, 1), (90, 90, 6, 4)))
        layer = cases.make(kind, rng, n_in, n_out, depth, width, dtype=dtype)
        lead = tuple(int(n) for n in rng.integers(0, 9, rng.integers(0, 3)))
        x = rng.standard_normal((*lead, n_in + int(rng.random() < 0.1)))
        x = decided(layer, x.astype(dtype)) if x.shape[-1] == n_in else x
        x = x if rng.random() < 0.9 else x.astype(np.float16)
        x = (x, np.asfortranarray(x), x[::-1])[rng.integers(3)] if x.ndim > 1 else x
        out = np.empty((*lead, n_out + int(rng.random() < 0.1)), dtype) if rng.random() < 0.3 else None
        try:
            y = fffref.jit(layer, int(rng.integers(1, 3)))(x, out=out)
        except (TypeError, ValueError) as error:
            assert "must have" in str(error)
            refused += 1
            continue
        near(y, layer.forward_hard(x), n_in)
        answered += 1
    assert answered > 200 and refused > 40, (answered, refused)
