"""Which ports of FFF compute what the papers say, level by level: the conformance vectors, run on what exists.

python benchmarks/ports.py

Runs our own ports, the published package `fastfeedforward` 0.2.1 by an adapter (optional: needs it and PyTorch), and,
for the forms in which other public ports were found to differ, our NumPy port with the same differences planted.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

import measure
import numpy as np
from tqdm import tqdm

from fffref.conformance import checker, planted
from fffref.conformance.specs import LAYERS, LEVELS

RUNNERS = planted.PORT.parent
PACKAGE = {"only": ("leaf", "float32"), "without": ("transposed",)}  # it is single precision, and draws transpositions
# What public code was found to compute, where it differs from the papers: the layer, and names of planted faults.
FORMS = {
    "a Flax port of the first paper": ("leaf", "leaf-children-exchanged", "soft-in-inference"),
    "a PyTorch rewrite of the second paper's layer": (
        "path",
        "path-level-too-few",
        "path-no-input-bias",
        "no-activation",
    ),
    "the second paper's benchmark code": ("path", "path-output-from-input-weights"),
    "masked dense training code": (
        "path",
        "masked-dense",
    ),
}


def main():
    """Run all, print and record the table."""
    faults, rows = checker.catalogue(), {}
    ports = {"NumPy": [sys.executable, RUNNERS / "port.py"], "PyTorch": [sys.executable, RUNNERS / "port_torch.py"],
             "JavaScript": ["node", RUNNERS / "port.js"], "C": ["gcc"]}  # fmt: skip
    for name, command in tqdm(ports.items(), unit="port"):
        verdicts = run(name, command)
        if verdicts:
            rows[f"this project's port in {name}"] = row(verdicts, faults)
    for name, (layer, *names) in FORMS.items():
        verdicts = [v for v in planted.verdicts(planted.port(*names)) if layer in v.entry.flags]
        rows[f"planted: {name}"] = row(verdicts, faults, names)
    verdicts = package()
    if verdicts:
        rows["fastfeedforward 0.2.1"] = row(verdicts, faults)
    text = table(rows)
    measure.write("ports", {"vectors": "v1", "rows": rows}, text)
    print(text)


def run(name, command):
    """Verdicts of one of our own ports, None if its language is not here."""
    if not shutil.which(command[0]) or (name == "PyTorch" and not has("torch")):
        print(f"{name} is skipped: there is no {command[0] if name != 'PyTorch' else 'torch'} here")
        return None
    with tempfile.TemporaryDirectory() as folder:
        if name == "C":
            command = [pathlib.Path(folder) / "port"]
            subprocess.run(["gcc", "-O2", "-o", command[0], RUNNERS / "port.c", "-lm"], check=True)
        answers = pathlib.Path(folder) / "answers"
        answers.mkdir()
        subprocess.run([*command, checker.VECTORS, answers], check=True)
        return checker.check(answers)


def has(module):
    """Whether a module can be imported."""
    try:
        __import__(module)
    except ImportError:
        return False
    return True


# ------------------------------------------------------------------ the published package


def package():
    """Verdicts of fastfeedforward on the cases that it can claim, None if it is not installed."""
    if not has("fastfeedforward"):
        print("fastfeedforward is skipped: pip install torch==2.13.0 && pip install --no-deps fastfeedforward==0.2.1")
        return None
    claimed = {e.number for e in checker.claimed(**PACKAGE) if e.level > 1 or "nan" not in e.flags}  # 0 NaN is no leaf
    return [verdict for verdict in planted.verdicts(package_answer) if verdict.entry.number in claimed]


def package_answer(level, c):
    """What the package computes for a case, by name."""
    import torch

    layer = published(c, level)
    x = torch.tensor(c["x"], requires_grad=level == 4)
    if level == 1:
        return {"leaf": layer.eval()(x).detach().numpy().ravel()}
    if level == 2:
        return {"y": layer.eval()(x).detach().numpy()}
    if level == 3:
        y, entropy = layer.train()(x, return_entropies=True)
        return {"y": y.detach().numpy(), "entropy": len(x) * entropy.sum().item()}  # it returns a mean over the batch
    losses, steps = [], 10 if level == 5 else 1
    for _ in range(steps):
        layer.zero_grad()
        y, entropy = layer.train()(x, return_entropies=True)
        loss = (torch.tensor(c["dy"]) * y).sum() if level == 4 else ((y - torch.tensor(c["target"])) ** 2).sum() / 2
        loss = loss + float(c["entropy_weight"]) * len(x) * entropy.sum()
        losses.append(loss.item())
        loss.backward()
        if level == 5:
            sgd_step(layer, c)
    if level == 4:
        gradients = ours(layer, 1 / c["temperature"], lambda p: p.grad) | {"x": x.grad.numpy()}
        return {f"d_{name}": gradient for name, gradient in gradients.items()}
    return {"loss": losses} | ours(layer, c["temperature"], lambda p: p)


def sgd_step(layer, c):
    """One step; nodes divided by a temperature T have gradients T times as large, and need steps 1 / T as large."""
    import torch

    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if parameter.grad is not None:
                times = float(c["temperature"]) ** -2 if name.startswith("node_") else 1
                parameter -= times * float(c["rate"]) * parameter.grad


def published(c, level):
    """The package's module with a case's weights. At level 1, leaf j answers j: there is no other way to ask."""
    import torch
    from fastfeedforward import FFF

    act = (lambda z: z, torch.relu, torch.nn.functional.gelu, torch.tanh)[int(c.get("activation", 0))]
    L = len(c["node_bias"]) + 1
    if level == 1:
        numbers = np.arange(L, dtype=np.float32)[:, None]
        zeros = np.zeros((L, 1, c["x"].shape[1]), np.float32)
        c = c | {"leaf_in_weight": zeros, "leaf_in_bias": numbers, "leaf_out_weight": np.ones((L, 1, 1), np.float32),
                 "leaf_out_bias": np.zeros((L, 1), np.float32)}  # fmt: skip
    _, width, n_out = c["leaf_out_weight"].shape
    layer = FFF(c["x"].shape[1], width, n_out, L.bit_length() - 1, activation=act)
    temperature = float(c.get("temperature", 1))  # it has none, so its nodes are divided by it
    values = {"node_weights": c["node_weight"] / temperature, "node_biases": c["node_bias"][:, None] / temperature,
              "w1s": c["leaf_in_weight"].swapaxes(1, 2), "b1s": c["leaf_in_bias"],
              "w2s": c["leaf_out_weight"], "b2s": c["leaf_out_bias"]}  # fmt: skip
    with torch.no_grad():
        for name, value in values.items():
            getattr(layer, name).copy_(torch.tensor(np.ascontiguousarray(value)))
    return layer


def ours(layer, node_factor, of):
    """The module's parameters, or their gradients, under our names and in our shapes; the nodes' times a factor."""
    theirs = {"node_weight": "node_weights", "node_bias": "node_biases", "leaf_in_weight": "w1s", "leaf_in_bias": "b1s",
              "leaf_out_weight": "w2s", "leaf_out_bias": "b2s"}  # fmt: skip
    found = {}
    for name, their in theirs.items():
        value = of(getattr(layer, their))
        value = np.zeros(getattr(layer, their).shape) if value is None else value.detach().numpy()
        value = value.swapaxes(1, 2) if their == "w1s" else value[:, 0] if their == "node_biases" else value
        found[name] = value * (node_factor if name.startswith("node") else 1)
    return found


# ------------------------------------------------------------------ the table


def row(verdicts, faults, planted_faults=()):
    """A port's counts by level, what explains its failures, and which cases those are."""
    failed = {v.entry.number: v.complaints[0] for v in verdicts if v.complaints}
    counts = checker.table(verdicts)
    return {"counts": counts, "failed": failed, "planted": list(planted_faults),
            "faults": [list(names) for names in checker.diagnose(verdicts, faults)]}  # fmt: skip


