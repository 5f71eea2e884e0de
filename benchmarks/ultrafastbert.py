"""What is a 341x layer worth in a model? UltraFastBERT-1x11, whole, conditional and as released (all neurons, masked).

16 layers of width 768, random weights, loaded from a checkpoint of 755 MB in the released form; random tokens. Each
contestant is held against the conditional model before it is timed. An "encoder" is everything but the head onto the
32,768 words, which is timed by itself. Parts are timed inside the model: their weights are as cold as they are there.

    pip install torch==2.13.0                  # optional rival
    python benchmarks/ultrafastbert.py         # less than ten minutes on a quiet machine, 2 GB of memory and of /tmp
    python benchmarks/ultrafastbert.py --quick # two layers, few rounds, to see that it runs; writes no result
"""

import argparse
import json
import math
import os
import pathlib
import tempfile
import time
from collections import defaultdict
from dataclasses import replace

import measure
import numpy as np
import rivals
from matplotlib import rc_context
from matplotlib.figure import Figure
from tqdm import tqdm

import fffref
from fffref import counting, files, plots
from fffref.counting import presets
from fffref.formats import ultrafastbert
from fffref.layers.record import aligned
from fffref.models.bert import Bert

CASES = {"1 x 16": (1, 16, 15), "1 x 128": (1, 128, 11), "32 x 128": (32, 128, 3)}  # sequences, tokens, rounds
THREADS = (1, 2)
OURS, MASKED, TORCH = "conditional, fffref", "masked, fffref", "masked, PyTorch"
PARTS = ("feedforward", "attention", "embedding", "rest")


class Clock:
    """Adds up the seconds that parts of a model take."""

    def __init__(self):
        self.seconds = defaultdict(float)

    def timed(self, name, part):
        """The function `part`, timed under this name; that costs half a microsecond a call."""

        def run(*arguments):
            start = time.perf_counter()
            result = part(*arguments)
            self.seconds[name] += time.perf_counter() - start
            return result

        return run


# ---------------------------------------------------------------------- contestants


def contestants(bert, threads, clock):
    """By name, functions from ids (B, S) to hidden states, their parts timed."""
    timed = {
        name: clock.timed(name.rsplit(".", 1)[-1], part)
        for name, part in bert.parts().items()
        if name.endswith(("attention", "embedding"))
    }

    def with_ff(ff):
        ffs = bert.with_ffs(lambda layer: clock.timed("feedforward", ff(layer))).instead
        return lambda ids: bert.hidden(ids, instead=timed | ffs)

    found = {
        OURS: with_ff(lambda layer: fffref.jit(layer, threads).warm_up()),
        MASKED: with_ff(lambda layer: rivals.masked_dense(layer, threads)),
        "dense 4095, fffref": with_ff(lambda layer: fffref.jit(rivals.dense_twin(layer), threads)),
        "dense 3072, fffref": with_ff(lambda layer: fffref.jit(rivals.dense_twin(layer, 3072), threads)),
    }
    if rivals.AVAILABLE["torch"]:
        found[TORCH] = rivals.TorchBert(bert, timed=clock.timed).hidden
        found["dense 4095, PyTorch"] = rivals.TorchBert(bert, 4095, clock.timed).hidden
        found["dense 3072, PyTorch"] = rivals.TorchBert(bert, 3072, clock.timed).hidden
    return found


def check(found, bert, ids):
    """The masked models give the conditional one's answers, each dense one the other's in PyTorch.

    But for a token in a hundred: in thousands of choices, rounding breaks a tie or two the other way.
    """
    answers = {name: call(ids) for name, call in found.items()}
    answers["reference"] = bert.hidden(ids)
    for name, other in [(OURS, "reference"), (OURS, MASKED), *((n, n.replace("fffref", "PyTorch")) for n in found)]:
        if other in answers and name != other:
            assert agree(answers[name], answers[other]), f"{name} and {other} differ"
    assert not agree(answers[OURS], answers["dense 4095, fffref"]), "the check sees nothing"


def agree(one, other):
    """Whether 99 rows of 100 agree to a thousandth of the largest entry; zeros agree with nothing."""
    return (np.abs(one - other).max(-1) < 1e-3 * np.abs(other).max()).mean() >= 0.99 and np.abs(one).max() > 0


# ---------------------------------------------------------------------- what a child measures


