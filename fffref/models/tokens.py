"""Token ids and masks, checked before a model looks at them: one message for every model.

# B sequences, S positions
"""

import numpy as np

from .. import checks


def checked(ids, mask, vocabulary, longest):
    """Return token ids as an array, and where not to look (B, S); refuse what is none.

    Parameters
    ----------
    ids : ndarray of int (..., S)
    mask : ndarray of bool or of 0 and 1, (..., S), or None
        1 is a token, 0 is padding.
    vocabulary, longest : int
        Words and positions that the model has.
    """
    ids = np.asarray(ids)
    if ids.ndim == 0 or ids.size == 0:
        raise checks.InputError(f"ids must have shape (..., S) with at least one token, got {ids.shape}")
    if ids.dtype.kind not in "iu":
        raise checks.InputTypeError(
            f"ids must be integers, got {ids.dtype}; pass token numbers, as a tokenizer gives them"
        )
    # a negative number would index from the end, and a large one fail deep inside: both are said here
    S, last = ids.shape[-1], vocabulary - 1
    if S > longest:
        raise checks.InputError(f"a sequence has at most {longest} tokens, got {S}; shorten or split it")
    if ids.min() < 0 or ids.max() > last:
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise checks.InputError(f"ids must lie in 0 to {last}, got {wrong}; is the tokenizer this model's?")
    # (..., S) -> (B, S), nothing hidden
    return ids, np.zeros((ids.size // S, S), bool) if mask is None else padding(mask, ids.shape)


def padding(mask, shape):
    """Where nobody may look, (B, S), from a mask that says where one may."""
    mask = np.asarray(mask)
    if mask.dtype.kind not in "biu":
        raise checks.InputTypeError(f"mask must be boolean, or 0 and 1, got {mask.dtype}; 1 is a token, 0 is padding")
    if mask.shape != shape:
        raise checks.InputError(f"mask must have the shape of ids, {shape}, got {mask.shape}")
    if mask.min() < 0 or mask.max() > 1:
        raise checks.InputError(f"mask must be 0 or 1, got {mask.min()} to {mask.max()}; 1 is a token, 0 is padding")
    mask = mask.reshape(-1, shape[-1]) == 0  # (..., S) -> (B, S), turned over
    if mask.all(1).any():  # a softmax over nothing would be NaN
        raise checks.InputError(
            f"mask hides all of sequence {mask.all(1).argmax()}; leave it out, or keep a token of it"
        )
    return mask