def table(rows):
    """Port by level, as Markdown: cases passed of those claimed, LeafFFF's and PathFFF's."""
    lines = ["| port | " + " | ".join(f"{level} {name}" for level, name in LEVELS.items()) + " | what it does |"]
    lines.append("|---" * (len(LEVELS) + 2) + "|")
    wrong = checker.catalogue()
    for name, row in rows.items():
        cells = []
        for layers in row["counts"].values():
            cells.append(", ".join("{}/{}".format(*layers[layer]) for layer in LAYERS if layers[layer][1]) or "-")
        names = row["planted"] or (row["faults"][0] if row["faults"] else [])
        said = "; ".join(wrong[fault]["wrong"] for fault in names)
        said = said or ("see below" if row["failed"] else "passes all that it claims")
        lines.append(f"| {name} | {' | '.join(cells)} | {said} |")
    notes = ["Two fractions are LeafFFF's and PathFFF's, one is of the layer that the port has."]
    for name, row in rows.items():
        if row["failed"] and not row["planted"] and not row["faults"]:
            notes += [f"\n{name} fails:\n", *(f"* {number}: {said}" for number, said in row["failed"].items())]
    return "\n".join(lines) + "\n\n" + "\n".join(notes) + "\n"


if __name__ == "__main__":
    main()
