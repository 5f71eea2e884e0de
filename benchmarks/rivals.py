"""What the fast path is held against: the best dense code at hand, and conditional code as others write it.

Each is a function from rows `x (B, n_in)` to `y (B, n_out)` for a `PathFFF` of one tree, or a training step. PyTorch
and the published package are optional; `AVAILABLE` says what is there.
"""

from importlib.util import find_spec

import numpy as np
from scipy.special import ndtr

from fffref import activations

AVAILABLE = {name: find_spec(name) is not None for name in ("torch", "fastfeedforward")}


def numpy_dense(layer):
    """All neurons: two GEMMs of OpenBLAS, exact GELU by SciPy, in place."""
    W, b, V = layer.in_weight[0], layer.in_bias[0], layer.out_weight[0]

    def run(x):
        z = x @ W.T
        z += b
        z *= ndtr(z)
        return z @ V

    return run


def torch_dense(layer):
    """All neurons: PyTorch's linear layers and exact GELU."""
    import torch
    from torch.nn import functional

    W, b, V = map(torch.from_numpy, (layer.in_weight[0], layer.in_bias[0], layer.out_weight[0].T.copy()))

    def run(x):
        with torch.inference_mode():
            return functional.linear(functional.gelu(functional.linear(torch.from_numpy(x), W, b)), V).numpy()

    return run


def torch_gather(layer):
    """The path only, as one writes it in PyTorch: gather each row's weights, batched products."""
    import torch
    from torch.nn import functional

    W, b, V = map(torch.from_numpy, (layer.in_weight[0], layer.in_bias[0], layer.out_weight[0]))

    def run(x):
        with torch.inference_mode():
            x = torch.from_numpy(x)
            node, nodes, logits = torch.zeros(len(x), dtype=torch.long), [], []
            for _ in range(layer.depth + 1):
                z = torch.bmm(W[node][:, None, :], x[:, :, None])[:, 0, 0] + b[node]
                nodes.append(node)
                logits.append(z)
                node = 2 * node + 1 + (z > 0)
            node, z = torch.stack(nodes, 1), torch.stack(logits, 1)
            return torch.bmm(functional.gelu(z)[:, None, :], V[node])[:, 0].numpy()

    return run


def dense(layer):
    """Every dense rival at hand, by name: the fastest of them is what ratios refer to."""
    found = {"dense, NumPy": numpy_dense(layer)}
    return found | ({"dense, PyTorch": torch_dense(layer)} if AVAILABLE["torch"] else {})


def masked_step(layer, x, dy):
    """Forward and backward of the masked dense formulation in NumPy: what the authors' release trains by."""
    W, b, V = layer.in_weight[0], layer.in_bias[0], layer.out_weight[0]
    every = np.arange(len(x))

    def step():
        z = x @ W.T
        z += b
        mask, node = np.zeros_like(z), np.zeros(len(x), np.intp)
        for _ in range(layer.depth + 1):
            mask[every, node] = 1
            node = 2 * node + 1 + (z[every, node] > 0)
        h = z * ndtr(z)
        h *= mask
        y = h @ V
        dz = dy @ V.T
        dz *= activations.gelu_derivative(z)
        dz *= mask
        return y, (dz.T @ x, dz.sum(0), h.T @ dy), dz @ W

    return step


def published_leaf(layer):
    """The first paper's package in evaluation mode; it drops the leaf output bias, so ours must be 0 to agree."""
    import torch
    from fastfeedforward import FFF

    _, leaf_width = layer.leaf_in_bias.shape
    module = FFF(layer.n_in, leaf_width, layer.n_out, layer.depth).eval()
    pairs = {
        "node_weights": layer.node_weight, "node_biases": layer.node_bias[:, None],
        "w1s": layer.leaf_in_weight.transpose(0, 2, 1), "b1s": layer.leaf_in_bias,
        "w2s": layer.leaf_out_weight, "b2s": layer.leaf_out_bias,
    }  # fmt: skip
    with torch.no_grad():
        for name, array in pairs.items():
            getattr(module, name).copy_(torch.from_numpy(array.copy()))

    def run(x):
        with torch.inference_mode():
            return module(torch.from_numpy(x)).numpy()

    return run
