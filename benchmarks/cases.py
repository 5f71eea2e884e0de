"""The cases of `fast_path.py`, as data: by name, contestants that are built, checked and timed when they are called.

A case is a function from `full` to a dict of contestants. A contestant is called with its number of threads, in a
process of its own, and yields (title, seconds per row and call, further facts).
"""

from functools import partial

import measure
import numpy as np
import rivals
from numba import njit

import fffref
from fffref import DenseFF, LeafFFF, PathFFF
from fffref.fast import kernels
from fffref.layers.record import aligned
from fffref.training import compiled_steps  # noqa: F401 (all contestants' optimisers are the compiled ones)
from fffref.training.optim import SGD, Adam

WIDTH, DEPTH = 768, 11  # UltraFastBERT-1x11: 4095 neurons stored, 12 engaged
NAME = f"PathFFF {WIDTH}/4095/12"
SEED = 0


def layer_and_rows(n, depth=DEPTH, n_trees=1):
    """A layer, and random rows, all different: the same in every process."""
    rng = np.random.default_rng(SEED)
    layer = PathFFF.init(rng, n_in=WIDTH, n_out=WIDTH, depth=depth, n_trees=n_trees)
    return layer, aligned(rng.standard_normal((n, WIDTH), dtype=np.float32))


def check(call, truth, x):
    """The reference's answers, to float32's rounding; an output of zeros fails."""
    expected = truth.forward_hard(x)
    np.testing.assert_allclose(call(x), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def each(call, x, batch):
    """A function that calls `call` on one batch of `x` after the other; batch 1 is a sample without axis."""
    parts = [x[first : first + batch] if batch > 1 else x[first] for first in range(0, len(x), batch)]

    def run():
        for part in parts:
            call(part)

    return run


def seconds_a_row(call, n, **options):
    """Seconds per row of calls on `n` rows."""
    return [seconds / n for seconds in measure.samples(call, **options)]


# ---------------------------------------------------------------------- who computes, and what it has to compute

CONDITIONAL = {"fffref.jit": lambda layer, threads: fffref.jit(layer, threads).warm_up()}


def into_an_array(layer, threads):
    """`fffref.jit` with `out=`: no fresh memory, which costs a page fault for every 4 KiB."""
    fast, arrays = fffref.jit(layer, threads).warm_up(), {}

    def call(x):
        if x.shape not in arrays:  # not `setdefault`, which would make an array for every call
            arrays[x.shape] = aligned(np.empty_like(x))
        return fast(x, out=arrays[x.shape])

    return call


INTO = {"fffref.jit, out=": into_an_array}
DENSE = {
    "two bare GEMMs, NumPy": lambda layer, threads: rivals.bare_gemms(layer),
    "dense, NumPy's GEMM and a compiled GELU": lambda layer, threads: fffref.jit(rivals.dense_twin(layer), threads),
    "dense, NumPy and SciPy": lambda layer, threads: rivals.numpy_dense(layer),
}
if rivals.AVAILABLE["torch"]:
    DENSE["dense, PyTorch"] = lambda layer, threads: rivals.torch_dense(layer)
GATHER = (
    {"gather + bmm, PyTorch": lambda layer, threads: rivals.torch_gather(layer)} if rivals.AVAILABLE["torch"] else {}
)


def truth_of(name, layer):
    """The layer whose answers a contestant has to give."""
    if "bare" in name:
        return rivals.without_activation(layer)
    return rivals.dense_twin(layer) if name.startswith("dense") else layer


def batches(full):
    """PathFFF against dense and gathered, by batch size."""
    sizes = (2, 8, 64, 256, 1024, 4096, 16384) if full else (8, 64, 256, 1024, 16384)

    def contestant(name, make, threads):
        for batch in sizes:
            if name in GATHER and batch > 1024:  # its gathered weights take gigabytes
                continue
            layer, x = layer_and_rows(max(batch, 256))
            call = make(layer, threads)
            check(call, truth_of(name, layer), x[:64])
            slow = not name.startswith("fffref") and batch > 1024
            yield f"{NAME}, batch {batch}", seconds_a_row(each(call, x, batch), len(x), least=1 if slow else 5), {}

    return {name: partial(contestant, name, make) for name, make in (DENSE | GATHER | CONDITIONAL | INTO).items()}


def bfloat16(full):
    """PathFFF with weights in bfloat16, against the same in float32 and against dense bfloat16."""
    sizes = (256, 1024, 4096, 16384)
    makes = {"fffref.jit": CONDITIONAL["fffref.jit"], "fffref.jit, bfloat16": rounded}
    if rivals.AVAILABLE["torch"]:
        makes["dense, PyTorch, bfloat16"] = lambda layer, threads: rivals.torch_dense(layer, "bfloat16")

    def contestant(name, make, threads):
        for batch in sizes:
            layer, x = layer_and_rows(batch)
            call = make(layer, threads)
            if not name.startswith("dense"):  # rounded choices may differ where they are close: those rows are counted
                same = (call.route(x) == fffref.jit(layer).route(x)).all((1, 2))
                np.testing.assert_allclose(call(x)[same], layer.forward_hard(x[same]), rtol=0, atol=0.05)
                more = {"rerouted": 1 - float(same.mean())}
            else:
                np.testing.assert_allclose(call(x[:64]), rivals.dense_twin(layer).forward_hard(x[:64]), rtol=0, atol=1)
                more = {}
            least = 1 if name.startswith("dense") and batch > 1024 else 5
            title = f"{NAME}, weights in bfloat16, batch {batch}"
            yield title, seconds_a_row(each(call, x, batch), len(x), least=least), more

    return {name: partial(contestant, name, make) for name, make in makes.items()}


def rounded(layer, threads):
    """`fffref.jit` with weights rounded to bfloat16."""
    return fffref.jit(layer, threads).bfloat16().warm_up()


def after_gemm(full):
    """PathFFF right after a GEMM with all threads in the same process, as inside a model: the call alone is timed."""

    def contestant(name, make, threads):
        for batch in (256, 1024):
            layer, x = layer_and_rows(batch)
            call, other = make(layer, threads), np.ones((1024, 1024), np.float32)
            call(x)
            times = measure.in_turn({"gemm": lambda other=other: other @ other, name: lambda c=call, x=x: c(x)}, 40)
            yield f"{NAME}, batch {batch}, right after a GEMM", (times[name] / batch).tolist(), {}

    return {name: partial(contestant, name, make) for name, make in CONDITIONAL.items()}


# ---------------------------------------------------------------------- one sample


@njit
def one_by_one(weights, x, y):
    """Samples one at a time, without Python's overhead."""
    for i in range(len(x)):
        kernels.cmm(weights, x[i], y[i])


@njit
def one_by_one_by_level(weights, x, y):
    """The same, by a dot and an axpy a level."""
    for i in range(len(x)):
        kernels.cmm_by_level(weights, x[i], y[i])


def compiled_loop(loop, layer, threads):
    """A function from rows to outputs, in a compiled loop."""
    weights = fffref.jit(layer).weights

    def run(x):
        y = np.empty((len(x), WIDTH), np.float32)
        loop(weights, x, y)
        return y

    return run


def one_sample(full):
    """Batch 1, warm: rows change from call to call."""

    def contestant(name, make, whole, threads):
        layer, x = layer_and_rows(256)
        x = x if "dense" not in name and "bare" not in name else x[:16]
        call = make(layer, threads)
        check(call, truth_of(name, layer), x[:8])
        one = name.startswith(("fffref", "dense, our"))
        run = (lambda: call(x)) if whole else each(call if one else lambda row: call(row[None]), x, 1)
        yield f"{NAME}, batch 1, warm", seconds_a_row(run, len(x), least=9), {}

    python = DENSE | GATHER | {"fffref.jit, called from Python": CONDITIONAL["fffref.jit"]}
    python["dense, our compiled loop"] = python.pop("dense, NumPy's GEMM and a compiled GELU")
    loops = {
        "fffref, compiled loop": partial(compiled_loop, one_by_one),
        "fffref, compiled loop, dot and axpy a level": partial(compiled_loop, one_by_one_by_level),
    }
    every = {name: (make, False) for name, make in python.items()} | {name: (m, True) for name, m in loops.items()}
    return {name: partial(contestant, name, make, whole) for name, (make, whole) in every.items()}


LAYERS = 16  # 400 MB: more than any cache here holds


@njit
def through_layers(in_weight, in_bias, out_weight, x, y):
    """One sample after the other through other layers: each layer's weights are cold, the code is warm."""
    for i in range(len(x)):
        n = i % len(in_weight)
        kernels.cmm(kernels.PathWeights(in_weight[n], in_bias[n], out_weight[n], 1, kernels.GELU), x[i], y[i])


@njit
def through_dense_layers(in_weight, in_bias, out_weight, x, y):
    """The same, dense."""
    none = np.zeros(y.shape[1], y.dtype)
    for i in range(len(x)):
        n = i % len(in_weight)
        weights = kernels.DenseWeights(in_weight[n], in_bias[n], out_weight[n], none, kernels.GELU)
        kernels.dense_one(weights, x[i], y[i])


def cold_sample(full):
    """Batch 1 through more layers than the caches hold, in a compiled loop."""

    def contestant(name, loop, n, threads):
        rng = np.random.default_rng(SEED)
        layers = [PathFFF.init(rng, WIDTH, WIDTH, DEPTH) for _ in range(LAYERS)]
        stacks = [aligned(np.stack([getattr(layer, field)[0] for layer in layers])) for field in PathFFF.SHAPES]
        x = rng.standard_normal((n, WIDTH), dtype=np.float32)
        y = np.empty_like(x)
        loop(*stacks, x, y)
        for i in range(2):
            check(lambda rows, i=i: y[i : i + 1], truth_of(name, layers[i]), x[i : i + 1])
        yield f"{NAME}, batch 1, cold", seconds_a_row(lambda: loop(*stacks, x, y), n, least=9), {}

    contestants = {"dense, our compiled loop": (through_dense_layers, 32), "fffref.jit": (through_layers, 1024)}
    return {name: partial(contestant, name, loop, n) for name, (loop, n) in contestants.items()}


# ---------------------------------------------------------------------- shapes, leaves, training


def shapes(full):
    """K trees by depth D, about 4095 neurons each time: what a row costs, alone and in a batch."""
    grid = [(2**k, DEPTH - k) for k in range(0, DEPTH)]

    def contestant(name, threads):
        for n_trees, depth in grid if full else grid[:8:2] + grid[-1:]:
            layer, x = layer_and_rows(1024, depth, n_trees)
            fast = fffref.jit(layer, threads).warm_up()
            check(fast, layer, x[:64])
            facts = {"neurons_stored": layer.neurons_stored, "neurons_engaged": layer.neurons_engaged}
            for batch in (1, 1024):
                rows = x[:128] if batch == 1 else x
                title = f"PathFFF {n_trees} x {depth}, {layer.neurons_engaged} of {layer.neurons_stored}, batch {batch}"
                yield title, seconds_a_row(each(fast, rows, batch), len(rows), seconds=0.2), facts

    return {"fffref.jit": partial(contestant, "fffref.jit")}


def depths(full):
    """Cost against depth at one width; distinct rows, and one row over and over, which shares one path."""

    def contestant(name, threads):
        for depth in range(5, 17) if full else range(5, 17, 2):
            layer, x = layer_and_rows(2048, depth)
            x = x if name == "distinct rows" else np.repeat(x[:1], len(x), axis=0)
            facts = {"depth": depth, "levels": depth + 1, "neurons": layer.neurons_stored}
            if name.startswith("two bare"):
                if depth > 12:
                    return
                call, x = rivals.bare_gemms(layer), x[:256]
            else:
                call = fffref.jit(layer, threads)
            yield (
                f"PathFFF depth {depth}, batch 2048",
                seconds_a_row(lambda c=call, x=x: c(x), len(x), seconds=0.2),
                facts,
            )

    names = ("two bare GEMMs, NumPy", "distinct rows", "one path for all")
    return {name: partial(contestant, name) for name in names}


def leaves(full):
    """LeafFFF, hard, against a dense net of its training width."""

    def contestant(name, threads):
        for depth in (4, 7, 10) if full else (7,):
            rng = np.random.default_rng(SEED)
            layer, dense = LeafFFF.init(rng, 784, 10, depth, 8), DenseFF.init(rng, 784, 10, 2**depth * 8)
            layer.leaf_out_bias[...] = 0  # the published package forgets it
            for batch in (1, 4096):
                x = rng.standard_normal((max(batch, 64), 784), dtype=np.float32)
                makes = {"dense, NumPy": dense.forward_hard, "dense, our compiled one": fffref.jit(dense, threads),
                         "fffref, NumPy": layer.forward_hard, "fffref.jit": fffref.jit(layer, threads)}  # fmt: skip
                if name == "fastfeedforward 0.2.1":
                    makes[name] = rivals.published_leaf(layer)
                call = makes[name]
                check(call, dense if name.startswith("dense") else layer, x[:64])
                run = each(call if "jit" in name or "our" in name else lambda r, c=call: c(np.atleast_2d(r)), x, batch)
                title = f"LeafFFF 784/10, depth {depth}, leaf width 8, batch {batch}"
                yield title, seconds_a_row(run, len(x)), {}

    names = ["dense, NumPy", "dense, our compiled one", "fffref, NumPy", "fffref.jit"]
    names += ["fastfeedforward 0.2.1"] if rivals.AVAILABLE["fastfeedforward"] else []
    return {name: partial(contestant, name) for name in names}


def training_step(full):
    """Forward, backward and optimiser of PathFFF, batch 256, from the same weights."""
    optimizers = {"SGD": SGD(), "Adam": Adam()}

    def contestant(name, threads):
        layer, x = layer_and_rows(512)
        x, dy = x[:256], x[256:] / 100
        for label, optimizer in optimizers.items():
            model, state = layer.aligned(), optimizer.init(layer)
            step = makes[name](model, threads, x, dy)
            run = rivals.training(step, model, optimizer, state)
            title = f"{NAME}, training step, batch 256, {label}"
            yield title, seconds_a_row(run, 256, least=9), {}

    makes = {
        "dense and masked, NumPy's GEMM and a compiled GELU": (
            lambda layer, threads, x, dy: rivals.masked_step(layer, x, dy)
        ),
        "fffref, NumPy": lambda layer, threads, x, dy: rivals.conditional_step(layer, x, dy),
        "fffref.jit": lambda layer, threads, x, dy: rivals.conditional_step(fffref.jit(layer, threads), x, dy),
    }
    return {name: partial(contestant, name) for name in makes}


def weights_touched():
    """The share of neurons that a batch engages, for a tree and for the 5 % of largest logits; no time is measured."""
    layer, x = layer_and_rows(1024)
    fast = fffref.jit(layer)
    path = fast.route(x)[:, 0]  # (B, 12)
    logit = x @ layer.in_weight[0].T + layer.in_bias[0]
    k = round(0.05 * layer.neurons_stored)
    top = np.argpartition(-logit, k, axis=1)[:, :k]
    for batch in 2 ** np.arange(11):
        shares = {
            name: len(np.unique(chosen[:batch])) / layer.neurons_stored
            for name, chosen in (("tree", path), ("top", top))
        }
        yield {"touched": int(batch), **shares}


CASES = (batches, bfloat16, after_gemm, one_sample, cold_sample, shapes, depths, leaves, training_step)
THREADS = {"batches": (1, 2), "after_gemm": (1, 2), "training_step": (1, 2)}  # the others: 1
