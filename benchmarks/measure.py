"""How this project times: in turn, median and quartiles, ratios of neighbours, and the machine beside the result."""

import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from importlib import metadata

import numpy as np

import fffref
from fffref import files

RESULTS = pathlib.Path(__file__).parent / "results"
# Some environments set these as a precaution for old builds; they make NumPy's GEMM run kernels for older processors,
# at half the speed here, and so would double every ratio.
HINDRANCES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def in_turn(contestants, repeats, warm=0.0, before=None, uncounted=2):
    """Call functions one after the other, round after round: a slow moment of the machine hits them all.

    Parameters
    ----------
    contestants : dict of str to callable
    repeats : int
        Rounds, after those that are not counted.
    warm : float
        Seconds that each one runs untimed before it is timed: its weights are in the caches again.
    before : callable, optional
        Called, untimed, before each timed call, for instance to empty the caches.
    uncounted : int
        Rounds before the first that counts.

    Returns
    -------
    dict of str to ndarray (repeats,)
        Seconds.
    """
    times = {name: np.empty(repeats) for name in contestants}
    for i in range(-uncounted, repeats):
        for name, call in contestants.items():
            ready = time.perf_counter() + warm
            while time.perf_counter() < ready:
                call()
            if before is not None:
                before()
            start = time.perf_counter()
            call()
            elapsed = time.perf_counter() - start
            if i >= 0:
                times[name][i] = elapsed
    return times


def quartiles(values):
    """Median and quartiles, as a dict that JSON can hold."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return {"median": float(median), "quartiles": [float(low), float(high)], "n": len(values)}


def span(value):
    """A median with its quartiles, as text of three digits."""
    median, low, high = (f"{v:.0f}" if v >= 100 else f"{v:.3g}" for v in (value["median"], *value["quartiles"]))
    return f"{median} ({low}-{high})"


def ratio(times, slow, fast):
    """How many times as long `slow` takes as `fast`: quartiles of the ratios of neighbours in time."""
    return quartiles(times[slow] / times[fast])


def in_child(script, arguments, threads):
    """Run a script in a process of its own with this many threads and an unhindered BLAS; return what it prints last.

    Raises
    ------
    RuntimeError
        If it fails, with what it said.
    """
    environment = {name: value for name, value in os.environ.items() if name not in HINDRANCES}
    environment |= {name: str(threads) for name in THREAD_VARIABLES}
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def samples(call, seconds=0.4, least=3, most=30):
    """Seconds of single calls, after two that are not counted, until their time is up."""
    call(), call()
    times, end = [], time.perf_counter() + seconds
    while len(times) < least or (len(times) < most and time.perf_counter() < end):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def peak_memory(call):
    """Bytes that a call needs at its peak, beyond what the process held before; Linux only, else None."""
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    except OSError:
        return None
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(field):
    """A line of /proc/self/status, in bytes."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {field}")


def machine():
    """What the result depends on: processor, caches, memory, BLAS, versions."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "caches": _caches(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "blas": f"{blas['name']} {blas['version']}",
        "versions": {
            name: _version(name) for name in ("numpy", "scipy", "numba", "llvmlite", "torch", "fastfeedforward")
        },
    }


def blas_kernel():
    """The kernel that NumPy's BLAS runs in this process, such as "SkylakeX"; None if threadpoolctl is not installed."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    np.ones((2, 2)) @ np.ones((2, 2))
    return next((pool.get("architecture") for pool in threadpool_info() if pool["user_api"] == "blas"), None)


def kernels_digest():
    """A digest of the compiled kernels' text: a result belongs to the kernels that it was measured with."""
    folder = pathlib.Path(fffref.__file__).parent / "fast"
    text = b"".join((folder / name).read_bytes() for name in ("kernels.py", "registers.py", "instructions.py"))
    return hashlib.sha256(text).hexdigest()[:12]


def commit():
    """The commit that is checked out, with a + if files differ from it; None outside a repository."""
    git = lambda *words: subprocess.run(["git", *words], cwd=RESULTS.parent, capture_output=True, text=True)  # noqa: E731
    try:
        head, changes = git("rev-parse", "--short=12", "HEAD"), git("status", "--porcelain", "--", "../fffref", ".")
    except OSError:
        return None
    changed = [line for line in changes.stdout.splitlines() if "/results/" not in line]
    return head.stdout.strip() + "+" * bool(changed) if head.returncode == 0 else None


def _processor():
    """Model name, and the widest vectors."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    lines = {name.strip(): value.strip() for name, value in lines.items()}
    flags = lines.get("flags", "").split()
    vectors = next((flag for flag in ("avx512f", "avx2", "avx") if flag in flags), "")
    family = f"family {lines.get('cpu family')} model {lines.get('model')}"
    return f"{lines.get('model name', platform.processor())} ({family}) {vectors}"


def _caches():
    """Sizes of the first core's caches."""
    folder = pathlib.Path("/sys/devices/system/cpu/cpu0/cache")
    kinds = {"Data": "L{}d", "Instruction": "L{}i", "Unified": "L{}"}
    read = lambda path: path.read_text().strip()  # noqa: E731
    return {
        kinds[read(index / "type")].format(read(index / "level")): read(index / "size")
        for index in sorted(folder.glob("index*"))
    }


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def write(name, result, markdown, folder=None):
    """Write a result as JSON and as a table, with the machine and the command; by default into `RESULTS`."""
    command = f"python benchmarks/{name}.py {' '.join(sys.argv[1:])}".strip()
    result = {"command": command, "commit": commit(), "kernels": kernels_digest(), "machine": machine()} | result
    for suffix, text in ((".json", json.dumps(result, indent=1) + "\n"), (".md", markdown)):
        with files.replacing((folder or RESULTS) / f"{name}{suffix}") as temporary:
            temporary.write_text(text)
