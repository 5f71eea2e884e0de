"""What carved FF layers save in time: MiniLM's shape, six of 384 -> 1536 -> 384, against the quickest dense layers.

A tree of depth 3 engages 25 % of the multiply-adds, one of depth 4 12 %, routing included, as `fffref reproduce carve`
has them. First one layer by itself: 20 tokens, a sentence, and 640, 32 of them; the rivals are the dense layer by
NumPy's GEMM and a compiled GELU, and the two GEMMs bare. Then the whole model, which embeds the same: all layers dense
or all of them trees, both compiled, with what attention, the FF layers and the rest take, beside Amdahl's limit: the
time that would remain if FF layers took their share of the multiply-adds and nothing else changed. Random weights and
rows, each contestant in a process of its own.

    python benchmarks/carved.py            # some ten minutes
    python benchmarks/carved.py --quick    # one round; writes no result
"""

import argparse
import json
import os
import time

import measure
import numpy as np

import fffref
from fffref.formats import bert as form
from fffref.models import encoder
from fffref.models.carve import leaf_width_for

HIDDEN, WIDTH = 384, 1536
MINILM = form.Config(6, HIDDEN, 12, WIDTH, 30_522, 512, 2, 1e-12)
TOKENS = 20  # of a sentence
TREES = {"25 %": 3, "12 %": 4}
ROWS = (20, 640)
BARE, DENSE = "two bare GEMMs, NumPy", "dense, NumPy's GEMM and a compiled GELU"


def share_of(name):
    """25 % as a number; 1 for what is dense."""
    return float(name[:2]) / 100 if name in TREES else 1.0


def drawn(name, rng):
    """A layer with random weights."""
    if name not in TREES:
        return fffref.DenseFF.init(rng, HIDDEN, HIDDEN, WIDTH, "gelu")
    width = leaf_width_for(share_of(name), HIDDEN, HIDDEN, WIDTH, TREES[name])
    return fffref.LeafFFF.init(rng, HIDDEN, HIDDEN, TREES[name], width, "gelu")


def contestant(name, x, threads):
    """A function that computes the layer on x."""
    layer = drawn(name, np.random.default_rng(0))
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


# ---------------------------------------------------------------------- the whole model


class Timed:
    """A function that counts the seconds that it takes."""

    def __init__(self, call):
        self.call, self.seconds, self.given = call, 0.0, None

    def __call__(self, *arguments):
        start = time.perf_counter()
        found = self.call(*arguments)
        self.seconds += time.perf_counter() - start
        self.given = arguments[0]
        return found


def whole(name, threads):
    """The model, compiled, its FF layers checked against the reference; and timers of attention and of each layer."""
    rng = np.random.default_rng(0)
    # BERT's own deviation: with larger weights, attention makes a sentence's rows alike, and they share a leaf
    model = encoder.Encoder.of(MINILM, form.draw(rng, MINILM, deviation=0.02))
    model = model.with_ffs([drawn(name, rng) for _ in model.blocks])
    x, timed = rng.standard_normal((TOKENS, HIDDEN), dtype=np.float32), []
    for block in model.blocks:
        fast = fffref.jit(block.ff, threads=threads).warm_up()
        close = np.isclose(fast(x), block.ff.forward_hard(x), rtol=1e-3, atol=1e-4).all(1)
        assert close.mean() > 0.9, f"{name}: {close.mean():.0%} of the rows agree"  # a tie may go either way
        timed.append(Timed(fast))
    encoder.attention = Timed(encoder.attention)  # looked up by name at every call
    return model.with_ffs(timed), encoder.attention, timed


def model_child(name, sentences):
    """Print seconds of calls: all, attention, FF layers."""
    model, attention, layers = whole(name, int(os.environ[measure.THREAD_VARIABLES[0]]))
    ids = np.random.default_rng(1).integers(0, MINILM.vocab_size, (sentences, TOKENS))
    mask, parts = np.ones_like(ids), []

    def call():
        before = attention.seconds, sum(layer.seconds for layer in layers)
        model.embed(ids, mask)
        after = attention.seconds, sum(layer.seconds for layer in layers)
        parts.append([after[0] - before[0], after[1] - before[1]])

    totals = measure.samples(call, seconds=1, least=10, most=500)
    for layer in layers if name in TREES else ():
        reached = len(np.unique(layer.call.route(layer.given)))
        assert reached > 1, f"{name}: all {len(layer.given)} rows reach one leaf, which would measure a cache"
    print(json.dumps([[total, *part] for total, part in zip(totals, parts[-len(totals) :], strict=True)]))


def models(rounds):
    """Rows of the result: the whole model, by component."""
    rows = []
    for threads in (1, 2):
        for sentences in (1, 32):
            found = {}
            for _ in range(rounds):
                for name in (DENSE, *TREES):
                    arguments = ["--child", name, "--sentences", str(sentences)]
                    seconds = np.array(measure.in_child(__file__, arguments, threads))
                    found.setdefault(name, []).append(seconds)
            rows += model_rows(found, sentences, threads)
    return rows


def model_rows(found, sentences, threads):
    """A row a contestant; `found` holds, a round each, seconds of calls: (calls, 3) all, attention, FF layers."""
    middle = {name: np.array([np.median(part, 0) for part in parts]) for name, parts in found.items()}  # (rounds, 3)
    times, rows = {name: part[:, 0] for name, part in middle.items()}, []
    for name, parts in found.items():
        total, attention, ff = np.concatenate(parts).T
        whole, _, dense_ff = middle[DENSE].T
        limit = whole / (whole - (1 - share_of(name)) * dense_ff)
        seconds = {"all": total, "attention": attention, "FF": ff, "rest": total - attention - ff}
        rows.append({
            "sentences": sentences, "threads": threads, "name": name,
            "milliseconds": {part: measure.quartiles(1e3 * values) for part, values in seconds.items()},
            "dense": measure.ratio(times, DENSE, name), "limit": measure.quartiles(limit),
        })  # fmt: skip
    return rows


def model_table(rows):
    """The whole model as Markdown."""
    parts = ("all", "attention", "FF", "rest")
    head = ["sentences", "threads", "FF layers", *(f"{part}, ms" for part in parts), "times as fast", "at most"]
    lines = ["The whole model, sentences of 20 tokens:", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        name = f"trees, {row['name']} of the multiply-adds" if row["name"] in TREES else row["name"]
        cells = [measure.span(row["milliseconds"][part]) for part in parts]
        cells += [f"{measure.span(row['dense'])}x", f"{row['limit']['median']:.2f}x"]
        lines.append(f"| {row['sentences']} | {row['threads']} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------------- one layer


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
    parser.add_argument("--sentences", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        if options.sentences:
            model_child(options.child, options.sentences)
        else:
            child(options.child, options.rows)
        return
    rounds = 1 if options.quick else 5
    layers, whole_models = measured(rounds), models(rounds)
    text = f"{table(layers)}\n{model_table(whole_models)}"
    print(text)
    if not options.quick:
        measure.write("carved", {"rows": layers, "models": whole_models}, text)


if __name__ == "__main__":
    main()
