"""What a compiled FFF layer is worth on this CPU: every rival dense and conditional, warm and cold, by depth and batch.

Rows are random and all different; each rival gives the reference's answers before it is timed; contestants run in
turn, each with its weights in the caches unless the case says cold; each number of threads has its own process.

    pip install torch==2.13.0 && pip install --no-deps fastfeedforward==0.2.1      # optional rivals
    python benchmarks/fast_path.py            # a few minutes: make bench
    python benchmarks/fast_path.py --full     # more points and repeats: make bench-full
"""

import argparse
import json
import os

import figures
import measure
import numpy as np
import rivals
from numba import njit
from tqdm import tqdm

import fffref
from fffref import DenseFF, LeafFFF, PathFFF
from fffref.fast import kernels
from fffref.layers import tree
from fffref.layers.record import aligned

WIDTH, DEPTH = 768, 11  # UltraFastBERT-1x11: 4095 neurons stored, 12 engaged
RNG = np.random.default_rng(0)


def path_layer(depth=DEPTH):
    """The layer of a case."""
    return PathFFF.init(RNG, n_in=WIDTH, n_out=WIDTH, depth=depth)


def inputs(n, n_in=WIDTH):
    """Random rows, all different."""
    return RNG.standard_normal((n, n_in), dtype=np.float32)


