"""Do the tests of training find faults? As in `test_mutations`: one fault at a time, each found."""

import pathlib
import tempfile
from dataclasses import fields, replace

import cases
import numpy as np
import pytest
from mutants import gradients_hold, make_tests, near

from fffref import training
from fffref.formats import checkpoints
from fffref.layers.choices import Choices
from fffref.training import losses, schedules


def verify_schedules(module):
    """Ends, middles and turns."""
    near([module.Linear(1, 3)(t) for t in (0, 0.25, 1)], [1, 1.5, 3])
    near([module.Geometric(4, 1)(t) for t in (0, 0.5, 1)], [4, 2, 1])
    near([module.Step(0, 3, at=0.8)(t) for t in (0, 0.79, 0.8, 1)], [0, 0, 3, 3])
    near([module.OneCycle(5, warmup=0.2)(t) for t in (0, 0.1, 0.2, 0.6, 1)], [0, 2.5, 5, 2.5, 0])
    near(module.schedule(0.3)(0.7), 0.3)


def verify_recipes(module):
    """What is in force when, and that no field is missing among the facts."""
    recipe = module.hardening(epochs=7)
    start, middle, end = (recipe.at(t) for t in (0, 0.5, 1))
    near([s.choices.temperature for s in (start, middle, end)], [1, 0.05**0.5, 0.05])
    near([s.choices.noise for s in (start, middle, end)], [1, 0.5, 0])
    assert [s.choices.straight_through for s in (start, middle, end)] == [False, False, True]
    near([s.learning_rate for s in (start, recipe.at(0.25), end)], [0, 0.01, 0])
    assert start.balance_weight == 3 and not start.choices.smooth_step
    assert module.paper1().at(0).entropy_weight == 3 and module.paper1().at(0).entropy_reduction == "sum"
    facts = recipe.facts()
    assert set(facts) == {field.name for field in fields(module.Recipe)} - set(module.LATER)  # as they were before
    assert module.Recipe(gate_noise=False).facts()["gate_noise"] is False
    assert facts["optimizer"]["Adam"]["weight_decay"] == 0.1 and facts["temperature"] == {
        "Geometric": {"start": 1.0, "end": 0.05}
    }
    changed = module.Recipe(smooth_step=True, transpose_prob=0.25, balance="switch", fast=True)
    assert set(changed.changed()) == {"smooth_step", "transpose_prob", "balance", "fast"}
    assert changed.at(0).choices.smooth_step and changed.at(0).choices.transpose_prob == 0.25
    assert start.row() == {"learning_rate": 0.0, "temperature": 1.0, "entropy_weight": 0.0, "smooth_step": False}


