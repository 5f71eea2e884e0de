"""Faults planted in a right port, `runners/port.py`, one at a time: which cases does each of them fail?

    python -m fffref.conformance.planted FOLDER       writes FOLDER/faults.json

A fault is a few replacements in the port's text, or a wrapper around its `answer`.
"""

import json
import pathlib
import sys

import numpy as np
from tqdm import tqdm

from .. import checks, files
from . import arrays, checker
from .faults import FAULTS

PORT = pathlib.Path(__file__).parent / "runners" / "port.py"
MAIN = 'if __name__ == "__main__":'

# Pieces of the port's text.
LEFT = "mass[:, 2 * n + 1] = mass[:, n] * (1 - choice[:, n])"
RIGHT = "mass[:, 2 * n + 2] = mass[:, n] * choice[:, n]"
MASS = f"    for n in range(N):\n        {LEFT}\n        {RIGHT}\n"
UPWARDS = "(1 - choice[:, n]) * left + choice[:, n] * right"
SCALE = 'c.get("transposed", 0), (len(x), N)'
LEAF_OUT = 'np.einsum("bl,blo->bo", h, c["leaf_out_weight"][leaf])'
LEAF_LOGIT = 'c["node_weight"][node]) + c["node_bias"][node]'
PATH_OUT = 'np.einsum("bkd,bkdo->bo", h, c["out_weight"][tree, node])'
CDF = "(1 + np.vectorize(math.erf, [float])(z / math.sqrt(2)).astype(z.dtype)) / 2"
ENTROPY = "np.log1p(np.exp(-abs(z))) + abs(z) / (1 + np.exp(abs(z)))"

EXCHANGED = (
    (
        MASS,
        MASS.replace("(1 - choice[:, n])", "C")
        .replace("choice[:, n]", "(1 - choice[:, n])")
        .replace("C", "choice[:, n]"),
    ),
    ("(right - left)", "(left - right)"),
    (UPWARDS, "choice[:, n] * left + (1 - choice[:, n]) * right"),
)


def wrapper(lines):
    """A change that puts a function around `answer`, which is called `right` within."""
    return ((MAIN, f"right = answer\n\n\ndef answer(level, c):\n    {lines}\n\n\n{MAIN}"),)


def reading(name, expression):
    """A change of how an array is read; `w` is the right one."""
    return wrapper(f"w = c.get({name!r})\n    return right(level, c if w is None else c | {{{name!r}: {expression}}})")


def entropy_times(factor):
    """Changes that multiply the entropy and its gradient."""
    return ((f"({ENTROPY}).sum()", f"({ENTROPY}).sum() * {factor}"), ("- weight * z", f"- {factor} * weight * z"))


