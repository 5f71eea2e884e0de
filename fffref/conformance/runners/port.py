"""Both layers in NumPy alone, as a port of them: `python port.py VECTORS ANSWERS` answers all cases."""
# B batch, I inputs, O outputs, N nodes, L = N + 1 leaves, l leaf width, K trees, M neurons of a tree, D of a path

import math
import pathlib
import sys

import numpy as np


def read(path):  # the arrays of a case by name
    arrays, data, at = {}, path.read_bytes(), 0
    while path.suffix == ".bin" and at < len(data):
        code, rank, *sizes = np.frombuffer(data, "<i4", 8, at + 32).tolist()
        array = np.frombuffer(data, (None, "<i4", "<f4", "<f8")[code], math.prod(sizes[:rank]), at + 64)
        arrays[data[at : at + 32].rstrip(b"\0").decode()] = array.reshape(sizes[:rank])
        at += 64 + array.nbytes
    words = data.decode().split() if path.suffix == ".txt" else []
    while words:
        (name, dtype, rank), words = words[:3], words[3:]
        shape, words = [int(word) for word in words[: int(rank)]], words[int(rank) :]
        arrays[name] = np.array(words[: math.prod(shape)], float).astype(dtype).reshape(shape)
        words = words[math.prod(shape) :]
    return arrays


def activate(code, z):  # the activation and its derivative
    if code == 1:
        return np.maximum(z, 0), (z > 0).astype(z.dtype)
    if code == 2:
        cdf = (1 + np.vectorize(math.erf, [float])(z / math.sqrt(2)).astype(z.dtype)) / 2
        return z * cdf, cdf + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return (np.tanh(z), 1 - np.tanh(z) ** 2) if code == 3 else (z, np.ones_like(z))


def leaf_route(c):  # -> (B,)
    node = np.zeros(len(c["x"]), int)
    for _ in range(len(c["node_bias"]).bit_length()):
        z = np.einsum("bi,bi->b", c["x"], c["node_weight"][node]) + c["node_bias"][node]
        node = 2 * node + 1 + (z >= 0)
    return node - len(c["node_bias"])


def leaf_hard(c):  # the one leaf's output -> (B, O)
    leaf = leaf_route(c)
    u = np.einsum("bi,bli->bl", c["x"], c["leaf_in_weight"][leaf]) + c["leaf_in_bias"][leaf]
    h, _ = activate(c["activation"], u)
    return np.einsum("bl,blo->bo", h, c["leaf_out_weight"][leaf]) + c["leaf_out_bias"][leaf]


def leaf_soft(c, dy_of):  # output, entropy, and gradients of sum(dy y) + entropy_weight entropy, dy = dy_of(y)
    x, N, weight = c["x"], len(c["node_bias"]), c.get("entropy_weight", 0)
    scale = np.where(np.broadcast_to(c.get("transposed", 0), (len(x), N)), -1, 1).astype(x.dtype) / c["temperature"]
    z = (x @ c["node_weight"].T + c["node_bias"]) * scale
    choice, mass = 1 / (1 + np.exp(-z)), np.ones((len(x), 2 * N + 1), x.dtype)  # mass of nodes, then of leaves
    for n in range(N):
        mass[:, 2 * n + 1] = mass[:, n] * (1 - choice[:, n])
        mass[:, 2 * n + 2] = mass[:, n] * choice[:, n]
    h, slope = activate(c["activation"], np.einsum("bi,jli->bjl", x, c["leaf_in_weight"]) + c["leaf_in_bias"])
    f = np.einsum("bjl,jlo->bjo", h, c["leaf_out_weight"]) + c["leaf_out_bias"]  # (B, L, O)
    y = np.einsum("bj,bjo->bo", mass[:, N:], f)
    entropy = (np.log1p(np.exp(-abs(z))) + abs(z) / (1 + np.exp(abs(z)))).sum()
    dy, dz, dmass = dy_of(y), np.zeros_like(z), np.zeros_like(mass)
    dmass[:, N:] = np.einsum("bo,bjo->bj", dy, f)
    for n in reversed(range(N)):
        left, right, curve = dmass[:, 2 * n + 1], dmass[:, 2 * n + 2], choice[:, n] * (1 - choice[:, n])
        dz[:, n] = (mass[:, n] * (right - left) - weight * z[:, n]) * curve * scale[:, n]
        dmass[:, n] = (1 - choice[:, n]) * left + choice[:, n] * right
    df = mass[:, N:, None] * dy[:, None, :]  # (B, L, O)
    du = np.einsum("bjo,jlo->bjl", df, c["leaf_out_weight"]) * slope
    d = {"node_weight": dz.T @ x, "node_bias": dz.sum(0), "leaf_in_weight": np.einsum("bjl,bi->jli", du, x)}
    d |= {"leaf_in_bias": du.sum(0), "leaf_out_weight": np.einsum("bjl,bjo->jlo", h, df), "leaf_out_bias": df.sum(0)}
    return y, entropy, d | {"x": dz @ c["node_weight"] + np.einsum("bjl,jli->bi", du, c["leaf_in_weight"])}


