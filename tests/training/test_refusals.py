"""What cannot work is refused before the first step: fields of recipes, arguments of `train`, options, arrays."""

import json
from dataclasses import replace

import cases
import numpy as np
import pytest

from fffref import DenseFF, LeafFFF, MoE, PathFFF, training
from fffref.formats import checkpoints
from fffref.training import Classification, Recipe, optim, schedules

f32 = np.float32
QUICK = Recipe(epochs=4, batch_size=16)


@pytest.fixture
def table(rng):
    """A small table: two classes that one column tells apart."""
    x = rng.random((200, 6), dtype=f32)
    return x, (x[:, 0] > 0.5).astype(int)


def tree():
    return LeafFFF.init(np.random.default_rng(1), 6, 2, depth=2, leaf_width=3)


@pytest.mark.parametrize(
    "fields, error, message",
    [
        ({"optimizer": "adam"}, TypeError, r"optimizer must be one, such as Adam\(\) or SGD\(0.9\), got str 'adam'"),
        ({"optimizer": optim.Adam}, TypeError, "optimizer must be one"),
        ({"fast": "no"}, TypeError, "fast must be True or False, got 'no'"),
        ({"smooth_step": 1}, TypeError, "smooth_step must be True or False, got 1"),
        ({"straight_through": "yes"}, TypeError, "straight_through must be True or False, got 'yes'"),
        ({"learning_rate": None}, TypeError, "learning_rate must be a number, got None"),
        ({"learning_rate": np.nan}, ValueError, r"learning_rate must lie in \[0, inf\), got nan"),
        ({"learning_rate": "0.1"}, TypeError, "learning_rate must be a number, got '0.1'"),
        ({"learning_rate": lambda progress: None}, TypeError, "learning_rate must be a number, got None"),
        ({"noise": np.inf}, ValueError, r"noise must lie in \[0, inf\), got inf"),
        ({"epochs": 2.0}, TypeError, "epochs must be an integer, got 2.0"),
        ({"epochs": True}, TypeError, "epochs must be an integer, got True"),
        ({"batch_size": "32"}, TypeError, "batch_size must be an integer"),
        ({"entropy_reduction": ["mean"]}, ValueError, "entropy_reduction must be one of"),
    ],
)
def test_wrong_types_in_a_recipe(fields, error, message):
    with pytest.raises(error, match=message):
        Recipe(**fields)


def test_a_schedule_that_fails_in_the_middle_says_so(table):
    recipe = Recipe(epochs=2, learning_rate=lambda progress: 0.01 if progress in (0, 0.5, 1) else -1.0)
    with pytest.raises(ValueError, match="learning_rate must lie in"):
        training.train(tree(), Classification(*table), recipe, progress=False)


