"""The report of the language experiment, in Markdown: the gate, each arm at its best, the search, the verdicts."""

import numpy as np

from .. import checks
from .language_arms import ARMS, GATE, PUBLISHED, RATES, RIVALS, TOLERANCE, WHOLE, best


def expect_one_setting(results):
    """Refuse results of several tasks, texts, numbers of steps or batch sizes: their losses cannot be compared."""
    settings = {(row["text"], row["steps"], row["batch_size"], row.get("masked")) for row in results}
    if len(settings) != 1:
        raise checks.InputError(
            f"the results must be of one task, text, number of steps and batch size, got {sorted(settings, key=str)}"
        )


def markdown(results, counts, n_gram=None):
    """Return the whole report.

    Parameters
    ----------
    results : list of dict
        Of `language.execute`, of one setting.
    counts : dict of str to Count or None
        What one FF layer of each arm costs.
    n_gram : float, optional
        Loss of an n-gram on the same held-out text, to print beside.

    Returns
    -------
    str
    """
    gate = [] if results[0].get("masked") or results[0]["text"] != "tiny-shakespeare" else [_gate(results)]
    tables = (_table(results, counts, n_gram), _verdicts(results), _usage(results), _search(results))
    return "\n\n".join([_setting(results[0]), *gate, *filter(None, tables)]) + "\n"


def _setting(row):
    """What all results have in common."""
    share = row.get("masked")
    task = "going on with it" if share is None else f"filling gaps, {share:.0%} of the positions"
    return (f"# Language models, every seed\n\nText: {row['text']}; task: {task}; {row['steps']} steps of "
            f"{row['batch_size']} sequences. Loss: nats a character over the held-out tenth, hard.")  # fmt: skip


def _chosen(results):
    """By arm: the rows of its best rate and initial values, all seeds."""
    return {
        arm: [r for r in results if (r["arm"], r["learning_rate"], r["initial"]) ==
              (arm, row["learning_rate"], row["initial"])]
        for arm, row in best(results).items()
    }  # fmt: skip


def _losses(rows):
    """Their losses on held-out text, (seeds,)."""
    return np.array([row["validation_loss"] for row in rows])


def _spread(values):
    """Mean, and standard deviation if there are several."""
    return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f} ({len(values)})" if len(values) > 1 else " (1)")


def _gate(results):
    """The gate with nanoGPT's values and rate, and with what suits our form of the model best."""
    lines = [f"Gate: {GATE} should reach the published {PUBLISHED} ± {TOLERANCE} nats a character."]
    # nanoGPT's setting: is the harness right at all?
    theirs = [r for r in results if r["arm"] == GATE and r["initial"] == "normal" and r["learning_rate"] == RATES[0]]
    for what, rows in (("nanoGPT's values and rate", theirs), ("its own best", _chosen(results).get(GATE))):
        if not rows:
            lines.append(f"* With {what}: not recorded yet.")
            continue
        loss = _losses(rows).mean()
        # the published loss is of another seed and another machine
        verdict = "reached" if abs(loss - PUBLISHED) <= TOLERANCE else "better" if loss < PUBLISHED else "MISSED"
        lines.append(
            f"* With {what} ({rows[0]['initial']}, {rows[0]['learning_rate']:g}): {_spread(_losses(rows))}, {verdict}."
        )
    return "\n".join([lines[0], "", *lines[1:]])


def _table(results, counts, n_gram):
    """A line an arm, at its best and with all of its seeds; the n-gram below."""
    lines = [
        "| FF layer | stored | engaged | parameters | multiply-adds | loss, mean ± deviation (seeds) | soft | rate | "
        "initial | ends used, by layer | ms a step |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, rows in _chosen(results).items():
        row = rows[0]
        soft = "-" if row["soft_loss"] is None else f"{np.mean([r['soft_loss'] for r in rows]):.3f}"
        lines.append(
            f"| {arm} | {row['neurons_stored']} | {_engaged(rows)} | {_cost(counts[arm])} | "
            f"{_spread(_losses(rows))} | {soft} | "
            f"{row['learning_rate']:g} | {row['initial']} | {', '.join(map(str, row['leaves_used']))} | "
            f"{1e3 * np.median([r['step_seconds'] for r in rows]):.0f} |"
        )
    if n_gram is not None:
        lines.append(f"| 5-gram, Witten-Bell, no network | | | | | {n_gram:.3f} | - | - | - | - | - |")
    return "\n".join(lines)


def _engaged(rows):
    """Neurons that a token engages; of `TopLeaves`, also with no more nodes than a search needs."""
    row = rows[0]
    if "nodes_needed" not in row:
        return str(row["neurons_engaged"])
    needed = np.mean([r["nodes_needed"] for r in rows]) - (2 ** ARMS[row["arm"]]["depth"] - 1)
    return f"{row['neurons_engaged']}; by search {row['neurons_engaged'] + needed:.1f}"


def _cost(count):
    """Parameters of one FF layer, and multiply-adds of one token in it."""
    return "0 | 0" if count is None else f"{count.parameters} | {count.inference.multiply_adds}"


def _usage(results):
    """Ends in use along the training of each tree at its best, seed 0; nothing where no result has it."""
    lines = ["Ends (leaves, bottom neurons, experts) that 4,096 held-out tokens reach, by layer, after each quarter of "
             "the training, seed 0:", "", "| FF layer | 1/4 | 1/2 | 3/4 | end |", "|---|---|---|---|---|"]  # fmt: skip
    for arm, row in best(results).items():
        if arm in RIVALS and row.get("ends_over_training"):
            lines.append(f"| {arm} | {' | '.join(', '.join(map(str, used)) for used in row['ends_over_training'])} |")
    return "\n".join(lines) if len(lines) > 4 else ""


def _search(results):
    """A line a trial: how much rate and initial values matter."""
    lines = ["Every arm's search, at seed 0:", "", "| FF layer | initial | rate | loss |", "|---|---|---|---|"]
    lines += [
        f"| {arm} | {row['initial']} | {row['learning_rate']:g} | {row['validation_loss']:.3f} |"
        for arm in ARMS
        for row in sorted(
            (r for r in results if r["arm"] == arm and r["seed"] == 0), key=lambda r: (r["initial"], r["learning_rate"])
        )
    ]
    return "\n".join(lines)


def _apart(chosen):
    """Whether no FF layer and the widest are further apart than their seeds are."""
    if not {"none", GATE} <= set(chosen):
        return False
    none, gate = _losses(chosen["none"]), _losses(chosen[GATE])
    return none.mean() - gate.mean() > none.std() + gate.std()


def _verdicts(results):
    """A line a tree: how far it is from its rival, and how far on the way from no FF layer to the widest."""
    chosen = _chosen(results)
    mean = {arm: _losses(rows).mean() for arm, rows in chosen.items()}
    apart = _apart(chosen)
    lines = ["Against the dense layer of the engaged size (below 0: the tree is better), and the share of the way from "
             "no FF layer to dense 512" + (":" if apart else ", which these losses don't tell apart:"), ""]  # fmt: skip
    for arm, rival in (*RIVALS.items(), *WHOLE.items()):
        if arm in mean and rival in mean:
            # 0 % is no layer at all, 100 % is dense 512
            way = f"; {(mean['none'] - mean[arm]) / (mean['none'] - mean[GATE]):.0%} of the way" if apart else ""
            seeds = f"{len(chosen[arm])} and {len(chosen[rival])} seeds"
            lines.append(f"* {arm} less {rival}: {mean[arm] - mean[rival]:+.3f} nat ({seeds}){way}")
    return "\n".join(lines)
