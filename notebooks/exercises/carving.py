"""Checkers of notebook 11: which neurons an input needs, and what a share of them saves."""

import numpy as np
from fffref.counting import presets

from . import compare, exercise


@exercise("11.1")
def neurons_that_add_most(answer):
    """A function (hidden, out_weight, scale, k): the k neurons that add most to outputs of size 1, any order."""
    rng = np.random.default_rng(11)
    out_weight = rng.standard_normal((12, 5)) * rng.uniform(0.1, 3, (12, 1))
    scale = rng.choice([0.03, 1.0], 40, p=[0.2, 0.8])
    hidden = rng.standard_normal((40, 12)) * rng.uniform(0.1, 2, 12)
    hidden[scale < 1] *= 30 * rng.uniform(0, 1, 12)[::-1]
    size = (out_weight**2).sum(1)

    def most(energy):
        return np.sort(np.argsort(-energy)[:4])

    mistakes = {
        "These are the neurons that add least.": np.sort(
            np.argsort(((hidden * scale[:, None]) ** 2).sum(0) * size)[:4]
        ),
        "An activation says little without its row of output weights.": most(
            ((hidden * scale[:, None]) ** 2).sum(0)
        ),
        "A few rows with large outputs decide here; divide each row by its size.": most(
            (hidden**2).sum(0) * size
        ),
        "Positive and negative activations cancel in a sum; square them first.": most(
            np.abs((hidden * scale[:, None]).sum(0)) * np.sqrt(size)
        ),
    }
    right = most(((hidden * scale[:, None]) ** 2).sum(0) * size)
    assert not any(np.array_equal(right, wrong) for wrong in mistakes.values())
    given = np.sort(np.asarray(answer(hidden, out_weight, scale, 4)))
    return compare(
        given, right, mistakes, "Square, weigh and add up what each neuron adds."
    )


@exercise("11.2")
def limit_of_mistral(answer):
    """How many times fewer bytes Mistral 7B reads for a token if FF layers engage 12 %, without its cache."""
    parts = presets.get("mistral-7b").engaged()
    share = parts["feedforward"] / sum(parts.values())
    mistakes = {
        "That is the FF layers' own gain; the rest is still read.": 1 / 0.12,
        "That is the limit for FF layers that are read not at all.": 1 / (1 - share),
        "That is the share of bytes left; the question is for how many times fewer.": 1
        - share
        + 0.12 * share,
        "All 32,000 rows of the embedding are in your sum; a token reads one of them.": 1
        / (1 - 0.88 * 5_637_144_576 / 7_241_732_096),
    }
    right = 1 / (1 - share + 0.12 * share)
    return compare(
        answer, right, mistakes, "Write s for the FF layers' share of the bytes.", 2e-3
    )
