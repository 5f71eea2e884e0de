"""The README's table of results, made of the recorded files: every number in it is theirs.

    python benchmarks/summary.py            # prints the table; a test compares it with the README
    python benchmarks/summary.py --others   # beside what others report on CPUs, for benchmarks/README.md
"""

import json
import pathlib
import statistics
import sys

import measure

from fffref.experiments import language, recorded, sweep
from fffref.experiments.report import AIMS, case_name
from fffref.experiments.tables import GATE_COUNTED

FOLDER = pathlib.Path(__file__).parent
LAYER = "PathFFF 768/4095/12, "
EPOCHS = 45


def rows_of(name):
    """The rows of `results/NAME.json`, by case, threads and contestant."""
    rows = json.loads((FOLDER / "results" / f"{name}.json").read_text())["rows"]
    return {(row.get("case"), row.get("threads"), row.get("name")): row for row in rows}


def accuracies():
    """How trees do beside what engages as much: a row each for dense nets and for experts."""
    groups, _ = recorded.read([FOLDER / "accuracy" / "runs.jsonl"])
    dense, experts = [], []
    for case in AIMS:
        tree, rivals = recorded.tree(groups, case, EPOCHS), recorded.rivals(groups, case, EPOCHS)
        lead = recorded.lead(tree, rivals["engaged size"])
        dense.append(f"{case_name(case)}: {recorded.spread(tree)} %, {lead} points")
        experts.append(recorded.lead(tree, rivals[GATE_COUNTED]))
    yield "Hardened tree, over the dense net of its engaged size", "; ".join(dense), "fffref reproduce longer"
    yield "the same, over experts whose gate is counted too", f"{', '.join(experts)} points", "fffref reproduce longer"


def speeds():
    """What one layer of 12 neurons of 4095 is worth, a row a case."""
    rows = rows_of("fast_path")
    for case, name in (
        ("batch 1, warm", "fffref.jit, called from Python"),
        ("batch 1, cold", "fffref.jit"),
        ("batch 256", "fffref.jit"),
        ("batch 1024", "fffref.jit"),
        ("batch 16384", "fffref.jit"),
        ("training step, batch 256, Adam", "fffref.jit"),
    ):
        row = rows[LAYER + case, 1, name]
        against = [f"{measure.span(row['dense'])} times as fast as {row['dense']['against']}"]
        if "bare" in row:
            against.append(f"{measure.span(row['bare'])} as two bare GEMMs")
        yield f"Layer, 12 neurons of 4095, {case}", ", ".join(against), "python benchmarks/fast_path.py"


def model():
    """What that layer is worth in a whole model."""
    rows = rows_of("ultrafastbert")
    ours, torch = (rows["1 x 128", 1, name] for name in ("masked, fffref", "masked, PyTorch"))
    text = f"{measure.span(ours['conditional_faster'])} times as fast as all neurons, masked"
    text += f"; {measure.span(torch['conditional_faster'])} as the same in PyTorch"
    yield "UltraFastBERT's encoder, whole, 128 tokens", text, "python benchmarks/ultrafastbert.py"


OTHERS = (  # what, against what, batch, layer or model, and how many times as fast, as their authors report it
    ("Spark Transformer, arXiv 2506.06644", "8 % of the FF neurons, against all", "1, decoding", "model", "1.79x"),
    ("PowerInfer, TurboSparse", "neurons predicted to be active, against all", "1, decoding", "model", "2.1x to 2.3x"),
    ("NimbleEdge", "a sparse MLP, against a dense one", "1, decoding", "layer", "5x"),
    ("LookupFFN, arXiv 2403.07221", "tables found by hashing, against GEMMs", "-", "layer", "2.5x"),
    ("MoEfication", "a trained FF split into experts, against the whole", "-", "layer", "2x"),
    ("FFF, arXiv 2311.10770", "12 neurons of 4095, against all", "-", "layer", "78x"),
)  # fmt: skip


def others():
    """What others report on CPUs, and ours beside it: whose layer, whose model, against what."""
    rows = rows_of("fast_path")
    models = rows_of("ultrafastbert")
    lines = ["| | of what, against what | batch | layer or model | times as fast |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in OTHERS]
    for batch, name in (("1, warm", "fffref.jit, called from Python"), ("1024", "fffref.jit")):
        row = rows[f"{LAYER}batch {batch}", 1, name]
        rival = row["dense"]["against"]
        what = f"12 neurons of 4095, {rival}"
        lines.append(f"| **fffref** | {what} | {batch} | layer | {measure.span(row['dense'])}x |")
    for name in ("masked, fffref", "masked, PyTorch"):
        row = models["1 x 128", 1, name]["conditional_faster"]
        lines.append(f"| **fffref** | UltraFastBERT's encoder, {name} | 128 tokens | model | {measure.span(row)}x |")
    return "\n".join(lines) + "\n"


def models_of_language():
    """Trees and experts in a small language model, against the dense layer of the engaged size."""
    runs = sweep.read(FOLDER / "language" / "runs.jsonl")
    best = language.best(runs)
    alike = lambda row: (row["arm"], row["learning_rate"], row["initial"])  # noqa: E731
    mean = {arm: statistics.fmean(r["validation_loss"] for r in runs if alike(r) == alike(best[arm])) for arm in best}
    shown = ("LeafFFF depth 3, leaves of 64", "LeafFFF depth 4, leaves of 32", "PathFFF 1 x 9 levels",
             "TopLeaves 2 of 64, leaves of 16", "MoE 2 of 16, experts of 32, no noise")  # fmt: skip
    for tree in shown:
        rival = language.RIVALS[tree]
        text = f"{mean[tree]:.3f} nat a character; {rival}: {mean[rival]:.3f}; dense 512: {mean['dense 512']:.3f}"
        yield f"Language model, {tree}", text, "fffref reproduce language"


def table():
    """The table as Markdown."""
    lines = ["| | measured | by |", "|---|---|---|"]
    for title, text, command in (*accuracies(), *models_of_language(), *speeds(), *model()):
        lines.append(f"| {title} | {text} | `{command}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(others() if "--others" in sys.argv else table(), end="")
