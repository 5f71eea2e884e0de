"""Both layers in PyTorch, gradients by autograd, as a port of them: `python port_torch.py VECTORS ANSWERS`."""
# B batch, I inputs, O outputs, N nodes, L = N + 1 leaves, l leaf width, K trees, M neurons of a tree, D of a path

import pathlib
import sys

import torch
from port import read

ACTIVATIONS = (lambda z: z, torch.relu, torch.nn.functional.gelu, torch.tanh)


def leaf_route(c):  # -> (B,)
    node = torch.zeros(len(c["x"]), dtype=torch.long)
    for _ in range(len(c["node_bias"]).bit_length()):
        z = (c["x"] * c["node_weight"][node]).sum(1) + c["node_bias"][node]
        node = 2 * node + 1 + (z >= 0).long()
    return node - len(c["node_bias"])


def leaf_hard(c):  # -> (B, O)
    leaf = leaf_route(c)
    z = torch.einsum("bi,bli->bl", c["x"], c["leaf_in_weight"][leaf]) + c["leaf_in_bias"][leaf]
    return torch.einsum("bl,blo->bo", c["act"](z), c["leaf_out_weight"][leaf]) + c["leaf_out_bias"][leaf]


def leaf_soft(c):  # -> (B, O), entropy
    z = (c["x"] @ c["node_weight"].T + c["node_bias"]) / c["temperature"]
    z = torch.where(c["transposed"] > 0, -z, z) if "transposed" in c else z
    choice, mass = torch.sigmoid(z), [torch.ones_like(c["x"][:, 0])]
    for n in range(z.shape[1]):
        mass += [mass[n] * (1 - choice[:, n]), mass[n] * choice[:, n]]
    mixture = torch.stack(mass[z.shape[1] :], 1)  # (B, L)
    hidden = c["act"](torch.einsum("bi,jli->bjl", c["x"], c["leaf_in_weight"]) + c["leaf_in_bias"])
    leaves = torch.einsum("bjl,jlo->bjo", hidden, c["leaf_out_weight"]) + c["leaf_out_bias"]
    entropy = torch.nn.functional.softplus(-abs(z), threshold=1e9) + abs(z) * torch.sigmoid(-abs(z))
    return torch.einsum("bj,bjo->bo", mixture, leaves), entropy.sum()


def path_walk(c):  # nodes and logits -> (B, K, D), (B, K, D)
    tree, nodes, logits = torch.arange(len(c["in_bias"])), [torch.zeros(len(c["x"]), len(c["in_bias"])).long()], []
    for _ in range(c["in_bias"].shape[1].bit_length()):
        z = torch.einsum("bi,bki->bk", c["x"], c["in_weight"][tree, nodes[-1]]) + c["in_bias"][tree, nodes[-1]]
        logits.append(z)
        nodes.append(2 * nodes[-1] + 1 + (z > 0).long())
    return torch.stack(nodes[:-1], 2), torch.stack(logits, 2)


def path_sum(c):  # -> (B, O), no entropy
    node, z = path_walk(c)
    out_weight = c["out_weight"][torch.arange(len(c["in_bias"]))[:, None], node]
    return torch.einsum("bkd,bkdo->bo", c["act"](z), out_weight), 0


def answer(level, arrays):  # what is asked of a case, tensors by name
    c = {name: torch.tensor(array) for name, array in arrays.items()}
    leaf, c["act"] = c["layer"] == 1, ACTIVATIONS[c.get("activation", 0)]
    if level == 1:
        return {"leaf": leaf_route(c)} if leaf else {"node": path_walk(c)[0]}
    if level == 2:
        return {"y": leaf_hard(c) if leaf else path_sum(c)[0]}
    layer, weight = leaf_soft if leaf else path_sum, c.get("entropy_weight", 0)
    if level == 3:
        return dict(zip(("y", "entropy"), layer(c), strict=True))
    names = [name for name in c if name.startswith(("node_", "leaf_", "in_", "out_"))]
    if level == 4:
        gradients = derivatives(c, [*names, "x"], lambda y, entropy: (c["dy"] * y).sum() + weight * entropy, layer)[1]
        return {f"d_{name}": gradient for name, gradient in gradients.items()}
    losses = []
    for _ in range(10):
        loss, d = derivatives(c, names, lambda y, h, t=c["target"]: ((y - t) ** 2).sum() / 2 + weight * h, layer)
        losses.append(loss)
        c = c | {name: c[name] - c["rate"] * d[name] for name in names}
    return {"loss": torch.stack(losses)} | {name: c[name] for name in names}


def derivatives(c, names, loss_of, layer):  # a loss, and its gradients by name
    c = c | {name: c[name].detach().requires_grad_() for name in names}
    loss = loss_of(*layer(c))
    found = torch.autograd.grad(loss, [c[name] for name in names], allow_unused=True, materialize_grads=True)
    return loss.detach(), dict(zip(names, found, strict=True))


if __name__ == "__main__":
    vectors, answers = map(pathlib.Path, sys.argv[1:3])
    for number, level, _, file, _ in map(str.split, (vectors / "index.txt").read_text().splitlines()):
        with open(answers / f"{number}.txt", "w") as out:
            for name, numbers in answer(int(level), read(vectors / file)).items():
                print(name, "float64", numbers.dim(), *numbers.shape, file=out)
                print(*(repr(value) for value in numbers.double().flatten().tolist()), sep="\n", file=out)
