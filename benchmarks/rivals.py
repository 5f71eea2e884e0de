"""What the fast path is held against: the best dense code at hand, and conditional code as others write it.

Each is a function from rows `x (B, n_in)` to `y (B, n_out)` for a `PathFFF` of one tree, or a training step. PyTorch
and the published package are optional; `AVAILABLE` says what is there.
"""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
from scipy.special import ndtr

import fffref
from fffref import DenseFF, PathFFF
from fffref.fast import gelu
from fffref.models import parts

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


def torch_dense(layer, dtype="float32"):
    """All neurons: PyTorch's linear layers and exact GELU, in this dtype; rows come and go in float32."""
    import torch
    from torch.nn import functional

    arrays = layer.in_weight[0], layer.in_bias[0], layer.out_weight[0].T.copy()
    W, b, V = (torch.from_numpy(array).to(getattr(torch, dtype)) for array in arrays)

    def run(x):
        with torch.inference_mode():
            hidden = functional.gelu(functional.linear(torch.from_numpy(x).to(W.dtype), W, b))
            return functional.linear(hidden, V).float().numpy()

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


def bare_gemms(layer):
    """Two GEMMs of the BLAS and nothing between them: the bound that no dense code in this precision passes."""
    W, V = layer.in_weight[0], layer.out_weight[0]
    return lambda x: (x @ W.T) @ V


def dense_twin(layer, width=None):
    """The dense layer of the first `width` of a PathFFF's neurons, all of them by default; a dense net itself."""
    if not isinstance(layer, PathFFF):
        return layer
    none = np.zeros(layer.n_out, layer.dtype)
    W, b, V = layer.in_weight[0][:width], layer.in_bias[0][:width], layer.out_weight[0][:width]
    return DenseFF(W, b, V, none, layer.activation)


def without_activation(layer):
    """The dense twin that `bare_gemms` computes: no bias, no activation."""
    dense = dense_twin(layer)
    return replace(dense, in_bias=np.zeros_like(dense.in_bias), activation="identity")


def masked_dense(layer, threads):
    """What UltraFastBERT's release computes: all neurons, then a mask of 0 and 1. GEMMs of BLAS, compiled GELU."""
    W, b, V = layer.in_weight[0], layer.in_bias[0], layer.out_weight[0]
    dense = fffref.jit(dense_twin(layer), threads)

    def run(x):
        z = x @ W.T
        mask, node, every = np.zeros_like(z), np.zeros(len(x), np.intp), np.arange(len(x))
        for _ in range(layer.depth + 1):
            mask[every, node] = 1
            node = 2 * node + 1 + (z[every, node] + b[node] > 0)
        dense.activate(z)
        z *= mask
        return z @ V

    return run


def masked_step(layer, x, dy):
    """Forward and backward of the masked dense formulation: what the authors' release trains by.

    NumPy's GEMMs and the compiled GELU and derivative, as every dense rival: SciPy's would hinder it.
    """
    W, b, V = layer.in_weight[0], layer.in_bias[0], layer.out_weight[0]
    every = np.arange(len(x))

    def step():
        z = x @ W.T
        z += b
        mask, node = np.zeros_like(z), np.zeros(len(x), np.intp)
        for _ in range(layer.depth + 1):
            mask[every, node] = 1
            node = 2 * node + 1 + (z[every, node] > 0)
        h = gelu.gelu(z)
        h *= mask
        y = h @ V
        dz = dy @ V.T
        dz *= gelu.gelu_derivative(z)
        dz *= mask
        return y, (dz.T @ x, dz.sum(0), h.T @ dy), dz @ W

    return step


def conditional_step(model, x, dy):
    """Forward and backward of a layer, or of its compiled form, in the shape of `masked_step`."""

    def step():
        y, tape = model.forward(x)
        return y, *model.backward(tape, dy)

    return step


