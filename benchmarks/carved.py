"""What a carved FF layer saves in time: MiniLM's shape, 384 -> 1536 -> 384, against the dense layer at its quickest.

A tree of depth 3 engages 25 % of the multiply-adds, one of depth 4 12 %, routing included, as `fffref reproduce carve`
has them. Rows: 20 tokens, a sentence, and 640, 32 of them. The rivals are the dense layer by NumPy's GEMM and a
compiled GELU, and the two GEMMs bare. Random weights and rows, each contestant in a process of its own. What a layer
saves is not what a model saves: attention stays.

    python benchmarks/carved.py            # a minute
    python benchmarks/carved.py --quick    # few rounds; writes no result
"""

import argparse
import json
import os

import measure
import numpy as np

import fffref
from fffref.models.carve import leaf_width_for

HIDDEN, WIDTH = 384, 1536
TREES = {"25 %": 3, "12 %": 4}
ROWS = (20, 640)
BARE, DENSE = "two bare GEMMs, NumPy", "dense, NumPy's GEMM and a compiled GELU"


def contestant(name, x, threads):
    """A function that computes the layer on x."""
    rng = np.random.default_rng(0)
    if name in TREES:
        depth = TREES[name]
        width = leaf_width_for(float(name[:2]) / 100, HIDDEN, HIDDEN, WIDTH, depth)
        layer = fffref.LeafFFF.init(rng, HIDDEN, HIDDEN, depth, width, "gelu")
    else:
        layer = fffref.DenseFF.init(rng, HIDDEN, HIDDEN, WIDTH, "gelu")
    if name == BARE:
        return lambda: (x @ layer.in_weight.T) @ layer.out_weight
    fast = fffref.jit(layer, threads=threads).warm_up()
    np.testing.assert_allclose(fast(x), layer.forward_hard(x), rtol=1e-3, atol=1e-4)
    return lambda: fast(x)


def child(name, rows):
    """Print seconds of calls."""
    threads = int(os.environ[measure.THREAD_VARIABLES[0]])
    x = np.random.default_rng(1).standard_normal((rows, HIDDEN), dtype=np.float32)
    call = contestant(name, x, threads)
    print(json.dumps(measure.samples(call, seconds=0.5, least=30, most=2000)))


def measured(rounds):
    """Rows of the result."""
    rows = []
    for threads in (1, 2):
        for n in ROWS:
            middle, every = {}, {}
            for _ in range(rounds):
                for name in (BARE, DENSE, *TREES):
                    seconds = measure.in_child(__file__, ["--child", name, "--rows", str(n)], threads)
                    middle.setdefault(name, []).append(np.median(seconds))
                    every.setdefault(name, []).extend(seconds)
            times = {name: np.array(values) for name, values in middle.items()}
            rows += [
                {"rows": n, "threads": threads, "name": name,
                 "microseconds": measure.quartiles(1e6 * np.array(every[name])),
                 "dense": measure.ratio(times, DENSE, name), "bare": measure.ratio(times, BARE, name)}
                for name in times
            ]  # fmt: skip
    return rows


def table(rows):
    """The result as Markdown."""
    lines = ["| tokens | threads | | us | times as fast as the best dense code | as two bare GEMMs |", "|---" * 6 + "|"]
    for row in rows:
        name = f"tree, {row['name']} of the multiply-adds" if row["name"] in TREES else row["name"]
        ratios = f"{measure.span(row['dense'])}x | {measure.span(row['bare'])}x"
        lines.append(f"| {row['rows']} | {row['threads']} | {name} | {measure.span(row['microseconds'])} | {ratios} |")
    return "\n".join(lines) + "\n"


def main():
    """Time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round; writes no result")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.rows)
        return
    rows = measured(1 if options.quick else 5)
    print(table(rows))
    if not options.quick:
        measure.write("carved", {"rows": rows}, table(rows))


if __name__ == "__main__":
    main()
