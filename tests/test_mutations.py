"""Do the checks find faults? The source is broken in many ways, one at a time, and each time they must fail.

Each fault replaces a piece of a module's text; the broken module is run beside the good one, never in its place.
"""

import importlib.util
import pathlib
import sys

import cases
import numpy as np
import pytest

import fffref
from fffref import algorithms, gradcheck
from fffref.layers.choices import Choices
from fffref.training import losses

FOLDER = pathlib.Path(fffref.__file__).parent


def module_with(name, old=None, new=None):
    """The module `name` of the package, with `old` replaced by `new` in its text."""
    (file,) = FOLDER.rglob(f"{name}.py")
    text = file.read_text()
    if old is not None:
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {name}.py"
        text = text.replace(old, new)
    mutant = ".".join(["fffref", *file.parent.relative_to(FOLDER).parts, f"{name}_mutant"])
    spec = importlib.util.spec_from_loader(mutant, loader=None)
    module = importlib.util.module_from_spec(spec)
    sys.modules[mutant] = module  # dataclasses look their module up
    try:
        exec(compile(text, mutant, "exec"), vars(module))
    finally:
        del sys.modules[mutant]
    return module


def near(found, expected):
    np.testing.assert_allclose(found, np.array(expected).reshape(np.shape(found)), rtol=1e-10, atol=1e-12)


def gradients_hold(value, layer, x, grads, dx):
    for report in gradcheck.check_layer(value, layer, x, grads, dx, "complex").values():
        report.expect()


def verify_leaf_fff(module):
    """Soft, hard and ties against the recursion; gradients by complex step, further losses included."""
    rng = np.random.default_rng(0)
    layer = cases.make("LeafFFF", rng, n_in=3, n_out=2, depth=3, width=2)
    layer = module.LeafFFF(**layer.arrays(), **layer.options())
    x, dy = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    near(layer.forward(x, Choices(0.5))[0], [algorithms.FORWARD_T(row, layer, temperature=0.5) for row in x])
    smooth = layer.forward(x, Choices(0.5, smooth_step=True))
    near(smooth[0], [algorithms.FORWARD_T(row, layer, temperature=0.5, choice=algorithms.smooth_step) for row in x])
    near(layer.forward(x, Choices(transpose_prob=1), rng)[1].choice, 1 - layer.forward(x)[1].choice)
    for tree in (layer, layer.map(np.zeros_like)):
        near(tree.forward_hard(x), [algorithms.FORWARD_I(row, tree)[0] for row in x])
        near(tree.route(x), [algorithms.FORWARD_I(row, tree)[1] for row in x])
    dlogit, dchoice, dmixture = (rng.standard_normal((5, n)) for n in (7, 7, 8))

    def forward(layer, x):
        y, tape = layer.forward(x, Choices(0.5, transpose_prob=0.5), np.random.default_rng(1))
        further = (dlogit * tape.logit).sum() + (dchoice * tape.choice).sum() + (dmixture * tape.mixture).sum()
        return (dy * y).sum() + further, tape

    grads, dx = layer.backward(forward(layer, x)[1], dy, dlogit, dchoice, dmixture)
    gradients_hold(lambda layer, x: forward(layer, x)[0], layer, x, grads, dx)


def verify_path_fff(module):
    """Forward and routes, ties included, against the loops; gradients by complex step."""
    rng = np.random.default_rng(0)
    layer = cases.make("PathFFF", rng, n_in=3, n_out=2, depth=2, width=2)
    layer = module.PathFFF(**layer.arrays(), **layer.options())
    x, dy = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    for tree in (layer, layer.map(np.zeros_like)):
        outputs, nodes = algorithms.FFF_I(x, tree)
        near(tree.forward(x)[0], outputs)
        near(tree.route(x), nodes)
    grads, dx = layer.backward(layer.forward(x)[1], dy)
    gradients_hold(lambda layer, x: (dy * layer.forward(x)[0]).sum(), layer, x, grads, dx)
    z = layer.in_bias  # of the routing gradient: at x = 0 by hand, depth 2
    _, tape = layer.forward(np.zeros((1, 3)))
    plain, routed = (
        layer.backward(tape, dy[:1], route_gradient=route)[0].in_bias for route in (None, "straight-through")
    )
    for k in range(layer.n_trees):

        def below(n, k=k):
            """dy . output of the subtree under node n."""
            if n >= 7:
                return 0.0
            here = algorithms.Activation(layer.activation, z[k, n]) * algorithms.dot(dy[0], layer.out_weight[k, n])
            return here + below(2 * n + 1 + (z[k, n] > 0))

        second = 1 + (z[k, 0] > 0)
        for n in (0, second):
            slope = algorithms.sigma(z[k, n]) * algorithms.sigma(-z[k, n])
            near(routed[k, n] - plain[k, n], slope * (below(2 * n + 2) - below(2 * n + 1)))
        near(np.delete(routed - plain, [0, second], 1)[k], np.zeros(5))


