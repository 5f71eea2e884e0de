"""How soon a process is ready, once another has compiled: imports, then the first answers of a compiled layer.

python benchmarks/start_up.py
"""

import json
import subprocess
import sys

import measure
import numpy as np
from tqdm import tqdm

PROGRAM = """
import json, time
marks = [time.perf_counter()]
mark = lambda: marks.append(time.perf_counter())
import numpy as np; mark()
import fffref; mark()
import numba; mark()
layer = fffref.PathFFF.init(np.random.default_rng(0), 768, 768, 11); x = np.zeros((64, 768), np.float32); mark()
fast = fffref.jit(layer); fast(x[0]); mark()
fast(x); mark()
y, tape = fast.forward(x); fast.backward(tape, y); mark()
print(json.dumps(np.diff(marks).tolist()))
"""
STEPS = (
    "import numpy", "import fffref", "import numba", "make a layer",
    "jit and the first sample", "the first batch", "the first backward pass",
)  # fmt: skip


def main():
    """Start processes one after the other; the first compiles and is not counted."""
    times = []
    for _ in tqdm(range(12), unit="process"):
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
        times.append(json.loads(done.stdout))
    rows = [
        {"name": name, "seconds": measure.quartiles(values)}
        for name, values in zip(STEPS, np.array(times[1:]).T, strict=True)
    ]
    measure.write("start_up", {"rows": rows}, table(rows))
    print(table(rows))


def table(rows):
    """The result as Markdown."""
    lines = ["| step | seconds |", "|---|---|"]
    return "\n".join(lines + [f"| {row['name']} | {measure.span(row['seconds'])} |" for row in rows]) + "\n"


if __name__ == "__main__":
    main()