def verify_penalties(module):
    """Gradients of loss and penalties by complex step; options that a layer cannot use."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((6, 5)), rng.standard_normal((6, 3))
    choices = Choices(temperature=0.7, smooth_step=True)
    settings = training.Settings(choices=choices, entropy_weight=0.5, balance_weight=0.3, entropy_reduction="sum")
    for kind, plain in (("LeafFFF", training.Settings(choices=choices)), ("MoE", training.Settings())):
        layer = cases.make(kind, rng)

        def value(layer, x, settings=settings):
            y, tape = module.forward_training(layer, x, settings, np.random.default_rng(1))
            penalty, extra = module.penalty(layer, tape, settings)
            return (dy * y).sum() + penalty, tape, extra

        total, tape, extra = value(layer, x)
        grads, dx = layer.backward(tape, dy, **extra)
        gradients_hold(lambda *args, value=value: value(*args)[0], layer, x, grads, dx)
        if kind == "LeafFFF":
            parts = 0.5 * losses.node_entropy(tape.logit, "sum", True)[0] + 0.3 * losses.leaf_balance(tape.mixture)[0]
        else:
            parts = 0.3 * (losses.expert_balance(tape.gates)[0] + losses.expert_balance(tape.load)[0])
        near(total - value(layer, x, plain)[0], parts)
    tree = cases.make("LeafFFF", rng)
    near(module.forward_training(tree, x, settings, None)[0], tree.forward(x, choices)[0])
    dense, recipe = cases.make("DenseFF", rng), training.hardening()
    assert module.fitting(recipe, dense) == training.Recipe(batch_size=256, optimizer=training.Adam(weight_decay=0.1))
    assert module.fitting(recipe, cases.make("LeafFFF", rng)) == recipe
    assert module.fitting(recipe, cases.make("MoE", rng)).balance_weight == 3
    with pytest.raises(ValueError, match="cannot use"):
        module.check_options(dense, recipe)
    with pytest.raises(ValueError, match="fast training is for PathFFF"):
        module.compiled(dense)


def verify_tasks(module):
    """Every sample once, held out or in one batch; gradients by complex step; digests; NaN."""
    rng = np.random.default_rng(0)
    x = np.arange(23.0)[:, None] * np.ones(5)
    labels = np.arange(23) % 3
    task = module.Classification(x, labels, validation_fraction=0.3).split(rng)
    held, kept = task.validation[0][:, 0], [batch for batch in task.batches(4, rng)]
    seen = np.concatenate([batch[0][:, 0] for batch in kept])
    assert len(held) == 7 and sorted([*held, *seen]) == list(range(23)) and sorted(seen) != list(seen)
    order = np.concatenate([batch[0][:, 0] for batch in task.batches(4, rng)])
    assert not np.array_equal(order, seen)  # another epoch, another order
    assert len(kept) == task.steps(4) == 4 and {len(batch[0]) for batch in kept} == {4}
    assert all((y == z[:, 0] % 3).all() for z, y in [*kept, task.validation])
    given = module.Classification(x, labels, validation=(x[:2], labels[:2])).split(rng)
    assert len(given.x) == 23 and len(given.validation[0]) == 2
    layer, z, target = cases.make("LeafFFF", rng), rng.standard_normal((6, 5)), rng.standard_normal((6, 3))
    settings = training.Settings(entropy_weight=0.4)
    relative = module.RelativeRegression(z, target * np.array([[1], [9], [1], [1], [30], [1]]), (z, target))
    for made, answers in ((module.Classification(z, labels[:6]), labels[:6]), (module.Regression(z, target), target),
                          (relative, relative.target)):  # fmt: skip
        _, grads = made.objective(layer, (z, answers), settings, None)
        gradients_hold(
            lambda layer, x, made=made, answers=answers: made.objective(
                layer, (x, answers.astype(layer.dtype) if answers.ndim == 2 else answers), settings, None
            )[0], layer, z, grads, None,
        )  # fmt: skip
    near(module.Regression(z, target).objective(layer, (z, target), training.Settings(), None)[0],
         np.mean((layer.forward(z)[0] - target) ** 2))  # fmt: skip
    errors = [np.sum((y(z) - t) ** 2, 1) / np.sum(t**2, 1)
              for y, t in ((lambda z: layer.forward(z)[0], relative.target), (layer.forward_hard, target))]  # fmt: skip
    near(relative.objective(layer, (z, relative.target), training.Settings(), None)[0], errors[0].mean())
    near(relative.watch(layer, None)["relative_error"], errors[1].mean())
    digests = {module.digest(a) for a in (x, x.T, x + 1, x.astype("f"), x.reshape(5, 23), labels)}
    assert len(digests) == 6 and module.digest(x[::2]) == module.digest(x[::2].copy())
    facts = module.Classification(x, labels).facts()
    assert facts["x"] == module.digest(x) and facts["labels"] == module.digest(labels)
    spoilt = x.copy()
    spoilt[3, 1] = np.nan
    for wrong in (module.Classification(spoilt, labels), module.Classification(x, labels, (spoilt, labels))):
        with pytest.raises(ValueError, match="holds NaN"):
            wrong.check(layer)


def verify_evaluation(module):
    """Shares, entropies and scores by another way, the choices that are asked for."""
    rng = np.random.default_rng(0)
    layer, x, labels = cases.make("LeafFFF", rng), rng.standard_normal((50, 5)), rng.integers(3, size=50)
    choices = Choices(temperature=0.3, smooth_step=True, noise=3.0, straight_through=True)  # chance is left out
    result, (y, tape) = module.evaluate(layer, x, labels, choices), layer.forward(x, Choices(0.3, smooth_step=True))
    near(result["soft_accuracy"], (y.argmax(1) == labels).mean())
    near(result["hard_accuracy"], (layer.forward_hard(x).argmax(1) == labels).mean())
    near(result["leaf_share"], np.bincount(layer.route(x), minlength=4) / 50)
    near(result["entropy"], losses.node_entropy(tape.logit, "mean", True)[0])
    assert result["leaves_used"] == len(set(layer.route(x)))
    near(module.evaluate_regression(layer, x, y, choices)["soft_error"], 0)
    hard = module.evaluate_regression(layer, x, y, choices)["hard_error"]
    near(hard, np.mean((layer.forward_hard(x) - y) ** 2))
    path = cases.make("PathFFF", rng)
    share = module.evaluate(path, x, labels)["leaf_share"]
    assert len(share) == 3 * 4 and abs(sum(share) - 3) < 1e-12
    near(share[:4], np.bincount(path.route(x)[:, 0, -1] - 3, minlength=4) / 50)
    history = [{"temperature": 0.5}, {"temperature": 0.25, "smooth_step": True}]
    assert module.last_choices(history) == Choices(0.25, smooth_step=True) and module.last_choices([]) == Choices()


class Errand:
    """A task for `verify_loop`: gradients of ones, and a note of everything that the loop asks for."""

    def __init__(self, log, loss=lambda n: 1.0, n_steps=3):
        self.log, self.loss, self.n_steps = log, loss, n_steps

    def check(self, model):
        self.log.append("check")

    def split(self, rng):
        self.log.append(("split", float(rng.random())))
        return self

    def facts(self):
        return {"task": "errand"}

    def steps(self, batch_size):
        return self.n_steps

    def batches(self, batch_size, rng):
        self.log.append(("epoch", float(rng.random())))
        return iter([(np.zeros(1 + i),) for i in range(self.n_steps)])

    def objective(self, model, batch, settings, rng):
        self.log.append(("step", settings.learning_rate))
        return self.loss(len(self.log)), model.map(np.ones_like)

    def watch(self, model, settings):
        self.log.append("watch")
        return {"score": float(model.in_bias[0])}


def check_checkpoints(module, layer, recipe, path):
    """A run that is killed, goes on, is refused, or diverges."""
    whole, history = module.train(layer, Errand([]), recipe, progress=False)

    def killed(n):
        if n > 10:
            raise InterruptedError
        return 1.0

    for loss in (killed, lambda n: 1.0 if n < 10 else float("nan")):
        with pytest.raises((InterruptedError, ValueError)) as stopped:
            module.train(layer, Errand([], loss), recipe, checkpoint=path, progress=False)
        assert stopped.type in (InterruptedError, module.Diverged)
        assert len(checkpoints.load(path).info["history"]) == 1
    options = {"checkpoint": path, "resume": True, "progress": False}
    for other, seed in ((replace(recipe, batch_size=5), 0), (recipe, 1)):
        with pytest.raises(ValueError, match="comes from another"):
            module.train(layer, Errand([]), other, seed, **options)
    with pytest.raises(ValueError, match="comes from another layer"):
        module.train(layer.map(lambda a: a + 1), Errand([]), recipe, **options)
    resumed, rest = module.train(layer, Errand([]), recipe, **options)
    near(resumed.in_bias, whole.in_bias)
    assert rest == history
    with pytest.raises(ValueError, match="cannot use noise"):
        module.train(layer, Errand([]), replace(recipe, noise=1.0), progress=False)
    with pytest.raises(ValueError, match="a folder"):
        module.train(layer, Errand([]), recipe, checkpoint=path.parent, progress=False)


def verify_loop(module):
    """Order, progress, streams, resuming and refusals, seen by a task that takes notes."""
    layer = cases.make("DenseFF", np.random.default_rng(0))
    kept = layer.map(np.copy)
    recipe = training.Recipe(epochs=2, optimizer=training.SGD(), learning_rate=schedules.Linear(1.0, 0.0))
    log = []
    trained, history = module.train(layer, Errand(log), recipe, 5, progress=False)
    assert log[0] == "check" and log[-1] == "watch"
    near([entry[1] for entry in log if entry[0] == "step"], [1, 5 / 6, 4 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 1 / 6])
    near(layer.in_bias, kept.in_bias)
    near(trained.in_bias, layer.in_bias - 21 / 6)
    draws = [entry[1] for entry in log if entry[0] in ("split", "epoch")]
    near(draws, [module.stream(5, "split").random(), *(module.stream(5, "epochs", e).random() for e in (0, 1))])
    assert len({*draws, module.stream(5, "weights").random()}) == 4
    assert [row["epoch"] for row in history] == [1, 2] and history[1]["score"] == trained.in_bias[0]
    _, weighted = module.train(layer, Errand([], lambda n: float(n)), recipe, progress=False)
    near(weighted[0]["loss"], (4 * 1 + 5 * 2 + 6 * 3) / 6)  # samples count, not batches
    _, seldom = module.train(layer, Errand([]), replace(recipe, epochs=5), progress=False, watch_every=2)
    assert [row["epoch"] for row in seldom if "score" in row] == [2, 4, 5]
    with tempfile.TemporaryDirectory() as folder:
        check_checkpoints(module, layer, recipe, pathlib.Path(folder) / "run.safetensors")


FAULTS = {
    # schedules and recipes
    "the line starts at its end": ("schedules", "(self.end - self.start) * progress", "(self.start - self.end) * progress"),
    "the geometric mean is arithmetic": ("schedules", "(self.end / self.start) ** progress", "(self.end / self.start) * progress"),
    "the step comes one late": ("schedules", "if progress < self.at", "if progress <= self.at"),
    "warm-up without its half": ("schedules", "(1 - math.cos(math.pi * progress / self.warmup)) / 2", "(1 - math.cos(math.pi * progress / self.warmup))"),
    "noise follows the temperature": ("recipes", "noise=schedule(self.noise)", "noise=schedule(self.temperature)"),
    "smooth steps forgotten": ("recipes", "smooth_step=self.smooth_step,", ""),
    "a fact is missing": ("recipes", "for f in fields(self)}\n        return {name", "for f in fields(self) if f.name != 'smooth_step'}\n        return {name"),
    "the published entropy is a mean": ("recipes", '"entropy_reduction": "sum"}', '"entropy_reduction": "mean"}'),
    # penalties
    "entropy's weight in the loss alone": ("penalties", "value, extra[\"dlogit\"] = weight * entropy, weight * dlogit", "value, extra[\"dlogit\"] = weight * entropy, dlogit"),
    "entropy of sigmoid choices": ("penalties", "settings.entropy_reduction, smooth)", "settings.entropy_reduction)"),
    "balance instead of entropy": ("penalties", "value + weight * balance, weight * dmixture", "weight * balance, weight * dmixture"),
    "load without its loss": ("penalties", 'for name in ("gates", "load") if', 'for name in ("gates",) if'),
    "training without its choices": ("penalties", "layer.forward(x, settings.choices, rng)", "layer.forward(x, None, rng)"),
    "experts without noise": ("penalties", "rng if settings.gate_noise else None", "None"),
    "idle options pass": ("penalties", "    if idle:", "    if False:"),
    "what fits is what does not": ("penalties", "if name not in _idle(model, recipe)}", "if name in _idle(model, recipe)}"),
    # tasks
    "held-out samples are trained on": ("tasks", "x[kept], answers[kept]", "x, answers"),
    "answers in the order of the file": ("tasks", "yield self.x[rows], self.answers[rows]", "yield self.x[rows], self.answers[: len(rows)]"),
    "no shuffling": ("tasks", "np.array_split(rng.permutation(len(self.x))", "np.array_split(np.arange(len(self.x))"),
    "a batch too few": ("tasks", "-(-len(self.x) // batch_size)", "max(1, len(self.x) // batch_size - 1)"),
    "the penalty is no part of the loss": ("tasks", "return value + further,", "return value,"),
    "the penalty has no gradient": ("tasks", "layer.backward(tape, dy, **extra, input", "layer.backward(tape, dy, input"),
    "a relative error's gradient lacks the scale": ("tasks", "n_out * scale * dy", "n_out * dy"),
    "a relative error is a mean over outputs": ("tasks", "return n_out * value", "return value"),
    "relative to the square root": ("tasks", "size = np.linalg.norm(target, axis=-1, keepdims=True)", "size = np.sqrt(np.linalg.norm(target, axis=-1, keepdims=True))"),
    "a digest of the bytes alone": ("tasks", 'hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())', "hashlib.sha256()"),
    "labels without a digest": ("tasks", "zip(names, (self.x, self.answers), strict=True)", "zip(names[:1], (self.x,), strict=True)"),
    "NaN among the validation data": ("tasks", "| ({} if self.validation is None else", "| ({} if True else"),
    # evaluation
    "evaluated with noise": ("evaluation", "choices.calm()", "choices"),
    "evaluated by sigmoid": ("evaluation", '(logit, "sum", choices.smooth_step)', '(logit, "sum")'),
    "accuracy of the worst": ("evaluation", "y.argmax(-1)", "y.argmin(-1)"),
    "leaves of one tree only": ("evaluation", "last + bottom * np.arange(layer.n_trees)", "last + 0 * np.arange(layer.n_trees)"),
    "the choices of the first epoch": ("evaluation", "history[-1] if history", "history[0] if history"),
    "a smooth run is judged by sigmoid": ("evaluation", ', smooth_step=last.get("smooth_step", False)', ""),
    # the loop
    "every epoch the same batches": ("loop", "[] if epoch is None else [epoch]", "[] if epoch is None else [0]"),
    "one stream for all": ("loop", "key = [STREAMS.index(checks.one_of(\"name\", name, STREAMS))]", "key = [0]"),
    "progress starts anew with every epoch": ("loop", "count = epoch * n_steps + i", "count = i"),
    "the caller's layer is trained": ("loop", "start = model.aligned(),", "start = model,"),
    "a loss of NaN goes on": ("loop", "if not math.isfinite(loss):", "if False:"),
    "batches count alike": ("loop", "total + loss * size, n_samples + size", "total + loss, n_samples + 1"),
    "watched every epoch": ("loop", "if (epoch + 1) % watch_every == 0 or", "if True or"),
    "not watched at the end": ("loop", " or epoch + 1 == recipe.epochs:", ":"),
    "resumes whatever is there": ("loop", "        if difference:", "        if False:"),
    "resumes without the history": ("loop", 'saved.state, saved.info["history"]', "saved.state, []"),
    "resumes the layer that was given": ("loop", "return saved.layer, saved.state", "return model.aligned(), saved.state"),
    "the seed is no part of the identity": ("loop", '"seed": checks.integer("seed", seed, 0),', ""),
    "the initial layer is no part of the identity": ("loop", '"layer": {"options": model.options()} | arrays,', ""),
    "options are not looked at": ("loop", "    penalties.check_options(model, recipe)\n", ""),
    "a folder is taken for a file": ("loop", "if checkpoint.is_dir():", "if False:"),
}  # fmt: skip

test_the_source_as_it_is_passes, test_a_planted_fault_is_found = make_tests(globals(), FAULTS)
