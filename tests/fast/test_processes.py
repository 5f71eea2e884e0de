"""Kernels in other modes, other processes, and after a fork, a copy, a pickle."""

import copy
import hashlib
import multiprocessing
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import cases
import joblib
import numpy as np
import pytest

import fffref
from fffref import LeafFFF
from fffref.fast import decoding, kernels, top_leaves
from fffref.layers import tree

WHOLE = """
import numpy as np, fffref, sys
sys.path.insert(0, {tests!r})
import cases
rng = np.random.default_rng(0)
for kind in cases.KINDS:
    for dtype in (np.float32, np.float64):
        for depth in (0, 1, 3):
            layer = cases.make(kind, rng, 5, 3, depth, 2, dtype=dtype)
            fast = fffref.jit(layer, 2)
            for x in (rng.standard_normal((170, 5)), np.full((3, 5), np.nan), np.zeros((0, 5))):
                x = x.astype(dtype)
                with np.errstate(all="ignore"):
                    np.testing.assert_allclose(fast(x), layer.forward_hard(x), rtol=1e-4, atol=1e-5)
                    assert np.array_equal(fast.route(x), layer.route(x))
                    if kind == "PathFFF":
                        y, tape = fast.forward(x)
                        ours, theirs = fast.backward(tape, y)[0], layer.backward(tape, y)[0]
                        np.testing.assert_allclose(ours.in_weight.dense(), theirs.in_weight, rtol=1e-3, atol=1e-5)
            fast(np.zeros(5, dtype))
"""


