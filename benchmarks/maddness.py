"""MADDNESS on a CPU: rows a second against the exact product, its error on digits, and CMM with look-ups for dots.

    python benchmarks/maddness.py               about two minutes; writes results/maddness.json and .md
    python benchmarks/maddness.py --quick       a smoke test, writes nothing

Each contestant is timed in a process of its own, all of them in turn, round after round, one thread each.
"""

import argparse
import json
import sys
from dataclasses import replace

import measure
import numpy as np
from tqdm import tqdm

from fffref import DenseFF, PathFFF, counting, datasets, jit, training
from fffref.counting import look_ups
from fffref.fast import lookup
from fffref.layers.lookup_tables import quantise
from fffref.layers.maddness import Maddness
from fffref.layers.mixing import PathByLookUps

ROWS, COLUMNS, PRODUCTS, CODEBOOKS = 10_000, 512, (10, 100), (16, 32, 64)
LEARNED_FROM = 2_000  # rows: time does not depend on what the trees learned
PATH_SIZES = {"n_in": 768, "n_out": 768, "depth": 11}  # UltraFastBERT-1x11
PATH_ROWS = 1_024


# ---------------------------------------------------------------------- contestants: a process each


def product(n_out, name):
    """Return the call that computes A B for 10,000 rows, exactly or by look-ups."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((ROWS, COLUMNS), np.float32)
    B = rng.standard_normal((COLUMNS, n_out), np.float32)
    if name == "GEMM":
        return lambda: A @ B
    codebooks, block = map(int, name.split())
    maddness = Maddness.learn(A[:LEARNED_FROM], B, codebooks)
    maddness = replace(maddness, bytes_table=quantise(maddness.table, block))
    fast = lookup.FastMaddness(maddness)
    expected, found = maddness.apply(A[:100]), fast.apply(A[:100])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    return lambda: fast.apply(A)


def path(_, name):
    """Return the call that walks 1,024 samples down UltraFastBERT's tree, by dots or by look-ups."""
    rng = np.random.default_rng(0)
    layer = PathFFF.init(rng, **PATH_SIZES, activation="relu")
    x = rng.standard_normal((PATH_ROWS, layer.n_in), np.float32)
    if name == "CMM":
        fast, y = jit(layer), np.empty_like(x)
        return lambda: fast(x, out=y)
    fast = lookup.FastMaddness(PathByLookUps.learn(layer, x, int(name)).tables)
    y = np.empty_like(x)

    def walk():
        codes = np.ascontiguousarray(fast.encode(x)[:, :PATH_ROWS].T)
        lookup.path_by_look_ups_jit(fast.tables, codes, layer.in_bias[0], layer.out_weight[0], y)

    return walk


CASES = {
    "product": (product, PRODUCTS, ("GEMM", *(f"{c} {block}" for c in CODEBOOKS for block in (4, 16)))),
    "path": (path, (None,), ("CMM", "64", "192")),
}


def child(case, size, name, repeats):
    """Time one contestant: seconds of each call."""
    call = CASES[case][0](size, name)
    return measure.in_turn({name: call}, repeats, uncounted=3)[name].tolist()


def timed(case, size, rounds, repeats):
    """Time all contestants of a case in turn, a process each; rows with microseconds and the ratio to the first."""
    names = CASES[case][2]
    seconds = {name: [] for name in names}
    for _ in tqdm(range(rounds), desc=f"{case} {size or ''}", unit="round"):
        for name in names:
            arguments = ["--child", json.dumps([case, size, name, repeats])]
            seconds[name].append(np.median(measure.in_child(__file__, arguments, threads=1)))
    times = {name: np.array(values) for name, values in seconds.items()}
    return [
        {
            "case": case, "size": size, "name": name,
            "microseconds": measure.quartiles(1e6 * times[name]), "speedup": measure.ratio(times, names[0], name),
        }
        for name in names
    ]  # fmt: skip


# ---------------------------------------------------------------------- errors, on digits and on random weights


def digits():
    """Errors of the last product of a 784-128-10 net on the embedded digits, and of a mixed tree there."""
    data = datasets.load("mnist-small")
    net = DenseFF.init(np.random.default_rng(0), 784, 10, 128)
    net, _ = training.train(
        net, training.Classification(data.x_train, data.y_train), training.Recipe(epochs=10), progress=False
    )
    train, test = (np.maximum(x @ net.in_weight.T + net.in_bias, 0) for x in (data.x_train, data.x_test))
    exact = test @ net.out_weight
    accuracy = lambda y: float((y.argmax(1) == data.y_test).mean())  # noqa: E731
    rows = [{"codebooks": None, "error": 0.0, "accuracy": accuracy(exact + net.out_bias)}]
    for codebooks in CODEBOOKS:
        m = Maddness.learn(train, net.out_weight, codebooks)
        y = m.apply(test)
        count = look_ups.of(m)
        rows.append({
            "codebooks": codebooks, "error": nmse(y, exact), "accuracy": accuracy(y + net.out_bias),
            "bytes": count.table_bytes + count.tree_bytes, "exact_bytes": net.out_weight.nbytes,
        })  # fmt: skip
    return rows


