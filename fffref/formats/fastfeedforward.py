"""The first paper's package, `fastfeedforward`: its module's weights to ours, and back.

# N routing nodes, L leaves, l leaf width, I inputs, O outputs

Reference: https://github.com/pbelcak/fastfeedforward, version 0.2.1.
"""

import numpy as np

from .. import checks
from ..layers.leaf_fff import LeafFFF
from . import names

MODULE = {  # the package's names: ours
    "node_weights": "node_weight",  # (N, I)
    "node_biases": "node_bias",  # (N, 1); ours (N,)
    "w1s": "leaf_in_weight",  # (L, I, l); ours (L, l, I)
    "b1s": "leaf_in_bias",  # (L, l)
    "w2s": "leaf_out_weight",  # (L, l, O)
    "b2s": "leaf_out_bias",  # (L, O)
}
AXES = {"node_weights": 2, "node_biases": 2, "w1s": 3, "b1s": 2, "w2s": 3, "b2s": 2}
STATISTICS = ("node_usage", "leaf_usage")


def leaf_fff(tensors, activation="relu", prefix=""):
    """Make a `LeafFFF` of the weights of a `fastfeedforward.FFF`.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        Its state dict, such as `safetensors.mapped` gives. What begins with another prefix is left alone, and what
        torch.compile and the like put into names is passed over.
    activation : {"relu", "gelu", "tanh", "identity"}
        The module's; a state dict does not say it. Its default is relu.
    prefix : str
        What the names begin with, where the module is part of a larger one, such as "head.".

    Returns
    -------
    LeafFFF
        Its soft forward pass is the module's in training. In evaluation, the module drops `b2s`, and we do not.

    Raises
    ------
    InputError
        If a weight is missing, unknown, or does not fit the others.
    """
    weights = names.under(tensors, prefix)
    seen = names.prefixes_of(tensors, "node_weights")
    names.expect(weights, MODULE, ("depth", *STATISTICS), "a fastfeedforward.FFF", seen, prefix)
    weights = {name: weights[name] for name in weights if name not in STATISTICS}  # counts of use, no weights
    for name, n in AXES.items():
        checks.array(name, weights[name], (None,) * n, weights["w1s"].dtype)
    checks.array("node_biases", weights["node_biases"], (None, 1), weights["w1s"].dtype)
    arrays = {ours: weights[name] for name, ours in MODULE.items()}
    arrays["node_bias"] = weights["node_biases"][:, 0]  # (N, 1) -> (N,)
    arrays["leaf_in_weight"] = weights["w1s"].swapaxes(1, 2)  # (L, I, l) -> (L, l, I): a neuron is a row
    layer = LeafFFF(**arrays, activation=activation).aligned()  # copies: the file may go
    _check_depth(weights.get("depth"), layer)
    return layer


def _check_depth(said, layer):
    """Refuse a file that says another depth than its weights have."""
    if said is None:
        return
    if said.size != 1 or said.dtype.kind not in "iuf":
        raise checks.InputError(f"depth must be one number, got {said.dtype} of shape {said.shape}")
    if said.item() != layer.depth:
        raise checks.InputError(f"depth says {said.item()}, but there are weights for {layer.depth}")


def fastfeedforward(layer, prefix=""):
    """Return the state dict of a `fastfeedforward.FFF` with the weights of a `LeafFFF`, a dict of arrays.

    Parameters
    ----------
    layer : LeafFFF
    prefix : str
        As in `leaf_fff`.
    """
    weights = {name: getattr(layer, ours) for name, ours in MODULE.items()}
    # back: (N,) -> (N, 1), (L, l, I) -> (L, I, l)
    weights["node_biases"], weights["w1s"] = layer.node_bias[:, None], layer.leaf_in_weight.swapaxes(1, 2)
    weights["depth"] = np.array(layer.depth, np.int64)  # a buffer of the module, int64 there
    return {prefix + name: array for name, array in weights.items()}
