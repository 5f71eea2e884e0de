"""Faults planted in soft trees of reached leaves, and in the sums over visits: one at a time, each found."""

import itertools
from dataclasses import replace

import cases
import numpy as np
import pytest
from mutants import make_tests, near

from fffref import fast
from fffref.layers.choices import Choices
from fffref.layers.leaf_fff import LeafFFF


def verify_leaf(module):
    """Both passes against the layer's own; tapes that do not fit."""
    fast.jit.register(LeafFFF)(fast.leaf.FastLeaf)  # the broken one has registered itself
    module.MANY = 2
    rng = np.random.default_rng(0)
    layer, x = cases.make("LeafFFF", rng, n_in=4, n_out=3, depth=3, width=2), rng.standard_normal((40, 4))
    choices, compiled = Choices(temperature=0.3, smooth_step=True), module.FastLeaf(layer)
    y, tape = compiled.forward(x, choices)
    expected, whole = layer.forward(x, choices)
    assert 40 <= len(tape.leaf) < 0.8 * whole.mixture.size
    near(y, expected), near(compiled(x), layer.forward_hard(x)), near(compiled.route(x), layer.route(x))
    further = [rng.standard_normal(like.shape) for like in (whole.logit, whole.choice, whole.mixture)]
    grads, dx = compiled.backward(tape, y, *further)
    right, dright = layer.backward(whole, y, *further)
    near(dx, dright)
    for name, array in right.arrays().items():
        near(grads.dense().arrays()[name], array)
    for other in (Choices(), Choices(smooth_step=True, straight_through=True)):
        y, tape = compiled.forward(x, other)
        near(y, layer.forward(x, other)[0])
        near(compiled.backward(tape, y)[1], layer.backward(layer.forward(x, other)[1], y)[1])
    _, tape = compiled.forward(x, choices)
    for field, value in (("leaf", tape.leaf + 8), ("sample", tape.sample + 40), ("leaf", np.sort(tape.leaf)[::-1])):
        with pytest.raises(ValueError):
            compiled.check_reached(replace(tape, **{field: value}))


def verify_visits(module):
    """Sums over visits against a loop, by any way of sharing them out."""
    rng = np.random.default_rng(0)
    neuron, sample = rng.integers(0, 9, 50) // 2 * 2, rng.integers(0, 7, 50)
    weight, rows = rng.standard_normal(50), rng.standard_normal((7, 4))
    visits = module.Visits.of(neuron, lambda visit: sample[visit], 9)
    expected, numbers = np.zeros((9, 4)), np.zeros(9)
    np.add.at(expected, neuron, weight[:, None] * rows[sample]), np.add.at(numbers, neuron, weight)
    for cuts in ((0, 50), (0, 13, 26, 50)):
        share_out = lambda work, n, cuts=cuts: [work(*part) for part in itertools.pairwise(cuts)]  # noqa: E731
        (sums,) = visits.sums(share_out, [(weight, rows)])
        near(visits.rows(sums, (9, 4)).dense(), expected)
    near(visits.numbers(weight), numbers[np.unique(neuron)])


FAULTS = {
    "a leaf's mass is forgotten": ("leaf", "folded = hidden * chosen.mixture[sample, leaf][:, None]", "folded = hidden"),
    "a leaf's bias is its neighbour's": ("leaf", "leaf_in_bias[leaf]", "leaf_in_bias[leaf - 1]"),
    "rounded choices leave leaves out": ("leaf", " or choices.straight_through", ""),
    "the outputs' bias is forgotten": ("leaf", "y += chosen.mixture @ self.layer.leaf_out_bias", "pass"),
    "the outputs' bias, backward": ("leaf", "dmix += dy @ self.layer.leaf_out_bias.T", "pass"),
    "the mass, backward": ("leaf", "dleaf_logit = dfolded * mass", "dleaf_logit = dfolded"),
    "the activation's slope": ("leaf", " * activations.get(self.layer.activation).derivative(tape.leaf_logit)", ""),
    "the nodes' part of dx": ("leaf", "dx += dnode @ self.layer.node_weight", "pass"),
    "further losses exchanged": ("leaf", "dmix, dlogit, dchoice, dmixture)", "dmix, dchoice, dlogit, dmixture)"),
    "a neuron of every leaf is the next one's": ("leaf", "leaf[:, None] * l + np.arange(l)", "leaf[:, None] * l + np.arange(l)[::-1]"),
    "a sample's first visit is lost": ("leaf", "np.searchsorted(sample, np.arange(B + 1)) *", "(np.searchsorted(sample, np.arange(B + 1)) > 0) *"),
    "any leaf": ("leaf", 'tapes.check_range("leaf", tape.leaf, L)', "pass"),
    "any sample": ("leaf", 'tapes.check_range("sample", tape.sample, len(tape.x))', "pass"),
    "a thread's first neuron lost": ("visits", "slice(first, last)", "slice(first, last - 1)"),
    "weights in the order of the tape": ("visits", "weights = [weight[self.visit]", "weights = [weight"),
    "a sample is a visit": ("visits", "sample_of(visit)", "sample_of(np.sort(visit))"),
    "numbers in the order of the tape": ("visits", "np.add.reduceat(weight[self.visit]", "np.add.reduceat(weight"),
}  # fmt: skip

test_the_source_as_it_is_passes, test_a_planted_fault_is_found = make_tests(globals(), FAULTS)
