"""Do the checks find faults? The source is broken in many ways, one at a time, and each time they must fail.

Each fault replaces a piece of a module's text; the broken module is run beside the good one, never in its place.
"""

import concurrent.futures
import dataclasses
import threading

import cases
import numba
import numpy as np
import pytest
from mutants import gradients_hold, make_tests, near

from fffref import PathFFF, algorithms, fast, gradcheck
from fffref.layers.choices import Choices
from fffref.training import losses


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


def verify_kernels(module):
    """Every kernel, run as plain Python, against the loops and the reference; ties, sorted walks, backward passes."""
    rng = np.random.default_rng(0)
    layer = cases.make("PathFFF", rng, n_in=3, n_out=2, depth=3, width=2)
    flat = [array.reshape(-1, *array.shape[2:]) for array in layer.arrays().values()]
    weights = module.PathWeights(*flat, 2, module.GELU)
    x = rng.standard_normal((module.FEW_ROWS + 7, 3))
    x[5] = 0
    for w, tree in ((weights, layer), (module.PathWeights(*map(np.zeros_like, flat), 2, 3), layer.map(np.zeros_like))):
        outputs, nodes = algorithms.FFF_I(x[:9], tree)
        for row, output in zip(x[:9], outputs, strict=True):
            for kernel in (module.cmm, module.cmm_by_level):
                y = np.full(2, np.nan)
                kernel(w, row, y)
                near(y, output)
        for rows in (x[:9], x):
            node, logit, hidden = np.zeros((len(rows), 8), np.intp), np.zeros((len(rows), 8)), np.zeros((len(rows), 8))
            y = np.full((len(rows), 2), np.nan)
            module.path_rows(w, rows, node, logit, hidden, y)
            near(y[:9], outputs)
            near(node[:9].reshape(9, 2, 4) - [[0], [15]], nodes)
            near(hidden, tree.forward(rows)[1].hidden)
    one_tree = cases.make("PathFFF", rng, n_in=3, n_out=2, depth=3, width=1)
    w = module.PathWeights(*(array[0] for array in one_tree.arrays().values()), 1, module.GELU)
    order, node, logit = np.zeros(len(x), np.intp), np.zeros((len(x), 4), np.intp), np.zeros((len(x), 4))
    module.descend(module.Trees(w.in_weight, w.in_bias, 1, False), x, node, logit, order)
    near(np.sort(order), np.arange(len(x)))
    assert (np.diff(node[order, -1]) >= 0).all()  # neighbours end together
    y = np.full((len(x), 2), np.nan)
    module.path_rows(w, x, node, logit, logit.copy(), y)
    near(y, one_tree.forward(x)[0])

    leaves = cases.make("LeafFFF", rng, n_in=3, n_out=2, depth=3, width=6)
    for tree in (leaves, leaves.map(np.zeros_like)):
        w = module.LeafWeights(*tree.arrays().values(), module.GELU)
        y, leaf = np.full((len(x), 2), np.nan), np.zeros(len(x), np.intp)
        module.leaf_rows(w, x, leaf, y)
        near(y[:9], [algorithms.FORWARD_I(row, tree)[0] for row in x[:9]])
        near(leaf, tree.route(x))
        for i in range(9):
            module.leaf_one(w, x[i], y[i])
            near(y[i], algorithms.FORWARD_I(x[i], tree)[0])
    z = rng.normal(0, 3, 60).astype(np.float32)
    for kind, function in ((module.GELU, "gelu"), (module.TANH, "tanh"), (module.RELU, "relu"), (module.IDENTITY, "identity")):
        hidden = z.copy()
        module.activate(kind, hidden)
        np.testing.assert_allclose(hidden, [algorithms.Activation(function, float(v)) for v in z], rtol=1e-5, atol=1e-15)
        hidden[:2] = np.nan, 0
        module.activate(kind, hidden[:2])
        assert np.isnan(hidden[0]) and hidden[1] == 0
    logit = rng.standard_normal((4, 3))
    expected = np.tanh(logit + np.arange(1.0, 4))
    module.activate_rows(np.array([1.0, 2, 3]), module.TANH, logit)
    near(logit, expected)

    key, start, order = np.array([2, 0, 2, 1, 0]), np.zeros(5, np.intp), np.zeros(5, np.intp)
    module.sort_by_key(key, start, order)
    near(start, [0, 2, 3, 5, 5])
    near(order, [1, 4, 3, 0, 2])
    dy, sums, dots = rng.standard_normal((2, 2)), np.zeros((2, 2)), np.full((2, 5), np.nan)
    neuron = np.array([[5, 0, 3, 1, 4], [2, 2, 0, 5, 1]])  # four at a time, and one left over
    module.pair_dots(dy, np.array([1, 0]), flat[2], neuron, dots)
    near(dots, (dy[[[1], [0]]] * flat[2][neuron]).sum(-1))
    module.combine_rows(np.array([1.0, 2, 3]), np.array([4, 0, 2]), flat[2], np.array([0, 2, 3]), sums)
    near(sums, [flat[2][4] + 2 * flat[2][0], 3 * flat[2][2]])


