"""A soft tree that hardens: what a step costs when leaves without mass are left out, and how good the tree becomes.

`LeafFFF` 784 -> 10, depth 7, leaf width 8, batches of 256 of the embedded digits. With smooth steps, the mass of most
leaves becomes exactly 0 as the temperature falls. After every epoch the same step, forward, backward and Adam, is timed
with the weights and the choices that training has come to, three ways in turn: over all leaves in NumPy, as training
does without `fast`; the same with the optimiser compiled, which helps it too; and over the leaves reached, compiled,
as training with `fast` does. Then accuracies: the recipe of `fffref train`, and the same with smooth steps, without
rounding.

    python benchmarks/conditional_soft.py           # a few minutes
    python benchmarks/conditional_soft.py --quick   # two epochs, one seed; writes no result
"""

import argparse
import json
import sys

import measure
import numpy as np
from tqdm import tqdm

import fffref
from fffref import datasets, training
from fffref.training import compiled_steps, optim  # noqa: F401 (compiled steps, as in fast training)
from fffref.training.penalties import compiled

SIZES = {"n_in": 784, "n_out": 10, "depth": 7, "leaf_width": 8}
BATCH = 256
WAYS = ("all leaves, NumPy", "all leaves, compiled Adam", "leaves reached")  # the last is compared with the others


class PlainAdam(training.Adam):
    """Adam as training without `fast` has it: fast training's compiled steps are not for it."""


optim.move_array.register(PlainAdam, optim.move_array_by_blocks)


def recipes(epochs):
    """The recipe as it is, and the one whose leaves can be left out."""
    own = training.hardening(epochs=epochs, batch_size=BATCH)
    return {
        "sigmoids, rounded at the end": own,
        "smooth steps": training.hardening(
            epochs=epochs, batch_size=BATCH, smooth_step=True, straight_through=False, fast=True
        ),
    }


def step_of(layer, view, batch, settings, optimizer, state):
    """A function that takes one step; learning rate 0, so that every call finds the same weights."""

    def step():
        loss, grads = batch[0].objective(view, batch[1], settings, np.random.default_rng(0))
        optimizer.update(layer, grads, state, 10, 0.0)
        return loss

    return step


def timed(epochs, repeats):
    """Rows of the result: after every epoch, the share of leaves reached, and a step both ways."""
    digits = datasets.load("mnist-small")
    task = training.Classification(digits.x_train, digits.y_train)
    recipe, rows = recipes(epochs)["smooth steps"], []
    layer = fffref.LeafFFF.init(training.stream(0, "weights"), **SIZES)

    class Watched(training.Classification):
        """The task, which looks at the layer after each epoch."""

        def watch(self, model, settings):
            rows.append(look(model, settings, task, repeats))
            return {}

    training.train(layer, Watched(digits.x_train, digits.y_train), recipe, progress=False)
    return rows


def look(layer, settings, task, repeats):
    """One row: a step in each way, in turn."""
    layer = layer.map(np.copy)
    plain, optimizer = PlainAdam(weight_decay=0.1), training.Adam(weight_decay=0.1)
    state, batch = optimizer.init(layer), (task.x[:BATCH], task.answers[:BATCH])
    fast = compiled(layer)
    steps = {
        name: step_of(layer, view, (task, batch), settings, adam, state)
        for name, view, adam in zip(WAYS, (layer, layer, fast), (plain, optimizer, optimizer), strict=True)
    }
    losses = [step() for step in steps.values()]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    times = measure.in_turn(steps, repeats)
    _, tape = fast.forward(batch[0], settings.choices, np.random.default_rng(0))
    reached = tape.leaf.size / tape.mixture.size if hasattr(tape, "leaf") else 1.0
    return {
        "temperature": settings.choices.temperature, "noise": settings.choices.noise, "reached": reached,
        "milliseconds": {name: measure.quartiles(1e3 * values) for name, values in times.items()},
        "faster": {name: measure.ratio(times, name, WAYS[-1]) for name in WAYS[:-1]},
    }  # fmt: skip


def accuracies(epochs, seeds):
    """Test accuracies in % of both recipes, a list a recipe."""
    digits = datasets.load("mnist-small")
    task = training.Classification(digits.x_train, digits.y_train)
    found = {}
    for name, recipe in recipes(epochs).items():
        found[name] = []
        for seed in tqdm(range(seeds), desc=name):
            layer = fffref.LeafFFF.init(training.stream(seed, "weights"), **SIZES)
            layer, _ = training.train(layer, task, recipe, seed, progress=False, watch_every=epochs)
            hard = layer.forward_hard(digits.x_test).argmax(1) == digits.y_test
            found[name].append(100 * float(hard.mean()))
    return found


def table(result):
    """Both results as Markdown."""
    head = ["epoch", "temperature", "noise", "leaves computed", *(f"{name}, ms" for name in WAYS)]
    lines = [f"| {' | '.join([*head, *(f'times as fast as {name}' for name in WAYS[:-1])])} |", "|---" * 9 + "|"]
    for epoch, row in enumerate(result["rows"]):
        spans = [measure.span(row["milliseconds"][name]) for name in WAYS]
        spans += [f"{measure.span(row['faster'][name])}x" for name in WAYS[:-1]]
        cells = [epoch + 1, f"{row['temperature']:.3g}", f"{row['noise']:.3g}", f"{row['reached']:.1%}", *spans]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "| recipe | hard accuracy, % | seeds |", "|---|---|---|"]
    for name, values in result["accuracies"].items():
        lines.append(f"| {name} | {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} | {len(values)} |")
    return "\n".join(lines) + "\n"


def main():
    """Time, train, write JSON and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two epochs, two seeds; writes no result")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    epochs, seeds, repeats = (2, 2, 5) if options.quick else (8, 5, 15)
    if options.child:
        print(json.dumps({"rows": timed(epochs, repeats), "accuracies": accuracies(epochs, seeds)}))
        return
    result = measure.in_child(__file__, ["--child", *(["--quick"] if options.quick else [])], 1)
    print(table(result))
    if not options.quick:
        measure.write("conditional_soft", result, table(result))


if __name__ == "__main__":
    sys.exit(main())
