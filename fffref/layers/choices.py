"""Soft choices: their options in one record; from logits to the masses of the leaves, and back.

A node weighs its two subtrees: the right one by c, the left one by 1 - c, computed as the mirror image that it is.
With sigmoid, 1 - c is sigmoid(-z): in float32, the difference 1 - c would be 17 % off at a logit of 15, and its slope
exactly 0 from 17 on, but not below -17.

# B batch, N = 2^d - 1 nodes, L = 2^d leaves
"""

from dataclasses import dataclass

import numpy as np

from .. import checks
from . import activations, tree


@dataclass(frozen=True)
class Choices:
    """How logits become choices in a soft pass.

    Parameters
    ----------
    temperature : float, at least 1e-30
        Divides the logits of the choices; towards 0, soft becomes hard.
    noise : float, at least 0
        Scale of logistic noise added to the logits, another draw per sample and node. At 1, a choice is above
        1/2 with probability sigmoid(logit): the relaxed coin of the concrete distribution (Maddison, Mnih and Teh,
        arXiv 1611.00712; Jang, Gu and Poole, arXiv 1611.01144). A tree that learns to be right in spite of it
        pushes its logits away from 0, which is what hardening needs.
    straight_through : bool
        Compute with choices rounded to 0 or 1, differentiate as if they had not been
        (Bengio, Leonard and Courville, arXiv 1308.3432).
    smooth_step : bool
        Choices by `activations.smooth_step` instead of sigmoid: exactly 0 or 1 where |logit| >= 3, so that a
        sample reaches, and trains, only some of the leaves.
    transpose_prob : float in [0, 1]
        Randomised child transposition: per sample and node, c becomes 1 - c with this probability
        (the first paper's section on overfragmentation; `region_leak` in the authors' package).

    Raises
    ------
    TypeError, ValueError
        If one of them has another type or is out of its range.
    """

    temperature: float = 1.0
    noise: float = 0.0
    straight_through: bool = False
    smooth_step: bool = False
    transpose_prob: float = 0.0

    def __post_init__(self):
        # 1e-30: the inverse has to fit into float32, with room for the logit
        checks.settle(
            self,
            temperature=checks.number("temperature", self.temperature, "[1e-30, inf)"),
            noise=checks.number("noise", self.noise, "[0, inf)"),
            straight_through=checks.flag("straight_through", self.straight_through),
            smooth_step=checks.flag("smooth_step", self.smooth_step),
            transpose_prob=checks.number("transpose_prob", self.transpose_prob, "[0, 1]"),
        )

    def calm(self):
        """Return the same without chance and rounding: the mixture that a tree is judged by."""
        return Choices(temperature=self.temperature, smooth_step=self.smooth_step)

    # ------------------------------------------------------------------ from logits to choices

    def logit_scale(self, shape, dtype, rng):
        """1 / temperature, negated where the children change places: sigmoid(-z) = 1 - sigmoid(z)."""
        scale = dtype.type(1 / self.temperature)  # in the layer's dtype: float64 would widen all logits
        if self.transpose_prob == 0:
            return scale
        # a draw a sample and node
        transposed = checks.generator("rng", rng).random(shape) < self.transpose_prob  # (B, N)
        return np.where(transposed, -scale, scale)

    def disturb(self, logit, rng):
        """Add `noise` times a logistic variable: the logit of a uniform number."""
        if self.noise == 0:
            return logit
        u = np.maximum(checks.generator("rng", rng).random(logit.shape, np.float32), 2**-25)  # neither 0 nor 1; (B, N)
        return logit + logit.dtype.type(self.noise) * np.log(u / (1 - u))  # log(u / (1 - u)): logistic

    def choose(self, logit):
        """Masses of the right and the left child, and d right / d logit: (B, N) -> three of (B, N)."""
        if self.smooth_step:
            right, left = activations.smooth_step(logit), activations.smooth_step(-logit)
            # S(-z) = 1 - S(z), exactly 0 and 1 at the ends
            return right, left, activations.smooth_step_derivative(logit)
        right, left = activations.sigmoid(logit), activations.mirrored_sigmoid(logit)
        return right, left, right * left  # c (1 - c), without a difference

    def rounded(self, logit, right, left):
        """What the pass computes with: the masses, or 1 and 0 where it is straight-through."""
        if not self.straight_through:
            return right, left
        hard = goes_right(logit).astype(right.dtype)  # NaN is not >= 0: it goes left, with all of the mass
        return hard, 1 - hard


def goes_right(logit):
    """c >= 1/2, that is logit >= 0: Algorithm 1 of the first paper. NaN goes left."""
    return logit.real >= 0


def mix(right, left):
    """Masses of the leaves, level by level: a child's is its parent's times that of its side.

    Parameters
    ----------
    right, left : ndarray (B, N)
        They sum to 1.

    Returns
    -------
    mixture : ndarray (B, N + 1)
    """
    B = len(right)
    mass = np.ones((B, 1), right.dtype)  # all of it is at the root
    for k in range(tree.depth_of(right.shape[1])):
        children = np.empty((B, 2 ** (k + 1)), right.dtype, order="F")  # a column a child: samples are contiguous
        children[:, 0::2] = mass * left[:, tree.level(k)]  # (B, 2^k)
        children[:, 1::2] = mass * right[:, tree.level(k)]
        mass = children  # (B, 2^(k+1)); at the end, the leaves
    return mass


def mix_backward(right, left, mixture, dmixture):
    """Gradient of `mix`, from the leaves up; no level was stored, a parent's mass is the sum of its children's.

    With c = right = 1 - left, and p the mass of a parent,

        leftmass = p left, rightmass = p right  =>  dp = left dleft + right dright,  dc = p (dright - dleft)

    Parameters
    ----------
    right, left : ndarray (B, N)
    mixture, dmixture : ndarray (B, N + 1)

    Returns
    -------
    dright : ndarray (B, N)
    """
    mass, dmass = mixture, dmixture  # (B, L), of the level below
    dchoice = np.empty_like(right)  # (B, N)
    for k in reversed(range(tree.depth_of(right.shape[1]))):
        nodes = tree.level(k)
        # left and right child stand beside each other
        mass = mass[:, 0::2] + mass[:, 1::2]  # (B, 2^(k+1)) -> (B, 2^k)
        dleft, dright = dmass[:, 0::2], dmass[:, 1::2]
        dchoice[:, nodes] = mass * (dright - dleft)  # dc above, (B, 2^k)
        dmass = left[:, nodes] * dleft + right[:, nodes] * dright  # dp above, (B, 2^k), for the next level up
    return dchoice