def verify_dense_ff(module):
    """Gradients by complex step."""
    rng = np.random.default_rng(0)
    layer = cases.make("DenseFF", rng)
    layer = module.DenseFF(**layer.arrays(), **layer.options())
    x, dy = rng.standard_normal((4, 5)), rng.standard_normal((4, 3))
    grads, dx = layer.backward(layer.forward(x)[1], dy)
    gradients_hold(lambda layer, x: (dy * layer.forward(x)[0]).sum(), layer, x, grads, dx)


def verify_moe(module):
    """Forward, gates and load, ties included, against the loops; gradients by complex step, further losses included."""
    rng = np.random.default_rng(0)
    layer = cases.make("MoE", rng, n_in=3, n_out=2, width=2)
    layer = module.MoE(**layer.arrays(), **layer.options())
    x, dy = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    for one in (layer, layer.map(np.zeros_like)):
        y, tape = one.forward(x, np.random.default_rng(1))
        expected = [algorithms.MoE(row, one, noise) for row, noise in zip(x, tape.noise, strict=True)]
        for found, values in zip((y, tape.gates, tape.load), zip(*expected, strict=True), strict=True):
            near(found, values)
        near(one.forward_hard(x), [algorithms.MoE(row, one)[0] for row in x])
        assert all(sorted(one.route(row)) == list(np.nonzero(algorithms.MoE(row, one)[1])[0]) for row in x)

    def forward(layer, x):
        y, tape = layer.forward(x, np.random.default_rng(1))
        balance = [losses.expert_balance(weight) for weight in (tape.gates, tape.load)]
        return (dy * y).sum() + sum(value for value, _ in balance), tape, [gradient for _, gradient in balance]

    _, tape, extras = forward(layer, x)
    grads, dx = layer.backward(tape, dy, *extras)
    gradients_hold(lambda layer, x: forward(layer, x)[0], layer, x, grads, dx)


def verify_tree(module):
    """The descent against the loops."""
    rng = np.random.default_rng(0)
    x, weight, bias = rng.standard_normal((5, 3)), rng.standard_normal((7, 3)), rng.standard_normal(7)
    nodes, logits, _ = module.descend(x, weight, bias, lambda logit: logit > 0)
    expected_logits, expected_nodes = algorithms.CMM(x, weight, bias)
    near(nodes, expected_nodes)
    near(logits, expected_logits)


def verify_losses(module):
    """Gradients by complex step, and two values by hand."""
    rng = np.random.default_rng(0)
    labels = np.array([0, 2, 1, 1, 0])
    for loss, at in (
        (lambda z: module.cross_entropy(z, labels), rng.standard_normal((5, 3))),
        (lambda y: module.mean_squared_error(y, np.ones_like(y)), rng.standard_normal((5, 3))),
        (lambda z: module.node_entropy(z, "mean"), rng.standard_normal((5, 3))),
        (lambda z: module.node_entropy(z, "sum", True), rng.normal(0, 3, (5, 3))),
        (module.expert_balance, rng.uniform(0, 1, (5, 4))),
        (module.leaf_balance, rng.dirichlet(np.ones(4), size=5)),
        (module.switch_balance, rng.dirichlet(np.ones(4), size=5)),
    ):
        gradcheck.check(lambda z, loss=loss: loss(z)[0], at, loss(at)[1], method="complex").expect()
    near(module.switch_balance(np.tile([0.4, 0.3, 0.2, 0.1], (5, 1)))[0], 0.2)
    near(module.node_entropy(np.zeros((1, 1)), "sum")[0], np.log(2))
    near(module.node_entropy(np.array([[0.0, 3.0, -5.0]]), "sum", True)[0], np.log(2))
    near(module.expert_balance(np.array([[1.0, 3.0]]))[0], 0.25)
    near(module.cross_entropy(np.zeros((1, 4)), np.array([1]))[0], np.log(4))


