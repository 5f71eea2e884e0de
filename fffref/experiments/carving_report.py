"""Tables of recorded carvings, in Markdown: every arm at every share, all seeds; layer by layer; what was hoped for."""

import numpy as np

from .. import checks
from .carving import ARMS, TREE

FIELDS = {"arm": str, "share": (int, float), "seed": int, "errors": dict, "cosine": dict}
HOPED = {  # by arm and share: relative error and cosine on text like that of the calibration, "at least"
    (TREE, 0.25): (0.19, 0.92), (TREE, 0.12): (0.28, 0.88),
    ("tree, leaves tuned", 0.25): (None, 0.935), ("tree, leaves tuned", 0.12): (None, 0.90),
}  # fmt: skip


def groups(results):
    """Results by share, arm and calibration, the largest share first; all of a group differ by seed alone.

    Parameters
    ----------
    results : list of dict
        Of `carving.execute`.

    Returns
    -------
    dict
        From (share, calibration) to a dict from arm to its rows.
    """
    settings = sorted({(-row["share"], row["calibration"]) for row in results}, key=lambda s: (s[1] != "plays", s))
    return {
        (-share, calibration): {
            arm: rows for arm in ARMS
            if (rows := [r for r in results
                         if (r["arm"], -r["share"], r["calibration"]) == (arm, share, calibration)])
        }
        for share, calibration in settings
    }  # fmt: skip


def report(results):
    """Return all tables.

    Parameters
    ----------
    results : list of dict
        Of `carving.execute`, of one model and number of tokens.

    Returns
    -------
    str
    """
    settings = {(row["model"], row["tokens"]) for row in results}
    if len(settings) != 1:
        raise checks.InputError(
            f"the results must be of one model and number of tokens, got {sorted(settings) or 'none'}"
        )
    model, tokens = settings.pop()
    parts = [f"# FF layers of {model} carved into trees\n\nFitted to {tokens:,} tokens. " + _legend()]
    for (share, calibration), arms in groups(results).items():
        parts += [_table(share, calibration, arms), _by_layer(arms)]
    return "\n\n".join([*parts, _verdicts(results)]) + "\n"


def _legend():
    return (
        "Error: mean over tokens of |y - y'|^2 / |y|^2, mean over the layers. Cosine: of the embeddings of passages to "
        "the original's, all FF layers replaced. Both on passages that nothing was fitted to: plays like those of the "
        "calibration, and foreign text. Mean over seeds of calibration text, ± their standard deviation, (how many)."
    )


def _table(share, calibration, arms):
    """A row an arm."""
    texts = list(next(iter(arms.values()))[0]["cosine"])
    head = [*(f"error, {t}" for t in texts), *(f"cosine, {t}" for t in texts), "multiply-adds", "stored", "seconds"]
    lines = [f"## {share:.0%} of the multiply-adds, calibrated on {calibration}", "",
             "| arm | " + " | ".join(head) + " |", "|---" * (1 + len(head)) + "|"]  # fmt: skip
    for arm, rows in arms.items():
        cells = [spread([np.mean(r["errors"][t]) for r in rows]) for t in texts]
        cells += [spread([r["cosine"][t] for r in rows]) for t in texts]
        row = rows[0]
        work = row["multiply_adds"]
        cells.append("-" if work is None else f"{work / row['dense_multiply_adds']:.1%}")
        cells += [f"{row['parameters'] / row['dense_parameters']:.2f}x", f"{np.mean([r['seconds'] for r in rows]):.0f}"]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_layer(arms):
    """Errors of each layer, on text like that of the calibration."""
    text = next(iter(next(iter(arms.values()))[0]["errors"]))
    n_layers = len(next(iter(arms.values()))[0]["errors"][text])
    lines = [f"Errors by layer, {text}:", "", "| arm | " + " | ".join(map(str, range(n_layers))) + " |",
             "|---" * (1 + n_layers) + "|"]  # fmt: skip
    for arm, rows in arms.items():
        means = np.mean([r["errors"][text] for r in rows], 0)
        lines.append(f"| {arm} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


def spread(values):
    """Mean, and standard deviation if there are several."""
    deviation = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{deviation} ({len(values)})"


def _verdicts(results):
    """What was hoped for, and whether it came."""
    lines = ["## What was hoped for", ""]
    for (share, calibration), arms in groups(results).items():
        for arm in arms if calibration == "plays" else ():
            error, cosine = HOPED.get((arm, share), (None, None))
            found = [np.mean([row[kind]["plays"] for row in arms[arm]]) for kind in ("errors", "cosine")]
            told = [f"error {found[0]:.3f}, at most {error}: {_met(found[0] <= error)}"] if error else []
            told += [f"cosine {found[1]:.3f}, at least {cosine}: {_met(found[1] >= cosine)}"] if cosine else []
            if told:
                lines.append(f"* {arm}, {share:.0%}: {'; '.join(told)}")
    return "\n".join(lines)


def _met(yes):
    return "met" if yes else "MISSED"


def curve(results, text="plays", calibration="plays"):
    """Points of a figure: from arm to (shares, mean errors over layers and seeds), the smallest share first.

    Parameters
    ----------
    results : list of dict
    text, calibration : str

    Returns
    -------
    dict of str to (list of float, list of float)
    """
    found = {}
    for (share, by), arms in groups(results).items():
        for arm, rows in arms.items() if by == calibration else ():
            found.setdefault(arm, {})[share] = float(np.mean([r["errors"][text] for r in rows]))
    return {arm: (sorted(points), [points[share] for share in sorted(points)]) for arm, points in found.items()}