@pytest.mark.parametrize("mode", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_kernels_are_valid_python_and_stay_in_bounds(mode, tmp_path):
    code = WHOLE.format(tests=str(pathlib.Path(__file__).parents[1]))
    environment = os.environ | {mode: "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_second_process_compiles_nothing(tmp_path):
    code = """
import numpy as np, fffref
from fffref.fast import kernels
layer = fffref.PathFFF.init(np.random.default_rng(0), 5, 3, 2)
fffref.jit(layer).warm_up()
stats = [kernel.stats for name, kernel in vars(kernels).items() if name.endswith("_jit")]
print(sum(sum(s.cache_hits.values()) for s in stats), sum(sum(s.cache_misses.values()) for s in stats))
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def run():
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return tuple(map(int, done.stdout.split()))

    (_, first_misses), (hits, misses) = run(), run()
    assert first_misses > 3 and hits > 3 and misses == 0


def test_every_kernel_has_its_plain_function():
    compiled = [name for name in vars(kernels) if name.endswith("_jit")]
    assert len(compiled) > 10
    for name in compiled:
        assert callable(getattr(kernels, name.removesuffix("_jit"))), name


def test_paths_of_all_depths_end_at_the_right_leaf(rng):
    """Every leaf of a tree is reached: nodes that send right exactly where the leaf's number has a 1."""
    for depth in range(1, 6):
        for leaf in range(2**depth):
            nodes, rights = tree.path(leaf, depth)
            layer = LeafFFF.init(rng, 1, 1, depth, 1)
            weight = np.zeros((2**depth - 1, 1), np.float32)
            weight[nodes, 0] = np.where(rights, 1, -1)
            layer = replace(layer, node_weight=weight, node_bias=0 * layer.node_bias)
            assert fffref.jit(layer).route(np.ones(1, np.float32)) == leaf


# ---------------------------------------------------------------------- forks, copies, pickles

kinds = pytest.mark.parametrize("kind", cases.KINDS)
FORKED = """
import os, sys, warnings
import numpy as np, fffref
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads: that is the case here
layer = fffref.PathFFF.init(np.random.default_rng(0), 33, 17, 5)
x = np.random.default_rng(1).standard_normal((900, 33), np.float32)
fast = fffref.jit(layer, 3)
expected = fast(x)  # the threads are there now
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(fast(x), expected) and np.array_equal(fast(x), expected) else 7)
assert np.array_equal(fast(x), expected)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_threads_work_in_a_forked_child():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def answer(fast, x):
    """Called in another process."""
    return fast(x)


def test_a_spawned_child_takes_it(rng):
    fast = fffref.jit(cases.make("PathFFF", rng, 33, 17, 5, 1), 2)
    x = rng.standard_normal((300, 33))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        np.testing.assert_array_equal(pool.submit(answer, fast, x).result(), fast(x))


def test_joblib_takes_it(rng):
    """In processes, large arrays arrive mapped and read-only; in threads, it is the same object."""
    fast = fffref.jit(cases.make("PathFFF", rng, 33, 17, 8, 4), 2)
    x = rng.standard_normal((300, 33))
    for backend in ("loky", "threading"):
        answers = joblib.Parallel(2, backend=backend, max_nbytes=1000)(
            joblib.delayed(answer)(fast, x) for _ in range(3)
        )
        for y in answers:
            np.testing.assert_array_equal(y, fast(x))


@kinds
@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda fast: pickle.loads(pickle.dumps(fast))])
def test_a_copy_shares_the_weights_of_its_own_layer(kind, copied, rng):
    fast = fffref.jit(cases.make(kind, rng, 33, 17, 3), 2)
    x = rng.standard_normal((300, 33))
    y = fast(x)
    other = copied(fast)
    assert type(other) is type(fast) and other.threads == 2
    np.testing.assert_allclose(other(x), y, rtol=1e-12, atol=1e-13)
    for array in other.layer.arrays().values():
        array *= -1.5
    np.testing.assert_allclose(other(x), other.layer.forward_hard(x), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(other(x[0]), other.layer.forward_hard(x[0]), rtol=1e-11, atol=1e-12)
    if copied is not copy.copy:
        np.testing.assert_array_equal(fast(x), y)


# ---------------------------------------------------------------------- no folder to write to, another llvmlite


def test_without_any_cache_folder_it_computes_and_warns_once(tmp_path):
    """Files stand where the folders should be, for a test may run as root, whom no permission stops."""
    package = tmp_path / "site" / "fffref"
    ignored = shutil.ignore_patterns("__pycache__", "data", "formats", "experiments", "conformance")
    shutil.copytree(pathlib.Path(fffref.__file__).parent, package, ignore=ignored)
    (package / "fast" / "__pycache__").write_text("in the way")
    home = tmp_path / "home"
    home.write_text("in the way")
    code = """
import warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fffref
    from fffref.fast import decoding, gelu, lookup, top_leaves, updates  # all kernels are compiled in one way
    layer = fffref.PathFFF.init(np.random.default_rng(0), 5, 3, 2)
    x = np.ones((2, 5), np.float32)
    np.testing.assert_allclose(fffref.jit(layer)(x), layer.forward_hard(x), rtol=1e-4)
print(fffref.__file__)
print([str(w.message) for w in caught])
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "XDG"))}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONPATH": str(package.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    place, warned = done.stdout.splitlines()
    assert str(package) in place and warned.count("set NUMBA_CACHE_DIR") == 1, warned


def test_another_llvmlite_costs_the_hint_and_nothing_else():
    """`prefetch` is only a hint: if llvmlite's interface has changed, kernels compile without it."""
    code = """
import numpy as np
from llvmlite import ir
def gone(*_, **__): raise AttributeError("declare_intrinsic has moved")
ir.Module.declare_intrinsic, kept = gone, ir.Module.declare_intrinsic
import numba
from fffref.fast import registers
def ask(x):
    registers.prefetch(x, 0, 0, x.shape[1])
    return x[0, 0]
try:
    print(numba.njit(ask)(np.ones((2, 40))))
finally:
    ir.Module.declare_intrinsic = kept
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "1.0\n", done.stderr[-2000:]


def test_the_cache_of_kernels_knows_what_they_are_made_of():
    """Numba looks at the text of `kernels.py` alone: whoever edits one of the others writes the new digest there."""
    folder = pathlib.Path(kernels.__file__).parent
    text = b"".join((folder / name).read_bytes() for name in ("registers.py", "instructions.py"))
    assert kernels.REGISTERS == hashlib.sha256(text).hexdigest()[:12]
    text += (folder / "kernels.py").read_bytes()
    assert decoding.KERNELS == top_leaves.KERNELS == hashlib.sha256(text).hexdigest()[:12]