def time_case(folder, case, threads, quick):
    """All contestants in turn: seconds of the encoder and of its parts, of the head, and ratios."""
    B, S, rounds = CASES[case]
    bert, clock, rng = Bert.load(folder, threads=threads), Clock(), np.random.default_rng(0)
    found = contestants(bert, threads, clock)
    draw = lambda B: rng.integers(0, bert.arch.vocabulary, (B, S))  # noqa: E731
    check(found, bert, draw(1))
    ids, parts, hidden = draw(B), {name: [] for name in found}, {}

    def run(name):
        clock.seconds.clear()
        start = time.perf_counter()
        hidden[name] = found[name](ids)
        parts[name].append(dict(clock.seconds) | {"encoder": time.perf_counter() - start})

    calls = {name: lambda name=name: run(name) for name in found}
    calls["head"] = lambda: bert.head(hidden[OURS])
    uncounted, rounds = (0, rounds) if B > 1 else (1, rounds)
    times = measure.in_turn(calls, 2 if quick else rounds, uncounted=uncounted)
    return [
        *rows_of(case, threads, times, {name: rows[uncounted:] for name, rows in parts.items()}),
        {"case": case, "threads": threads, "name": "head", "seconds": measure.quartiles(times["head"])},
        {"case": case, "threads": threads, "name": "neurons visited", **visited(bert, ids)},
    ]


def rows_of(case, threads, times, parts):
    """A row a contestant."""
    encoder = {name: np.array([row["encoder"] for row in rows]) for name, rows in parts.items()}
    ff = {name: np.array([row["feedforward"] for row in rows]) for name, rows in parts.items()}
    found = []
    for name, rows in parts.items():
        split = {part: np.array([row.get(part, 0.0) for row in rows]) for part in PARTS[:-1]}
        split["rest"] = encoder[name] - sum(split.values())
        head = times["head"]
        row = {
            "case": case, "threads": threads, "name": name, "seconds": measure.quartiles(encoder[name]),
            "parts": {part: measure.quartiles(values) for part, values in split.items()},
            "conditional_faster": measure.ratio(encoder, name, OURS), "ff_faster": measure.ratio(ff, name, OURS),
            "with_head_faster": measure.quartiles((encoder[name] + head) / (encoder[OURS] + head)),
        }  # fmt: skip
        share = ff[name] / encoder[name]
        factor = ff[name] / ff[OURS]
        row["ff_share"] = measure.quartiles(share)
        row["amdahl_limit"] = measure.quartiles([counting.amdahl(s, math.inf) for s in share])
        row["amdahl"] = measure.quartiles([counting.amdahl(s, f) for s, f in zip(share, factor, strict=True)])
        found.append(row)
    return found


def visited(bert, ids):
    """How different the tokens' paths are: neurons visited in a layer, of all; a collapsed model would visit few."""
    counts = []

    def counted(layer):
        def run(x):
            nodes = layer.route(x)[:, 0]
            counts.append([len(np.unique(nodes)), len(np.unique(nodes[:, -1]))])
            return layer.forward_hard(x)

        return run

    bert.with_ffs(counted).hidden(ids)
    neurons, leaves = np.array(counts).T
    return {"neurons": measure.quartiles(neurons), "last_neurons": measure.quartiles(leaves), "tokens": int(ids.size)}


def time_loading(folder, threads):
    """One process, from `Bert.load` to the logits of 1 x 128, Numba's start-up included; and its peak memory."""
    ids = np.random.default_rng(0).integers(0, ultrafastbert.load(folder)[0].vocabulary, (1, 128))
    marks = [time.perf_counter()]
    bert = Bert.load(folder, fast=True, threads=threads)
    marks.append(time.perf_counter())
    bert(ids)
    marks.append(time.perf_counter())
    status = pathlib.Path("/proc/self/status")
    memory = {
        line.split(":")[0]: 1024 * int(line.split()[1])
        for line in (status.read_text().splitlines() if status.exists() else ())
        if line.startswith(("VmHWM", "RssAnon", "RssFile"))
    }
    return {"load": marks[1] - marks[0], "first_logits": marks[2] - marks[1], "total": marks[2] - marks[0]} | memory


def time_mapping(folder, quick):
    """FF layers alone, weights cold: mapped as the file has them, or copied to start on a cache line."""
    bert = Bert.load(folder)
    x = np.random.default_rng(0).standard_normal((128, bert.arch.hidden), np.float32)
    copies = [replace(block.ff, in_weight=aligned(block.ff.in_weight)) for block in bert.blocks]
    chains = {"mapped": [fffref.jit(block.ff) for block in bert.blocks], "copied": list(map(fffref.jit, copies))}

    def chain(layers):
        return lambda: [layer(x) for layer in layers]

    times = measure.in_turn({name: chain(layers) for name, layers in chains.items()}, 3 if quick else 25)
    return [
        {
            "mapping": name, "seconds": measure.quartiles(times[name]),
            "slower": measure.ratio(times, name, "mapped"),
        }
        for name in times
    ]  # fmt: skip


