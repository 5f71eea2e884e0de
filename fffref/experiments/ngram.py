"""What needs no network: an n-gram model of characters, interpolated as Witten and Bell do; printed beside losses."""

from collections import Counter

import numpy as np


def witten_bell(train, validation, n_tokens, order=5):
    """Mean over the held-out tokens of -log p(token | the order - 1 before it).

    Parameters
    ----------
    train, validation : ndarray of int (n,)
        Tokens; the contexts of the first held-out ones are shorter.
    n_tokens : int
        Different tokens there are: below the shortest context, all are as likely.
    order : int, at least 1
        Tokens of a window: a context and what follows.

    Returns
    -------
    float
        In nats a token.

    Notes
    -----
    With c the count of a window in the training part, N that of its context, and T the number of different tokens that
    followed it there,

        p(t | context) = (c + T p(t | context without its first token)) / (N + T).

    References
    ----------
    Witten and Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37(4), 1991; in the
    interpolated form of Chen and Goodman, "An empirical study of smoothing techniques for language modeling", 1996.
    """
    probability = np.full(len(validation), 1 / n_tokens)  # (n,), of the empty context: all are as likely
    # from short contexts to long: each estimate falls back on the one before
    for length in range(order):  # of the context
        counts = Counter(_windows(train, length + 1))
        total, kinds = Counter(), Counter()  # N and T of each context
        for window, count in counts.items():
            total[window[:length]] += count
            kinds[window[:length]] += 1
        # window ends at token i; the first ones have no context of this length
        for i, window in enumerate(_windows(validation, length + 1), length):
            n, types = total[window[:length]], kinds[window[:length]]
            if n:  # a context that never occurred leaves the shorter one's estimate
                probability[i] = (counts[window] + types * probability[i]) / (n + types)
    return float(-np.log(probability).mean())


def _windows(ids, length):
    """All runs of `length` tokens, as tuples."""
    ids = ids.tolist()
    return zip(*(ids[i:] for i in range(length)), strict=False)  # shifted copies side by side; the shortest ends it