def mixed_digits():
    """A tree of the second paper trained on the digits, then walked by look-ups: accuracy and rerouted samples."""
    data = datasets.load("mnist-small")
    layer = PathFFF.init(np.random.default_rng(0), 784, 10, depth=5, n_trees=4, activation="relu")
    layer, _ = training.train(
        layer, training.Classification(data.x_train, data.y_train), training.Recipe(epochs=10), progress=False
    )
    y = layer.forward_hard(data.x_test)
    rows = [{"codebooks": None, "accuracy": float((y.argmax(1) == data.y_test).mean()), "error": 0.0}]
    for codebooks in (16, 64, 196):
        found = PathByLookUps.learn(layer, data.x_train, codebooks).forward_hard(data.x_test)
        accuracy = float((found.argmax(1) == data.y_test).mean())
        rows.append({"codebooks": codebooks, "accuracy": accuracy, "error": nmse(found, y)})
    return rows


def mixed_random():
    """UltraFastBERT's shape with random weights and inputs, where nothing can be learned: error and bytes."""
    rng = np.random.default_rng(0)
    layer = PathFFF.init(rng, **PATH_SIZES, activation="relu")
    x, test = (rng.standard_normal((n, layer.n_in), np.float32) for n in (4_000, 500))
    exact, rows = layer.forward_hard(test), []
    for codebooks in (64, 192):
        mixed = PathByLookUps.learn(layer, x, codebooks)
        count = look_ups.of(mixed.tables)
        same = mixed_route(mixed, test) == layer.route(test)[:, 0, -1]
        rows.append({
            "codebooks": codebooks, "error": nmse(mixed.forward_hard(test), exact), "same_path": float(same.mean()),
            "bytes": count.table_bytes + count.tree_bytes, "exact_bytes": layer.in_weight.nbytes,
        })  # fmt: skip
    return rows


def mixed_route(mixed, x):
    """The last neuron of each sample's path by approximate logits, one tree."""
    logits, node, sample = mixed.logits(x)[:, 0], np.zeros(len(x), np.intp), np.arange(len(x))
    for _ in range(mixed.layer.depth):
        node = 2 * node + 1 + (logits[sample, node] > 0)
    return node


def nmse(y, exact):
    """Squared error over the exact product's squares."""
    return float(((y - exact) ** 2).sum() / (exact**2).sum())


# ---------------------------------------------------------------------- the result


def markdown(result):
    """Tables of everything, with Amdahl's arithmetic under the mixture."""
    lines = ["# MADDNESS", "", "One thread, float32. Error: |y - exact|^2 / |exact|^2.", ""]
    lines += [
        "## A B, 10,000 rows, 512 columns",
        "",
        "| columns of B | | us | times the GEMM's rate |",
        "|---|---|---|---|",
    ]
    for row in result["times"]:
        if row["case"] == "product":
            name = row["name"] if row["name"] == "GEMM" else "{} codebooks, blocks of {}".format(*row["name"].split())
            cells = row["size"], name, measure.span(row["microseconds"]), measure.span(row["speedup"])
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "## Digits, last layer of a 784-128-10 net", "", "| codebooks | error | accuracy |", "|---|---|---|"]
    lines += [
        f"| {r['codebooks'] or 'exact'} | {r['error']:.3f} | {100 * r['accuracy']:.1f} % |" for r in result["digits"]
    ]
    lines += [
        "",
        "## CMM by look-ups",
        "",
        "Four trees of 6 levels on digits:",
        "",
        "| codebooks | error | accuracy |",
        "|---|---|---|",
    ]
    lines += [
        f"| {r['codebooks'] or 'exact'} | {r['error']:.3f} | {100 * r['accuracy']:.1f} % |"
        for r in result["mixed_digits"]
    ]
    lines += ["", "UltraFastBERT-1x11's shape, random weights and inputs, 1,024 rows:", ""]
    lines += ["| | error | same path | MB | us | times CMM's rate |", "|---|---|---|---|---|---|"]
    times = {row["name"]: row for row in result["times"] if row["case"] == "path"}
    megabytes = result["mixed_random"][0]["exact_bytes"] / 1e6
    lines.append(f"| CMM | 0 | all | {megabytes:.1f} | {measure.span(times['CMM']['microseconds'])} | 1 |")
    for r in result["mixed_random"]:
        row = times[str(r["codebooks"])]
        cells = (
            f"{r['error']:.2f}",
            f"{100 * r['same_path']:.0f} %",
            f"{r['bytes'] / 1e6:.1f}",
            measure.span(row["microseconds"]),
            measure.span(row["speedup"]),
        )
        lines.append(f"| {r['codebooks']} codebooks | " + " | ".join(cells) + " |")
    limit = counting.amdahl(0.5, float("inf"))
    lines += [
        "",
        f"Half of CMM's multiply-adds are output rows, which look-ups leave alone: the layer's limit is {limit:.0f}x.",
        "",
    ]
    return "\n".join(lines)


def main():
    """Measure, print, and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repeats; writes nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*json.loads(options.child))))
        return
    rounds, repeats = (1, 3) if options.quick else (5, 30)
    times = [
        row for case, (_, sizes, _) in CASES.items() for size in sizes for row in timed(case, size, rounds, repeats)
    ]
    result = {
        "times": times, "byte_shuffle": lookup.has_byte_shuffle(),
        "digits": digits(), "mixed_digits": mixed_digits(), "mixed_random": mixed_random(),
    }  # fmt: skip
    text = markdown(result)
    print(text)
    if not options.quick:
        measure.write("maddness", result, text)


if __name__ == "__main__":
    sys.exit(main())
