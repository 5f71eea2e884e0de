"""One training step of LeafFFF, ours against PyTorch's autograd on the published module: time and peak memory.

Both sides start from the same weights and compute the same: soft forward pass, cross-entropy, gradients of all
parameters, one SGD update. That they agree is asserted before anything is timed. Each side runs in processes of its
own, in turn: in one process, the waiting threads of either library would slow the other down.

    pip install torch==2.13.0 && pip install --no-deps fastfeedforward==0.2.1
    python benchmarks/train_step.py
"""

import argparse
import json
import os

import measure
import numpy as np
from tqdm import tqdm

from fffref import LeafFFF, training
from fffref.training.optim import SGD

N_IN, N_OUT, DEPTH, LEAF_WIDTH, BATCH = 768, 10, 7, 8, 256
RATE = 0.1


def problem():
    """A layer and a batch, the same in every process."""
    rng = np.random.default_rng(0)
    layer = LeafFFF.init(rng, N_IN, N_OUT, DEPTH, LEAF_WIDTH)
    return layer, rng.standard_normal((BATCH, N_IN), dtype=np.float32), rng.integers(N_OUT, size=BATCH)


def our_step():
    """A function that takes one step from the same weights and returns loss and new layer."""
    layer, x, labels = problem()
    optimizer = SGD()

    def step():
        loss, grads, _ = training.objective(layer, x, labels)
        return float(loss), optimizer.step(layer, grads, (), 0, RATE)[0]

    return step


def their_module():
    """The published module with our weights, and its parameters in the order of our fields."""
    import torch
    from fastfeedforward import FFF

    layer, _, _ = problem()
    module = FFF(N_IN, LEAF_WIDTH, N_OUT, DEPTH)
    parameters = [getattr(module, name) for name in ("node_weights", "node_biases", "w1s", "b1s", "w2s", "b2s")]
    with torch.no_grad():
        for parameter, array in zip(parameters, _as_theirs(layer), strict=True):
            parameter.copy_(torch.from_numpy(array.copy()))
    return module, parameters


def _as_theirs(layer):
    """Our arrays in their layout: node biases as a column, leaf inputs transposed."""
    arrays = layer.arrays()
    arrays["node_bias"] = arrays["node_bias"][:, None]
    arrays["leaf_in_weight"] = arrays["leaf_in_weight"].transpose(0, 2, 1)
    return arrays.values()


def their_step():
    """A function that takes one step and returns the loss; the weights move, which costs the same."""
    import torch

    module, parameters = their_module()
    _, x, labels = problem()
    x, labels = torch.from_numpy(x), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(parameters, lr=RATE)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module.training_forward(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item(), parameters

    return step


def gemms():
    """Only the matrix products that such a step cannot do without: a floor for NumPy."""
    layer, x, _ = problem()
    neurons = np.concatenate((layer.node_weight, layer.leaf_in_weight.reshape(-1, N_IN)))
    out = layer.leaf_out_weight.reshape(-1, N_OUT)
    dlogit, dy = np.zeros((BATCH, len(neurons)), np.float32), np.zeros((BATCH, N_OUT), np.float32)
    hidden = np.zeros((BATCH, len(out)), np.float32)

    def products():
        x @ neurons.T, hidden @ out, dy @ out.T, hidden.T @ dy, dlogit.T @ x

    return products


def assert_equal():
    """Same loss, same weights after one step, to float32's rounding."""
    (our_loss, layer), (their_loss, parameters) = our_step()(), their_step()()
    np.testing.assert_allclose(our_loss, their_loss, rtol=1e-5)
    for array, start, parameter in zip(_as_theirs(layer), _as_theirs(problem()[0]), parameters, strict=True):
        theirs = parameter.detach().numpy()
        moved = np.abs(theirs - start).max()
        np.testing.assert_allclose(array, theirs, rtol=0, atol=1e-3 * moved + 1e-7)
        assert moved > 0


SIDES = {"ours": our_step, "theirs": their_step, "gemms": gemms}


def child(task, threads, steps):
    """One process's work: the check of equality, or the steps of one side, the first of them for its memory."""
    if task in ("equal", "theirs"):
        import torch

        torch.set_num_threads(threads)
    if task == "equal":
        assert_equal()
        return None
    step = SIDES[task]()
    peak = measure.peak_memory(step)
    times = measure.in_turn({task: step}, steps)[task]
    return {"peak": peak, "seconds": float(np.median(times))}


def compare(threads, rounds, steps):
    """All sides in turn, a process each, for several rounds."""
    measure.in_child(__file__, ["--child", "equal"], threads)
    found = {side: [] for side in SIDES}
    for _ in tqdm(range(rounds), desc=f"{threads} threads", unit="round"):
        for side, results in found.items():
            results.append(measure.in_child(__file__, ["--child", side, "--steps", steps], threads))
    seconds = {side: np.array([result["seconds"] for result in results]) for side, results in found.items()}
    return {
        "threads": threads,
        "seconds": {side: measure.quartiles(values) for side, values in seconds.items()},
        "speedup": measure.ratio(seconds, "theirs", "ours"),
        "peak": {side: found[side][0]["peak"] for side in ("ours", "theirs")},
    }


def table(runs):
    """The result as Markdown."""
    lines = [
        "| threads | fffref (NumPy) | fastfeedforward 0.2.1 (PyTorch autograd) | speed-up | GEMMs alone | "
        "peak memory of a step, fffref | PyTorch |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        seconds, speedup = run["seconds"], run["speedup"]
        ours, theirs, floor = (_span(seconds[name], 1e3, " ms") for name in ("ours", "theirs", "gemms"))
        memory = (_mebibytes(run["peak"][side]) for side in ("ours", "theirs"))
        lines.append(
            f"| {run['threads']} | {ours} | {theirs} | {_span(speedup, 1, 'x')} | {floor} | {' | '.join(memory)} |"
        )
    return "\n".join(lines) + "\n"


def _span(value, factor, unit):
    low, high = value["quartiles"]
    return f"{factor * value['median']:.1f}{unit} ({factor * low:.1f}-{factor * high:.1f})"


def _mebibytes(value):
    return "-" if value is None else f"{value / 2**20:.0f} MiB"


def main():
    """Measure with each number of threads, write JSON and table, print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", default="1,2", help="numbers of threads, with commas (%(default)s)")
    arguments.add_argument("--rounds", type=int, default=9, help="processes of each side (%(default)s)")
    arguments.add_argument("--steps", type=int, default=40, help="steps of each process (%(default)s)")
    arguments.add_argument("--child", choices=("equal", *SIDES), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.child:
        threads = int(os.environ[measure.THREAD_VARIABLES[0]])
        print(json.dumps(child(options.child, threads, options.steps)))
        return
    threads = [int(n) for n in options.threads.split(",")]
    runs = [compare(n, options.rounds, options.steps) for n in threads]
    shape = {"n_in": N_IN, "n_out": N_OUT, "depth": DEPTH, "leaf_width": LEAF_WIDTH, "batch": BATCH, "dtype": "float32"}
    markdown = table(runs)
    measure.write("train_step", {"shape": shape, "runs": runs}, markdown)
    print(markdown)


if __name__ == "__main__":
    main()