# ---------------------------------------------------------------------- results


def counted_limits():
    """Amdahl's limit from multiply-adds alone, were all equally quick: by case, without the head."""
    dense = presets.get("ultrafastbert-1x11").with_ff(counting.dense_ff(768, 768, 4095))
    found = {}
    for case, (_, S, _) in CASES.items():
        parts = dense.multiply_adds(S)
        encoder = sum(parts.values()) - parts["head"]
        found[case] = counting.amdahl(parts["feedforward"] / encoder, math.inf)
    return found


def table(rows):
    """The rows as Markdown: a heading a case; then loading."""
    lines, counted = [], counted_limits()
    for case, threads in dict.fromkeys((row["case"], row["threads"]) for row in rows if "case" in row):
        mine = {row["name"]: row for row in rows if (row.get("case"), row.get("threads")) == (case, threads)}
        lines += [f"### {case} tokens, {threads} thread{'s' * (threads > 1)}", ""]
        lines += ["| | encoder [ms] | FF | attention | embedding | rest | conditional: whole | FF alone | with head "
                  "| Amdahl's limit |", "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
        for name, row in mine.items():
            if "parts" not in row:
                continue
            parts = (f"{1e3 * row['parts'][part]['median']:.3g}" for part in PARTS)
            ratios = (measure.span(row[key]) for key in ("conditional_faster", "ff_faster", "with_head_faster"))
            cells = [name, measure.span(_milli(row["seconds"])), *parts, *(f"{ratio}x" for ratio in ratios)]
            lines.append(f"| {' | '.join(cells)} | {row['amdahl_limit']['median']:.2f}x |")
        visits, limit = mine["neurons visited"], mine[MASKED]["amdahl_limit"]["median"]
        ours = mine[MASKED]["conditional_faster"]["median"]
        lines += ["", f"The head onto all words takes {measure.span(_milli(mine['head']['seconds']))} ms more. Against "
                  f"our own masked model, {ours:.2f}x of at most {limit:.2f}x, were the FF layers to take no time; "
                  f"counted in multiply-adds, {counted[case]:.2f}x. A layer visits {visits['neurons']['median']:.0f} "
                  f"neurons of 4095 for {visits['tokens']} tokens, which end at "
                  f"{visits['last_neurons']['median']:.0f} different ones.", ""]  # fmt: skip
    loads = [row for row in rows if "load" in row]
    if loads:
        lines += ["### From the file to the first logits, 1 x 128, fast, warm file cache", "",
                  "| threads | load [s] | first logits [s] | together [s] | checkpoint [MB] | peak memory [MB] | of "
                  "which the file's own pages [MB] |", "|---|---|---|---|---|---|---|"]  # fmt: skip
        for row in loads:
            seconds = (measure.span(row[key]) for key in ("load", "first_logits", "total"))
            sizes = (f"{row[key] / 1e6:.0f}" if row[key] else "-" for key in ("bytes", "VmHWM", "RssFile"))
            lines.append(f"| {' | '.join((str(row['threads']), *seconds, *sizes))} |")
        lines.append("")
    for row in (row for row in rows if "mapping" in row):
        milliseconds = measure.span(_milli(row["seconds"]))
        slower = measure.span(row["slower"])
        where = f"FF layers alone, 128 rows, input weights {row['mapping']}"
        lines.append(f"{where}: {milliseconds} ms, {slower} times the mapped ones' time.\n")
    return "\n".join(lines).strip() + "\n"


def _milli(quartiles):
    """Seconds as milliseconds."""
    return {"median": 1e3 * quartiles["median"], "quartiles": [1e3 * value for value in quartiles["quartiles"]]}


def figure_of(rows):
    """Left: where the time goes, by contestant. Right: what the layers gain, what the model gains, and its limit."""
    case, threads = "1 x 128", 1
    mine = [row for row in rows if row.get("case") == case and row["threads"] == threads and "parts" in row]
    mine.sort(key=lambda row: row["seconds"]["median"])
    with rc_context(plots.STYLE):
        figure = Figure(figsize=(12, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        start = np.zeros(len(mine))
        colours = dict(zip(PARTS, (plots.COLOURS[1], plots.COLOURS[0], plots.COLOURS[2], "0.6"), strict=True))
        for part in PARTS:
            width = np.array([1e3 * row["parts"][part]["median"] for row in mine])
            left.barh([row["name"] for row in mine], width, left=start, color=colours[part], label=part)
            start += width
        for i, end in enumerate(start):
            left.annotate(f"{end:.0f} ms", (end, i), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
        left.set(xlabel="ms for 128 tokens, 1 thread, without the head", xlim=(0, 1.13 * start.max()))
        left.set_title("Where the time goes")
        left.grid(axis="y", visible=False)
        left.invert_yaxis()
        left.legend(loc="upper left", bbox_to_anchor=(0, -0.14), ncols=len(PARTS), fontsize=9)

        masked = [row for row in rows if row.get("name") == MASKED]
        for key, mark, colour, label in (
            ("ff_faster", "o", plots.COLOURS[1], "FF layers alone"),
            ("conditional_faster", "o", plots.COLOURS[0], "whole encoder"),
            ("amdahl_limit", "|", "black", "its limit by Amdahl's law"),
        ):
            values = [row[key]["median"] for row in masked]
            size = {"markersize": 9} if mark == "o" else {"markersize": 18, "markeredgewidth": 2}
            right.plot(values, range(len(masked)), mark, color=colour, label=label, **size)
            for y, value in enumerate(values if mark == "o" else ()):
                side = (9, 0, "left") if key == "ff_faster" else (-9, 0, "right")
                right.annotate(f"{value:.3g}x", (value, y), side[:2], textcoords="offset points", ha=side[2],
                               va="center", fontsize=9)  # fmt: skip
        names = [f"{row['case']}, {row['threads']} thread{'s' * (row['threads'] > 1)}" for row in masked]
        right.set_yticks(range(len(masked)), names)
        highest = max(row["ff_faster"]["median"] for row in masked)
        right.set(xscale="log", xlim=(1, 3 * highest), ylim=(len(masked) - 0.4, -0.6))
        right.set(xlabel="times as fast as masked, fffref", title="A layer's gain is not a model's")
        right.grid(axis="y", visible=False)
        right.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14), fontsize=9, ncols=3, columnspacing=1)
    return figure


# ---------------------------------------------------------------------- the command


def child(options):
    """Measure one thing in this process, and print it."""
    what, threads = options.child, int(os.environ[measure.THREAD_VARIABLES[0]])
    if rivals.AVAILABLE["torch"] and what in CASES:
        import torch

        torch.set_num_threads(threads)
    if what == "load":
        print(json.dumps(time_loading(options.folder, threads)))
    elif what == "mapping":
        print(json.dumps(time_mapping(options.folder, options.quick)))
    else:
        print(json.dumps(time_case(options.folder, what, threads, options.quick)))


def main():
    """Write a checkpoint, measure everything in processes of their own, write JSON, table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two layers, few rounds; writes no result")
    parser.add_argument("--only", choices=CASES, action="append", help="this case, not all; may be given again")
    parser.add_argument("--out", type=pathlib.Path, default=measure.RESULTS, help="where to write (%(default)s)")
    parser.add_argument("--draw", action="store_true", help="draw the figure again from the recorded result")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    folder = files.folder(options.out)
    picture = folder / "ultrafastbert.png"
    if options.draw:
        plots.save(figure_of(json.loads(picture.with_suffix(".json").read_text())["rows"]), picture)
        return
    if not rivals.AVAILABLE["torch"]:
        print("skipped: the rivals that need torch, which is not installed")
    rows = measured(options)
    print(table(rows))
    if not options.quick:
        measure.write("ultrafastbert", {"rows": rows}, table(rows), folder)
        plots.save(figure_of(rows), picture)


def measured(options):
    """All rows."""
    rows, more = [], ["--quick"] if options.quick else []
    jobs = [(what, threads) for what in (*(options.only or CASES), "load") for threads in THREADS] + [("mapping", 1)]
    with tempfile.TemporaryDirectory() as folder:
        arch = ultrafastbert.Arch(layers=2) if options.quick else ultrafastbert.Arch()
        tensors = ultrafastbert.draw(np.random.default_rng(0), arch)
        ultrafastbert.save(folder, arch, tensors | {ultrafastbert.OUT: tensors[ultrafastbert.WORDS]})
        del tensors
        size = (pathlib.Path(folder) / ultrafastbert.WEIGHTS).stat().st_size
        for what, threads in tqdm(jobs, unit="case"):
            arguments = ["--child", what, "--folder", folder, *more]
            if what != "load":
                rows += measure.in_child(__file__, arguments, threads)
                continue
            starts = [measure.in_child(__file__, arguments, threads) for _ in range(3 if options.quick else 8)][1:]
            spans = {key: measure.quartiles([s[key] for s in starts]) for key in ("load", "first_logits", "total")}
            memory = {key: max(s.get(key, 0) for s in starts) for key in ("VmHWM", "RssAnon", "RssFile")}
            rows.append({"threads": threads, "bytes": size, **spans, **memory})
    return rows


if __name__ == "__main__":
    main()
