"""The noisy top-k gate of `MoE`: scores, who computes, and how probable that is; each step beside its way back.

# B batch, E experts, k experts per sample

Reference: N. Shazeer et al., arXiv 1701.06538; equation numbers are theirs.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from . import activations

NOISE_FLOOR = 0.01  # added to the noise's deviation, as in the authors' code: equation 9 divides by it


@dataclass(frozen=True, eq=False)
class MoETape:
    """What the forward pass keeps for the backward pass, and for losses on the gate.

    Attributes
    ----------
    x : ndarray (B, I)
        The input, leading axes flattened into B.
    lead : tuple of int
        Those leading axes.
    clean : ndarray (B, E)
        Scores without noise.
    noise_logit : ndarray (B, E), or None
        What decides the noise's standard deviation; None without noise, in inference.
    noise : ndarray (B, E), or None
        Standard normal draws.
    order : ndarray of int (B, E)
        The experts by falling score, noise included; the first k compute.
    score : ndarray (B, E)
        H(x) of equation 4.
    gates : ndarray (B, E)
        G(x) of equation 3: 0 where an expert does not compute, every row sums to 1.
    load : ndarray (B, E), or None
        P(x, i) of equation 9: how probable it is that an expert computes if its own noise is drawn again. None
        without noise.
    logit, hidden : ndarray (B, k, e)
        Neurons of the chosen experts before and after the activation, in the order of `order`.
    """

    x: np.ndarray
    lead: tuple
    clean: np.ndarray
    noise_logit: np.ndarray | None
    noise: np.ndarray | None
    order: np.ndarray
    score: np.ndarray
    gates: np.ndarray
    load: np.ndarray | None
    logit: np.ndarray
    hidden: np.ndarray

    SHAPES: ClassVar[dict[str, str]] = {
        "x": "BI", "clean": "BE", "noise_logit": "BE:optional", "noise": "BE:optional real", "order": "BE:int",
        "score": "BE", "gates": "BE", "load": "BE:optional", "logit": "Bke", "hidden": "Bke",
    }  # fmt: skip


def deviation(noise_logit):
    """Standard deviation of the noise: softplus, safe at both ends, and a floor."""
    e = np.exp(np.where(noise_logit.real < 0, noise_logit, -noise_logit))  # exp(-|z|), at most 1
    # max(z, 0) + log(1 + exp(-|z|)) = softplus(z)
    return np.where(noise_logit.real < 0, 0, noise_logit) + np.log1p(e) + noise_logit.dtype.type(NOISE_FLOOR)


def top_softmax(score, chosen):
    """Equations 3 and 5: softmax over the chosen entries of each row, 0 elsewhere.

    Parameters
    ----------
    score : ndarray (B, E)
    chosen : ndarray of int (B, k)
        The best first.

    Returns
    -------
    gates : ndarray (B, E)
    """
    best = np.take_along_axis(score, chosen, 1)  # (B, k), falling
    exp = np.exp(best - best[:, :1].real)  # cannot overflow; (B, k)
    gates = np.zeros_like(score)
    # (B, k) -> (B, E); exp(-inf) = 0 for the others
    np.put_along_axis(gates, chosen, exp / exp.sum(1, keepdims=True), 1)
    return gates


def top_softmax_backward(gates, dgates):
    """Gradient with respect to the scores; 0 where an expert did not compute: (B, E), (B, E) -> (B, E)."""
    inner = (gates * dgates).sum(1, keepdims=True)  # (B, 1)
    return gates * (dgates - inner)  # the softmax's Jacobian; where G = 0, so is this


def rival(order, k):
    """Which expert's score an expert has to beat: the k-th best of the others, (B, E); needs k < E."""
    place = np.argsort(order, axis=1)  # of each expert; the inverse of a permutation: (B, E)
    # one of the k best: the (k+1)-th, else the k-th
    return np.where(place < k, order[:, k, None], order[:, k - 1, None])


def load(clean, noise_logit, score, order, k):
    """Equation 9: how probable it is that an expert computes if its own noise is drawn again, (B, E)."""
    from scipy.special import ndtr  # imported where needed: `import fffref` stays quick

    if k == clean.shape[1]:
        return np.ones_like(clean)  # all compute
    threshold = np.take_along_axis(score, rival(order, k), 1)  # (B, E): kth_excluding(H, k, i)
    return ndtr((clean - threshold) / deviation(noise_logit))  # clean: its own noise is what is drawn again


def load_backward(tape, dload, k):
    """Gradients of equation 9 with respect to clean scores, deviations, and scores: three of (B, E).

    P = Phi(u), u = (clean - threshold) / sigma:  dclean = dP phi(u) / sigma, dsigma = -dclean u, dthreshold = -dclean,
    and a threshold is the score of a rival, who may be the rival of several experts.
    """
    dscore = np.zeros_like(tape.clean)
    if k == tape.clean.shape[1]:
        return dscore, dscore, dscore
    rivals, sigma = rival(tape.order, k), deviation(tape.noise_logit)  # (B, E), (B, E)
    u = (tape.clean - np.take_along_axis(tape.score, rivals, 1)) / sigma  # (B, E)
    dclean = dload * np.exp(-u * u / 2) / (dload.dtype.type(activations.SQRT_2PI) * sigma)  # dP phi(u) / sigma: (B, E)
    # .at adds up where one rival stands in the way of several
    np.subtract.at(dscore, (np.arange(len(rivals))[:, None], rivals), dclean)
    return dclean, -dclean * u, dscore