def verify_activations(module):
    """Values against the oracle, derivatives by complex step."""
    z = np.random.default_rng(0).normal(0, 2, 50)
    for name, (function, derivative) in module.ACTIVATIONS.items():
        near(function(z), [algorithms.Activation(name, v) for v in z])
        gradcheck.check(function, z, derivative(z), np.ones_like(z), "complex").expect()
    step, slope = module.smooth_step, module.smooth_step_derivative
    near(step(2 * z), [algorithms.smooth_step(v) for v in 2 * z])
    gradcheck.check(step, 2 * z, slope(2 * z), np.ones_like(z), "complex").expect()


def verify_optim(module):
    """Two steps on one number, by hand."""
    layer = cases.make("DenseFF", np.random.default_rng(0)).map(np.ones_like)
    sgd = module.SGD(momentum=0.5)
    one, state = sgd.step(layer, layer, sgd.init(layer), 0, 0.1)
    two, _ = sgd.step(one, layer, state, 1, 0.1)
    near(two.in_bias, np.full(3, 1 - 0.1 - 0.15))
    adam = module.Adam(epsilon=1e-12)
    one, state = adam.step(layer, layer, adam.init(layer), 0, 0.1)
    two, _ = adam.step(one, layer.map(lambda g: 3 * g), state, 1, 0.1)
    near(two.in_bias, np.full(3, 1 - 0.1 - 0.1 * (0.39 / 0.19) / np.sqrt(0.009999 / 0.001999)))
    one, _ = module.Adam(epsilon=1e-12, weight_decay=0.5).step(layer, layer, adam.init(layer), 0, 0.1)
    near(one.in_bias, np.full(3, 1 - 0.1 * 0.5 - 0.1))


FOUND = (AssertionError, TypeError, ValueError, KeyError, pytest.fail.Exception)  # what a check may say

VERIFY = {name.removeprefix("verify_"): function for name, function in globals().items() if name.startswith("verify_")}

