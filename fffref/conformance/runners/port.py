"""Both layers in NumPy alone, as a port of them: `python port.py VECTORS ANSWERS` answers all cases.

# B batch, I inputs, O outputs, N nodes, L = N + 1 leaves, l leaf width, K trees, M neurons of a tree, D of a path
"""

import math
import pathlib
import sys

import numpy as np

DTYPES = {"int32": np.int32, "float32": np.float32, "float64": np.float64}


def read(path):
    """The arrays of a case by name."""
    arrays, data, at = {}, path.read_bytes(), 0
    while path.suffix == ".bin" and at < len(data):
        code, rank, *sizes = np.frombuffer(data, "<i4", 8, at + 32).tolist()
        count, dtype = math.prod(sizes[:rank]), (None, "<i4", "<f4", "<f8")[code]
        array = np.frombuffer(data, dtype, count, at + 64).reshape(sizes[:rank])
        arrays[data[at : at + 32].rstrip(b"\0").decode()] = array
        at += 64 + array.nbytes
    words = data.decode().split() if path.suffix == ".txt" else []
    while words:
        name, dtype, start = words[0], DTYPES[words[1]], 3 + int(words[2])
        shape = [int(word) for word in words[3:start]]
        end = start + math.prod(shape)
        arrays[name] = np.array(words[start:end], float).astype(dtype).reshape(shape)
        words = words[end:]
    return arrays


def activate(name, z):
    """Activation and its derivative."""
    if name == 1:
        return np.maximum(z, 0), (z > 0).astype(z.dtype)
    if name == 2:
        cdf = (1 + np.vectorize(math.erf, [float])(z / math.sqrt(2)).astype(z.dtype)) / 2
        return z * cdf, cdf + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return (np.tanh(z), 1 - np.tanh(z) ** 2) if name == 3 else (z, np.ones_like(z))


def leaf_route(c):
    """The leaf of each row: (B,)."""
    node = np.zeros(len(c["x"]), int)
    for _ in range(len(c["node_bias"]).bit_length()):
        z = np.einsum("bi,bi->b", c["x"], c["node_weight"][node]) + c["node_bias"][node]
        node = 2 * node + 1 + (z >= 0)
    return node - len(c["node_bias"])


def leaf_hard(c):
    """Output of the one leaf: (B, O)."""
    leaf = leaf_route(c)
    z = np.einsum("bi,bli->bl", c["x"], c["leaf_in_weight"][leaf]) + c["leaf_in_bias"][leaf]
    h, _ = activate(c["activation"], z)
    return np.einsum("bl,blo->bo", h, c["leaf_out_weight"][leaf]) + c["leaf_out_bias"][leaf]


def leaf_soft(c, dy_of):
    """Output, entropy, and the gradients of sum(dy y) + entropy_weight entropy, where dy = dy_of(y)."""
    x, N, weight = c["x"], len(c["node_bias"]), c.get("entropy_weight", 0)
    scale = (np.where(c.get("transposed", 0), -1, 1) / c["temperature"]).astype(x.dtype)  # (B, N) or a number
    z = (x @ c["node_weight"].T + c["node_bias"]) * scale
    choice = 1 / (1 + np.exp(-z))
    mass = np.ones((len(x), 2 * N + 1), x.dtype)  # of nodes, then of leaves
    for n in range(N):
        mass[:, 2 * n + 1] = mass[:, n] * (1 - choice[:, n])
        mass[:, 2 * n + 2] = mass[:, n] * choice[:, n]
    h, slope = activate(c["activation"], np.einsum("bi,jli->bjl", x, c["leaf_in_weight"]) + c["leaf_in_bias"])
    f = np.einsum("bjl,jlo->bjo", h, c["leaf_out_weight"]) + c["leaf_out_bias"]  # (B, L, O)
    y = np.einsum("bj,bjo->bo", mass[:, N:], f)
    a, e = abs(z), np.exp(-abs(z))
    entropy = (np.log1p(e) + a * e / (1 + e)).sum()
    dy, dz, dmass = dy_of(y), np.zeros_like(z), np.zeros_like(mass)
    dmass[:, N:] = np.einsum("bo,bjo->bj", dy, f)
    for n in reversed(range(N)):
        left, right, slope_n = dmass[:, 2 * n + 1], dmass[:, 2 * n + 2], choice[:, n] * (1 - choice[:, n])
        dz[:, n] = (mass[:, n] * (right - left) - weight * z[:, n]) * slope_n * scale[..., n % scale.shape[-1]]
        dmass[:, n] = (1 - choice[:, n]) * left + choice[:, n] * right
    df = mass[:, N:, None] * dy[:, None, :]  # (B, L, O)
    du = np.einsum("bjo,jlo->bjl", df, c["leaf_out_weight"]) * slope
    d = {"node_weight": dz.T @ x, "node_bias": dz.sum(0), "leaf_in_weight": np.einsum("bjl,bi->jli", du, x)}
    d |= {"leaf_in_bias": du.sum(0), "leaf_out_weight": np.einsum("bjl,bjo->jlo", h, df), "leaf_out_bias": df.sum(0)}
    d["x"] = dz @ c["node_weight"] + np.einsum("bjl,jli->bi", du, c["leaf_in_weight"])
    return y, entropy, d


