"""Faults planted in choices, the gate and the check of tapes: as in `test_mutations`, one at a time, each found."""

import math
from dataclasses import replace
from types import SimpleNamespace

import cases
import numpy as np
import pytest
from mutants import make_tests, near

from fffref import algorithms, gradcheck


def verify_choices(module):
    """Masses against products along paths, mirror images, ties; the way back by complex step; chance by its statistics."""
    rng = np.random.default_rng(0)
    logit, weight = rng.normal(0, 2, (5, 7)), rng.standard_normal((5, 8))
    for options, choice in (({}, algorithms.sigma), ({"smooth_step": True}, algorithms.smooth_step)):
        choices = module.Choices(**options)
        right, left, slope = choices.choose(logit)
        near(right, [[choice(z) for z in row] for row in logit])
        near(left, [[choice(-z) for z in row] for row in logit])
        gradcheck.check(lambda z, c=choices: c.choose(z)[0], logit, slope, np.ones_like(logit), "complex").expect()
    mixture = module.mix(right, left)
    near(mixture[:, 2], left[:, 0] * right[:, 1] * left[:, 4])
    dright = module.mix_backward(right, left, mixture, weight)
    gradcheck.check(lambda c: (weight * module.mix(c, 1 - c)).sum(), right, dright, method="complex").expect()
    slope = module.Choices().choose(np.full((1, 1), np.float32(17)))[2]
    np.testing.assert_allclose(slope, 4.1399375e-08, rtol=1e-6)
    hard, other = module.Choices(straight_through=True).rounded(np.array([[-1.0, 0.0, 1.0]]), right, left)
    near(hard, [[0, 1, 1]]), near(other, [[1, 0, 0]])
    near(module.Choices(temperature=0.5).logit_scale((2, 3), np.dtype("d"), None), 2)
    near(module.Choices(transpose_prob=1).logit_scale((2, 3), np.dtype("d"), rng), -np.ones((2, 3)))
    assert 1.7 < module.Choices(noise=1).disturb(np.zeros((4000, 1)), rng).std() < 1.93  # pi / sqrt(3)


def verify_gate(module):
    """Deviation by hand; load against the oracle, its gradients and those of the softmax by complex step."""
    rng = np.random.default_rng(0)
    clean, noise_logit, noise, weight = rng.standard_normal((4, 5, 4))
    near(module.deviation(np.array([0.0, 800.0])), [np.log(2) + 0.01, 800.01])

    def load(clean, noise_logit):
        score = clean + noise * module.deviation(noise_logit)
        order = np.argsort(-score.real, axis=1)
        return module.load(clean, noise_logit, score, order, 2), score, order

    P, score, order = load(clean, noise_logit)
    for b in range(5):
        rivals = [algorithms.kth_excluding(score[b], 2, i) for i in range(4)]
        u = (clean[b] - rivals) / module.deviation(noise_logit[b])
        near(P[b], [(1 + math.erf(value / math.sqrt(2))) / 2 for value in u])
    tape = SimpleNamespace(clean=clean, noise_logit=noise_logit, order=order, score=score)
    dclean, dsigma, dscore = module.load_backward(tape, weight, 2)
    slope = 1 / (1 + np.exp(-noise_logit))
    dnoise = (dsigma + dscore * noise) * slope
    for at, gradient, value in (
        (clean, dclean + dscore, lambda z: load(z, noise_logit)[0]),
        (noise_logit, dnoise, lambda z: load(clean, z)[0]),
    ):
        gradcheck.check(lambda z, value=value: (weight * value(z)).sum(), at, gradient, method="complex").expect()
    gates = module.top_softmax(score, order[:, :2])
    dsoft = module.top_softmax_backward(gates, weight)
    gradcheck.check(
        lambda z: (weight * module.top_softmax(z, order[:, :2])).sum(), score, dsoft, method="complex"
    ).expect()


