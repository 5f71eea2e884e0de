"""Losses; each returns its value and its gradient with respect to its first argument.

All are safe at logits of +-1000 in float32, pass a complex step through, and are 0 for an empty batch.

# B batch (all leading axes), C classes, N nodes, L leaves
"""

import numpy as np

from .. import checks
from ..layers import activations

REDUCTIONS = ("sum", "mean")


def cross_entropy(logits, labels):
    """Mean over the batch of -log softmax(logits)[label].

    Parameters
    ----------
    logits : ndarray (..., C)
    labels : ndarray of int (...)
        Class numbers 0 to C - 1.

    Returns
    -------
    value : scalar
        In nats.
    dlogits : ndarray (..., C)
        (softmax(logits) - onehot(label)) / B.

    Raises
    ------
    TypeError, ValueError
        If labels are no integers, out of range, or not one per row.
    """
    checks.floating("logits", logits)
    labels = checks.labels(labels, logits.shape[:-1], logits.shape[-1])  # (...), one per row of logits
    if labels.size == 0:
        return logits.dtype.type(0), np.zeros_like(logits)  # the mean of nothing would be NaN
    shifted = logits - logits.real.max(-1, keepdims=True)  # exp cannot overflow; (..., C), all <= 0
    exp = np.exp(shifted)  # (..., C)
    total = exp.sum(-1, keepdims=True)  # (..., C) -> (..., 1)
    # log softmax = shifted - log total: no logarithm of a softmax that has rounded to 0
    chosen = np.take_along_axis(shifted - np.log(total), labels[..., None], -1)  # (..., 1)
    onehot = np.arange(logits.shape[-1]) == labels[..., None]  # (...) -> (..., C)
    return -chosen.mean(), (exp / total - onehot) / logits.dtype.type(labels.size)  # (..., C), over B like the value


def mean_squared_error(y, target):
    """Mean over all entries of (y - target)^2.

    Parameters
    ----------
    y, target : ndarray of one shape

    Returns
    -------
    value : scalar
    dy : ndarray, shape of `y`
        2 (y - target) / size.

    Raises
    ------
    TypeError, ValueError
        If the two differ in dtype or shape.
    """
    checks.floating("y", y)
    difference = y - checks.array("target", target, y.shape, y.dtype)  # shape of y
    if y.size == 0:
        return y.dtype.type(0), difference
    # not np.square(np.abs(.)): a complex step passes
    return (difference * difference).mean(), 2 * difference / y.dtype.type(y.size)


def node_entropy(logit, reduction, smooth_step=False):
    """Entropy of the choices, the first paper's hardening loss: 0 where every choice is 0 or 1.

    Parameters
    ----------
    logit : ndarray (B, N)
        Logits z of the choices, `LeafTape.logit`.
    reduction : {"sum", "mean"}
        Over batch and nodes. The paper writes a sum, the published example takes the mean; at batch 256 and
        7 nodes, one is 1792 times the other. So there is no default.
    smooth_step : bool
        Whether the choices are those of `Choices(smooth_step=True)` instead of sigmoid ones.

    Returns
    -------
    value : scalar
        In nats.
    dlogit : ndarray (B, N)
        For `LeafFFF.backward(..., dlogit=...)`.

    Raises
    ------
    TypeError, ValueError
        If `logit` is no floating array, or `reduction` is neither.

    Notes
    -----
    H(c) = -c log c - (1 - c) log(1 - c), which is even in z = log(c / (1 - c)). With a = |z| and e = exp(-a),

        H = log(1 + e) + a e / (1 + e),   dH/dz = -z sigmoid(z) sigmoid(-z) = -z e / (1 + e)^2:

    no logarithm of 0, no clamp, and no cancellation in the tails. With smooth steps c = S(z), dH/dz is
    (log S(-z) - log S(z)) S'(z), and both are 0 where a choice is 0 or 1.

    References
    ----------
    Belcak and Wattenhofer, "Fast Feedforward Networks", arXiv 2308.14711, hardening loss.
    """
    checks.floating("logit", logit)
    checks.one_of("reduction", reduction, REDUCTIONS)
    # dtype of logit: a float64 would widen all
    scale = logit.dtype.type(1 if reduction == "sum" else 1 / max(logit.size, 1))
    if smooth_step:
        entropy, dlogit = _smooth_entropy(logit)
        return entropy.sum() * scale, dlogit * scale
    a = np.where(logit.real < 0, -logit, logit)  # |z|, by its real part: np.abs would stop a complex step
    e = np.exp(-a)  # cannot overflow
    entropy = np.log1p(e) + a * e / (1 + e)  # (B, N), H above
    return entropy.sum() * scale, -logit * e / (1 + e) ** 2 * scale  # scalar, (B, N); e <= 1, so nothing overflows


def _smooth_entropy(logit):
    """Entropy of smooth-step choices and its derivative: (B, N) -> (B, N), (B, N)."""
    right, left = activations.smooth_step(logit), activations.smooth_step(-logit)  # c and 1 - c, (B, N) each
    # where a choice is 0 or 1, c log c is 0: the logarithm is kept from seeing the 0
    undecided = (right.real > 0) & (left.real > 0)
    # log 1 = 0 where it is decided
    log_right, log_left = (np.log(np.where(undecided, mass, 1)) for mass in (right, left))
    entropy = -right * log_right - left * log_left  # (B, N)
    # dH/dc = log((1 - c) / c), times dc/dz
    return entropy, (log_left - log_right) * activations.smooth_step_derivative(logit)