def verify_path(module):
    """The compiled path's gradients and answers are the reference's, by any number of threads."""
    fast.jit.register(PathFFF)(fast.path.FastPath)  # the broken one has registered itself
    rng = np.random.default_rng(0)
    layer = cases.make("PathFFF", rng, n_in=3, n_out=2, depth=3, width=2)
    x, dy = rng.standard_normal((300, 3)), rng.standard_normal((300, 2))
    expected, expected_dx = layer.backward(layer.forward(x)[1], dy)
    for threads in (1, 3):
        compiled = module.FastPath(layer, threads)
        near(compiled.route(x), layer.route(x))
        near(compiled(x), layer.forward(x)[0])
        grads, dx = compiled.backward(compiled.forward(x)[1], dy)
        near(dx, expected_dx)
        for name, rows in grads.arrays().items():
            near(rows.dense(), getattr(expected, name))
    _, tape = compiled.forward(x)
    for field, value in (("node", tape.node + 30), ("node", tape.node - 1), ("node", tape.node * 1.0), ("lead", (1,)),
                         ("logit", tape.logit[:1]), ("hidden", tape.hidden.astype(np.float32)), ("x", tape.x[:3])):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match="another layer"):
            compiled._checked(dataclasses.replace(tape, **{field: value}))  # and no kernel, which would trust it


class FailsInHelpers:
    """Work that fails in the first thread that is not the main one, for which the main one waits."""

    def __init__(self):
        self.failed = threading.Event()

    def __call__(self, item):
        if threading.current_thread() is threading.main_thread():
            assert self.failed.wait(60)
        else:
            self.failed.set()
            raise ZeroDivisionError


