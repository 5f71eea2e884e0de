"""Situations that let somebody down, in this project or one like it; each test is named after what happened.

What a user should get is the value or the message asserted here.
"""

import json
from dataclasses import replace

import cases
import numpy as np
import pytest

from fffref import DenseFF, LeafFFF, training
from fffref.formats import checkpoints
from fffref.layers.activations import ACTIVATIONS
from fffref.layers.choices import Choices
from fffref.training import Classification, Recipe, losses, optim, schedules

f32 = np.float32
QUICK = Recipe(epochs=4, batch_size=16)


@pytest.fixture
def table(rng):
    """A small table: two classes that one column tells apart."""
    x = rng.random((200, 6), dtype=f32)
    return x, (x[:, 0] > 0.5).astype(int)


def tree(rng=None, **options):
    return LeafFFF.init(np.random.default_rng(1) if rng is None else rng, 6, 2, depth=2, leaf_width=3, **options)


def interrupted(path, layer, data, recipe=QUICK, **options):
    """Train until the second checkpoint has been written."""
    save, saved = checkpoints.save, []

    def save_twice(file, *args, **kwargs):
        save(file, *args, **kwargs)
        saved.append(file == path)
        if sum(saved) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints, "save", save_twice)
        training.train(layer, Classification(*data), recipe, checkpoint=path, progress=False, **options)
    assert len(checkpoints.load(path).info["history"]) == 2


# ---------------------------------------------------------------------- resuming


def test_resume_with_other_data_other_labels_or_another_validation_share(table, tmp_path):
    (x, labels), path = table, tmp_path / "run.safetensors"
    interrupted(path, tree(), table)
    before = path.read_bytes()
    again = {"checkpoint": path, "resume": True, "progress": False}
    for task, what in (
        (Classification(x + 5, labels), "x was .*, is now"),
        (Classification(x, 1 - labels), "labels was .*, is now"),
        (Classification(x, labels.astype(np.int32)), "labels was"),
        (Classification(x[:150], labels[:150]), "x was .*; labels was"),
        (Classification(x, labels, validation_fraction=0.2), r"validation_fraction was 0.1, is now 0.2"),
        (Classification(x, labels, validation=(x, labels)), "validation x was None"),
    ):
        with pytest.raises(ValueError, match=f"comes from another data: .*{what}"):
            training.train(tree(), task, QUICK, **again)
    assert path.read_bytes() == before


def test_resume_with_another_activation_or_initial_layer(table, tmp_path):
    path, layer = tmp_path / "run.safetensors", tree()
    interrupted(path, layer, table)
    again = {"checkpoint": path, "resume": True, "progress": False}
    with pytest.raises(ValueError, match="comes from another layer: options activation was relu, is now gelu"):
        training.train(replace(layer, activation="gelu"), Classification(*table), QUICK, **again)
    with pytest.raises(ValueError, match="comes from another layer: node_weight was"):
        training.train(tree(np.random.default_rng(2)), Classification(*table), QUICK, **again)
    with pytest.raises(ValueError, match="comes from another data: x was"):
        training.train(layer.astype(np.float64), Classification(table[0].astype(float), table[1]), QUICK, **again)


@pytest.mark.parametrize(
    "change, what",
    [
        ({"epochs": 5}, "epochs was 4, is now 5"),
        ({"transpose_prob": 0.1}, "transpose_prob was 0.0, is now 0.1"),
        ({"optimizer": optim.Adam(beta1=0.8)}, "optimizer Adam beta1 was 0.9, is now 0.8"),
        ({"optimizer": optim.SGD()}, "optimizer"),
        ({"learning_rate": schedules.OneCycle(0.02)}, "learning_rate OneCycle peak was 0.01, is now 0.02"),
        ({"temperature": lambda progress: 1 - progress / 2}, "temperature was 1.0, is now"),
    ],
)
def test_resume_with_a_changed_recipe_says_what_changed(change, what, table, tmp_path):
    path = tmp_path / "run.safetensors"
    interrupted(path, tree(), table)
    with pytest.raises(ValueError, match=f"comes from another recipe: {what}.*start anew"):
        recipe = replace(QUICK, **change)
        training.train(tree(), Classification(*table), recipe, checkpoint=path, resume=True, progress=False)


