"""What a layer stores, what it engages, and what that costs: exact integers, from sizes or from a real layer.

    counting.path_fff(768, 768, depth=11)            a `Count`; also dense_ff, leaf_fff, moe
    counting.of(layer)                               the same, of a real layer
    count.parameters, count.parameters_engaged       stored; touched by hard inference of one sample
    count.neurons_stored, count.neurons_engaged      4095 and 12
    count.inference, count.forward, count.backward   `Work` of one sample: multiply_adds, elementwise, flops
    count.bytes_stored(dtype), count.bytes_touched(dtype)
    count.speed_up(width)                            a dense layer's multiply-adds over ours: 341.25
    counting.amdahl(share, factor)                   what that makes of the whole

What is counted how is told in `counts.py`. Whole models are in `transformers.py`, which takes a `Count` as its
feedforward layer.

# I inputs, O outputs, w width, d depth, N = 2^d - 1 nodes, L = 2^d leaves, l leaf width, K trees, E experts
"""

import functools
from dataclasses import replace

from .. import checks
from ..layers import tree
from ..layers.activated import Activated
from ..layers.dense_ff import DenseFF
from ..layers.leaf_fff import LeafFFF
from ..layers.moe import MoE
from ..layers.path_fff import PathFFF
from ..layers.top_leaves import TopLeaves
from .counts import Count, Work


def dense_ff(n_in, n_out, width, *, gated=False, in_bias=True, out_bias=True):
    """Count a dense feedforward layer.

    Parameters
    ----------
    n_in, n_out, width : int
    gated : bool
        Two input matrices whose outputs are multiplied, one of them activated, as in LLaMA: act(x G) * (x U).
    in_bias, out_bias : bool
        `DenseFF` has both.

    Returns
    -------
    Count
    """
    I, O, w = _sizes(n_in=n_in, n_out=n_out, width=width)  # noqa: E741
    gated, in_bias, out_bias = _flags(gated=gated, in_bias=in_bias, out_bias=out_bias)
    inward = 2 * w if gated else w  # neurons' rows towards the input
    parameters = inward * (I + in_bias) + (w + out_bias) * O  # flags count as 0 or 1
    biases = in_bias * inward + out_bias * O  # one addition each
    forward = Work(inward * I + w * O, biases + inward)  # gated: w activations, w products; x W_in^T, h W_out
    # two products a matrix: gradients of weights and of inputs
    backward = Work(2 * forward.multiply_adds, biases + 2 * inward)  # gated: derivative, three products
    return Count(
        f"DenseFF {I} -> {O}, width {w}" + ", gated" * gated, I, O, w, w, w, w,
        parameters, parameters, forward, forward, backward,
    )  # fmt: skip


def leaf_fff(n_in, n_out, depth, leaf_width):
    """Count the first paper's layer, `LeafFFF`: hard inference, soft training.

    Parameters
    ----------
    n_in, n_out, depth, leaf_width : int

    Returns
    -------
    Count

    Notes
    -----
    Training mixes the leaves as `LeafFFF.forward` does, by scaling their activations; a leaf's output bias is
    scaled too, so it takes multiply-adds. Elementwise, a node takes six operations (bias, temperature, the masses of
    both sides, two to share its own out) and ten backward; a leaf's neuron three (bias, activation, mixing) and five.
    """
    I, O, l = _sizes(n_in=n_in, n_out=n_out, leaf_width=leaf_width)  # noqa: E741
    d = checks.integer("depth", depth, 0, tree.DEEPEST)
    N, L, n = tree.n_nodes(d), tree.n_leaves(d), tree.n_leaves(d) * l  # n leaf neurons
    leaf = dense_ff(I, O, l)  # what one leaf is
    weights = N * I + n * (I + O) + L * O  # multiply-adds of the soft forward pass
    return Count(
        name=f"LeafFFF {I} -> {O}, depth {d}, leaf width {l}", n_in=I, n_out=O,
        neurons_stored=N + n, neurons_engaged=d + l, training_width=n, inference_width=l,
        # stored: all nodes and leaves; engaged: d nodes, one leaf
        parameters=N * (I + 1) + L * leaf.parameters, parameters_engaged=d * (I + 1) + leaf.parameters,
        inference=Work(d * I, d) + leaf.inference,  # d logits and biases, one leaf
        forward=Work(weights, 6 * N + 3 * n),  # all nodes, all leaves
        backward=Work(2 * weights + n, 10 * N + 5 * n),  # n: dy . f_j sums over the neurons of each leaf
    )  # fmt: skip


def path_fff(n_in, n_out, depth, n_trees=1):
    """Count the second paper's layer, `PathFFF`; training is as conditional as inference.

    Parameters
    ----------
    n_in, n_out, depth, n_trees : int
        A path has depth + 1 neurons.

    Returns
    -------
    Count
    """
    I, O, K = _sizes(n_in=n_in, n_out=n_out, n_trees=n_trees)  # noqa: E741
    D = checks.integer("depth", depth, 0, tree.DEEPEST - 1) + 1
    stored, engaged = K * tree.n_nodes(D), K * D  # 2^D - 1 neurons a tree; D on the path
    forward = Work(engaged * (I + O), 2 * engaged)  # a neuron: I products in, O out; bias, activation
    return Count(
        f"PathFFF {I} -> {O}, {K} tree{'s' * (K > 1)} of depth {depth}", I, O, stored, engaged, stored, engaged,
        stored * (I + 1 + O), engaged * (I + 1 + O),  # in_weight, in_bias, out_weight of each; no output bias
        forward, forward, Work(2 * forward.multiply_adds, 3 * engaged),  # inference is the same pass
    )  # fmt: skip


