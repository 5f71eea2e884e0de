"""The figures of `fast_path.py`, drawn from its recorded rows: `python benchmarks/figures.py` draws them again."""

import json

import measure
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from fffref import plots

LEVELS, NEURONS, WIDTH = 12, 4095, 768
FLOPS = LEVELS * 4 * WIDTH  # of one row: a multiply and an add for each weight
BYTES = LEVELS * 2 * 4 * WIDTH  # of the weights that one row engages, float32
BLUE, ORANGE, GREEN, PINK = plots.COLOURS[:4]


def draw(rows):
    """Draw all figures into the folder of results."""
    for name, figure in (
        ("touched", touched(rows)),
        ("speedup", speedup(rows)),
        ("depth", depth(rows)),
        ("warm-cold", warm_cold(rows)),
        ("roofline", roofline(rows)),
    ):
        plots.save(figure, measure.RESULTS / f"fast_path-{name}.png")


def of(rows, case, name=None, threads=1):
    """Rows of the cases whose title begins with `case`, of one contestant."""
    return [
        row
        for row in rows
        if row.get("case", "").startswith(case) and row["threads"] == threads and name in (None, row["name"])
    ]


def median(row, field="microseconds"):
    """The middle of what was measured."""
    return row[field]["median"]


def band(axes, x, rows, field, colour, label, style="-"):
    """A line of medians in the band of its quartiles."""
    axes.plot(x, [median(row, field) for row in rows], style, color=colour, marker="o", markersize=4, label=label)
    axes.fill_between(x, *zip(*(row[field]["quartiles"] for row in rows), strict=True), color=colour, alpha=0.2)


def touched(rows):
    """How many of the weights a batch reads: a tree's paths stay few, and the unions of the largest 5 % do not."""
    shares = [row for row in rows if "touched" in row]
    batch = [row["touched"] for row in shares]
    with rc_context(plots.STYLE):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.subplots()
        for key, colour, label in (
            ("top", ORANGE, "the 5 % of largest logits, each row its own"),
            ("tree", BLUE, "a tree of 12 levels"),
        ):
            axes.plot(batch, [100 * row[key] for row in shares], color=colour, marker="o", markersize=4, label=label)
        axes.set(
            xscale="log", xlabel="rows in the batch, all different, random", ylabel="% of the 4095 neurons engaged"
        )
        axes.set_title("What a batch has to read")
        axes.set_ylim(0, 103)
        axes.legend()
    return figure


