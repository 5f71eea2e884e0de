"""Do the tests of recorded experiments find faults? Each of these breaks a line, as in `test_mutations`.

What would go wrong in silence: a result that passes for another's, a choice by luck, a mean of what is not to be mixed.
"""

import json
import pathlib
import tempfile
from dataclasses import replace
from types import SimpleNamespace

from mutants import make_tests, near

from fffref import datasets, training
from fffref.experiments import variants
from fffref.experiments.runs import Run


def verify_sweep(module):
    """A torn line of ours is cut, a whole one kept, what is not ours refused; nothing is computed twice."""
    jobs = [SimpleNamespace(key=lambda n=n: f"run {n}", cost=n, number=n) for n in (1, 3, 2)]
    started = []
    execute = lambda run: started.append(run.number) or {"square": run.number**2}  # noqa: E731
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "results"
        again = lambda: module.sweep(jobs, execute, file, progress=False)  # noqa: E731
        assert [row["square"] for row in again()] == [1, 9, 4] and started == [3, 2, 1]
        whole = file.read_bytes()
        for tail, restarted in ((whole, []), (whole[:-1], []), (whole[:-3], [1])):
            file.write_bytes(tail)
            started.clear()
            assert [row["square"] for row in again()] == [1, 9, 4]
            assert started == restarted and file.read_bytes() == whole
        for content in (b"no results", b'{"key": 3}\n', whole + b"more"):
            file.write_bytes(content)
            assert refuses(again) and file.read_bytes() == content
        file.write_bytes(whole)
        assert refuses(lambda: module.read(file, {"cube": int})) and refuses(lambda: module.read(file, {"square": str}))


def refuses(call):
    """Whether a call is refused as bad input is."""
    try:
        call()
    except ValueError:
        return True
    return False


def verify_runs(module):
    """Each fact is a part of the key; results are those of evaluation, by the choices that training ended with."""
    smooth = training.hardening(epochs=1, smooth_step=True)
    one = module.Run("mnist-small", "LeafFFF", {"depth": 2, "leaf_width": 2}, variants.Variant("hardening", smooth))
    quiet = replace(one, variant=replace(one.variant, recipe=replace(smooth, noise=0.5)))
    others = [replace(one, seed=1), replace(one, data="mnist"), replace(one, held_out=True), quiet]
    assert len({run.key() for run in [one, *others]}) == 5 and replace(one, folder="x").key() == one.key()
    assert replace(one, seed=1).form() == one.form() != replace(one, held_out=True).form()
    result, data = module.execute(one), datasets.load("mnist-small")
    task = training.Classification(data.x_train, data.y_train)
    layer, history = training.train(one.make(), task, smooth, 0, progress=False)
    test = training.evaluate(layer, data.x_test, data.y_test, training.last_choices(history))
    assert (result["soft_accuracy"], result["hard_accuracy"]) == (test["soft_accuracy"], test["hard_accuracy"])
    assert result["gap"] == test["soft_accuracy"] - test["hard_accuracy"] and result["entropy"] == test["entropy"]
    assert result["busiest"] == round(max(test["leaf_share"]), 4) and result["leaves_used"] == test["leaves_used"]
    assert result["validation_accuracy"] == history[-1]["hard_accuracy"]
    assert "hard_accuracy" not in module.execute(replace(one, held_out=True))


def verify_tuning(module):
    """The best mean over the seeds, of the arm itself or of the nearest one, with its own decay."""
    dense = variants.for_dense(variants.bases()["hardening"])
    arms = [Run("mnist", "DenseFF", {"width": width}, dense, rates="searched") for width in (12, 100)]
    trials = {0.01: (0.9, 0.8), 0.02: (0.86, 0.86), 0.04: (0.7, 0.99)}, {0.01: (0.5, 0.5), 0.04: (0.6, 0.6)}
    rows = [
        arm.labels() | {"learning_rate": rate, "weight_decay": 0.1 * rate, "validation_accuracy": accuracy}
        for arm, tried in zip(arms, trials, strict=True)
        for rate, accuracies in tried.items()
        for accuracy in accuracies
    ]
    choice = module.Choice(rows)
    knobs = [variants.knobs(choice(replace(arms[0], sizes={"width": width}))) for width in (12, 20, 60, 100)]
    near([list(values.values()) for values in knobs], [[0.02, 0.002]] * 2 + [[0.04, 0.004]] * 2)
    assert refuses(lambda: choice(replace(arms[0], data="fashion-mnist")))
    tried = [variants.knobs(trial.recipe) for trial in module._trials(arms[0], "weight_decay", rows)]
    near([list(values.values()) for values in tried], [[0.02, decay] for decay in module.GRIDS["Adam"]["weight_decay"]])


