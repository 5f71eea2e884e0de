"""A step of generation at batch 1, by counting alone: bytes read for a token, and what a memory's speed makes of that.

    carved = model.with_ff(engaging(model.ff, 0.25, stored=2))
    bytes_a_token(carved, context=512)["feedforward"]
    tokens_a_second(carved, 50, context=512)         of a memory that gives 50 GB/s

The step for one token reads every engaged weight once and computes two FLOPs with it, so that a processor waits for
the memory: its bytes a second over the bytes read is a bound from above on the speed. It says nothing of what the model
then writes: whether a model can do with a share of its neurons is another question.
"""

from dataclasses import replace

from .. import checks
from .counts import Count, Work, itemsize


def engaging(ff, share, stored=1.0):
    """Describe an FF layer of which a token engages a share, by whatever routing; its cost is in the share.

    Parameters
    ----------
    ff : Count
        Dense, gated or not.
    share : float in (0, 1]
        Of multiply-adds, and of parameters read.
    stored : float, at least 1
        Parameters stored, of those of `ff`: a tree whose leaves copy neurons stores more than the layer.

    Returns
    -------
    Count
        Of inference; training is counted as that of `ff`.
    """
    checks.instance("ff", ff, Count, "a Count, such as counting.dense_ff(768, 768, 3072)")
    share, stored = checks.number("share", share, "(0, 1]"), checks.number("stored", stored, "[1, inf)")
    work = Work(round(share * ff.inference.multiply_adds), round(share * ff.inference.elementwise))
    return replace(
        ff, name=f"{ff.name}, {share:.0%} engaged", inference=work,
        neurons_stored=round(stored * ff.neurons_stored), training_width=round(stored * ff.training_width),
        neurons_engaged=round(share * ff.neurons_engaged), inference_width=round(share * ff.inference_width),
        parameters=round(stored * ff.parameters), parameters_engaged=round(share * ff.parameters_engaged),
    )  # fmt: skip


def bytes_a_token(model, context, dtype="float16"):
    """Bytes that the step for one token reads, a dict by component.

    Parameters
    ----------
    model : Transformer
        Causal.
    context : int
        Tokens that it sees, itself included; their keys and values are read from a cache.
    dtype : str
        Of weights and cache.

    Returns
    -------
    dict of str to int
        The components of `model.engaged()`, and "cache".
    """
    if not checks.flag("causal", model.causal):
        raise checks.InputError("only a causal model generates token by token; take one such as llama-2-7b")
    context = checks.integer("context", context, 1)
    seen = context if model.window is None else min(context, model.window)
    keys_and_values = model.qkv - model.queries  # of one token, all heads
    read = model.engaged() | {"cache": model.layers * keys_and_values * seen}
    return {name: count * itemsize(dtype) for name, count in read.items()}


def tokens_a_second(model, gigabytes, context, dtype="float16"):
    """Return how many tokens a second a memory allows: its bytes a second over those that a token reads.

    Parameters
    ----------
    model : Transformer
    gigabytes : float
        That the memory gives in a second, 10^9 bytes each.
    context, dtype
        As in `bytes_a_token`.

    Returns
    -------
    float
    """
    gigabytes = checks.number("gigabytes", gigabytes, "(0, inf)")
    return gigabytes * 1e9 / sum(bytes_a_token(model, context, dtype).values())
