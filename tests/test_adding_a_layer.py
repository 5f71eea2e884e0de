"""A layer in a few lines: written here, it trains, is checked, saved, resumed, counted, and compiled if it registers.

The places that a layer of the package touches: its module in `layers/`, its name in `fffref/__init__.py`, its count in
`counting/layers.py` (`@of.register`), and a line in `tests/cases.py`. What it can do beyond, it registers where that is
asked: a compiled form with `jit`, penalties and options in `training/penalties.py`, ends in `training/evaluation.py`.
"""

import gc
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import fffref
from fffref import counting, fast, gradcheck, training
from fffref.counting.layers import dense_ff
from fffref.formats import checkpoints
from fffref.layers import activations, tapes
from fffref.layers.record import Layer, uniform
from fffref.training import evaluation, penalties


@dataclass(frozen=True, eq=False)
class ToyTape:
    """What the pass keeps."""

    x: np.ndarray
    lead: tuple
    logit: np.ndarray

    SHAPES: ClassVar[dict[str, str]] = {"x": "BI", "logit": "BO"}


@dataclass(frozen=True, eq=False)
class Toy(Layer):
    """One matrix and an activation: y = act(x W^T)."""

    weight: np.ndarray
    activation: str = "tanh"

    SHAPES: ClassVar[dict[str, str]] = {"weight": "OI"}

    @classmethod
    def init(cls, rng, n_in, n_out, dtype=np.float32):
        return cls(uniform(rng, 1 / np.sqrt(n_in), (n_out, n_in), dtype))

    def forward(self, x):
        x, lead = self.as_rows(x)
        logit = x @ self.weight.T  # (B, I) -> (B, O)
        return activations.get(self.activation).function(logit).reshape(*lead, self.n_out), ToyTape(x, lead, logit)

    def backward(self, tape, dy, input_gradient=True):
        tapes.check(self, tape, ToyTape)
        dlogit = self.gradient_rows(dy, tape.lead) * activations.get(self.activation).derivative(tape.logit)
        dx = (dlogit @ self.weight).reshape(*tape.lead, self.n_in) if input_gradient else None
        return Toy(dlogit.T @ tape.x, self.activation), dx

    def forward_hard(self, x):
        return self.forward(x)[0]


@pytest.fixture(autouse=True)
def registered_for_one_test():
    """What a test registers is forgotten after it: messages of other tests list what is registered."""
    dispatchers = (counting.of, fast.jit, penalties.penalty, evaluation.ends)
    kept = [dict(dispatcher.registry) for dispatcher in dispatchers]
    yield
    for dispatcher, before in zip(dispatchers, kept, strict=True):
        (registry,) = gc.get_referents(dispatcher.registry)  # it is shown read-only
        for cls in registry.keys() - before.keys():
            del registry[cls]
        dispatcher._clear_cache()


@pytest.fixture
def data(rng):
    x = rng.standard_normal((200, 4)).astype(np.float32)
    return x, (x @ rng.standard_normal((4, 3))).argmax(1)


def test_its_gradients_are_checked(rng):
    layer, x, labels = Toy.init(rng, 4, 3, np.float64), rng.standard_normal((5, 4)), np.array([0, 1, 2, 1, 0])
    _, grads, dx = training.objective(layer, x, labels, input_gradient=True)
    for method in gradcheck.METHODS:
        value = lambda layer, x: training.objective(layer, x, labels)[0]  # noqa: E731
        assert all(report.passed for report in gradcheck.check_layer(value, layer, x, grads, dx, method).values())


@pytest.mark.parametrize("optimizer", [training.SGD(0.9), training.Adam()])
def test_it_trains_is_evaluated_saved_and_resumed(optimizer, data, rng, tmp_path):
    layer, path = Toy.init(rng, 4, 3), tmp_path / "toy.safetensors"
    recipe = training.Recipe(epochs=12, batch_size=16, optimizer=optimizer, learning_rate=0.05)
    task = training.Classification(*data)
    trained, history = training.train(layer, task, recipe, checkpoint=path, progress=False)
    result = training.evaluate(trained, *data)
    assert result["hard_accuracy"] > 0.85 and result["leaf_share"] == [1.0] and result["soft_accuracy"] is None
    assert history[-1]["loss"] < history[0]["loss"]
    loaded = checkpoints.load(path)
    assert type(loaded.layer) is Toy
    np.testing.assert_array_equal(loaded.layer.weight, trained.weight)
    resumed, rest = training.train(layer, task, recipe, checkpoint=path, resume=True, progress=False)
    assert rest == history and np.array_equal(resumed.weight, trained.weight)


def test_an_option_that_it_cannot_use_is_refused(data, rng):
    with pytest.raises(ValueError, match="a Toy cannot use temperature, balance_weight, noise, straight_through"):
        training.train(Toy.init(rng, 4, 3), training.Classification(*data), training.hardening(), progress=False)


def test_it_is_counted_as_soon_as_it_says_how(rng):
    layer = Toy.init(rng, 4, 3)
    with pytest.raises(TypeError, match="got Toy"):
        counting.of(layer)

    @counting.of.register
    def _(layer: Toy):
        return dense_ff(layer.n_in, layer.n_out, layer.n_out)

    assert counting.of(layer).n_out == 3


def test_it_is_compiled_as_soon_as_it_says_how(rng):
    layer = Toy.init(rng, 4, 3)
    with pytest.raises(TypeError, match="got Toy"):
        fffref.jit(layer)

    class FastToy(fast.CompiledLayer):
        """Not compiled, but in the right place."""

        single_kernel = None

        def kernel_weights(self):
            return ()

        def __call__(self, x):
            return self.layer.forward_hard(x)

    FastToy.__abstractmethods__ = frozenset()
    fast.jit.register(Toy)(FastToy)
    x = rng.standard_normal((2, 4)).astype(np.float32)
    np.testing.assert_array_equal(fffref.jit(layer)(x), layer.forward_hard(x))


def test_a_penalty_of_its_own_is_part_of_the_objective(rng):
    layer, x, labels = Toy.init(rng, 4, 3, np.float64), rng.standard_normal((5, 4)), np.array([0, 1, 2, 1, 0])
    before = training.objective(layer, x, labels)[0]

    class Pressed(Toy):
        """The same, with a penalty."""

    @penalties.penalty.register
    def _(layer: Pressed, tape, settings):
        return 0.5, {}

    @evaluation.ends.register
    def _(layer: Pressed, x):
        return np.arange(len(x)) % 2, 2

    pressed = Pressed(layer.weight)
    assert training.objective(pressed, x, labels)[0] == before + 0.5
    assert training.evaluate(pressed, x, labels)["leaf_share"] == [0.6, 0.4]