def moe(n_in, n_out, experts, k, expert_width, *, noisy=True):
    """Count a mixture of experts of which the top k are computed.

    Parameters
    ----------
    n_in, n_out, experts, k, expert_width : int
        Each expert is a `DenseFF`; the gate is a matrix (n_in, experts) without bias.
    noisy : bool
        A second such matrix scales the noise on the gate's logits in training, as in Shazeer et al.

    Returns
    -------
    Count

    Notes
    -----
    y = sum over the top k of g_e f_e(x), g = softmax of the k logits. Gradients reach those k experts and logits;
    the losses that balance the load are not counted. Inference is without noise. `MoE` itself computes a little more,
    for simplicity: the gate's gradients for all E logits, most of them 0.

    References
    ----------
    Shazeer et al., "Outrageously Large Neural Networks", arXiv 1701.06538, equations 3 to 5.
    """
    I, O, E, w = _sizes(n_in=n_in, n_out=n_out, experts=experts, expert_width=expert_width)  # noqa: E741
    k = checks.integer("k", k, 1, E)
    (noisy,) = _flags(noisy=noisy)
    gates = 1 + noisy  # matrices of scores
    expert = dense_ff(I, O, w)
    inference = Work(E * I + k * O, k) + k * expert.forward  # all scores; k outputs weighted and summed; softmax of k
    return Count(
        name=f"MoE {I} -> {O}, top {k} of {E} experts of width {w}", n_in=I, n_out=O,
        neurons_stored=E * w, neurons_engaged=k * w, training_width=E * w, inference_width=k * w,
        # engaged: the gate is read whole, the noise not at all
        parameters=E * expert.parameters + gates * E * I, parameters_engaged=k * expert.parameters + E * I,
        inference=inference,
        forward=inference + (Work(E * I, 3 * E) if noisy else Work(0)),  # softplus, times noise, plus logit
        backward=Work(k * (O + 1 + 2 * gates * I), k * (O + 2 + 3 * noisy)) + k * expert.backward,
    )  # fmt: skip


@functools.singledispatch
def of(layer):
    """Count a real layer, from the shapes of its arrays.

    Parameters
    ----------
    layer : DenseFF, LeafFFF, PathFFF, MoE, or another for which a function is registered

    Returns
    -------
    Count

    Raises
    ------
    TypeError
        If it is none of these.

    Notes
    -----
    A further layer registers how it is counted: `@of.register` above a function of one argument of its class.
    """
    raise checks.InputTypeError(f"layer must be a DenseFF, LeafFFF, PathFFF or MoE, got {type(layer).__name__}")


@of.register
def _(layer: DenseFF):
    return dense_ff(layer.n_in, layer.n_out, layer.width)


@of.register
def _(layer: LeafFFF):
    return leaf_fff(layer.n_in, layer.n_out, layer.depth, layer.leaf_in_bias.shape[1])


@of.register
def _(layer: PathFFF):
    return path_fff(layer.n_in, layer.n_out, layer.depth, layer.n_trees)


@of.register
def _(layer: MoE):
    return moe(layer.n_in, layer.n_out, layer.n_experts, layer.k, layer.expert_in_bias.shape[1])


@of.register
def _(layer: TopLeaves):
    soft, I, O = of(layer.layer), layer.layer.n_in, layer.layer.n_out  # noqa: E741
    N, k, leaf = len(layer.layer.node_bias), layer.k, dense_ff(I, O, layer.layer.leaf_in_bias.shape[1])
    inference = Work(N * I + k * O, 6 * N + k) + k * leaf.forward  # all nodes; k outputs weighted and summed
    return replace(
        soft, name=f"{soft.name}, top {k}",
        neurons_engaged=layer.neurons_engaged, inference_width=k * leaf.training_width,
        parameters_engaged=N * (I + 1) + k * leaf.parameters, inference=inference, forward=inference,
        backward=Work(2 * N * I + k * (O + 1), 10 * N + 2 * k) + k * leaf.backward,
    )  # fmt: skip


@of.register
def _(layer: Activated):
    inner, more = of(layer.layer), Work(0, layer.layer.n_out)  # one activation an output, and its derivative
    passes = {name: getattr(inner, name) + more for name in ("inference", "forward", "backward")}
    return replace(inner, name=f"{inner.name}, {layer.behind} behind", **passes)


def _sizes(**sizes):
    """Whole numbers of at least 1, in their order."""
    return (checks.integer(name, value, 1) for name, value in sizes.items())


def _flags(**flags):
    """True or False, in their order."""
    return (checks.flag(name, value) for name, value in flags.items())