def verify_recorded(module):
    """Groups by fields, means, leads and lost runs, counted by hand."""
    arm = Run("mnist", "LeafFFF", {"depth": 4, "leaf_width": 8}, variants.bases()["hardening"], rates="searched")
    results = {"soft_accuracy": 0.9, "gap": 0.0, "leaves": 16, "leaves_used": 16, "busiest": 0.1, "neurons_engaged": 12}
    results |= {"multiply_adds": 1, "seconds": 1.0, "learning_rate": 0.01, "weight_decay": 0.1}
    rows = [
        run.labels() | results | {"key": run.key(), "form": run.form(), "seed": run.seed, "hard_accuracy": accuracy}
        for run, accuracy in ((replace(arm, seed=1), 0.92), (arm, 0.9), (replace(arm, rates="given"), 0.5))
    ]
    old = rows[0] | {"key": "old", "form": "old", "hard_accuracy": 0.1}
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "results"
        file.write_text("".join(json.dumps(row) + "\n" for row in [old, *rows]))
        groups, set_aside = module.read([file])
        file.write_text("")
        assert refuses(lambda: module.read([file]))
    tree = module.tree(groups, ("mnist", 4, 8), 10)
    assert set_aside == 1 and [row["seed"] for row in tree] == [0, 1] and module.spread(tree) == "91.00 ± 1.41"
    assert module.lead(tree, module.tree(groups, ("mnist", 4, 8), 10, rates="given")) == "+41.00"
    assert not any(map(module.collapsed, tree)) and module.collapsed(tree[0] | {"busiest": 0.95})
    assert module.collapsed(tree[0] | {"hard_accuracy": 0.15}) and not module.collapsed(
        tree[0] | {"leaves": 1, "busiest": 1.0}
    )


FAULTS = {
    "a whole last result is cut off": ("sweep", "    except ValueError:\n        return True\n    return False", "    except ValueError:\n        return True\n    return True"),
    "a foreign tail is cut off": ("sweep", "if not (tail.startswith(START) or START.startswith(tail)):", "if False:"),
    "two results on one line": ("sweep", 'handle.write(b"\\n")', 'handle.write(b"")'),
    "results are computed again": ("sweep", "if key not in done), key", "if True), key"),
    "the costly runs last": ("sweep", "key=lambda run: -run.cost", "key=lambda run: run.cost"),
    "fields may have any type": ("sweep", "if not isinstance(row[name], kind):", "if False:"),
    "a recipe's fields are no part of the key": ("runs", '"recipe": self.recipe.facts()', '"recipe": self.recipe.epochs'),
    "held-out and tested runs are one": ("runs", '"held_out": self.held_out, ', ""),
    "the seed is no part of the key": ("runs", "[self.form(), self.seed]", "[self.form()]"),
    "smooth steps are judged by sigmoid": ("runs", "training.evaluate(layer, data.x_test, data.y_test, choices)", "training.evaluate(layer, data.x_test, data.y_test)"),
    "the search looks at the test data": ("runs", "{} if run.held_out else tested", "{} if False else tested"),
    "judged by the training data": ("runs", "training.evaluate(layer, data.x_test, data.y_test,", "training.evaluate(layer, data.x_train, data.y_train,"),
    "the luckiest seed decides": ("tuning", "statistics.fmean(trials[values])", "max(trials[values])"),
    "the worst is taken": ("tuning", "return max(trials, key", "return min(trials, key"),
    "the farthest arm is taken": ("tuning", "return min(alike, key", "return max(alike, key"),
    "another data set's values are taken": ("tuning", "(other[:2], other[4:]) == (wanted[:2], wanted[4:])", "other[4:] == wanted[4:]"),
    "decays are tried at the first rate": ("tuning", "        recipe = Choice(rows)(arm)\n", "        recipe = arm.recipe\n"),
    "forms are mixed": ("recorded", 'if row["form"] == last[group_of(row)]:', "if True:"),
    "searched and given runs are mixed": ("recorded", 'tuple(size), epochs, base, rates=rates)', "tuple(size), epochs, base)"),
    "a collapsed tree counts as sound": ("recorded", 'row["busiest"] > BUSIEST', "False"),
    "spread of n": ("recorded", "statistics.stdev", "statistics.pstdev"),
    "a lead is a rival's": ("recorded", "mean(rows) - mean(rival)", "mean(rival) - mean(rows)"),
}  # fmt: skip

test_the_source_as_it_is_passes, test_a_planted_fault_is_found = make_tests(globals(), FAULTS)
