"""Tables of recorded carvings, in Markdown: every arm at every share, all seeds; layer by layer; what was hoped for."""

import numpy as np

from .. import checks
from .carving import ARMS, TREE
from .carving_texts import TEXTS

FIELDS = {"arm": str, "share": (int, float), "seed": int, "calibration": str, "errors": dict, "cosine": dict}
TUNED = "tree, leaves tuned"
HOPED = [  # arm, share, calibration, judged by: relative error at most, cosine at least
    *((TREE, 0.25, text, text, 0.19, 0.92) for text in ("plays", "glosses")),
    *((TUNED, 0.25, text, text, None, 0.935) for text in ("plays", "glosses")),
    *((TREE, 0.12, text, text, 0.28, 0.88) for text in ("plays", "glosses")),
    *((TUNED, 0.12, text, text, None, 0.90) for text in ("plays", "glosses")),
    (TREE, 0.25, "plays+glosses", "documentation", None, 0.90),  # mixtures, by what is in none of their texts
    (TREE, 0.25, "plays+documentation", "glosses", None, 0.90),
    (TREE, 0.25, "documentation+glosses", "plays", None, 0.90),
]


def groups(results):
    """Results by share, arm and calibration, the largest share first; all of a group differ by seed alone.

    Of a run that was made without WordNet and again with it, the second is taken.

    Parameters
    ----------
    results : list of dict
        Of `carving.execute`.

    Returns
    -------
    dict
        From (share, calibration) to a dict from arm to its rows.
    """
    results = _fullest(results)
    settings = sorted({(-row["share"], row["calibration"]) for row in results}, key=lambda s: (s[1] != "plays", s))
    return {
        (-share, calibration): {
            arm: rows for arm in ARMS
            if (rows := [r for r in results
                         if (r["arm"], -r["share"], r["calibration"]) == (arm, share, calibration)])
        }
        for share, calibration in settings
    }  # fmt: skip


def _fullest(results):
    """Of the rows of one run, that which was judged by most texts; of equals, the last."""
    found = {}
    for row in results:
        name = (row["arm"], row["share"], row["calibration"], row["seed"])
        found[name] = max(row, found.get(name, row), key=lambda r: len(r["cosine"]))
    return list(found.values())


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
        parts += [_table(share, calibration, arms), _by_layer(calibration, arms)]
    return "\n\n".join([*parts, _verdicts(results)]) + "\n"


def _legend():
    return (
        "Error: mean over tokens of |y - y'|^2 / |y|^2, mean over the layers. Cosine: of the embeddings of passages to "
        "the original's, all FF layers replaced. Both on passages that nothing was fitted to or tuned by: of the kinds "
        "of text that were calibrated by, and of others, which are foreign. Nearest, logistic: how often WordNet's "
        "category of a gloss is found by the nearest training gloss and by logistic regression, both fitted to the "
        "original's embeddings. Mean over seeds of calibration text, ± their standard deviation, (how many)."
    )


def _table(share, calibration, arms):
    """A row an arm."""
    every = [row for rows in arms.values() for row in rows]
    texts = [text for text in TEXTS if any(text in row["cosine"] for row in every)]
    scores = ["nearest", "logistic"] if any("accuracy" in row for row in every) else []
    head = [*(f"error, {t}" for t in texts), *(f"cosine, {t}" for t in texts), *scores]
    head += ["multiply-adds", "stored", "seconds"]
    lines = [f"## {share:.0%} of the multiply-adds, calibrated on {calibration}", "",
             "| arm | " + " | ".join(head) + " |", "|---" * (1 + len(head)) + "|"]  # fmt: skip
    for arm, rows in arms.items():
        cells = [spread([np.mean(r["errors"][t]) for r in rows if t in r["errors"]]) for t in texts]
        cells += [spread([r["cosine"][t] for r in rows if t in r["cosine"]]) for t in texts]
        cells += [spread([100 * r["accuracy"][s] for r in rows if "accuracy" in r], "%") for s in scores]
        lines.append(f"| {arm} | " + " | ".join([*cells, *_costs(rows)]) + " |")
    if scores:
        original = next(row["original_accuracy"] for row in every if "accuracy" in row)
        cells = [*["-"] * 2 * len(texts), *(f"{original[score]:.1%}" for score in scores), "100.0%", "1.00x", "-"]
        lines.append("| the original | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _costs(rows):
    """What an arm computes, stores, and took to fit."""
    row, work = rows[0], rows[0]["multiply_adds"]
    share = "-" if work is None else f"{work / row['dense_multiply_adds']:.1%}"
    return share, f"{row['parameters'] / row['dense_parameters']:.2f}x", f"{np.mean([r['seconds'] for r in rows]):.0f}"


def _by_layer(calibration, arms):
    """Errors of each layer, on text like that of the calibration, the first of a mixture's."""
    text = calibration.split("+")[0]
    n_layers = len(next(iter(arms.values()))[0]["errors"][text])
    lines = [f"Errors by layer, {text}:", "", "| arm | " + " | ".join(map(str, range(n_layers))) + " |",
             "|---" * (1 + n_layers) + "|"]  # fmt: skip
    for arm, rows in arms.items():
        means = np.mean([r["errors"][text] for r in rows], 0)
        lines.append(f"| {arm} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


def spread(values, unit=""):
    """Mean, and standard deviation if there are several; percent with one digit."""
    if not values:
        return "-"
    digits = 1 if unit else 3
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}{unit} ({len(values)})"


def _verdicts(results):
    """What was hoped for, and whether it came."""
    lines, found = ["## What was hoped for", ""], groups(results)
    for arm, share, calibration, text, error, cosine in HOPED:
        rows = [row for row in found.get((share, calibration), {}).get(arm, []) if text in row["cosine"]]
        if rows:
            errors, cosines = np.mean([r["errors"][text] for r in rows]), np.mean([r["cosine"][text] for r in rows])
            told = [f"error {errors:.3f}, at most {error}: {_met(errors <= error)}"] if error else []
            told += [f"cosine {cosines:.3f}, at least {cosine}: {_met(cosines >= cosine)}"]
            foreign = "" if text in calibration else f", judged by {text}, which is foreign"
            lines.append(f"* {arm}, {share:.0%}, calibrated on {calibration}{foreign}: {'; '.join(told)}")
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
