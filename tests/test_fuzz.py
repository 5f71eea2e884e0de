"""Bad input to public functions: refused with a message, or computed; never another exception, never a hang.

Every function is called with good arguments of which one or two are replaced by something absurd, drawn from a fixed
seed; a TypeError of Python's own, such as for an argument too many, counts as ours only if it has a message. The
counts are printed (pytest -rP).
"""

import contextlib
import functools
import os
import signal
import warnings
from collections import Counter

import cases
import numpy as np
import pytest

import fffref
from fffref import DenseFF, LeafFFF, MoE, PathFFF, counting, datasets, files
from fffref.counting import presets
from fffref.counting.transformers import Published, Transformer
from fffref.formats import checkpoints, fastfeedforward, safetensors, ultrafastbert
from fffref.models.bert import Bert
from fffref.training import losses, optim, recipes, schedules

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an alarm")
SECONDS = 20  # a call that takes longer hangs
CALLS = 60  # of each function


class Hang(BaseException):
    """A call took too long."""


@contextlib.contextmanager
def alarm(seconds):
    def ring(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def absurd(rng):
    """Values that nobody should pass, a fresh list."""
    floats = rng.standard_normal((2, 3)).astype(np.float32)
    return [
        None, True, False, 0, -1, 1, 2, 2.5, -0.0, float("nan"), float("inf"), 2**70, -(2**70), 10**400, 1j, "", "x",
        "x" * 5000, "\0", "../x", "~nobody-of-this-name", b"bytes", [], (), {}, set(), object(), type, len, ...,
        slice(3), [1, [2]], {"a": 1}, np.float32(0.5), np.int64(3), np.bool_(True), np.datetime64("2020"), np.array(3),
        np.array(None), np.zeros(0), np.zeros((0, 3), np.float32), floats, floats.astype(">f4"),
        floats.astype(np.float16), floats.astype(np.int32), floats.astype(str), floats.astype(object),
        floats.astype(np.complex64), floats * np.nan, np.ma.masked_array(floats, floats > 0), np.asmatrix(floats),
        floats[:, ::-1], np.zeros((1,) * 20, np.float32),
        np.zeros(2, [("a", "f4")]), np.random.default_rng(0), np.random.RandomState(0), range(3), iter([1]),
    ]  # fmt: skip


def functions(rng, folder):
    """Name: a function and good arguments for it, by name."""
    x = rng.standard_normal((5, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1])
    sizes = {"rng": rng, "n_in": 4, "n_out": 3, "depth": 2, "activation": "gelu", "dtype": np.float32}
    layers = {
        "LeafFFF": (LeafFFF, sizes | {"leaf_width": 2}),
        "PathFFF": (PathFFF, sizes | {"n_trees": 2}),
        "DenseFF": (DenseFF, {k: v for k, v in sizes.items() if k != "depth"} | {"width": 5}),
    }
    calls = {
        "MoE": (
            MoE,
            cases.make("MoE", rng, n_in=4, n_out=3, dtype=np.float32).arrays() | {"k": 2, "activation": "relu"},
        )
    }
    for name, (cls, arguments) in layers.items():
        layer = cls.init(**arguments)
        y, tape = layer.forward(x)
        fast = fffref.jit(layer)
        calls |= {
            f"{name}.init": (cls.init, arguments), name: (cls, layer.arrays() | {"activation": "relu"}),
            f"{name}.forward": (layer.forward, {"x": x}), f"{name}.forward_hard": (layer.forward_hard, {"x": x}),
            f"{name}.backward": (functools.partial(layer.backward, tape), {"dy": y}),
            f"{name}.astype": (layer.astype, {"dtype": "f8"}),
            f"{name} compiled": (fast, {"x": x, "out": np.empty_like(y)}),
            f"jit {name}": (fffref.jit, {"layer": layer, "threads": 1}),
        }  # fmt: skip
        if hasattr(layer, "route"):
            calls[f"{name}.route"] = (layer.route, {"x": x})
    calls |= {
        "cross_entropy": (losses.cross_entropy, {"logits": x, "labels": labels}),
        "mean_squared_error": (losses.mean_squared_error, {"y": x, "target": x}),
        "node_entropy": (losses.node_entropy, {"logit": x, "reduction": "mean"}),
        "leaf_balance": (losses.leaf_balance, {"mixture": np.full((5, 4), 0.25)}),
        "switch_balance": (losses.switch_balance, {"mixture": np.full((5, 4), 0.25)}),
        "SGD": (optim.SGD, {"momentum": 0.5}), "Adam": (optim.Adam, {}),
        "Recipe": (recipes.Recipe, {"epochs": 2, "batch_size": 3, "optimizer": optim.SGD(), "learning_rate": 0.1}),
        "Linear": (schedules.Linear, {"start": 1.0, "end": 0.0}), "OneCycle": (schedules.OneCycle, {"peak": 0.1}),
        "Step": (schedules.Step, {"before": 1.0, "after": 0.0, "at": 0.5}),
    }  # fmt: skip
    return calls | counts() | of_files(rng, folder)


def counts():
    """Of `counting`."""
    work = counting.Work(1, 2)
    ff = counting.dense_ff(12, 12, 20)
    return {
        "count dense_ff": (counting.dense_ff, {"n_in": 3, "n_out": 2, "width": 4, "gated": True}),
        "count leaf_fff": (counting.leaf_fff, {"n_in": 3, "n_out": 2, "depth": 2, "leaf_width": 2}),
        "count path_fff": (counting.path_fff, {"n_in": 3, "n_out": 2, "depth": 2, "n_trees": 2}),
        "count moe": (counting.moe, {"n_in": 3, "n_out": 2, "experts": 4, "k": 2, "expert_width": 3, "noisy": True}),
        "count of": (counting.of, {"layer": DenseFF.init(np.random.default_rng(0), 3, 2, 2)}),
        "amdahl": (counting.amdahl, {"share": 0.5, "factor": 2.0}), "itemsize": (counting.itemsize, {"dtype": "int8"}),
        "Work": (counting.Work, {"multiply_adds": 1, "elementwise": 2}), "Work times": (work.__mul__, {"times": 2}),
        "speed_up": (ff.speed_up, {"width": 3}), "bytes_stored": (ff.bytes_stored, {"dtype": "float32"}),
        "Published": (Published, {"parameters": 1, "unit": 1, "source": "x", "extra": 0}),
        "Transformer": (Transformer, {
            "layers": 2, "width": 12, "heads": 4, "vocabulary": 11, "ff": ff, "kv_heads": 2, "head_width": 3,
            "causal": True, "window": 3, "positions": 2, "further": 1, "norm": "rms", "head": "tied", "qkv_bias": True,
        }),
        "multiply_adds": (presets.get("bert-base").multiply_adds, {"context": 3, "new": 1}),
        "model speed_up": (presets.get("gpt-3").speed_up, {"factor": 2.0, "context": 3, "new": 1}),
        "crossover": (presets.get("gpt-3").crossover, {"projections": True, "new": 1}),
        "preset": (presets.get, {"name": "gpt-3"}),
    }  # fmt: skip


def of_files(rng, folder):
    """Of `files`, `datasets`, `formats` and what they make."""
    layer, path = LeafFFF.init(rng, 3, 2, 1, 2), folder / "layer.safetensors"
    checkpoints.save(path, layer)
    arch = ultrafastbert.Arch(layers=1, hidden=4, heads=2, vocabulary=5, max_length=6, depth=1)
    tensors = ultrafastbert.draw(rng, arch)
    ultrafastbert.save(folder / "bert", arch, tensors)
    bert, out = Bert.of(arch, tensors), folder / "out"
    (folder / "idx").write_bytes(b"\0\0\x08\x01\0\0\0\x02ab")
    module = ultrafastbert.module(PathFFF.init(rng, 3, 2, 1))
    return {
        "writable": (files.writable, {"path": out / "a"}), "folder": (files.folder, {"path": out}),
        "load data": (datasets.load, {"name": "mnist", "folder": folder, "progress": False}),
        "read_idx": (datasets.read_idx, {"path": folder / "idx"}), "mapped": (safetensors.mapped, {"path": path}),
        "write": (safetensors.write, {"path": out / "b", "tensors": {"a": np.zeros(3)}, "metadata": {"a": "b"}}),
        "save": (checkpoints.save, {"path": out / "c", "layer": layer, "state": (layer,), "info": {"a": 1}}),
        "load": (checkpoints.load, {"path": path, "kind": LeafFFF}),
        "leaf_fff": (fastfeedforward.leaf_fff, {
            "tensors": fastfeedforward.fastfeedforward(layer), "activation": "relu", "prefix": ""}),
        "path_fff": (ultrafastbert.path_fff, {"tensors": module, "n_trees": 1, "activation": "gelu", "prefix": ""}),
        "Arch": (ultrafastbert.Arch, {
            "layers": 1, "hidden": 4, "heads": 2, "vocabulary": 5, "max_length": 6, "n_trees": 1, "depth": 1,
            "eps": 0.1}),
        "Arch.of": (ultrafastbert.Arch.of, {"config": arch.config(), "vocabulary": 5}),
        "draw": (ultrafastbert.draw, {"rng": rng, "arch": arch, "dtype": "f4"}),
        "load model": (ultrafastbert.load, {"folder": folder / "bert"}),
        "ff_layer": (ultrafastbert.ff_layer, {"arch": arch, "tensors": tensors, "number": 0}),
        "Bert": (bert, {"ids": np.array([1, 2, 3]), "mask": np.array([1, 1, 0])}),
        "Bert.load": (Bert.load, {"folder": folder / "bert", "fast": False, "threads": 1}),
    }  # fmt: skip


def outcome(function, arguments):
    """How a call ends: "computed", "refused", or what is wrong with it."""
    try:
        with alarm(SECONDS):
            function(**arguments)
        return "computed"
    except (TypeError, ValueError) as error:
        return "refused" if str(error) else f"{type(error).__name__} without a message"
    except MemoryError:
        return "refused"
    except (Hang, Exception) as error:
        return f"{type(error).__name__}: {error}"[:200]


def shown(arguments):
    return ", ".join(f"{name}={value!r:.60}" for name, value in arguments.items())


@pytest.mark.filterwarnings("ignore")
def test_bad_input_is_refused_with_a_message_or_computed(rng, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("FFFREF_DATA", "FFFREF_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(datasets, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(datasets, "MIRRORS", dict.fromkeys(datasets.MIRRORS, ("http://127.0.0.1:1",)))
    counts, wrong = Counter(), {}
    for name, (function, good) in functions(rng, tmp_path).items():
        for _ in range(CALLS):
            chosen = rng.choice(list(good), size=min(len(good), int(rng.integers(1, 3))), replace=False) if good else []
            bad = {key: absurd(rng)[int(rng.integers(len(absurd(rng))))] for key in chosen}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                end = outcome(function, good | bad)
            counts[end if end in ("computed", "refused") else "wrong"] += 1
            if end not in ("computed", "refused"):
                wrong.setdefault(f"{name}: {end}", shown(bad))
    print("bad input:", dict(counts), "to", len(functions(rng, tmp_path)), "functions")
    assert not wrong, "\n".join(f"{end}, for {bad}" for end, bad in sorted(wrong.items()))
    assert counts["refused"] > counts["computed"] > 0
    assert not os.path.exists(tmp_path / "~nobody-of-this-name")
