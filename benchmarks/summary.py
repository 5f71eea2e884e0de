"""The README's table of results, made of the recorded files: every number in it is theirs.

    python benchmarks/summary.py        # prints the table; a test compares it with the README
"""

import json
import pathlib

import measure

from fffref.experiments import recorded
from fffref.experiments.report import AIMS, case_name
from fffref.experiments.tables import GATE_COUNTED

FOLDER = pathlib.Path(__file__).parent
LAYER = "PathFFF 768/4095/12, "
EPOCHS = 45


def rows_of(name):
    """The rows of `results/NAME.json`."""
    return json.loads((FOLDER / "results" / f"{name}.json").read_text())["rows"]


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
    rows = {(row.get("case"), row.get("threads"), row.get("name")): row for row in rows_of("fast_path")}
    for case, name in (
        ("batch 1, warm", "fffref.jit, called from Python"),
        ("batch 1, cold", "fffref.jit"),
        ("batch 256", "fffref.jit, out="),
        ("batch 1024", "fffref.jit, out="),
        ("batch 16384", "fffref.jit, out="),
        ("training step, batch 256, Adam", "fffref.jit"),
    ):
        row = rows[LAYER + case, 1, name]
        against = [f"{measure.span(row['dense'])} times as fast as {row['dense']['against']}"]
        if "bare" in row:
            against.append(f"{measure.span(row['bare'])} as two bare GEMMs")
        yield f"Layer, 12 neurons of 4095, {case}", ", ".join(against), "python benchmarks/fast_path.py"


def model():
    """What that layer is worth in a whole model."""
    rows = {(row.get("case"), row.get("threads"), row.get("name")): row for row in rows_of("ultrafastbert")}
    ours, torch = (rows["1 x 128", 1, name] for name in ("masked, fffref", "masked, PyTorch"))
    text = f"{measure.span(ours['conditional_faster'])} times as fast as all neurons, masked"
    text += f"; {measure.span(torch['conditional_faster'])} as the same in PyTorch"
    yield "UltraFastBERT's encoder, whole, 128 tokens", text, "python benchmarks/ultrafastbert.py"


def table():
    """The table as Markdown."""
    lines = ["| | measured | by |", "|---|---|---|"]
    for title, text, command in (*accuracies(), *speeds(), *model()):
        lines.append(f"| {title} | {text} | `{command}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
