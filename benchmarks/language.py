"""A language model's training step and its sampling: ours against PyTorch, and conditional against masked.

    pip install torch==2.13.0
    python benchmarks/language.py            every case with 1 and 2 threads, about three minutes on a quiet machine
    python benchmarks/language.py --quick    few steps, writes no result

`dense`: nanoGPT's setting for a CPU, dense layers of 512. `tree`: width 256, `PathFFF` of 4095 neurons, conditional
(visited rows through forward, backward and a lazy Adam) and masked (all neurons, then a mask, as the authors train).
A step is forward, backward and Adam. `sample` continues one sequence, keys and values kept on both sides. Each
contestant runs in a process of its own, in turn; that losses agree is asserted before anything is timed.
"""

import argparse
import json
import os
import pathlib
import resource
import time

import measure
import numpy as np

from fffref import training
from fffref.layers.path_fff import PathFFF
from fffref.models import parts, sampling, sizes
from fffref.models.sizes import Sizes
from fffref.models.transformer import backward, forward
from fffref.training import compiled_steps, losses  # noqa: F401 (all of our contestants' optimisers are compiled)
from fffref.training.optim import Adam

SETTINGS = {
    "dense": Sizes(vocabulary=65, width=512, ff_bias=True),
    "tree": Sizes(vocabulary=65, hidden=256, ff="path", trees=1, depth=11),
}
SETTINGS["sample"] = SETTINGS["dense"]
BATCH, RATE = 12, 1e-3
CASES = {  # contestants; the first is ours
    "dense": ("fffref", "PyTorch"), "tree": ("fffref", "masked, fffref", "masked, PyTorch"),
    "sample": ("fffref", "PyTorch"),
}  # fmt: skip
AIMS = {
    ("dense", "PyTorch"): 1.0,
    ("tree", "masked, fffref"): 3.0,
    ("tree", "masked, PyTorch"): 3.0,
    ("sample", "PyTorch"): 2.0,
}


def problem(case):
    """The model and a batch, the same in every process."""
    rng = np.random.default_rng(0)
    model = sizes.draw(rng, SETTINGS[case])
    ids = rng.integers(0, 65, (BATCH, 65))
    return model, ids[:, :-1], ids[:, 1:]


# ---------------------------------------------------------------------- ours


def our_step(case):
    """A function that takes one step and returns the loss."""
    model, x, targets = problem(case)
    optimizer, count = Adam(), iter(range(10**9))
    state = optimizer.init(model)

    def step():
        view = training.penalties.compiled(model)
        logits, tape = view.forward(x)
        loss, dlogits = losses.cross_entropy(logits, targets)
        optimizer.update(model, view.backward(tape, dlogits), state, next(count), RATE)
        return float(loss)

    return step


class MaskedTree:
    """A `PathFFF` as the authors train it: all logits, a mask of the path, dense products and gradients."""

    def __init__(self, layer):
        from fffref.fast.gelu import COMPILED  # imported where needed: Numba takes its time

        self.layer, self.activation = layer, COMPILED

    def forward(self, x):
        """Rows to rows."""
        layer = self.layer
        W, V = layer.in_weight[0], layer.out_weight[0]
        z = x @ W.T + layer.in_bias[0]  # (B, M)
        rows, node, mask = np.arange(len(x)), np.zeros(len(x), np.intp), np.zeros(z.shape, np.float32)
        for _ in range(layer.depth + 1):
            mask[rows, node] = 1
            node = 2 * node + 1 + (z[rows, node] > 0)
        hidden = self.activation.function(z) * mask
        return hidden @ V, (x, z, mask, hidden)

    def backward(self, tape, dy):
        """Dense gradients."""
        x, z, mask, hidden = tape
        dz = (dy @ self.layer.out_weight[0].T) * self.activation.derivative(z) * mask
        grads = PathFFF((dz.T @ x)[None], dz.sum(0)[None], (hidden.T @ dy)[None])
        return grads, dz @ self.layer.in_weight[0]


def our_masked_step(case):
    """As `our_step`, all neurons computed."""
    model, x, targets = problem(case)
    optimizer, count = Adam(), iter(range(10**9))
    state = optimizer.init(model)

    def step():
        ffs = [MaskedTree(ff) for ff in model.ffs()]
        logits, tape = forward(model, ffs, (x, None, None), None, None)
        loss, dlogits = losses.cross_entropy(logits, targets)
        optimizer.update(model, backward(model, ffs, tape, dlogits), state, next(count), RATE)
        return float(loss)

    return step


def our_sampling(case):
    """A function that writes 48 tokens and returns the first few."""
    model, x, _ = problem(case)
    fast = model.compiled()
    return lambda: list(sampling.sample(fast, x[0, :16], 48, 0))


# ---------------------------------------------------------------------- PyTorch, eager