def verify_base(module):
    """Rows are shared out whole and once each; outputs that overlap are refused; what is plain is not copied."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        done = []
        module.share_out(done.append, range(50), pool, 3)
        assert sorted(done) == list(range(50))
        with pytest.raises(ZeroDivisionError):
            module.share_out(FailsInHelpers(), range(50), pool, 3)
    read_only = np.arange(6.0).reshape(2, 3)
    read_only.setflags(write=False)
    assert np.shares_memory(module.plain(read_only), read_only) and module.plain(read_only).flags.carray
    assert not np.shares_memory(module.plain(read_only.T), read_only)
    near(module.plain(read_only.T), read_only.T)
    memory = np.zeros(12)
    for inputs in ({"x": memory[3:9]}, {"x": np.ones(3), "in_bias": memory[5:6]}):
        with pytest.raises(ValueError, match="overlap"):
            module.check_output(memory[:6], (6,), np.float64, inputs)
    for array in (np.zeros(3, ">f8"), np.ma.zeros(3), np.zeros(3, np.float32), np.zeros((3, 4))[:, ::2]):
        with pytest.raises((TypeError, ValueError), match=r"byte order|plain|contiguous"):
            module.shared("in_bias", array, np.dtype(getattr(array, "dtype", float)) if array.dtype != "f4" else np.dtype(float))
    for shape in ((7, 200), (2, 3)):
        y = module.empty_on_a_line(shape, np.dtype(np.float64))
        assert y.shape == shape and y.flags.carray and (y.nbytes < 4096 or y.ctypes.data % 64 == 0)


def verify_registers(module):
    """Compiled anew: sums over whole registers and over what remains, one row or four, in one order."""
    rng = np.random.default_rng(0)
    x, rows = (rng.standard_normal((6, 150)).astype(np.float32) for _ in range(2))
    h, n, i = rng.standard_normal((6, 20)).astype(np.float32), np.tile(rng.integers(0, 6, 20), (6, 1)), (3, 0, 5, 2)

    @numba.njit
    def run(x, rows, h, n, i, y, z, four, one, pairs):
        for q in range(6):
            module.combine(h, n, rows, y, (q,), False)
        module.combine_four(h, i, n, rows, z, False)
        for q in range(6):
            four[q] = module.dot_four(x, i, rows, (q, q, 2, 3))[0]
            one[q] = module.dot(x[3], rows[q])
            a, b, c, d = module.dot_pairs(x, (3, q), rows, (q, 5))
            pairs[q, 0], pairs[q, 1], pairs[q, 2], pairs[q, 3] = a, b, c, d

    four, one, pairs = np.empty(6, np.float32), np.empty(6, np.float32), np.empty((6, 4), np.float32)
    y, z = np.full_like(x, np.nan), np.full_like(x, np.nan)
    run(x, rows, h, n, i, y, z, four, one, pairs)
    np.testing.assert_allclose(one, rows @ x[3], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(four, one)
    np.testing.assert_array_equal(pairs[:, 0], one)
    products = x @ rows.T
    others = np.stack([products.diagonal(), np.full(6, products[3, 5]), products[:, 5]], axis=1)
    np.testing.assert_allclose(pairs[:, 1:], others, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y, h @ rows[n[0]], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(z[list(i)], y[list(i)])
    assert np.isnan(z[[1, 4]]).all()


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
    "temperature forgotten, backward": ("leaf_fff", "return dnode * tape.scale", "return dnode * np.sign(tape.scale)"),
    "mixture forgotten in the leaves": ("leaf_fff", "dfolded *= mixture", "dfolded *= 1"),
    "mixture forgotten in the outputs": ("leaf_fff", "folded = (tape.hidden * mixture)", "folded = (tape.hidden)"),
    "balance dropped": ("leaf_fff", 'dmix = dmix + tapes.further("dmixture", dmixture, tape.mixture)', "pass"),
    "dx without the nodes": ("leaf_fff", "dx = dnode @ self.node_weight + ", "dx = "),
    "mean instead of sum": ("leaf_fff", "dleaf_logit.sum(0)", "dleaf_logit.mean(0)"),
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
    # kernels, run as plain Python
    "children exchanged, one sample": ("kernels", "n = 2 * n + 1 + goes_right(z, tie_right)", "n = 2 * n + 2 - goes_right(z, tie_right)"),
    "children exchanged, batch": ("kernels", "return 2 * row + 1 + goes_right(z, trees.tie_right) - base", "return 2 * row + 2 - goes_right(z, trees.tie_right) - base"),
    "children exchanged, by level": ("kernels", "n = 2 * n + 1 + (logit > 0)", "n = 2 * n + 1 + (logit < 0)"),
    "bias missing, one sample": ("kernels", "z = dot(x, weight[row]) + bias[row]", "z = dot(x, weight[row])"),
    "bias missing, batch": ("kernels", "z = product + trees.bias[row]", "z = product"),
    "NaN or a tie goes right": ("kernels", "return (z > 0) | (tie_right & (z == 0))", "return not z < 0"),
    "ties go left in leaf trees": ("kernels", "trees.tie_right) - base\n\n\ndef stands", "False) - base\n\n\ndef stands"),
    "the second half starts elsewhere": ("kernels", "return 2 * node[i, t - 1] + 1 + goes_right(logit[i, t - 1], trees.tie_right) - base", "return 2 * node[i, t - 1] + 1 - base"),
    "the second tree's base forgotten": ("kernels", "base, first = k * M, k * D", "base, first = 0 * M, k * D"),
    "one row in five forgotten": ("kernels", "for r in range(whole, B):\n        i0", "for r in range(whole, B - 1):\n        i0"),
    "four rows are one": ("kernels", "four = i, order[r + 1], order[r + 2], order[r + 3]", "four = i, order[r + 1], order[r + 1], order[r + 3]"),
    "strangers are added up together": ("kernels", "and node[order[r + count], -1] == node[i, -1]", "and node[i, -1] == node[i, -1]"),
    "two trees are added up as one": ("kernels", "if weights.n_trees == 1:", "if True:"),
    "rows sorted upside down": ("kernels", "order[put[key[v]]] = v", "order[len(order) - 1 - put[key[v]]] = v"),
    "a key's place not moved on": ("kernels", "put[key[v]] += 1", "put[key[v]] += 0"),
    "logit for activation": ("kernels", "activate(weights.kind, hidden.reshape(-1))", "pass"),
    "relu loses NaN": ("kernels", "0 * z[j] if z[j] <= 0 else z[j]", "max(0.0, z[j])"),
    "gelu's half dropped": ("kernels", "0.5 * z[j] * math.erfc", "z[j] * math.erfc"),
    "gelu's polynomial, one digit": ("kernels", "0.10661155730485916", "0.10671155730485916"),
    "gelu's exponent off by one": ("kernels", "(127 - k) << 23", "(126 - k) << 23"),
    "the neighbouring leaf": ("kernels", "dense_one(leaf_of(weights, n - N), x, y)", "dense_one(leaf_of(weights, (n - N) ^ 1), x, y)"),
    "leaf number off, batch": ("kernels", "goes_right(logit[i, d - 1], True) - N", "goes_right(logit[i, d - 1], False) - N"),
    "leaf in bias missing, kernel": ("kernels", "hidden[n] += weights.in_bias[n]", "hidden[n] += 0"),
    "leaf out bias missing, kernel": ("kernels", "y[o] += weights.out_bias[o]", "y[o] += 0"),
    "the last neurons forgotten": ("kernels", "for n in range(four, len(z)):", "for n in range(len(z), len(z)):"),
    "dense bias missing, kernel": ("kernels", "logit[i, j] += bias[j]", "logit[i, j] += 0"),
    "pairs of the first sample only": ("kernels", "i, n, z = sample[p], neuron[p], logit[p]", "i, n, z = sample[0], neuron[p], logit[p]"),
    "sums begin one late": ("kernels", "slice(start[r], start[r + 1])", "slice(start[r] + 1, start[r + 1])"),
    # the compiled path and what it shares
    "activation's slope dropped, compiled": ("path", "dlogit *= activations.get(self.layer.activation).derivative(tape.logit)", "pass"),
    "logit for hidden, compiled": ("path", "(tape.hidden.reshape(-1), dy)", "(tape.logit.reshape(-1), dy)"),
    "dx by output weights' order": ("path", "np.arange(len(tape.x) + 1) * self._length", "np.arange(len(tape.x) + 1) * (self._length - 1)"),
    "routes counted over all trees": ("path", "node - len(W.in_weight) // K * np.arange(K)[:, None]", "node"),
    "an item handed out twice": ("base", "waiting_items = iter(items)", "waiting_items = [*items, 0]"),
    "helpers' errors lost": ("base", "helper.result()", "helper.exception()"),
    "out over the weights accepted": ("base", "for name, array in inputs.items():", "for name, array in list(inputs.items())[:1]:"),
    "big-endian weights accepted": ("base", " or not array.dtype.isnative", ""),
    "memory off the line": ("base", 'start = -memory.__array_interface__["data"][0] % CACHE_LINE', "start = 8"),
    "registers: a running sum forgotten": ("registers", "result = total(plus(plus(s0, s1), plus(s2, s3)))", "result = total(plus(plus(s0, s1), s2))"),
    "registers: what remains forgotten": ("registers", "result += a[j] * number(b, (j,))\n            j += 1", "j += 1"),
    "registers: one order for one row, another for four": ("registers", "total(plus(plus(s0[0], s1[0]), plus(s2[0], s3[0])))", "total(plus(s0[0], plus(s1[0], plus(s2[0], s3[0]))))"),
    "registers: one row twice instead of two": ("registers", "multiply_add(b, v, sums[1])", "multiply_add(a, v, sums[1])"),
    "kernels: two rows that share neurons exchanged": ("kernels", "= dot_pairs(x, (i[q], i[p])", "= dot_pairs(x, (i[p], i[q])"),
    "registers: rows beyond sixteen forgotten": ("registers", "if first > 0:\n            s0, s1", "if first > 99:\n            s0, s1"),
    # wrong by one in two thousand
    "one in two thousand": ("leaf_fff", "dnode.sum(0)", "1.0005 * dnode.sum(0)"),
}  # fmt: skip

test_the_source_as_it_is_passes, test_a_planted_fault_is_found = make_tests(globals(), FAULTS)
