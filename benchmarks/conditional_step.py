"""One training step of a PathFFF of UltraFastBERT's size: every neuron against visited neurons alone, by the same loop.

Forward and backward pass of a mean squared error and a step of the optimiser, 256 rows of 768, 4,095 neurons, in the
loop of every training. "dense" is the reference with gradients and moments of all neurons, "visited" is
`Recipe(fast=True)`: the compiled passes and a lazy step. Weights and rows are random, and every batch has other rows.
Both sides run in turn in one process.

    python benchmarks/conditional_step.py
"""

import argparse
import json
import time

import numpy as np
from tqdm import tqdm

from fffref import PathFFF, training

BATCH = 256


def seconds(layer, task, optimizer, fast, epochs):
    """Time of a step: that of a whole training, by its steps; an epoch takes a pass more, to see that it is finite."""
    recipe = training.Recipe(epochs=epochs, batch_size=BATCH, optimizer=optimizer, learning_rate=1e-3, fast=fast)
    start = time.perf_counter()
    _, history = training.train(layer, task, recipe, progress=False, watch_every=epochs)
    assert history[-1]["loss"] < history[0]["loss"]  # it does train
    return (time.perf_counter() - start) / (epochs * task.steps(BATCH))


def main():
    """Print median and spread of a step, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=768, help="inputs and outputs (%(default)s)")
    parser.add_argument("--depth", type=int, default=11, help="choices on a path (%(default)s)")
    parser.add_argument("--batches", type=int, default=20, help="batches an epoch (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="trainings of each kind (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    layer = PathFFF.init(rng, arguments.width, arguments.width, arguments.depth)
    x, target = rng.standard_normal((2, BATCH * arguments.batches, arguments.width), dtype=np.float32)
    task = training.Regression(x, target, validation=(x[:BATCH], target[:BATCH]))
    kinds = {
        f"{name}, {'visited' if fast else 'dense'}": (optimizer, fast)
        for name, optimizer in (("Adam", training.Adam()), ("SGD", training.SGD()))
        for fast in (False, True)
    }
    times = {name: [] for name in kinds}
    seconds(layer, task, training.SGD(), True, 2)  # compiled before it is timed
    for _ in tqdm(range(arguments.repeats), desc="trainings"):
        for name, (optimizer, fast) in kinds.items():
            times[name].append(1e3 * seconds(layer, task, optimizer, fast, 2))
    result = {name: {"median_ms": float(np.median(t)), "least": min(t), "most": max(t)} for name, t in times.items()}
    for name in ("Adam", "SGD"):
        result[f"{name}, ratio"] = result[f"{name}, dense"]["median_ms"] / result[f"{name}, visited"]["median_ms"]
    print(json.dumps(result, indent=1) if arguments.json else "\n".join(f"{k:16} {v}" for k, v in result.items()))


if __name__ == "__main__":
    main()
