"""What this machine can do, and whether it is free to: printed before any ratio.

    python benchmarks/roofline.py

The kernel that BLAS runs, FLOPs per second of a large GEMM, bytes per second of each cache and of memory, one thread;
and whether a second thread finds a second core.
"""

import json
import sys
import threading

import measure
import numpy as np
from numba import njit

from fffref.fast import kernels
from fffref.layers.record import aligned

WIDTH = 768
SIZES = {"L1": 2**14, "L2": 2**19, "L3": 2**23, "memory": 2**28}  # bytes that are read over and over
# What OpenBLAS calls its kernels for processors with AVX-512
WIDE_KERNELS = ("SkylakeX", "Cooperlake", "SapphireRapids", "Zen")


@njit(nogil=True)
def read_rows(rows, x, repeats):
    """One dot product a row, as CMM does: `x` stays in the nearest cache, the rows come from where they are."""
    total = x.dtype.type(0)
    for _ in range(repeats):
        for i in range(len(rows)):
            total += kernels.dot(rows[i], x)
    return total


def roofs():
    """Rows of the result: bytes read per second from each cache, FLOPs of a large GEMM, the kernel that BLAS runs."""
    rng = np.random.default_rng(0)
    x, rows = aligned(rng.standard_normal(WIDTH, np.float32)), []
    for name, size in SIZES.items():
        data = aligned(rng.standard_normal((size // (4 * WIDTH), WIDTH), np.float32))
        repeats = max(1, 2**26 // size)
        times = np.array(measure.samples(lambda data=data, n=repeats: read_rows(data, x, n), 0.3))
        rows.append({"roof": name, "bytes_per_second": measure.quartiles(repeats * data.nbytes / times)})
    a = rng.standard_normal((1536, 1536), np.float32)
    times = np.array(measure.samples(lambda: a @ a, 0.5))
    rows.append({"roof": "sgemm", "flops_per_second": measure.quartiles(2 * 1536**3 / times)})
    rows[-1]["blas_kernel"] = measure.blas_kernel()
    rows.append({"roof": "second core", "slower": second_core(rows)})
    return rows


def second_core(_):
    """How many times as long two threads take for one thread's work each: 1 if a second core is free, 2 if none is."""
    data = aligned(np.ones((100, WIDTH), np.float32))
    work = lambda: read_rows(data, data[0], 2000)  # noqa: E731
    alone = np.median(measure.samples(work, 0.3))

    def both():
        other = threading.Thread(target=work)
        other.start()
        work()
        other.join()

    return float(np.median(measure.samples(both, 0.3)) / alone)


def warnings_of(rows, vectors):
    """Sentences on what makes this a bad moment or a bad set-up to measure in."""
    of = {row["roof"]: row for row in rows}
    if of["second core"]["slower"] > 1.25:
        yield f"the second core is busy: two threads take {of['second core']['slower']:.2f} times as long as one"
    kernel = of["sgemm"]["blas_kernel"]
    if kernel is None:
        yield "which kernel BLAS runs is unknown: pip install threadpoolctl"
    elif vectors == "avx512f" and kernel not in WIDE_KERNELS:
        yield f"BLAS runs its {kernel} kernels on a processor with AVX-512: the dense side is slower than it could be"


def text(rows, vectors):
    """The roofs as lines to print."""
    of = {row["roof"]: row for row in rows}
    speeds = ", ".join(f"{name} {of[name]['bytes_per_second']['median'] / 1e9:.0f}" for name in SIZES)
    gemm, kernel = of["sgemm"]["flops_per_second"]["median"] / 1e9, of["sgemm"]["blas_kernel"] or "unknown"
    lines = [f"BLAS kernel {kernel}; large GEMM {gemm:.0f} GFLOP/s; reading, GB/s: {speeds} (one thread)"]
    return "\n".join(lines + [f"WARNING: {sentence}" for sentence in warnings_of(rows, vectors)])


def measured():
    """The roofs, measured in a child with an unhindered BLAS, and the text."""
    rows = measure.in_child(__file__, ["--child"], 1)
    return rows, text(rows, measure.machine()["processor"].split()[-1])


if __name__ == "__main__":
    print(json.dumps(roofs()) if "--child" in sys.argv else measured()[1])
