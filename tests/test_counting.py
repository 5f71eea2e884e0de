"""Counts are those of real arrays, of elements that the oracle reads, of products that the layers compute."""

import math
from dataclasses import replace

import numpy as np
import pytest
from cases import KINDS, layers_and_inputs, make
from hypothesis import given, settings
from hypothesis import strategies as st
from instruments import Counted, counted, multiply_adds, plain, watched

from fffref import algorithms, counting, leaf_fff
from fffref.counting import Work
from fffref.dense_ff import DenseFF
from fffref.path_fff import PathFFF

BIASES = ("in_bias", "out_bias", "node_bias", "leaf_in_bias", "leaf_out_bias")


@pytest.mark.parametrize("kind", KINDS)
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
    out_weight = layer.leaf_out_weight if kind == "LeafFFF" else layer.out_weight
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
def test_multiply_adds_are_those_of_the_layers_themselves(kind, data):
    layer, x = data.draw(layers_and_inputs(kind))
    layer, count, B = layer.map(lambda array: counted(array)[0]), counting.of(layer), len(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PathFFF, "_on_path", lambda self, node, value: OnPath(self, node, value))
        (y, tape), forward = multiply_adds(layer.forward, x)
        _, hard = multiply_adds(layer.forward_hard, x)
        arrays = {name: value for name, value in vars(tape).items() if isinstance(value, np.ndarray) and name != "node"}
        tape = replace(tape, **dict(zip(arrays, counted(*arrays.values()), strict=True)))
        _, backward = multiply_adds(layer.backward, tape, np.ones(y.shape))
        _, without_dx = multiply_adds(layer.backward, tape, np.ones(y.shape), input_gradient=False)
    assert forward == B * count.forward.multiply_adds
    assert hard == B * count.inference.multiply_adds
    assert backward == B * count.backward.multiply_adds
    assert without_dx < backward or B == 0


class OnPath:
    """The sparse matrix of `PathFFF`: a product with it takes a multiply-add per stored entry and column."""

    on_path = PathFFF._on_path

    def __init__(self, layer=None, node=None, value=None, matrix=None):
        self.matrix = OnPath.on_path(layer, node, plain(value)) if matrix is None else matrix

    @property
    def T(self):
        return OnPath(matrix=self.matrix.T)

    def __matmul__(self, dense):
        if dense.ndim == 2:  # the sum over the batch, a product with ones, is a bias's gradient: elementwise
            Counted.multiply_adds += self.matrix.nnz * dense.shape[1]
        return self.matrix @ plain(dense)


def test_mixing_costs_three_operations_a_node_and_its_gradient_seven():
    class Elementwise(np.ndarray):
        results = 0

        def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
            result = getattr(ufunc, method)(*[np.asarray(value) for value in inputs], **options)
            Elementwise.results += result.size
            return result.view(Elementwise)

    B, N = 2, 15
    choice = np.full((B, N), 0.5).view(Elementwise)
    mixture = leaf_fff.mix(choice)
    assert Elementwise.results == B * N * 3
    leaf_fff.mix_backward(choice, mixture.view(Elementwise), mixture.view(Elementwise))
    assert Elementwise.results == B * N * (3 + 7)


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
def test_a_mixture_written_out_costs_what_is_counted(noisy, data):
    I, O, E, w = (data.draw(st.integers(1, 6)) for _ in range(4))  # noqa: E741
    k = data.draw(st.integers(1, E))
    rng = np.random.default_rng(0)
    experts = [DenseFF.init(rng, I, O, w, dtype=np.float64).map(lambda a: counted(a)[0]) for _ in range(E)]
    gate, noise = counted(rng.standard_normal((I, E)), rng.standard_normal((I, E)))
    x, dy = rng.standard_normal(I), rng.standard_normal(O)

    def forward(training):
        logit = x @ gate + (rng.standard_normal(E) * np.logaddexp(0, x @ noise) if training and noisy else 0)
        top = np.argsort(-plain(logit))[:k]
        g = np.exp(logit[top]) / np.exp(logit[top]).sum()
        outputs, tapes = zip(*(experts[e].forward(x) for e in top), strict=True)
        return g @ np.stack([plain(y) for y in outputs]), (top, g, outputs, tapes)

    def backward(top, g, outputs, tapes):
        dg = counted(np.stack([plain(y) for y in outputs]))[0] @ dy  # (k, O) @ (O,)
        dlogit = g * (dg - (plain(g) * plain(dg)).sum())
        for e, tape, weight in zip(top, tapes, plain(g), strict=True):
            logit, hidden = counted(tape.logit, tape.hidden)
            experts[e].backward(replace(tape, logit=logit, hidden=hidden), weight * dy)
        for matrix in (gate, noise)[: 1 + noisy]:  # its gradient and the input's, for the k logits that have one
            x[:, None] @ dlogit[None, :]
            matrix[:, top] @ plain(dlogit)

    count = counting.moe(I, O, E, k, w, noisy=noisy)
    _, inference = multiply_adds(forward, False)
    (_, tape), training = multiply_adds(forward, True)
    _, back = multiply_adds(backward, *tape)
    assert inference == count.inference.multiply_adds
    assert training == count.forward.multiply_adds
    assert back == count.backward.multiply_adds
    assert count.parameters == sum(e.n_parameters for e in experts) + gate.size + noisy * noise.size
    assert count.parameters_engaged == k * experts[0].n_parameters + gate.size
    assert (count.neurons_stored, count.neurons_engaged) == (E * w, k * w)


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
    work = Work(10, 1) + 2 * Work(5, 3)
    assert work == Work(20, 7) and work.flops == 47


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
    with pytest.raises(TypeError, match="layer must be a DenseFF, LeafFFF or PathFFF, got ndarray"):
        counting.of(np.zeros(3))
    assert counting.of(make("PathFFF", rng)).name == "PathFFF 5 -> 3, 3 trees of depth 2"