def speedup(rows):
    """How many times as fast as two bare GEMMs and as the best dense code, by batch; and by width, with the limit."""
    with rc_context(plots.STYLE):
        figure = Figure(figsize=(11, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for threads, colour in ((1, BLUE), (2, ORANGE)):
            mine = of(rows, "PathFFF 768/4095/12, batch", "fffref.jit", threads)
            mine = [row for row in mine if row["case"].rsplit(" ", 1)[1].isdigit()]
            sizes = [int(row["case"].rsplit(" ", 1)[1]) for row in mine]
            label = f"fffref.jit, {threads} thread{'s' * (threads > 1)}, against"
            band(left, sizes, mine, "bare", colour, f"{label} two bare GEMMs")
            band(left, sizes, mine, "dense", colour, f"{label} the best dense code", ":")
        left.axhline(NEURONS / LEVELS, color="black", linestyle=":", linewidth=1.3)
        left.annotate("multiply-adds saved: 341.25x", (16000, 360), ha="right", fontsize=9)
        left.set(xscale="log", yscale="log", xlabel="batch size", ylabel="times as fast", ylim=(8, 600))
        _plain_ticks(left, (10, 20, 50, 100, 200, 500))
        left.set_title("4095 neurons, 12 engaged")
        left.legend(loc="lower left", fontsize=8)

        deep = [row for row in of(rows, "PathFFF depth", "distinct rows") if "bare" in row]
        widths = [row["neurons"] for row in deep]
        band(right, widths, deep, "bare", BLUE, "fffref.jit, 1 thread, batch 2048")
        limit = [row["neurons"] / row["levels"] for row in deep]
        right.plot(widths, limit, ":", color="black", linewidth=1.3, label="multiply-adds saved")
        right.set(xscale="log", yscale="log", xlabel="neurons stored", title="768 in, 768 out, against two bare GEMMs")
        _plain_ticks(right, (1, 3, 10, 30, 100, 300, 1000, 3000))
        right.legend()
    return figure


def _plain_ticks(axes, values):
    """Numbers on a logarithmic axis as one says them, those that are within it."""
    low, high = axes.get_ylim()
    values = [value for value in values if low <= value <= high]
    axes.set_yticks(values, values)
    axes.yaxis.set_minor_locator(NullLocator())


def depth(rows):
    """Time per row against levels: linear while the weights are near, and what one shared path hides."""
    distinct, shared = of(rows, "PathFFF depth", "distinct rows"), of(rows, "PathFFF depth", "one path for all")
    levels = np.array([row["levels"] for row in distinct])
    near = levels <= 10
    slope, start = np.polyfit(levels[near], [median(row) for row in np.array(distinct)[near]], 1)
    with rc_context(plots.STYLE):
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        axes = figure.subplots()
        band(axes, levels, distinct, "microseconds", BLUE, "all rows different")
        band(axes, levels, shared, "microseconds", ORANGE, "one row over and over: one cached path")
        line = f"{slope:.3f} µs a level (fit up to 10 levels)"
        axes.plot(levels, start + slope * levels, ":", color="black", linewidth=1.3, label=line)
        for size, name in ((2**20, "L2"), (2**25, "L3")):
            full = np.log2(size / (8 * WIDTH) + 1)  # levels whose weights, in and out, fill that cache
            axes.axvline(full, color="grey", linewidth=1, linestyle="--")
            text = f"weights fill {name} ({size >> 20} MiB)"
            at = full - 0.08, 0.97
            axes.text(*at, text, transform=axes.get_xaxis_transform(), rotation=90, ha="right", va="top", color="grey")
        axes.set(
            xlabel="levels (neurons engaged)", ylabel="µs per row", title="Cost against depth, 1 thread, batch 2048"
        )
        axes.set_ylim(0, 1.1 * max(median(row) for row in distinct))
        axes.legend(loc="upper left", bbox_to_anchor=(-0.05, -0.13), ncols=3, fontsize=9)
    return figure


def warm_cold(rows):
    """Batch 1: dense and conditional, with the weights in the caches and evicted from them."""
    warm, cold = of(rows, "PathFFF 768/4095/12, batch 1, warm"), of(rows, "PathFFF 768/4095/12, batch 1, cold")
    names = {"dense, our compiled loop": "dense, our compiled loop", "fffref.jit": "fffref, compiled loop"}
    with rc_context(plots.STYLE):
        figure = Figure(figsize=(8, 2.6), layout="constrained")
        axes = figure.subplots()
        for i, (cold_name, warm_name) in enumerate(names.items()):
            pair = [next(row for row in warm if row["name"] == warm_name)]
            pair += [next(row for row in cold if row["name"] == cold_name)]
            times = [median(row) for row in pair]
            axes.plot(times, [i, i], color="0.75", linewidth=3, zorder=0)
            outside = ("right", -9), ("left", 9)  # numbers stand beyond the dots, the smaller time's on the left
            for time, colour, (side, away), label in zip(
                times, (ORANGE, BLUE), outside if times[0] <= times[1] else outside[::-1], ("warm", "cold"), strict=True
            ):
                axes.plot(time, i, "o", color=colour, markersize=9, label=label if i == 0 else None)
                value = f"{time:,.0f} µs" if time > 100 else f"{time:.3g} µs"
                axes.annotate(value, (time, i), (away, 0), textcoords="offset points", ha=side, va="center")
        axes.set_yticks(range(len(names)), names)
        axes.set(
            xscale="log", xlabel="µs per call", title="One sample: weights in the caches (warm), and in memory (cold)"
        )
        axes.set_xlim(0.2, 10_000)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.legend(loc="center left", bbox_to_anchor=(0.35, 0.5))
    return figure


def roofline(rows):
    """FLOPs per second against FLOPs per byte of weights, under the roofs that were measured in the same run."""
    roofs = {row["roof"]: row for row in rows if "roof" in row}
    peak = roofs["sgemm"]["flops_per_second"]["median"] / 1e9
    intensity = np.logspace(-1.2, 4, 50)
    with rc_context(plots.STYLE):
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        axes = figure.subplots()
        for name, shade in (("L1", "0.2"), ("L2", "0.4"), ("L3", "0.55"), ("memory", "0.7")):
            speed = roofs[name]["bytes_per_second"]["median"] / 1e9
            line = np.minimum(peak, speed * intensity)
            axes.plot(intensity, line, color=shade, linewidth=1.4, label=f"{name}: {speed:.0f} GB/s")
        text = f"two GEMMs at their best: {peak:.0f} GFLOP/s"
        axes.annotate(text, (intensity[-1], 1.15 * peak), ha="right", fontsize=9)
        batch = of(rows, "PathFFF 768/4095/12, batch 16384")
        one = of(rows, "PathFFF 768/4095/12, batch 1, warm")
        dense = 4 * WIDTH * NEURONS
        named = lambda found, words: next(row for row in found if words in row["name"])  # noqa: E731
        points = [  # name, row, FLOPs, FLOPs per byte, mark, side of the label, points up
            ("one row, its path", named(one, "fffref, compiled loop"), FLOPS, FLOPS / BYTES, ("o", PINK), "left", 0),
            ("16,384 rows, paths", named(batch, "fffref.jit"), FLOPS, FLOPS / BYTES, ("s", BLUE), "right", 0),
            ("one row, all neurons", named(one, "dense, our"), dense, 0.5, ("^", ORANGE), "right", -14),
            ("16,384 rows, all neurons", named(batch, "bare"), dense, 8192, ("D", ORANGE), "left", -16),
        ]  # fmt: skip
        for name, row, flops, at, (mark, colour), side, up in points:
            y = flops / median(row) / 1e3
            axes.plot(at, y, mark, color=colour, markersize=9, markeredgecolor="white", zorder=5)
            away = (-10 if side == "left" else 10, up)
            axes.annotate(name, (at, y), away, textcoords="offset points", ha="right" if side == "left" else "left",
                          va="center", fontsize=9, bbox={"fc": "white", "ec": "none", "pad": 1}, zorder=4)  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="FLOPs per byte of weights read", ylabel="GFLOP/s")
        axes.set_ylim(top=2.5 * peak)
        axes.set_title("A path uses each weight once, so bandwidth is its limit (1 thread)")
        axes.legend(loc="lower right", title="roofs: bandwidth of")
    return figure


if __name__ == "__main__":
    draw(json.loads((measure.RESULTS / "fast_path.json").read_text())["rows"])