def path_walk(c):  # nodes and logits on the path in every tree -> (B, K, D), (B, K, D)
    tree, node, nodes, logits = np.arange(len(c["in_bias"])), np.zeros((len(c["x"]), len(c["in_bias"])), int), [], []
    for _ in range(c["in_bias"].shape[1].bit_length()):
        nodes.append(node)
        logits.append(np.einsum("bi,bki->bk", c["x"], c["in_weight"][tree, node]) + c["in_bias"][tree, node])
        node = 2 * node + 1 + (logits[-1] > 0)
    return np.stack(nodes, 2), np.stack(logits, 2)


def path_sum(c, dy_of):  # output, no entropy, and gradients of sum(dy y), dy = dy_of(y)
    (node, z), tree = path_walk(c), np.arange(len(c["in_bias"]))[:, None]
    h, slope = activate(c["activation"], z)
    y = np.einsum("bkd,bkdo->bo", h, c["out_weight"][tree, node])
    dy, d = dy_of(y), {name: np.zeros_like(c[name]) for name in ("in_weight", "in_bias", "out_weight")}
    dz = np.einsum("bo,bkdo->bkd", dy, c["out_weight"][tree, node]) * slope
    of_visits = dz[..., None] * c["x"][:, None, None], dz, h[..., None] * dy[:, None, None]
    for name, of_visit in zip(d, of_visits, strict=True):
        np.add.at(d[name], (tree, node), of_visit)
    return y, 0, d | {"x": np.einsum("bkd,bkdi->bi", dz, c["in_weight"][tree, node])}


def answer(level, c):  # what is asked of a case, arrays by name
    leaf, layer, losses = c["layer"] == 1, leaf_soft if c["layer"] == 1 else path_sum, []
    if level == 1:
        return {"leaf": leaf_route(c)} if leaf else {"node": path_walk(c)[0]}
    if level < 4:
        y, entropy, _ = (leaf_hard(c), 0, 0) if leaf and level == 2 else layer(c, np.zeros_like)
        return {"y": y, "entropy": entropy}
    if level == 4:
        return {f"d_{name}": gradient for name, gradient in layer(c, lambda y: c["dy"])[2].items()}
    for _ in range(10):
        y, entropy, d = layer(c, lambda y, target=c["target"]: y - target)
        losses.append(((y - c["target"]) ** 2).sum() / 2 + c.get("entropy_weight", 0) * entropy)
        c = c | {name: c[name] - c["rate"] * d[name] for name in d if name != "x"}
    return {"loss": losses} | {name: c[name] for name in d if name != "x"}


if __name__ == "__main__":
    vectors, answers = map(pathlib.Path, sys.argv[1:3])
    for number, level, _, file, _ in map(str.split, (vectors / "index.txt").read_text().splitlines()):
        with np.errstate(all="ignore"), open(answers / f"{number}.txt", "w") as out:
            for name, numbers in answer(int(level), read(vectors / file)).items():
                print(name, "float64", np.ndim(numbers), *np.shape(numbers), file=out)
                print(*(repr(float(value)) for value in np.ravel(numbers)), sep="\n", file=out)
