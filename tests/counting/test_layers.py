"""Counts are those of real arrays, of elements that the oracle reads, of operations that the layers do."""

import math
from dataclasses import replace

import numpy as np
import pytest
from cases import KINDS, LAYERS, layers_and_inputs, make
from hypothesis import given, settings
from hypothesis import strategies as st
from instruments import counted, counting_layers, one_operation, plain, watched, work

from fffref import DenseFF, algorithms, counting
from fffref.counting.layers import Work

BIASES = ("in_bias", "out_bias", "node_bias", "leaf_in_bias", "leaf_out_bias")


@pytest.mark.parametrize("kind", LAYERS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_stored_is_what_the_arrays_hold(kind, data):
    layer, _ = data.draw(layers_and_inputs(kind))
    count = counting.of(layer)
    assert (count.n_in, count.n_out) == (layer.n_in, layer.n_out)
    assert count.parameters == sum(array.size for array in layer.arrays().values())
    assert count.bytes_stored(layer.dtype) == sum(array.nbytes for array in layer.arrays().values())
    assert count.neurons_stored == layer.neurons_stored == count.training_size
    assert count.neurons_engaged == layer.neurons_engaged == count.inference_size
    out_weight = next(array for name, array in layer.arrays().items() if name.endswith("out_weight"))
    assert count.training_width == math.prod(out_weight.shape[:-1])


def engaged(kind, layer, x):
    """The elements that the oracle reads for one sample, and how often it computes an activation."""
    stand, read = watched(layer)
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        activation = algorithms.Activation
        patch.setattr(algorithms, "Activation", lambda name, z: calls.append(z) or activation(name, z))
        if kind == "LeafFFF":
            algorithms.FORWARD_I(x, stand)
        elif kind == "PathFFF":
            algorithms.FFF_I([x], stand)
        else:  # a dense net is one leaf
            for name in ("in_weight", "in_bias", "out_weight", "out_bias"):
                setattr(stand, f"leaf_{name}", [getattr(stand, name)])
            algorithms.leaf(x, stand, 0)
    return read, len(calls) // (layer.n_out if kind == "PathFFF" else 1)  # that oracle repeats it for every output


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_engaged_is_what_the_recursion_reads(kind, data):
    layer, _ = data.draw(layers_and_inputs(kind))
    count, x = counting.of(layer), np.random.default_rng(0).standard_normal(layer.n_in)
    read, activations = engaged(kind, layer, x)
    assert set(read.values()) == {1}
    assert count.parameters_engaged == len(read)
    assert count.bytes_touched("float64") == 8 * len(read)
    biases = sum(element[0] in BIASES for element in read)
    assert count.inference == Work(len(read) - biases, biases + activations)
    assert count.inference_width == activations


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_work_is_what_the_layers_do(kind, data):
    layer, x = data.draw(layers_and_inputs(kind))
    layer, count, B = layer.map(lambda array: counted(array)[0]), counting.of(layer), len(x)
    with counting_layers():
        (y, tape), forward = work(layer.forward, x)
        _, hard = work(layer.forward_hard, x)
        arrays = {name: value for name, value in vars(tape).items() if isinstance(value, np.ndarray) and name != "node"}
        tape = replace(tape, **dict(zip(arrays, counted(*arrays.values()), strict=True)))
        _, backward = work(layer.backward, tape, np.ones(y.shape))
    early = Work(0, layer.sizes.get("N", 0))  # c (1 - c), of the backward pass, computed where c is
    assert forward == B * (count.forward + early)
    assert backward == B * (count.backward + -1 * early)
    assert hard == B * count.inference


@pytest.mark.parametrize("in_bias", [False, True])
@pytest.mark.parametrize("out_bias", [False, True])
def test_a_gated_layer_written_out(in_bias, out_bias):
    I, O, w = 4, 3, 5  # noqa: E741
    G, U, D, g, u, d = counted(*map(np.ones, ((w, I), (w, I), (w, O), (w,), (w,), (O,))))
    x = np.ones((1, I))
    act, derivative = one_operation(np.tanh), one_operation(np.cosh)

    def forward():
        a, b = x @ G.T, x @ U.T
        a, b = (a + g, b + u) if in_bias else (a, b)
        y = (act(a) * b) @ D
        return a, b, y + d if out_bias else y

    def backward(a, b):
        dy, hidden = counted(np.ones((1, O)), np.ones((1, w)))
        dhidden = dy @ D.T
        da, db = dhidden * b * derivative(a), dhidden * hidden
        for dlogit in (da, db):
            dlogit.T @ x
        _ = hidden.T @ dy
        _ = da @ plain(G) + db @ plain(U)
        sums = [*[da, db] * in_bias, *[dy] * out_bias]
        return [dlogit.sum(0) for dlogit in sums]

    count = counting.dense_ff(I, O, w, gated=True, in_bias=in_bias, out_bias=out_bias)
    (a, b, _), forward_work = work(forward)
    _, backward_work = work(backward, a, b)
    assert (forward_work, backward_work) == (count.forward, count.backward)
    assert count.parameters == sum(array.size for array in [G, U, D, *[g, u] * in_bias, *[d] * out_bias])


@pytest.mark.parametrize("gated", [False, True])
def test_pytorch_counts_the_same_flops(gated):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inward, self.gate = torch.nn.Linear(7, 12, bias=False), torch.nn.Linear(7, 12, bias=False)
            self.outward = torch.nn.Linear(12, 5)

        def forward(self, x):
            return self.outward(self.inward(x) * torch.nn.functional.silu(self.gate(x)) if gated else self.inward(x))

    layer, x = Layer(), torch.ones(3, 7, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        y = layer(x).sum()
    with FlopCounterMode(display=False) as backward:
        y.backward()
    count = counting.dense_ff(7, 5, 12, gated=gated, in_bias=False)
    assert forward.get_total_flops() == 3 * 2 * count.forward.multiply_adds
    assert backward.get_total_flops() == 3 * 2 * count.backward.multiply_adds
    assert count.parameters == sum(p.numel() for n, p in layer.named_parameters() if gated or "gate" not in n)


@pytest.mark.parametrize("noisy", [False, True])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_mixture_of_experts_written_out(noisy, data):
    I, O, E, w = (data.draw(st.integers(1, 6)) for _ in range(4))  # noqa: E741
    k = data.draw(st.integers(1, E))
    rng = np.random.default_rng(0)
    experts = [DenseFF.init(rng, I, O, w, dtype=np.float64).map(lambda a: counted(a)[0]) for _ in range(E)]
    gate, spread, x, dy, normal = counted(*map(rng.standard_normal, ((I, E), (I, E), I, O, E)))
    exp, softplus, sigmoid = map(one_operation, (np.exp, lambda z: np.logaddexp(0, z), np.tanh))

    def forward(training):
        logit, noise = x @ gate, normal
        if training and noisy:
            noise = x @ spread
            logit = logit + normal * softplus(noise)
        top = np.argsort(-plain(logit))[:k]
        g = exp(logit[top])  # stands for the softmax: an operation a result
        outputs, tapes = zip(*(experts[e].forward(plain(x)) for e in top), strict=True)
        return g @ np.stack([plain(y) for y in outputs]), (top, g, noise[top], outputs, tapes)

    def backward(top, g, noise, outputs, tapes):
        dg = np.stack([plain(y) for y in outputs]) @ dy  # (k, O) @ (O,) -> (k,)
        dlogit = g * (dg - g @ dg)
        dlogits = [dlogit, dlogit * normal[top] * sigmoid(noise)] if noisy else [dlogit]
        for matrix, gradient in zip((gate, spread), dlogits, strict=False):
            _ = plain(x)[:, None] @ gradient[None, :]
            _ = matrix[:, top] @ plain(gradient)
        for e, tape, weight in zip(top, tapes, g, strict=True):
            logit, hidden = counted(tape.logit, tape.hidden)
            experts[e].backward(replace(tape, logit=logit, hidden=hidden), weight * dy)

    count = counting.moe(I, O, E, k, w, noisy=noisy)
    with counting_layers():
        assert work(forward, False)[1] == count.inference
        (_, tape), training = work(forward, True)
        assert training == count.forward
        assert work(backward, *tape)[1] == count.backward
    assert count.parameters == sum(e.n_parameters for e in experts) + gate.size + noisy * spread.size
    assert count.parameters_engaged == k * experts[0].n_parameters + gate.size
    assert (count.neurons_stored, count.neurons_engaged) == (E * w, k * w)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_layer_moe_takes_no_more_products_than_said(data):
    layer, x = data.draw(layers_and_inputs("MoE"))
    layer, count, B = layer.map(lambda array: counted(array)[0]), counting.of(layer), len(x)
    _, hard = work(layer.forward_hard, x)
    mixing = layer.k * layer.n_out  # elementwise there
    assert hard.multiply_adds == B * (count.inference.multiply_adds - mixing)
    _, soft = work(layer.forward, x, np.random.default_rng(0))
    assert soft.multiply_adds == B * (count.forward.multiply_adds - mixing)


def test_the_second_papers_figures():
    count = counting.path_fff(768, 768, depth=11)
    assert (count.neurons_stored, count.neurons_engaged) == (4095, 12)
    assert f"{count.neurons_engaged / count.neurons_stored:.1%}" == "0.3%"
    assert count.speed_up() == 341.25 and count.speed_up(3072) == 256
    assert count.speed_up() == counting.dense_ff(768, 768, 4095).inference.multiply_adds / (12 * 2 * 768)


def test_the_first_papers_sizes_and_widths():
    count = counting.leaf_fff(784, 10, depth=4, leaf_width=8)
    assert (count.training_width, count.inference_width) == (2**4 * 8, 8)
    assert (count.training_size, count.inference_size) == (2**4 * 8 + 2**4 - 1, 8 + 4)
    dense = counting.dense_ff(784, 10, 128)
    assert {dense.training_width, dense.inference_width, dense.training_size, dense.inference_size} == {128}


def test_a_tree_of_depth_0_costs_what_its_leaf_costs():
    leaf, dense = counting.leaf_fff(7, 5, 0, 3), counting.dense_ff(7, 5, 3)
    assert (leaf.parameters, leaf.parameters_engaged, leaf.inference) == (
        dense.parameters, dense.parameters_engaged, dense.inference,
    )  # fmt: skip


def test_work_adds_up():
    total = Work(10, 1) + 2 * Work(5, 3)
    assert total == Work(20, 7) and total.flops == 47


def test_amdahl_is_what_a_clock_says():
    before = 30.0 + 70.0
    after = 30.0 + 70.0 / 341.25
    assert counting.amdahl(0.7, 341.25) == pytest.approx(before / after, rel=1e-14)
    assert counting.amdahl(0.7, math.inf) == pytest.approx(before / 30.0, rel=1e-14)
    assert counting.amdahl(0, 10) == 1 and counting.amdahl(1, 10) == 10 and counting.amdahl(1, math.inf) == math.inf
    assert counting.amdahl(0.5, 0.5) == pytest.approx(2 / 3)


@pytest.mark.parametrize("dtype, size", [("float64", 8), (np.float32, 4), (np.dtype("float16"), 2), ("int8", 1)])
def test_bytes(dtype, size):
    count = counting.path_fff(3, 2, 1)
    assert count.bytes_stored(dtype) == size * 3 * (3 + 1 + 2) and count.bytes_touched(dtype) == size * 2 * (3 + 1 + 2)


def test_bad_input_is_refused(rng):
    with pytest.raises(ValueError, match="n_in must be at least 1, got 0"):
        counting.dense_ff(0, 1, 1)
    with pytest.raises(TypeError, match=r"depth must be an integer, got 1\.5"):
        counting.path_fff(1, 1, 1.5)
    with pytest.raises(ValueError, match="k must be at most 2, got 3"):
        counting.moe(1, 1, 2, 3, 1)
    with pytest.raises(ValueError, match="share must lie in"):
        counting.amdahl(1.1, 2)
    with pytest.raises(ValueError, match="dtype must be one of"):
        counting.path_fff(1, 1, 1).bytes_stored("complex128")
    with pytest.raises(TypeError, match="layer must be a DenseFF, LeafFFF, PathFFF or MoE, got ndarray"):
        counting.of(np.zeros(3))
    assert counting.of(make("PathFFF", rng)).name == "PathFFF 5 -> 3, 3 trees of depth 2"
