"""PyTorch's autograd as an independent oracle, in float64, to 1e-10. Optional: `pip install torch`."""

import cases
import numpy as np
import pytest

from fffref.layers.activations import ACTIVATIONS
from fffref.layers.choices import Choices
from fffref.training import losses

torch = pytest.importorskip("torch")
FUNCTIONS = {
    "relu": torch.relu, "gelu": torch.nn.functional.gelu, "tanh": torch.tanh, "identity": lambda z: z,
}  # fmt: skip


def parameters(layer):
    """The layer's arrays as tensors that record gradients."""
    return {name: torch.tensor(array, requires_grad=True) for name, array in layer.arrays().items()}


def agree(grads, dx, tensors, x):
    """Hold ours against theirs, relative to the largest entry."""
    for name, tensor in (*tensors.items(), ("x", x)):
        ours = dx if name == "x" else getattr(grads, name)
        theirs = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
        assert np.abs(ours - theirs).max(initial=0) <= 1e-10 * max(np.abs(theirs).max(initial=0), 1e-3), name


def mixture_of(choice):
    """Leaf weights from choices, as products along each path."""
    leaves = choice.shape[1] + 1
    depth = leaves.bit_length() - 1
    columns = []
    for leaf in range(leaves):
        mass, node = torch.ones(len(choice), dtype=choice.dtype), 0
        for bit in reversed(range(depth)):
            right = leaf >> bit & 1
            mass = mass * (choice[:, node] if right else 1 - choice[:, node])
            node = 2 * node + 1 + right
        columns.append(mass)
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("depth", range(6))
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("temperature", [1.0, 0.4])
@pytest.mark.parametrize("straight_through", [False, True])
def test_leaf_fff(depth, activation, temperature, straight_through, rng):
    layer = cases.make("LeafFFF", rng, depth=depth, activation=activation)
    x, labels = rng.standard_normal((6, 5)), rng.integers(3, size=6)
    y, tape = layer.forward(x, Choices(temperature, straight_through=straight_through))
    loss, dy = losses.cross_entropy(y, labels)
    entropy, dlogit = losses.node_entropy(tape.logit, "mean")
    balance, dmixture = losses.leaf_balance(tape.mixture)
    grads, dx = layer.backward(tape, dy, dlogit=dlogit, dmixture=dmixture)

    p, xt = parameters(layer), torch.tensor(x, requires_grad=True)
    choice = torch.sigmoid((xt @ p["node_weight"].T + p["node_bias"]) / temperature)
    rounded = (choice >= 0.5).to(choice.dtype)
    mixture = mixture_of(choice + (rounded - choice).detach() if straight_through else choice)
    hidden = FUNCTIONS[activation](torch.einsum("bi,jli->bjl", xt, p["leaf_in_weight"]) + p["leaf_in_bias"])
    leaves = torch.einsum("bjl,jlo->bjo", hidden, p["leaf_out_weight"]) + p["leaf_out_bias"]
    theirs = (mixture[:, :, None] * leaves).sum(1)
    share = mixture.mean(0)
    total = torch.nn.functional.cross_entropy(theirs, torch.tensor(labels))
    if depth:
        total = total + (len(share) * (share**2).sum() - 1) / (len(share) - 1)
        total = total + torch.special.entr(choice).add(torch.special.entr(1 - choice)).mean()
    total.backward()
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(loss + entropy + balance, total.item(), rtol=1e-10)
    agree(grads, dx, p, xt)


@pytest.mark.parametrize("depth", range(6))
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_path_fff(depth, activation, rng):
    layer = cases.make("PathFFF", rng, depth=depth, activation=activation)
    x, target = rng.standard_normal((6, 5)), rng.standard_normal((6, 3))
    y, tape = layer.forward(x)
    _, dy = losses.mean_squared_error(y, target)
    grads, dx = layer.backward(tape, dy)

    p, xt = parameters(layer), torch.tensor(x, requires_grad=True)
    theirs = 0
    for k in range(layer.n_trees):
        node = torch.zeros(6, dtype=torch.long)
        for _ in range(depth + 1):
            logit = (xt * p["in_weight"][k][node]).sum(1) + p["in_bias"][k][node]
            theirs = theirs + FUNCTIONS[activation](logit)[:, None] * p["out_weight"][k][node]
            node = 2 * node + 1 + (logit > 0).long()
    torch.nn.functional.mse_loss(theirs, torch.tensor(target)).backward()
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)
    agree(grads, dx, p, xt)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_ff(activation, rng):
    layer = cases.make("DenseFF", rng, activation=activation)
    x, labels = rng.standard_normal((6, 5)), rng.integers(3, size=6)
    y, tape = layer.forward(x)
    grads, dx = layer.backward(tape, losses.cross_entropy(y, labels)[1])
    p, xt = parameters(layer), torch.tensor(x, requires_grad=True)
    theirs = FUNCTIONS[activation](xt @ p["in_weight"].T + p["in_bias"]) @ p["out_weight"] + p["out_bias"]
    torch.nn.functional.cross_entropy(theirs, torch.tensor(labels)).backward()
    agree(grads, dx, p, xt)