def unevenness(share, weight):
    """E sum_j w_j p_j - 1 of the shares p of E leaves or experts: with w = p, their squared coefficient of variation.

    It is 0 if all are equal, and E - 1 if one has it all. The three balances below are this number: `leaf_balance` and
    `switch_balance` divide it by E - 1, so that one weight suits trees of any depth; `expert_balance` does not, as in
    the paper on experts.

    Parameters
    ----------
    share, weight : ndarray (E,)

    Returns
    -------
    scalar
    """
    return len(share) * (weight * share).sum() - 1  # sum_j p_j = 1, so equal shares give 1 - 1


def leaf_balance(mixture):
    """How unevenly the batch is spread over the leaves: 0 if evenly, 1 if all of it goes to one leaf.

    Parameters
    ----------
    mixture : ndarray (B, L)
        `LeafTape.mixture`.

    Returns
    -------
    value : scalar
    dmixture : ndarray (B, L)
        For `LeafFFF.backward(..., dmixture=...)`.

    Raises
    ------
    TypeError
        If `mixture` is no floating array.

    Notes
    -----
    The `unevenness` of the leaves' shares p_j = mean over the batch of m_j, over the largest that it can be:

        (L sum_j p_j^2 - 1) / (L - 1),   d/dm_bj = 2 L p_j / (B (L - 1)).

    Unlike the entropy of the shares, it has a finite gradient at a leaf that nothing reaches.

    References
    ----------
    The importance loss of Shazeer et al., "Outrageously Large Neural Networks", arXiv 1701.06538, equation 7,
    with leaves for experts.
    """
    checks.floating("mixture", mixture)
    B, L = mixture.shape
    if B == 0 or L == 1:  # one leaf cannot be uneven, and L - 1 divides
        return mixture.dtype.type(0), np.zeros_like(mixture)
    share = mixture.mean(0)  # (B, L) -> (L,)
    value = unevenness(share, share) / (L - 1)  # at most 1, whatever the depth
    # one row for all: p_j, not m_bj, decides what a leaf costs
    return value, np.tile(2 * L / (B * (L - 1)) * share, (B, 1)).astype(mixture.dtype)


def switch_balance(mixture):
    """How much of the mixture goes to the leaves that most samples prefer: about 0 if even, 1 if all go to one leaf.

    It takes and returns what `leaf_balance` does.

    Notes
    -----
    With p_j the mean over the batch of m_j, and f_j the share of the samples whose heaviest leaf is j, a constant
    to the gradient; scaled as `leaf_balance`, whose p_j^2 becomes f_j p_j:

        (L sum_j f_j p_j - 1) / (L - 1),   d/dm_bj = L f_j / (B (L - 1)).

    A leaf that is nobody's heaviest is neither pushed nor pulled.

    References
    ----------
    Fedus, Zoph and Shazeer, "Switch Transformers", arXiv 2101.03961, equations 4 to 6, with leaves for experts; for
    trees, arXiv 2405.16836.
    """
    checks.floating("mixture", mixture)
    B, L = mixture.shape
    if B == 0 or L == 1:  # as in `leaf_balance`
        return mixture.dtype.type(0), np.zeros_like(mixture)
    preferred = np.bincount(mixture.real.argmax(1), minlength=L).astype(mixture.dtype) / B  # (B, L) -> (L,)
    value = unevenness(mixture.mean(0), preferred) / (L - 1)  # (L,), (L,) -> scalar
    # preferred is a count, without a gradient; that of the mean of m_bj is f_j / B, the same for every row
    return value, np.tile(L / (B * (L - 1)) * preferred, (B, 1)).astype(mixture.dtype)


def expert_balance(weight):
    """How unevenly a batch is spread over the experts: 0 if evenly, E - 1 if all of it goes to one.

    Of `MoETape.gates`, it is the importance loss (equations 6 and 7); of `MoETape.load`, the load loss (10 and 11). The
    paper weights both by 0.1.

    Parameters
    ----------
    weight : ndarray (B, E)

    Returns
    -------
    value : scalar
    dweight : ndarray (B, E)
        For `MoE.backward(..., dgates=...)` or `dload=...`.

    Raises
    ------
    TypeError
        If `weight` is no floating array.

    Notes
    -----
    The `unevenness` of the shares p_i = sum_b weight_bi / T, where T, the sum of all weights, is no constant:

        CV^2 = E sum_i p_i^2 - 1,   d/dweight_bi = 2 E (p_i - sum_j p_j^2) / T.

    References
    ----------
    Shazeer et al., arXiv 1701.06538, section 4 and appendix A.
    """
    checks.floating("weight", weight)
    B, E = weight.shape
    if B == 0:
        return weight.dtype.type(0), np.zeros_like(weight)
    T = weight.sum()  # all weights; of gates it is B, of the load about B k
    share = weight.sum(0) / T  # (B, E) -> (E,)
    slope = 2 * E * (share - (share * share).sum()) / T  # (E,); without the second term if T were a constant
    return unevenness(share, share), np.tile(slope, (B, 1)).astype(weight.dtype)  # (E,) -> (B, E)


BALANCES = {"importance": leaf_balance, "switch": switch_balance}