FAULTS = {
    # wrong signs
    "entropy's gradient, sign": ("losses", "entropy.sum() * scale, -logit", "entropy.sum() * scale, logit"),
    "squared error's gradient, sign": ("losses", "2 * difference /", "-2 * difference /"),
    "gradient ascent": ("optim", "p -= rate * g", "p += rate * g"),
    # transposed children
    "children exchanged, descent": ("tree", "2 * node + 1 + goes_right", "2 * node + 2 - goes_right"),
    "a tie goes right in a path tree": ("path_fff", "return logit.real > 0", "return logit.real >= 0"),
    # missing biases
    "node bias missing": ("leaf_fff", "product(x, self.node_weight) + self.node_bias", "product(x, self.node_weight)"),
    "node bias missing, descent": ("tree", '"bi,bi->b", x, weight[node]) + bias[node]', '"bi,bi->b", x, weight[node])'),
    "leaf in bias missing, soft": ("leaf_fff", "leaf_logit += self.leaf_in_bias", "leaf_logit += 0"),
    "leaf out bias missing, soft": ("leaf_fff", " + mixture @ self.leaf_out_bias  #", "  #"),
    "leaf out bias missing, hard": ("leaf_fff", " + self.leaf_out_bias[j]  #", "  #"),
    "leaf out bias missing, backward": ("leaf_fff", " + dy @ self.leaf_out_bias.T", ""),
    # forgotten factors and terms
    "temperature forgotten, backward": ("leaf_fff", "dnode = dnode * tape.scale", "dnode = dnode * np.sign(tape.scale)"),
    "mixture forgotten in the leaves": ("leaf_fff", "dfolded *= mixture", "dfolded *= 1"),
    "mixture forgotten in the outputs": ("leaf_fff", "folded = (tape.hidden * mixture)", "folded = (tape.hidden)"),
    "balance dropped": ("leaf_fff", 'dmix = dmix + tapes.further("dmixture", dmixture, tape.mixture)', "pass"),
    "dx without the nodes": ("leaf_fff", "dx = dnode @ self.node_weight + ", "dx = "),
    "mean instead of sum": ("leaf_fff", "leaf_in_bias=dleaf_logit.sum(0)", "leaf_in_bias=dleaf_logit.mean(0)"),
    "logit instead of activation": ("path_fff", "self._on_path(tape.node, tape.hidden)", "self._on_path(tape.node, tape.logit)"),
    "activation's slope dropped": ("path_fff", "dlogit = dhidden * activations.get(self.activation).derivative(tape.logit)", "dlogit = dhidden"),
    "dense bias gradient by mean": ("dense_ff", "out_bias=dy.sum(0)", "out_bias=dy.mean(0)"),
    "batch size forgotten": ("losses", "- onehot) / logits.dtype.type(labels.size)", "- onehot)"),
    "balance half as steep": ("losses", "np.tile(2 * L / (B", "np.tile(L / (B"),
    "smooth step without a band": ("activations", "z.real > 3, 3, z", "z.real > 9, 3, z"),
    "smooth step's slope, sign": ("activations", "(3 - z) * (3 + z) / 36", "(z - 3) * (3 + z) / 36"),
    "switch balance counts by mass": ("losses", "preferred = np.bincount(mixture.real.argmax(1), minlength=L).astype(mixture.dtype) / B", "preferred = mixture.mean(0)"),
    "switch balance's gradient, depth": ("losses", "np.tile(L / (B * (L - 1))", "np.tile(L / B"),
    "gelu's density dropped": ("activations", "ndtr(z) + z * np.exp(-z * z / 2) / z.dtype.type(SQRT_2PI)", "ndtr(z)"),
    "tanh not squared": ("activations", "4 * e / (1 + e) ** 2", "4 * e / (1 + e)"),
    "softmax's inner product dropped": ("moe", "gate.top_softmax_backward(tape.gates, dgate)", "tape.gates * dgate"),
    "noise's deviation forgotten, backward": ("moe", "(dsigma + dscore * tape.noise)", "dsigma"),
    "softplus's slope dropped": ("moe", " * activations.sigmoid(tape.noise_logit)", ""),
    "gate forgotten in the experts": ("moe", "dlogit = share * dhidden", "dlogit = dhidden"),
    "gate forgotten in the outputs": ("moe", "(share * hidden).T @ dy[row]", "hidden.T @ dy[row]"),
    "expert out bias missing": ("moe", " + self.expert_out_bias[j]  #", "  #"),
    "expert out bias missing, backward": ("moe", ".sum(1) + dy[row] @ self.expert_out_bias[j]", ".sum(1)"),
    "the worst experts compute": ("moe", "np.argsort(-score.real", "np.argsort(score.real"),
    "the worst experts compute, routed": ("moe", "np.argsort(-score, axis", "np.argsort(score, axis"),
    "dx without the gate": ("moe", "dx + dclean @ self.gate_weight + ", "dx + "),
    "experts' balance half as steep": ("losses", "slope = 2 * E", "slope = E"),
    "balance forgets to subtract": ("losses", "(share - (share * share).sum())", "share"),
    "momentum dropped": ("optim", "v *= momentum", "v *= 0"),
    "weight decay forgotten": ("optim", "p -= part", "p -= 0"),
    "bias correction one step late": ("optim", "beta ** (count + 1)", "beta ** (count + 2)"),
    # the routing gradient
    "the way not taken is the way taken": ("path_fff", "2 * node[:, t] + 2 - went_right", "2 * node[:, t] + 1 + went_right"),
    "right and left exchanged": ("path_fff", "np.where(went_right, below - other, other - below)", "np.where(went_right, other - below, below - other)"),
    "a decision is to blame for its own neuron": ("path_fff", "[..., ::-1] - gains", "[..., ::-1]"),
    "the way not taken ends too soon": ("path_fff", "sibling, D - 1 - t)", "sibling, D - 2 - t)"),
    "the slope of a rounded sigmoid": ("path_fff", "dlogit = dlogit + slope * self", "dlogit = dlogit + self"),
    # wrong by one in two thousand
    "one in two thousand": ("leaf_fff", "node_bias=dnode.sum(0)", "node_bias=1.0005 * dnode.sum(0)"),
}  # fmt: skip


@pytest.mark.parametrize("name", VERIFY)
def test_the_source_as_it_is_passes(name):
    VERIFY[name](module_with(name))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault):
    name, old, new = FAULTS[fault]
    module = module_with(name, old, new)
    with pytest.raises(FOUND):
        VERIFY[name](module)