def test_resume_of_a_run_whose_numbers_were_computed_otherwise(table, tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    interrupted(path, tree(), table)
    monkeypatch.setattr(training.loop, "NUMERICS", training.NUMERICS + 1)
    with pytest.raises(ValueError, match="another numerics: was 2, is now 3"):
        training.train(tree(), Classification(*table), QUICK, checkpoint=path, resume=True, progress=False)


def test_resume_with_the_same_of_everything_goes_on(table, tmp_path):
    """Equal, not identical: the data loaded again, the recipe written again, NumPy's scalars for Python's."""
    path = tmp_path / "run.safetensors"
    whole, history = training.train(tree(), Classification(*table), QUICK, progress=False)
    interrupted(path, tree(), table)
    data, recipe = Classification(*(a.copy() for a in table)), Recipe(epochs=np.int64(4), batch_size=np.int32(16))
    resumed, rest = training.train(tree(), data, recipe, checkpoint=path, resume=True, progress=False)
    assert rest == history
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(array, getattr(resumed, name))


def test_a_changed_default_changes_the_facts_of_a_recipe():
    """A digest of the repr did not see it: the repr hides defaults."""
    names = {"epochs", "batch_size", "optimizer", "learning_rate", "temperature", "entropy_weight", "fast"}
    facts = Recipe().facts()
    assert names < set(facts) and facts["optimizer"] == {"Adam": vars(optim.Adam())}
    assert json.loads(json.dumps(facts)) == facts


# ---------------------------------------------------------------------- what is not a number


@pytest.mark.parametrize("value, name", [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_one_nan_among_the_inputs(value, name, table, tmp_path):
    (x, labels), path = table, tmp_path / "run.safetensors"
    spoilt = x.copy()
    spoilt[5, 3] = spoilt[77, 0] = value
    run = {"recipe": QUICK, "checkpoint": path, "progress": False}
    with pytest.raises(ValueError, match=rf"^x holds {name}, first at \[5, 3\]; fill or drop it"):
        training.train(tree(), Classification(spoilt, labels), **run)
    with pytest.raises(ValueError, match=rf"^validation x holds {name}, first at \[5, 3\]"):
        training.train(tree(), Classification(x, labels, validation=(spoilt, labels)), **run)
    target = spoilt[:, :2]
    with pytest.raises(ValueError, match=rf"target holds {name}, first at \[77, 0\]"):
        training.train(tree(), training.Regression(x, target), **run)
    assert not path.exists()


@pytest.mark.parametrize("make", [tree, lambda: DenseFF.init(np.random.default_rng(0), 6, 2, 8)])
def test_a_learning_rate_that_diverges_keeps_the_last_good_checkpoint(make, table, tmp_path):
    path = tmp_path / "run.safetensors"
    recipe = Recipe(epochs=6, optimizer=optim.SGD(), learning_rate=schedules.Step(0.01, 1e30, at=0.55))
    with pytest.raises(training.Diverged, match=r"the loss is \S+ after epoch 4, at learning rate 1e\+30; lower"):
        training.train(make(), Classification(*table), recipe, checkpoint=path, progress=False)
    saved = checkpoints.load(path)
    assert len(saved.info["history"]) == 3
    assert all(np.isfinite(array).all() for array in saved.layer.arrays().values())
    assert json.dumps(saved.info, allow_nan=False)


def test_a_last_step_that_diverges_does_not_overwrite_the_checkpoint(table, tmp_path):
    """The loss is computed before the step: only the weights tell."""
    path, n_steps = tmp_path / "run.safetensors", 12  # of 180 samples, 16 at a time

    def rate(progress):
        return 1e39 if progress > 1 - 1.5 / (2 * n_steps) else 0.01

    recipe = Recipe(epochs=2, batch_size=16, optimizer=optim.SGD(), learning_rate=rate)
    with pytest.raises((training.Diverged, ValueError)):
        training.train(tree(), Classification(*table), recipe, checkpoint=path, progress=False)
    assert len(checkpoints.load(path).info["history"]) == 1


# ---------------------------------------------------------------------- smooth steps


def smooth_tree():
    """Two leaves, told apart by choices that smooth steps make exactly 0 and 1."""
    return LeafFFF(
        node_weight=np.array([[4]], f32), node_bias=np.zeros(1, f32),
        leaf_in_weight=np.zeros((2, 1, 1), f32), leaf_in_bias=np.ones((2, 1), f32),
        leaf_out_weight=np.array([[[100, 0]], [[0, 1]]], f32), leaf_out_bias=np.zeros((2, 2), f32),
    )  # fmt: skip


def test_trained_with_smooth_step_evaluated_with_sigmoid():
    layer, data = smooth_tree(), (np.array([[-1], [1]], f32), np.array([0, 1]))
    recipe = Recipe(epochs=1, smooth_step=True, optimizer=optim.SGD(), learning_rate=0.0)
    _, history = training.train(layer, Classification(*data, validation=data), recipe, progress=False)
    assert history[0]["soft_accuracy"] == 1 and history[0]["hard_accuracy"] == 1 and history[0]["entropy"] == 0
    assert training.last_choices(history) == Choices(smooth_step=True)
    result = training.evaluate(layer, *data, training.last_choices(history))
    assert (result["soft_accuracy"], result["entropy"]) == (1, 0)
    by_sigmoid = training.evaluate(layer, *data)
    assert by_sigmoid["soft_accuracy"] == 0.5 and by_sigmoid["entropy"] > 0.05  # what was reported


def test_the_entropy_loss_of_smooth_steps_is_that_of_smooth_steps(rng):
    layer, x, labels = tree(dtype=np.float64), rng.standard_normal((9, 6)), rng.integers(2, size=9)
    choices = Choices(temperature=0.2, smooth_step=True)
    plain, pressed = (
        training.objective(layer, x, labels, training.Settings(choices=choices, entropy_weight=weight))[0]
        for weight in (0.0, 1.0)
    )
    c = layer.forward(x, choices)[1].choice
    inside = c[(c > 0) & (c < 1)]
    expected = -(inside * np.log(inside) + (1 - inside) * np.log(1 - inside)).sum() / c.size
    assert 0 < len(inside) < c.size
    np.testing.assert_allclose(pressed - plain, expected, rtol=1e-12)


def test_evaluate_of_a_checkpoint_uses_the_choices_that_it_was_trained_by(table, tmp_path):
    path = tmp_path / "run.safetensors"
    recipe = Recipe(epochs=2, smooth_step=True, temperature=schedules.Geometric(1, 0.3), entropy_weight=0.1)
    _, history = training.train(tree(), Classification(*table), recipe, checkpoint=path, progress=False)
    choices = training.last_choices(checkpoints.load(path).info["history"])
    assert choices.smooth_step and choices.temperature == history[-1]["temperature"] < 0.6


# ---------------------------------------------------------------------- mirror images and side effects


def test_left_and_right_are_mirror_images_in_float32():
    z = np.linspace(-90, 90, 721, dtype=f32)[:, None]
    for smooth_step in (False, True):
        right, left, slope = Choices(smooth_step=smooth_step).choose(z)
        np.testing.assert_array_equal(right, left[::-1])
        np.testing.assert_array_equal(slope, slope[::-1])
    right, left, slope = Choices().choose(z)
    with np.errstate(under="ignore"):
        exact = 1 / (1 + np.exp(z.astype(np.float64)))
    np.testing.assert_allclose(left, exact, rtol=1e-6, atol=1e-37)
    assert (slope[np.abs(z) < 80] > 0).all()


def test_the_slope_of_tanh_does_not_cancel_in_float32():
    """1 - tanh^2 is 0 from 9 on, and 3 % off at 7."""
    z = np.linspace(-40, 40, 161, dtype=f32)
    slope = ACTIVATIONS["tanh"].derivative(z)
    np.testing.assert_allclose(slope, 1 / np.cosh(z.astype(np.float64)) ** 2, rtol=1e-5)
    np.testing.assert_array_equal(slope, slope[::-1])


def test_no_backward_pass_changes_its_arguments(rng):
    """The loss on the load added into its argument."""
    layer = cases.make("MoE", rng)
    x = rng.standard_normal((7, 5))
    y, tape = layer.forward(x, np.random.default_rng(0))
    extra = [losses.expert_balance(weight)[1] for weight in (tape.gates, tape.load)]
    handed = [y, *extra, *(value for value in vars(tape).values() if isinstance(value, np.ndarray))]
    kept = [array.copy() for array in handed]
    for array in handed:
        array.setflags(write=False)
    layer.backward(tape, y, *extra)
    for array, copy in zip(handed, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_initial_weights_and_batches_share_no_stream():
    """`default_rng(s)` and `default_rng([s, 0])` are one stream."""
    draws = [training.stream(3, name).random(8) for name in training.loop.STREAMS]
    draws += [training.stream(3, "epochs", epoch).random(8) for epoch in range(3)]
    draws += [np.random.default_rng(3).random(8), training.stream(4, "weights").random(8)]
    assert len(np.unique(draws)) == 8 * len(draws)
    spawned = np.random.SeedSequence(3).spawn(3)
    for name, child in zip(training.loop.STREAMS, spawned, strict=True):
        np.testing.assert_array_equal(training.stream(3, name).random(4), np.random.default_rng(child).random(4))