def verify_tapes(module):
    """Wrong fields, and the tape of a twin."""
    rng = np.random.default_rng(0)
    layer, twin = (cases.make("DenseFF", rng) for _ in range(2))
    _, tape = layer.forward(rng.standard_normal((4, 5)))
    module.check(layer, tape, type(tape))
    wrongs = {"lead": [(5,), 4, (-4,)], "logit": [tape.logit[:1], tape.logit.astype("f"), None], "hidden": [tape.x]}
    for name, values in wrongs.items():
        for value in values:
            with pytest.raises((TypeError, ValueError)):
                module.check(layer, replace(tape, **{name: value}), type(tape))
    with pytest.raises(TypeError):
        module.check(layer, SimpleNamespace(**vars(tape)), type(tape))
    module.check_origin(tape, layer.in_weight[0], layer.in_bias[0], tape.logit)
    with pytest.raises(ValueError, match="another layer"):
        module.check_origin(tape, twin.in_weight[0], twin.in_bias[0], tape.logit)
    path = cases.make("PathFFF", rng)
    _, walked = path.forward(rng.standard_normal((4, 5)))
    module.check(path, walked, type(walked), V=9)
    with pytest.raises(TypeError):
        module.check(path, replace(walked, node=walked.node.astype(float)), type(walked), V=9)
    module.check_range("node", np.array([0, 6]), 7)
    for wrong in (-1, 7):
        with pytest.raises(ValueError, match="node must lie in 0 to 6"):
            module.check_range("node", np.array([0, wrong]), 7)


FAULTS = {
    "mixture's backward, sign": ("choices", "mass * (dright - dleft)", "mass * (dleft - dright)"),
    "transposition forgets its sign": ("choices", "np.where(transposed, -scale, scale)", "scale + 0 * transposed"),
    "children exchanged, forward": ("choices", "1::2] = mass * right", "1::2] = mass * left"),
    "children exchanged, backward": ("choices", "left[:, nodes] * dleft + right[:, nodes] * dright", "right[:, nodes] * dleft + left[:, nodes] * dright"),
    "a tie goes left in a leaf tree": ("choices", "return logit.real >= 0", "return logit.real > 0"),
    "sigmoid's derivative cut": ("choices", "return right, left, right * left", "return right, left, right"),
    "a parent's mass is one child's": ("choices", "mass[:, 0::2] + mass[:, 1::2]", "mass[:, 0::2]"),
    "smooth step is sigmoid": ("choices", "if self.smooth_step:", "if False:"),
    "an expert is its own rival": ("gate", "place < k, order", "place < 0, order"),
    "the rival's score stands still": ("gate", "np.subtract.at(dscore,", "np.subtract.at(dscore.copy(),"),
    "load's deviation forgotten, backward": ("gate", "return dclean, -dclean * u", "return dclean, 0 * dclean"),
    "load scaled by noise": ("gate", "ndtr((clean - threshold)", "ndtr((score - threshold)"),
    "no floor under the noise": ("gate", " + noise_logit.dtype.type(NOISE_FLOOR)", ""),
    "lead is not looked at": ("tapes", 'letters | {"B": math.prod(lead)}', 'letters | {"B": len(tape.x)}'),
    "dtypes are not looked at": ("tapes", "        if not fits:", "        if False:"),
    "shapes are not looked at": ("tapes", "if actual != shape and", "if False and"),
    "any tape will do": ("tapes", "if type(tape) is not kind:", "if False:"),
    "a twin's tape passes": ("tapes", "> slack and", "> 1e9 * slack and"),
    "an index below 0": ("tapes", "0 <= index.min()", "-9 <= index.min()"),
    "nodes of any dtype accepted": ("tapes", 'dtype.kind in "iu"', 'dtype.kind in "iuf"'),
    "an index too far": ("tapes", "index.max() < n)", "index.max() <= n)"),
}  # fmt: skip

test_the_source_as_it_is_passes, test_a_planted_fault_is_found = make_tests(globals(), FAULTS)