CHANGES = {
    "leaf-no-output-bias": ((' + c["leaf_out_bias"][leaf]', ""),),
    "leaf-children-exchanged": (("(z >= 0)", "(z < 0)"), *EXCHANGED),
    "leaf-soft-children-exchanged": EXCHANGED,
    "leaf-tie-left": (("(z >= 0)", "(z > 0)"),),
    "path-tie-right": (("(logits[-1] > 0)", "(logits[-1] >= 0)"),),
    "path-children-exchanged": (("(logits[-1] > 0)", "(logits[-1] <= 0)"),),
    "leaf-no-node-bias": ((' + c["node_bias"][node]', ""),),
    "path-no-input-bias": ((' + c["in_bias"][tree, node])', ")"),),
    "two-depth-minus-one": wrapper(
        'w = c.get("node_bias", [])\n    at = np.minimum(np.arange(len(w)), max(2 * len(w).bit_length() - 2, 0))\n'
        '    return right(level, c | {name: c[name][at] for name in ("node_weight", "node_bias") if name in c})'
    ),
    "leaf-level-too-few": (("1 + (z >= 0)", "1 + (z >= 0) * (2 * node + 2 < len(c['node_bias']))"),),
    "path-level-too-few": (
        ('range(c["in_bias"].shape[1].bit_length())', 'range(c["in_bias"].shape[1].bit_length() - 1)'),
        ("    return np.stack(nodes, 2)", "    nodes, logits = nodes or [node[:, []]], logits or [node[:, []]]\n    return np.stack(nodes, 2)"),
    ),
    "leaf-output-transposed": reading("leaf_out_weight", "w.reshape(len(w), w.shape[2], w.shape[1]).swapaxes(1, 2)"),
    "path-output-transposed": reading("out_weight", "w.reshape(len(w), w.shape[2], w.shape[1]).swapaxes(1, 2)"),
    "path-output-from-input-weights": ((PATH_OUT, PATH_OUT.replace('c["out_weight"]', 'np.resize(c["in_weight"], c["out_weight"].shape)')),),
    "no-activation": (("    if code == 1:", "    code = 0\n    if code == 1:"),),
    "tanh-gelu": ((CDF, "(1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))) / 2"),),
    "first-row-for-all": (
        ('    return node - len(c["node_bias"])', '    node[1:] = node[:1]\n    return node - len(c["node_bias"])'),
        ("    return np.stack(nodes, 2), np.stack(logits, 2)", "    nodes, logits = np.stack(nodes, 2), np.stack(logits, 2)\n    nodes[1:], logits[1:] = nodes[:1], logits[:1]\n    return nodes, logits"),
    ),
    "entropy-mean": entropy_times("(1 / max(z.size, 1))"),
    "entropy-batch-mean": entropy_times("(1 / max(len(z), 1))"),
    "entropy-bits": entropy_times("1.4426950408889634"),
    "entropy-nan": ((ENTROPY, "-choice * np.log(choice) - (1 - choice) * np.log(1 - choice)"),),
    "temperature-ignored": ((' / c["temperature"]', ""),),
    "transposed-per-batch": ((SCALE, SCALE.replace('c.get("transposed", 0)', 'c.get("transposed", np.zeros((1, N)))[:1]')),),
    "soft-in-inference": (("    leaf = leaf_route(c)\n", '    return leaf_soft(c | {"temperature": 1}, np.zeros_like)[0]\n'),),
    "rounded-gradient": (("    dy, dz, dmass =", f"    choice = np.round(choice)\n{MASS}    dy, dz, dmass ="),),
    "input-gradient-of-leaves-alone": (('dz @ c["node_weight"] + ', ""),),
    "gradient-of-last-visit": (("np.add.at(d[name], (tree, node), of_visit)", "d[name][tree, node] = of_visit"),),
    "trees-averaged": (
        ("    h, slope = activate(c[\"activation\"], z)\n", '    h, slope = (part / len(tree) for part in activate(c["activation"], z))\n'),
    ),
    "loss-averaged": (("y - target)", "(y - target) / len(y))"), ("sum() / 2", "sum() / 2 / len(y)")),
    "masked-dense": (
        (f"    return {LEAF_OUT}", '    hs = activate(c["activation"], np.einsum("bi,jli->bjl", c["x"], c["leaf_in_weight"]) + c["leaf_in_bias"])[0]\n'
         '    hs = hs * (np.arange(hs.shape[1]) == leaf[:, None])[..., None]\n    return np.einsum("bjl,jlo->bo", hs, c["leaf_out_weight"])'),
        (PATH_OUT, 'np.einsum("bkm,kmo->bo", activate(c["activation"], np.einsum("bi,kmi->bkm", c["x"], c["in_weight"]) + c["in_bias"])[0]'
         ' * (np.arange(c["in_bias"].shape[1]) == node[..., None]).any(2), c["out_weight"])'),
    ),
    "nan-right": (("(z >= 0)", "~(z < 0)"), ("(logits[-1] > 0)", "~(logits[-1] <= 0)")),
    "nan-spreads": wrapper('answers = right(level, c)\n    return answers | ({"y": answers["y"] + 0 * np.nan_to_num(answers["y"], posinf=0, neginf=0, nan=np.nan).sum(0)} if "y" in answers else {})'),
    "one-squeezed": wrapper('return {name: np.squeeze(a, 0) if len(c["x"]) == 1 and name in ("leaf", "node", "y", "d_x") else a for name, a in right(level, c).items()}'),
    "depth-0-fails": (("    return node - len", '    assert len(c["node_bias"])\n    return node - len'),),
    "empty-batch-fails": wrapper('assert len(c["x"])\n    return right(level, c)'),
    "leaf-biases-exchanged": reading("leaf_out_bias", "np.concatenate([w[:-2], w[-2:][::-1]])"),
    "levels-from-1": ((LEAF_LOGIT, 'np.roll(c["node_weight"], -1, 0)[node]) + np.roll(c["node_bias"], -1)[node]'),),
}  # fmt: skip


def port(*faults):
    """The function `answer` of the port, with these faults."""
    text = PORT.read_text()
    for fault in faults:
        for old, new in CHANGES[fault]:
            if text.count(old) != 1:  # a fault that is planted nowhere would seem harmless
                raise checks.InputError(f"{fault}: {old!r} occurs {text.count(old)} times in {PORT.name}")
            text = text.replace(old, new)
    names = {"__name__": "port"}  # not "__main__": the port's own command does not run
    exec(compile(text, f"port with {' and '.join(faults) or 'no fault'}", "exec"), names)
    return names["answer"]


def verdicts(answer, vectors=checker.VECTORS):
    """Judge a function from level and case (NumPy arrays by name) to answers, on all cases; failing counts as no answer."""
    found = []
    for entry in checker.index(vectors):
        case = checker.load(entry, vectors)
        given = {name: np.array(a.values, a.dtype).reshape(a.shape) for name, a in case.items()}
        try:
            with np.errstate(all="ignore"):  # NaN and infinity are part of the cases
                answers = {name: np.asarray(value) for name, value in answer(entry.level, given).items()}
        except Exception as error:  # whatever a faulty port does
            found.append(checker.judge(entry, case, {}, f"{type(error).__name__}: {error}"))
        else:
            listed = {n: arrays.Array("float64", a.shape, a.ravel().tolist()) for n, a in answers.items()}
            found.append(checker.judge(entry, case, listed))
    return found


def exposing(fault, vectors=checker.VECTORS):
    """Numbers of the cases that a port with this fault fails."""
    return [verdict.entry.number for verdict in verdicts(port(fault), vectors) if verdict.complaints]


def write(folder):
    """Write faults.json: the catalogue with the cases that expose each fault."""
    known = {name: fault._asdict() | {"cases": exposing(name, folder)} for name, fault in tqdm(FAULTS.items())}
    with files.replacing(pathlib.Path(folder) / "faults.json") as temporary:
        temporary.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    write(sys.argv[1])
