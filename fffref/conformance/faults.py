"""The catalogue of faults that ports of FFF have: what is wrong, what it does, where it was seen.

Where one was seen is said of kinds of ports; the others are easily made, and were not met in public code. The cases
that expose a fault are found by planting it in a right port (`planted`), and stand in `vectors/v1/faults.json`.
"""

from typing import NamedTuple

UNSEEN = "not met in public code, but easily made"


class Fault(NamedTuple):
    """What is `wrong` completes "your answers are those of a port that ..."."""

    wrong: str
    does: str
    seen: str = UNSEEN


FAULTS = {
    "leaf-no-output-bias": Fault(
        "leaves the leaf's output bias out in inference",
        "Hard outputs are off by that bias, soft ones are right: accuracy falls when a trained tree is deployed.",
        "the first paper's published package, fastfeedforward 0.2.1",
    ),
    "leaf-children-exchanged": Fault(
        "sends a row to the left child where it should go right, soft and hard alike",
        "A network trained by the port itself is consistent; weights from elsewhere reach other leaves.",
        "a Flax port, whose choices are stacked as (c, 1 - c)",
    ),
    "leaf-soft-children-exchanged": Fault(
        "weighs the other child by the choice in the mixture, while inference goes the right way",
        "Training and inference disagree: a hardened tree answers by the leaves that it never trained together.",
    ),
    "leaf-tie-left": Fault(
        "sends a logit of exactly 0 to the left in a LeafFFF",
        "Rare with random weights; frequent with quantised ones, with zero inputs and with padding.",
        f"{UNSEEN} where one comparison serves both layers",
    ),
    "path-tie-right": Fault(
        "sends a logit of exactly 0 to the right in a PathFFF",
        "Rare with random weights; frequent with quantised ones, with zero inputs and with padding.",
        f"{UNSEEN} where one comparison serves both layers",
    ),
    "path-children-exchanged": Fault(
        "sends a row to the other child in a PathFFF",
        "A network trained by the port itself is consistent; weights from elsewhere take other paths.",
    ),
    "leaf-no-node-bias": Fault(
        "chooses without the nodes' biases in inference",
        "Every boundary passes through the origin.",
    ),
    "path-no-input-bias": Fault(
        "leaves the input bias out",
        "Other paths, and other outputs along them.",
        "a PyTorch rewrite of the second paper's layer",
    ),
    "two-depth-minus-one": Fault(
        "stores 2 depth - 1 nodes instead of 2^depth - 1",
        "Nodes are missing from depth 3 on; what is read there is the last one that exists.",
        f"{UNSEEN} when a power becomes a product",
    ),
    "leaf-level-too-few": Fault(
        "makes one choice too few in a LeafFFF",
        "Only every other leaf is ever reached.",
    ),
    "path-level-too-few": Fault(
        "visits depth neurons a tree instead of depth + 1",
        "The last level never speaks, and half of the stored neurons are dead.",
        "a PyTorch rewrite with 2^depth - 1 nodes",
    ),
    "leaf-output-transposed": Fault(
        "reads a leaf's output weights as (n_out, leaf width)",
        "Right only where one of the two is 1; with a square leaf nobody notices a shape.",
        f"{UNSEEN} by importing PyTorch's Linear layers, which store (out, in)",
    ),
    "path-output-transposed": Fault(
        "reads the output weights of a tree as (n_out, neurons)",
        "Right only where one of the two is 1.",
        f"{UNSEEN} by importing PyTorch's Linear layers, which store (out, in)",
    ),
    "path-output-from-input-weights": Fault(
        "adds rows of the input weights to the output",
        "The shapes fit where n_in = n_out, as in a transformer, and the time is the same.",
        "the second paper's published benchmark",
    ),
    "no-activation": Fault(
        "leaves the activation out",
        "Each path is linear: the layer can do less, and still trains.",
        "a PyTorch rewrite of the second paper's layer",
    ),
    "tanh-gelu": Fault(
        "takes the tanh approximation of GELU for the exact one",
        "Errors of up to 5e-4 a neuron.",
        f"{UNSEEN} in frameworks whose default it is, such as JAX",
    ),
    "first-row-for-all": Fault(
        "takes the first row's way for all rows in inference",
        "Right for a batch of one, which is what is often tried.",
        f"{UNSEEN} in GPU kernels that read one index a block",
    ),
    "entropy-mean": Fault(
        "averages the entropy over rows and nodes",
        "The weight of the hardening loss means another thing for every batch and depth.",
        "the first paper's published example",
    ),
    "entropy-batch-mean": Fault(
        "averages the entropy over rows",
        "The weight of the hardening loss means another thing for every batch.",
        "the first paper's published package, fastfeedforward 0.2.1",
    ),
    "entropy-bits": Fault(
        "measures entropy in bits",
        "The weight of the hardening loss is 1.44 times as large.",
        f"{UNSEEN} from textbooks of information theory",
    ),
    "entropy-nan": Fault(
        "computes 0 log 0 in the entropy",
        "The loss is NaN as soon as one choice is certain, which is where hardening leads.",
    ),
    "temperature-ignored": Fault(
        "ignores the temperature",
        "Cooling has no effect.",
        "ports of the first paper alone, which has none",
    ),
    "transposed-per-batch": Fault(
        "exchanges children for the whole batch at once",
        "One draw a batch is a weaker remedy against overfragmentation than one a row.",
        f"{UNSEEN} by drawing one number a node",
    ),
    "soft-in-inference": Fault(
        "mixes all leaves in inference",
        "Outputs are those of training, and so is the time: nothing is conditional.",
        "a Flax port in which the rounding is commented out",
    ),
    "rounded-gradient": Fault(
        "sends the gradient through rounded choices",
        "A step function has slope 0: the nodes learn nothing, and only the leaf that is reached learns.",
        "fastfeedforward 0.2.1 when trained with hard decisions, as its documentation warns",
    ),
    "input-gradient-of-leaves-alone": Fault(
        "leaves the nodes out of the input's gradient",
        "Layers below learn as if choices did not depend on them.",
    ),
    "gradient-of-last-visit": Fault(
        "keeps one row's gradient where several rows visit the same neuron",
        "Right for a batch of one; otherwise the root learns from the last row alone.",
        f"{UNSEEN} by plain indexing, and in kernels without atomic additions",
    ),
    "trees-averaged": Fault(
        "averages over trees instead of summing",
        "Outputs are n_trees times too small.",
    ),
    "loss-averaged": Fault(
        "averages the squared error over the batch in SGD",
        "The step is as many times too small as there are rows.",
    ),
    "masked-dense": Fault(
        "computes all neurons and multiplies by a mask of zeros",
        "0 times inf is NaN: one overflow anywhere in the tree spoils the row. And nothing is saved.",
        "the second paper's training code, and rewrites of it in PyTorch",
    ),
    "nan-right": Fault(
        "sends a NaN to the right",
        "It tests z < 0 for left instead of z >= 0 for right; the two differ for NaN alone.",
    ),
    "nan-spreads": Fault(
        "lets one row's NaN into the others",
        "One bad sample spoils a batch.",
    ),
    "one-squeezed": Fault(
        "drops the axis of a batch of one",
        "The next layer gets a vector.",
        f"{UNSEEN} by ending in squeeze()",
    ),
    "depth-0-fails": Fault(
        "fails at depth 0 in inference",
        "A tree of one leaf is the dense net that trees are compared with.",
        "the first paper's published package, fastfeedforward 0.2.1",
    ),
    "empty-batch-fails": Fault(
        "fails on a batch of no rows",
        "The last batch of a filtered data set stops the run.",
    ),
    "leaf-biases-exchanged": Fault(
        "exchanges the output biases of the last two leaves",
        "Two leaves out of many are wrong: a test of few rows may never meet them.",
        f"{UNSEEN} in conversions leaf by leaf",
    ),
    "levels-from-1": Fault(
        "counts levels from 1: level m begins at node 2^m",
        "The root is never used, and every level is read one node to the right.",
        f"{UNSEEN} in languages whose arrays begin at 1",
    ),
}