def test_numpy_scalars_as_hyper_parameters(table, tmp_path):
    """They failed after the first epoch, when the checkpoint was written."""
    recipe = Recipe(
        epochs=np.int64(2), batch_size=np.int32(32), learning_rate=f32(0.01), temperature=np.float64(0.5),
        noise=schedules.Linear(f32(1), np.int64(0)), entropy_weight=schedules.Step(np.int8(0), f32(0.5), f32(0.5)),
        straight_through=np.bool_(True), optimizer=optim.Adam(beta1=f32(0.875), weight_decay=f32(0.125)),
    )  # fmt: skip
    assert json.loads(json.dumps(recipe.facts())) == recipe.facts()
    path = tmp_path / "run.safetensors"
    data = Classification(*table, validation_fraction=f32(0.25))
    _, history = training.train(tree(), data, recipe, np.int64(3), path, progress=False, watch_every=np.int64(1))
    assert checkpoints.load(path).info["history"] == history


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"seed": 1.5}, TypeError, "seed must be an integer"),
        ({"seed": None}, TypeError, "seed must be an integer"),
        ({"watch_every": 0}, ValueError, "watch_every must be at least 1"),
        ({"watch_every": "all"}, TypeError, "watch_every must be an integer"),
        ({"progress": 3}, TypeError, "progress must be True, False or a label"),
        ({"progress": None}, TypeError, "progress must be True, False or a label"),
        ({"resume": "yes"}, TypeError, "resume must be True or False"),
        ({"recipe": "hardening"}, TypeError, r"recipe must be a Recipe, such as hardening\(\), got str"),
        ({"recipe": training.hardening}, TypeError, "recipe must be a Recipe"),
        ({"task": None}, TypeError, r"task must be one, such as training.Classification\(x, labels\), got NoneType"),
        ({"task": np.zeros((3, 6), f32)}, TypeError, "task must be one"),
    ],
)
def test_wrong_arguments_of_train_are_refused_before_the_first_step(options, error, message, table, monkeypatch):
    monkeypatch.setattr(optim.Adam, "update", lambda *args: pytest.fail("a step was taken"))
    arguments = {"task": Classification(*table), "recipe": QUICK, "progress": False} | options
    with pytest.raises(error, match=message):
        training.train(tree(), **arguments)


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_first_step(table, tmp_path, monkeypatch):
    monkeypatch.setattr(optim.Adam, "update", lambda *args: pytest.fail("a step was taken"))
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file" / "run.safetensors", tmp_path / ("n" * 300 + ".safetensors")):
        with pytest.raises((ValueError, OSError)):
            training.train(tree(), Classification(*table), QUICK, checkpoint=path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_refused_run_leaves_an_existing_checkpoint_alone(table, tmp_path):
    path = tmp_path / "run.safetensors"
    training.train(tree(), Classification(*table), QUICK, checkpoint=path, progress=False)
    before = path.read_bytes()
    recipe = Recipe(optimizer=optim.SGD(), learning_rate=1e38)
    with pytest.raises(training.Diverged):
        training.train(tree(), Classification(*table), recipe, checkpoint=path, progress=False)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "layer, field, value",
    [
        (PathFFF, "noise", 5.0),
        (PathFFF, "temperature", 0.01),
        (PathFFF, "entropy_weight", 5.0),
        (DenseFF, "straight_through", True),
        (DenseFF, "balance_weight", 1.0),
        (MoE, "smooth_step", True),
        (MoE, "temperature", schedules.Geometric(1, 0.1)),
    ],
)
def test_an_option_that_the_layer_cannot_use(layer, field, value, table):
    made = cases.make(layer.__name__, np.random.default_rng(0), n_in=6, n_out=2, dtype=f32)
    recipe = replace(QUICK, **{field: value})
    with pytest.raises(ValueError, match=f"a {layer.__name__} cannot use {field}; leave it out"):
        training.train(made, Classification(*table), recipe, progress=False)
    assert training.fitting(recipe, made) == QUICK and training.fitting(recipe, tree()) == recipe


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_masked_arrays_and_matrices(table):
    (x, labels), layer = table, tree()
    for odd in (np.ma.masked_array(x, mask=x > 0.9), np.asmatrix(x)):
        with pytest.raises(TypeError, match="x must be a plain NumPy array, got"):
            training.train(layer, Classification(odd, labels), QUICK, progress=False)
        with pytest.raises(TypeError, match="x must be a plain NumPy array, got"):
            layer.forward(odd)
    with pytest.raises(TypeError, match="node_weight must be a plain NumPy array"):
        replace(layer, node_weight=np.ma.masked_array(layer.node_weight))


def test_float64_gradients_of_a_float32_layer():
    layer = tree()
    for optimizer in (optim.SGD(), optim.SGD(0.9), optim.Adam()):
        with pytest.raises(TypeError, match="the gradient of node_weight must have dtype float32, got float64"):
            optimizer.step(layer, layer.astype(np.float64), optimizer.init(layer), 0, 0.1)
        for rate in (None, np.nan, -1.0, np.inf):
            with pytest.raises((TypeError, ValueError), match="learning_rate must"):
                optimizer.step(layer, layer, optimizer.init(layer), 0, rate)