def check(name, call, layer, x):
    """The reference's answers, to float32's rounding; an output of zeros fails. A dense rival computes all neurons."""
    expected = (rivals.dense_twin(layer) if name.startswith("dense") else layer).forward_hard(x)
    np.testing.assert_allclose(call(x), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def each(call, x, batch):
    """A function that calls `call` on one batch of `x` after the other."""
    parts = [x[first : first + batch] if batch > 1 else x[first] for first in range(0, len(x), batch)]

    def run():
        for part in parts:
            call(part)

    return run


def rows_of(title, threads, times, per, base):
    """The case's table: microseconds per row, and how many times as fast as the fastest of `base`."""
    micro = {name: 1e6 * values / per[name] for name, values in times.items()}
    best = min(base, key=lambda name: np.median(micro[name]))
    return [
        {
            "case": title, "threads": threads, "name": name, "microseconds": measure.quartiles(values),
            "speedup": measure.ratio(micro, best, name), "against": best,
        }
        for name, values in micro.items()
    ]  # fmt: skip


@njit
def _one_by_one(in_weight, in_bias, out_weight, kind, x, y):
    for i in range(len(x)):
        kernels._cmm_jit(in_weight, in_bias, out_weight, 1, kind, x[i], y[i])


@njit
def _one_by_one_plain(in_weight, in_bias, out_weight, kind, x, y):
    for i in range(len(x)):
        kernels._cmm_plain_jit(in_weight, in_bias, out_weight, 1, kind, x[i], y[i])


def compiled_loop(loop, fast):
    """Samples one at a time inside a compiled loop, without Python's overhead."""

    def run(x):
        y = np.empty((len(x), fast.n_out), np.float32)
        loop(*fast._weights, fast._kind, x, y)
        return y

    return run


# ---------------------------------------------------------------------- cases: each returns rows of the table


def batches(threads, full):
    """PathFFF against dense and gathered, by batch size."""
    layer = path_layer()
    fast = fffref.jit(layer, threads).warm_up()
    found = []
    for batch in (2, 8, 64, 512, 1024, 4096, 16384) if full else (64, 1024, 16384):
        x = inputs(max(batch, 64))
        out = np.empty((batch, WIDTH), np.float32)
        calls = rivals.dense(layer)
        if rivals.AVAILABLE["torch"] and batch <= 1024:  # beyond, its gathered weights take gigabytes
            calls["gather + bmm, PyTorch"] = rivals.torch_gather(layer)
        calls["fffref.jit"] = fast
        calls["fffref.jit, out="] = lambda x, out=out: fast(x, out=out)
        for name, call in calls.items():
            check(name, call, layer, x[:batch])
        contestants = {name: each(call, x, batch) for name, call in calls.items()}
        times = measure.in_turn(contestants, 5 if batch > 1024 else 9, warm=0.02)
        title = f"PathFFF {WIDTH}/4095/12, batch {batch}"
        found += rows_of(title, threads, times, dict.fromkeys(calls, len(x)), rivals.dense(layer))
    return found


def one_sample(threads, full):
    """Batch 1, warm: rows change from call to call."""
    layer = path_layer()
    fast, x = fffref.jit(layer, threads).warm_up(), inputs(256)
    calls = rivals.dense(layer)
    calls["dense, fffref.jit"] = fffref.jit(rivals.dense_twin(layer), threads)
    if rivals.AVAILABLE["torch"]:
        calls["gather + bmm, PyTorch"] = rivals.torch_gather(layer)
    for name, call in calls.items():
        check(name, call, layer, x[:1])
    few = x[:16]
    contestants = {name: each(lambda row, call=call: call(row[None]), few, 1) for name, call in calls.items()}
    loops = {
        "compiled loop": compiled_loop(_one_by_one, fast),
        "compiled loop, dot and axpy a level": compiled_loop(_one_by_one_plain, fast),
    }
    for name, call in loops.items():
        check(name, call, layer, x)
    contestants |= {name: lambda call=call: call(x) for name, call in loops.items()}
    contestants["fffref.jit called from Python"] = each(fast, x, 1)
    per = {name: len(few) if name in calls else len(x) for name in contestants}
    base = [name for name in calls if name.startswith("dense")]
    times = measure.in_turn(contestants, 40 if full else 20, warm=0.01)
    return rows_of(f"PathFFF {WIDTH}/4095/12, batch 1, warm", threads, times, per, base)


def cold_sample(threads, full):
    """Batch 1, cold: everything evicted from the caches before each call, as between the layers of a deep model."""
    layer = path_layer()
    fast, x = fffref.jit(layer, threads).warm_up(), inputs(1)
    calls = rivals.dense(layer) | {"fffref.jit": lambda x: fast(x[0])}
    other = np.zeros(2**25)  # 256 MiB

    def evict():
        np.add(other, 1, out=other)

    contestants = {name: lambda call=call: call(x) for name, call in calls.items()}
    times = measure.in_turn(contestants, 40 if full else 20, before=evict)
    base = [name for name in calls if name.startswith("dense")]
    return rows_of(f"PathFFF {WIDTH}/4095/12, batch 1, cold", threads, times, dict.fromkeys(calls, 1), base)


def depths(threads, full):
    """Cost against depth at one width; distinct rows, and one row over and over, which shares one path."""
    found, x = [], inputs(2048)
    same = np.repeat(x[:1], len(x), axis=0)
    for depth in tqdm(range(5, 18) if full else range(5, 18, 2), desc=f"depths, {threads} threads"):
        layer = path_layer(depth)
        fast, y = fffref.jit(layer, threads), np.empty_like(x)
        check("distinct rows", fast, layer, x[:64])
        contestants = {
            "distinct rows": lambda fast=fast, y=y: fast(x, out=y),
            "one path for all": lambda fast=fast, y=y: fast(same, out=y),
        }
        if depth <= 12:
            dense = rivals.numpy_dense(layer)
            contestants["dense, NumPy"] = lambda dense=dense: dense(x[:256])
        times = measure.in_turn(contestants, 9, warm=0.02)
        per = dict.fromkeys(contestants, len(x)) | {"dense, NumPy": 256}
        base = [name for name in contestants if name.startswith("dense")] or ["distinct rows"]
        case = {"depth": depth, "levels": depth + 1, "neurons": tree.n_nodes(depth + 1)}
        found += [row | case for row in rows_of(f"PathFFF depth {depth}, batch 2048", threads, times, per, base)]
    return found


def leaves(threads, full):
    """LeafFFF, hard, against a dense net of its training width and the published package's evaluation."""
    found = []
    for depth in range(4, 11) if full else (4, 7, 10):
        layer = LeafFFF.init(RNG, 784, 10, depth, 8)
        layer.leaf_out_bias[...] = 0  # the published package forgets it
        dense = DenseFF.init(RNG, 784, 10, 2**depth * 8)
        fast = fffref.jit(layer, threads).warm_up()
        for batch in (1, 4096):
            x = inputs(max(batch, 64), 784)
            calls = {"dense, NumPy": dense.forward_hard, "fffref, NumPy": layer.forward_hard, "fffref.jit": fast}
            if rivals.AVAILABLE["fastfeedforward"]:
                calls["fastfeedforward 0.2.1"] = rivals.published_leaf(layer)
            for name, call in calls.items():
                check(name, call, dense if name.startswith("dense") else layer, x[:64])
            contestants = {
                name: each(call if call is fast else _as_rows(call), x, batch) for name, call in calls.items()
            }
            times = measure.in_turn(contestants, 7, warm=0.01)
            title = f"LeafFFF 784/10, depth {depth}, leaf width 8, batch {batch}"
            found += rows_of(title, threads, times, dict.fromkeys(calls, len(x)), ["dense, NumPy"])
    return found


def _as_rows(call):
    """Some rivals want two axes."""
    return lambda x: call(x[None] if x.ndim == 1 else x)


def training_step(threads, full):
    """Forward and backward of PathFFF, batch 256: masked dense, reference, compiled."""
    layer = path_layer()
    fast, x, dy = fffref.jit(layer, threads).warm_up(), inputs(256), inputs(256)
    masked = rivals.masked_step(layer, x, dy)

    def step(model, backward):
        def run():
            y, tape = model.forward(x)
            return y, *getattr(model, backward)(tape, dy)

        return run

    contestants = {
        "masked dense, NumPy": masked,
        "fffref, NumPy": step(layer, "backward"),
        "fffref.jit, dense gradients": step(fast, "backward"),
        "fffref.jit, visited rows": step(fast, "backward_rows"),
    }
    y, grads, dx = contestants["masked dense, NumPy"]()
    for name in list(contestants)[1:3]:
        ours, own, own_dx = contestants[name]()
        for a, b in zip((ours, own_dx, *own.arrays().values()), (y, dx, *(g[None] for g in grads)), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())
    rows = contestants["fffref.jit, visited rows"]()[1]
    np.testing.assert_allclose(rows.in_weight, grads[0][rows.node], rtol=0, atol=1e-4 * np.abs(grads[0]).max())
    times = measure.in_turn(contestants, 21 if full else 11, warm=0.02)
    title = f"PathFFF {WIDTH}/4095/12, training step, batch 256"
    found = rows_of(title, threads, times, dict.fromkeys(contestants, 256), ["masked dense, NumPy"])
    return [row | {"neurons_touched": len(rows.node)} for row in found]


@njit(fastmath=kernels.FLAGS)
def _read_rows(rows, x, repeats):
    """One dot product a row, as CMM does: `x` stays in the nearest cache, the rows come from where they are."""
    total = x.dtype.type(0)
    for _ in range(repeats):
        for i in range(len(rows)):
            total += kernels._dot_jit(rows[i], x)
    return total


def roofs(threads, full):
    """What the machine can do: bytes read per second from each cache, and the FLOPs of a large GEMM."""
    found = []
    x = aligned(inputs(1)[0])
    for name, size in (("L1", 2**14), ("L2", 2**19), ("L3", 2**23), ("memory", 2**28)):
        rows = aligned(inputs(size // (4 * WIDTH)))
        repeats = max(1, 2**26 // size)
        times = measure.in_turn({name: lambda rows=rows, n=repeats: _read_rows(rows, x, n)}, 11)
        found.append({"roof": name, "bytes_per_second": measure.quartiles(repeats * rows.nbytes / times[name])})
    a = inputs(1536, 1536)
    times = measure.in_turn({"sgemm": lambda: a @ a}, 11)
    found.append({"roof": "sgemm", "flops_per_second": measure.quartiles(2 * 1536**3 / times["sgemm"])})
    return found


CASES = {case.__name__: case for case in (batches, one_sample, cold_sample, depths, leaves, training_step, roofs)}
THREADS = {"batches": (1, 2), "training_step": (1, 2)}  # the others: 1


def table(rows):
    """The rows as Markdown, a heading a case."""
    lines = []
    for title in dict.fromkeys((row["case"], row["threads"]) for row in rows if "case" in row):
        mine = [row for row in rows if (row.get("case"), row.get("threads")) == title]
        lines += ["", f"### {title[0]}, {title[1]} thread{'s' * (title[1] > 1)}", ""]
        lines += [f"| | us per row | times as fast as {mine[0]['against']} |", "|---|---|---|"]
        for row in mine:
            ratio = row["speedup"]
            lines.append(f"| {row['name']} | {measure.span(row['microseconds'])} | {measure.span(ratio)} |")
    return "\n".join(lines[1:]) + "\n"


SUMMARY = (  # the beginning of a case, and a contestant
    ("PathFFF 768/4095/12, batch 16384", "fffref.jit, out="),
    ("PathFFF 768/4095/12, batch 16384", "fffref.jit"),
    ("PathFFF 768/4095/12, batch 1024", "gather + bmm, PyTorch"),
    ("PathFFF 768/4095/12, batch 1, warm", "compiled loop"),
    ("PathFFF 768/4095/12, batch 1, warm", "fffref.jit called from Python"),
    ("PathFFF 768/4095/12, batch 1, warm", "dense, NumPy"),
    ("PathFFF 768/4095/12, batch 1, cold", "fffref.jit"),
    ("PathFFF 768/4095/12, training step, batch 256", "fffref.jit, visited rows"),
    ("LeafFFF 784/10, depth 7, leaf width 8, batch 1", "fffref.jit"),
    ("LeafFFF 784/10, depth 7, leaf width 8, batch 4096", "fffref.jit"),
)


def summary(rows):
    """A few rows as one Markdown table."""
    lines = ["| case | threads | | us per row | times as fast as | |", "|---|---|---|---|---|---|"]
    for case, name in SUMMARY:
        for row in rows:
            if row.get("case") == case and row["name"] == name:
                numbers = measure.span(row["microseconds"]), row["against"], measure.span(row["speedup"])
                lines.append(f"| {case} | {row['threads']} | {name} | {numbers[0]} | {numbers[1]} | {numbers[2]}x |")
    return "\n".join(lines) + "\n"


def main():
    """Measure each case with each number of threads in a process of its own; write JSON, table and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more points and more repeats")
    parser.add_argument("--cases", default=",".join(CASES), help="some of %(default)s; writes no result")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        threads = int(os.environ[measure.THREAD_VARIABLES[0]])
        if rivals.AVAILABLE["torch"]:
            import torch

            torch.set_num_threads(threads)
        print(json.dumps(CASES[options.cases](threads, options.full)))
        return
    for name, there in rivals.AVAILABLE.items():
        if not there:
            print(f"skipped: the rivals that need {name}, which is not installed")
    names = options.cases.split(",")
    jobs = [(name, threads) for name in names for threads in THREADS.get(name, (1,))]
    rows = []
    for name, threads in tqdm(jobs, unit="case"):
        arguments = ["--child", "--cases", name, *(["--full"] if options.full else [])]
        rows += measure.in_child(__file__, arguments, threads)
    print(table(rows))
    if names == list(CASES):
        markdown = table(rows)
        measure.write("fast_path", {"rows": rows}, markdown)
        figures.draw(rows)


if __name__ == "__main__":
    main()