class Torch:
    """The same model as one writes it in PyTorch, from our weights; its own Adam."""

    def __init__(self, case):
        import torch

        self.model, x, targets = problem(case)
        self.p = {n: torch.tensor(a, requires_grad=case != "sample") for n, a in self.model.arrays().items()}
        self.x, self.targets = torch.tensor(x), torch.tensor(targets.copy())
        table = parts.sinusoid(64, self.model.hidden_width)
        self.table = torch.tensor(table.astype(np.float32))
        self.optimizer = None if case == "sample" else torch.optim.Adam(self.p.values(), lr=RATE)

    def norm(self, x, name):
        """A layer norm."""
        from torch.nn import functional

        p = self.p
        return functional.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], self.model.eps)

    def logits(self, ids, cache=None):
        """Logits of all positions; with a cache, of new ones, whose keys and values are added to it."""
        from torch.nn import functional

        start = 0 if not cache else cache[0][0].shape[2]
        x = functional.embedding(ids, self.p["embedding.words"])
        x = self.norm(x + self.p["embedding.scale"] * self.table[start : start + ids.shape[1]], "embedding.norm")
        for i in range(len(self.model.blocks)):
            x = x + self.attention(self.norm(x, f"blocks.{i}.norm1"), i, cache)
            x = x + self.ff(self.norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.ff")
        return functional.linear(self.norm(x, "final_norm"), self.p["embedding.words"])

    def attention(self, x, i, cache):
        """Causal attention."""
        import torch
        from torch.nn import functional

        qkv = functional.linear(x, self.p[f"blocks.{i}.attention.qkv"]).view(*x.shape[:2], 4, -1)
        q, k, v = qkv.transpose(1, 2).chunk(3, -1)
        if cache is not None:
            if len(cache) > i:
                k, v = torch.cat((cache[i][0], k), 2), torch.cat((cache[i][1], v), 2)
                cache[i] = k, v
            else:
                cache.append((k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)
        return functional.linear(mixed.transpose(1, 2).reshape(x.shape), self.p[f"blocks.{i}.attention.out"])

    def ff(self, x, name):
        """The dense layer, or the tree with all its neurons and a mask."""
        import torch
        from torch.nn import functional

        W, b, V = (self.p[f"{name}.{field}"] for field in ("in_weight", "in_bias", "out_weight"))
        if W.ndim == 2:
            return functional.gelu(functional.linear(x, W, b)) @ V + self.p[f"{name}.out_bias"]
        z = functional.linear(x.reshape(-1, x.shape[-1]), W[0], b[0])
        with torch.no_grad():
            mask, node = torch.zeros_like(z), torch.zeros(len(z), 1, dtype=torch.long)
            for _ in range(12):
                mask.scatter_(1, node, 1.0)
                node = 2 * node + 1 + (z.gather(1, node) > 0)
        return ((functional.gelu(z) * mask) @ V[0]).view(x.shape)

    def step(self):
        """One step; returns the loss."""
        from torch.nn import functional

        self.optimizer.zero_grad()
        logits = self.logits(self.x)
        loss = functional.cross_entropy(logits.reshape(-1, 65), self.targets.reshape(-1))
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def sample(self):
        """Write 48 tokens."""
        import torch

        with torch.inference_mode():
            cache, tokens, ids = [], [], self.x[:1, :16]
            for _ in range(48):
                ids = self.logits(ids, cache)[:, -1:].argmax(-1)
                tokens.append(int(ids))
            return tokens


# ---------------------------------------------------------------------- measuring


def contestant(case, name):
    """The function to time."""
    if name.endswith("PyTorch"):
        twin = Torch(case)
        return twin.sample if case == "sample" else twin.step
    if case == "sample":
        return our_sampling(case)
    return our_masked_step(case) if name.startswith("masked") else our_step(case)


def child(case, name, steps):
    """Time one contestant in this process: seconds of each call, its first answers, peak memory."""
    if name.endswith("PyTorch"):
        import torch

        torch.set_num_threads(int(os.environ[measure.THREAD_VARIABLES[0]]))
    call, seconds = contestant(case, name), []
    answers = [call() for _ in range(3)]
    for _ in range(steps):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": float(np.median(seconds)), "answers": answers, "peak_mb": peak}))


def measured(quick):
    """All rows: seconds, ratios to ours, peak memory."""
    from tqdm import tqdm

    rows, rounds, steps = [], (1 if quick else 5), (2 if quick else 12)
    for threads in (1, 2):
        for case, names in tqdm(CASES.items(), desc=f"{threads} threads"):
            told = [
                {name: measure.in_child(__file__, ["--child", case, name, "--steps", steps], threads) for name in names}
                for _ in range(rounds)
            ]
            check(case, told[0])
            times = {name: np.array([turn[name]["seconds"] for turn in told]) for name in names}
            rows += [
                {"case": case, "threads": threads, "name": name, "seconds": measure.quartiles(times[name]),
                 "ratio": measure.ratio(times, name, names[0]), "peak_mb": max(t[name]["peak_mb"] for t in told)}
                for name in names
            ]  # fmt: skip
    return rows


def check(case, told):
    """Losses of three steps agree (a lazy Adam differs from the third on); so do the tokens written."""
    first, *others = (turn["answers"] for turn in told.values())
    for other in others:
        if case == "sample":
            assert sum(a == b for a, b in zip(first[0], other[0], strict=True)) >= 40, "other tokens"
        else:
            np.testing.assert_allclose(other[:2], first[:2], rtol=1e-3)


def table(rows):
    """The rows as Markdown."""
    lines = ["| case | threads | | ms a step, or for 48 tokens | as many times ours | aim | peak memory [MB] |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows:
        milliseconds = {k: (1e3 * v if k == "median" else [1e3 * x for x in v] if k == "quartiles" else v)
                        for k, v in row["seconds"].items()}  # fmt: skip
        aim = AIMS.get((row["case"], row["name"]))
        lines.append(
            f"| {row['case']} | {row['threads']} | {row['name']} | {measure.span(milliseconds)} | "
            f"{measure.span(row['ratio'])} | {'-' if aim is None else f'{aim:g}'} | {row['peak_mb']:.0f} |"
        )
    return "\n".join(lines)


def main():
    """Measure everything, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps; writes no result")
    parser.add_argument("--out", type=pathlib.Path, default=measure.RESULTS, help="where to write (%(default)s)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=12, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child, options.steps)
        return
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # where set, they halve NumPy's matrix products
        os.environ.pop(name, None)
    rows = measured(options.quick)
    print(table(rows))
    if not options.quick:
        measure.write("language", {"rows": rows}, table(rows), options.out)


if __name__ == "__main__":
    main()