def path_walk(c):
    """Nodes and logits on the path in every tree: (B, K, D)."""
    tree, nodes, logits = np.arange(len(c["in_bias"])), [np.zeros((len(c["x"]), len(c["in_bias"])), int)], []
    for _ in range(c["in_bias"].shape[1].bit_length()):
        logits += [np.einsum("bi,bki->bk", c["x"], c["in_weight"][tree, nodes[-1]]) + c["in_bias"][tree, nodes[-1]]]
        nodes += [2 * nodes[-1] + 1 + (logits[-1] > 0)]
    return np.stack(nodes[:-1], 2), np.stack(logits, 2)


def path_sum(c, dy_of):
    """Output, no entropy, and the gradients of sum(dy y), where dy = dy_of(y)."""
    (node, z), tree = path_walk(c), np.arange(len(c["in_bias"]))[:, None]
    h, slope = activate(c["activation"], z)
    y = np.einsum("bkd,bkdo->bo", h, c["out_weight"][tree, node])
    dy, d = dy_of(y), {name: np.zeros_like(c[name]) for name in ("in_weight", "in_bias", "out_weight")}
    dz = np.einsum("bo,bkdo->bkd", dy, c["out_weight"][tree, node]) * slope
    np.add.at(d["in_weight"], (tree, node), dz[..., None] * c["x"][:, None, None])
    np.add.at(d["in_bias"], (tree, node), dz)
    np.add.at(d["out_weight"], (tree, node), h[..., None] * dy[:, None, None])
    return y, 0, d | {"x": np.einsum("bkd,bkdi->bi", dz, c["in_weight"][tree, node])}


def answer(level, c):
    """What is asked of a case at its level."""
    leaf = c["layer"] == 1
    if level == 1:
        return {"leaf": leaf_route(c)} if leaf else {"node": path_walk(c)[0]}
    if level == 2:
        return {"y": leaf_hard(c) if leaf else path_sum(c, np.zeros_like)[0]}
    layer, losses = leaf_soft if leaf else path_sum, []
    if level == 3:
        return dict(zip(("y", "entropy"), layer(c, np.zeros_like), strict=False))
    if level == 4:
        return {f"d_{name}": gradient for name, gradient in layer(c, lambda y: c["dy"])[2].items()}
    for _ in range(10):
        y, entropy, d = layer(c, lambda y: y - c["target"])  # noqa: B023
        losses.append(((y - c["target"]) ** 2).sum() / 2 + c.get("entropy_weight", 0) * entropy)
        c = c | {name: c[name] - c["rate"] * d[name] for name in d if name != "x"}
    return {"loss": losses} | {name: c[name] for name in d if name != "x"}


def main(vectors, answers):
    """A text file of answers for each line of the index."""
    for line in (vectors / "index.txt").read_text().splitlines():
        number, level, _, file, _ = line.split()
        with np.errstate(all="ignore"), open(answers / f"{number}.txt", "w") as out:
            for name, array in answer(int(level), read(vectors / file)).items():
                numbers = np.asarray(array, float)
                print(name, "float64", numbers.ndim, *numbers.shape, file=out)
                print(*map(repr, numbers.ravel().tolist()), sep="\n", file=out)


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:3]))