def training(step, layer, optimizer, state, rate=1e-4):
    """A function that takes one step of training in place, the optimiser's part included."""

    def run():
        _, grads, _ = step()
        if isinstance(grads, tuple):
            grads = PathFFF(*(gradient[None] for gradient in grads), layer.activation)
        optimizer.update(layer, grads, state, 0, rate)

    return run


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


class TorchBert:
    """A crammedBERT as one writes it in PyTorch, around a model's weights, which are shared.

    Parameters
    ----------
    bert : fffref.bert.Bert
    width : int, optional
        The FF layers are dense, of so many of the tree's neurons; by default they are all computed and masked.
    timed : callable
        From the name of a part and the function that computes it to that function, timed.
    """

    def __init__(self, bert, width=None, timed=lambda name, part: part):
        import torch

        def tensor(array):
            return torch.from_numpy(np.ascontiguousarray(array))

        self.arch, self.width = bert.arch, width
        table = parts.sinusoid(bert.max_length, bert.hidden_width).astype(bert.dtype)
        self.words, self.positions = tensor(bert.embedding.words), tensor(bert.embedding.scale * table)
        norm = lambda part: (tensor(part.weight), tensor(part.bias))  # noqa: E731
        self.embedding_norm, self.final_norm = norm(bert.embedding.norm), norm(bert.final_norm)
        self.blocks = [
            {
                "norms": [norm(block.norm1), norm(block.norm2)],
                "qkv": tensor(block.attention.qkv), "dense": tensor(block.attention.out),
                "factor": block.attention.factor,
                "in": tensor(block.ff.in_weight[0][:width]), "bias": tensor(block.ff.in_bias[0][:width]),
                "out": tensor(block.ff.out_weight[0][:width]).T,
            }
            for block in bert.blocks
        ]  # fmt: skip
        self.embed, self.attention = timed("embedding", self._embed), timed("attention", self._attention)
        self.ff = timed("feedforward", self._masked if width is None else self._dense)

    def hidden(self, ids):
        """The encoder's output, (B, S) -> (B, S, H)."""
        import torch

        with torch.inference_mode():
            x = self.embed(torch.from_numpy(ids))
            for block in self.blocks:
                x = x + self.attention(self._norm(x, block["norms"][0]), block)
                x = x + self.ff(self._norm(x, block["norms"][1]), block)
            return self._norm(x, self.final_norm).numpy()

    def _norm(self, x, norm):
        from torch.nn import functional

        return functional.layer_norm(x, (self.arch.hidden,), *norm, self.arch.eps)

    def _embed(self, ids):
        from torch.nn import functional

        x = functional.embedding(ids, self.words) + self.positions[: ids.shape[1]]
        return self._norm(x, self.embedding_norm)

    def _attention(self, x, block):
        from torch.nn import functional

        qkv = functional.linear(x, block["qkv"]).view(*x.shape[:2], self.arch.heads, -1)
        q, k, v = qkv.transpose(1, 2).chunk(3, -1)
        mixed = functional.scaled_dot_product_attention(q, k, v, scale=block["factor"])
        return functional.linear(mixed.transpose(1, 2).reshape(x.shape), block["dense"])

    def _dense(self, x, block):
        from torch.nn import functional

        return functional.linear(functional.gelu(functional.linear(x, block["in"], block["bias"])), block["out"])

    def _masked(self, x, block):
        """All logits; a mask of the path; then the rest of the dense layer."""
        import torch
        from torch.nn import functional

        z = functional.linear(x.reshape(-1, self.arch.hidden), block["in"], block["bias"])
        mask, node = torch.zeros_like(z), torch.zeros(len(z), 1, dtype=torch.long)
        for _ in range(self.arch.depth + 1):
            mask.scatter_(1, node, 1.0)
            node = 2 * node + 1 + (z.gather(1, node) > 0)
        return functional.linear(functional.gelu(z) * mask, block["out"]).reshape(x.shape)
