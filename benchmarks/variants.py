"""What each rung of the batch kernel is worth: the same computation, one trick less at a time.

    python benchmarks/variants.py

PathFFF 768/4095/12, batches of 256, 1,024 and 16,384, float32, one thread, distinct rows. Every variant gives the
kernel's answers. The kernels' text is compiled anew with one thing changed, so that this file repeats none of it.
"""

import json
import pathlib
import sys

import measure
import numpy as np

from fffref import PathFFF
from fffref.fast import kernels
from fffref.layers.record import aligned

WIDTH, LEVELS, BATCHES = 768, 12, (256, 1024, 16384)
LIBRARY = "the library's"
VARIANTS = {  # by name, what is replaced in the text of kernels.py
    LIBRARY: {},
    "rows in the order they come, not sorted": {"FEW_ROWS = 32": "FEW_ROWS = 2**62"},
    "not added up four at a time": {"while count < 4 and": "while count < 1 and"},
    "nothing asked for ahead": {"FAR_ROWS = 1536": "FAR_ROWS = 2**62"},
    "all asked for ahead": {"FAR_ROWS = 1536": "FAR_ROWS = 0"},
    "y written through the caches": {"FAR_BYTES = 2**22": "FAR_BYTES = 2**62"},
    "y always written past the caches": {"FAR_BYTES = 2**22": "FAR_BYTES = 0"},
    "one row after the other": {"whole = B - B % 4": "whole = 0"},
}
WARM_UP, BY_LEVEL, OFF_LINE = "not counted", "dot and axpy a level, rung 1", "weights 16 bytes off a cache line"


def kernel_with(changes):
    """`path_rows`, compiled from the text of the kernels with these changes."""
    file = pathlib.Path(kernels.__file__)
    text = file.read_text().replace("def compiled(function, cache=True):", "def compiled(function, cache=False):")
    text = text.replace("    cache = True\n", "    cache = False\n").replace("    if not cache:\n", "    if False:\n")
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in kernels.py"
        text = text.replace(old, new)
    names = {"__name__": "fffref.fast.variant", "__package__": "fffref.fast", "__file__": str(file)}
    sys.modules["fffref.fast.variant"] = kernels  # where NamedTuple looks its module up
    exec(compile(text, "variant", "exec"), names)
    return names["path_rows_jit"]


def by_level(weights, x, node, logit, hidden, y):
    """The first rung, row by row."""
    for i in range(len(x)):
        kernels.cmm_by_level_jit(weights, x[i], y[i])


def shifted(array):
    """A copy that starts 16 bytes off a cache line, as NumPy's large arrays do."""
    memory = aligned(np.zeros(array.size + 16, array.dtype))
    memory[4 : 4 + array.size] = array.ravel()
    return memory[4 : 4 + array.size].reshape(array.shape)


def measured(batch, repeats):
    """Rows of the result, for one size of batches."""
    rng = np.random.default_rng(0)
    layer = PathFFF.init(rng, WIDTH, WIDTH, LEVELS - 1)
    arrays = layer.in_weight[0], layer.in_bias[0], layer.out_weight[0]
    weights = kernels.PathWeights(*arrays, 1, kernels.GELU)
    off_line = kernels.PathWeights(*map(shifted, arrays), 1, kernels.GELU)
    x = aligned(rng.standard_normal((batch, WIDTH), dtype=np.float32))
    room = tuple(np.zeros((batch, LEVELS), kind) for kind in (np.intp, np.float32, np.float32))
    y, expected = aligned(np.zeros_like(x)), layer.forward_hard(x)
    calls = {name: (kernel, weights) for name, kernel in KERNELS.items()}
    calls |= {BY_LEVEL: (by_level, weights), OFF_LINE: (KERNELS[LIBRARY], off_line)}
    contestants = {name: lambda k=kernel, w=w: k(w, x, *room, y) for name, (kernel, w) in calls.items()}
    for call in contestants.values():
        y[...] = np.nan
        call()
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    # The last of a round has weights of its own, which throw the others' out of the caches: somebody else comes first.
    times = measure.in_turn({WARM_UP: contestants[LIBRARY]} | contestants, repeats)
    del times[WARM_UP]
    return [
        {"batch": batch, "name": name, "microseconds": measure.quartiles(1e6 * values / batch),
         "slower": measure.ratio(times, name, LIBRARY)}
        for name, values in times.items()
    ]  # fmt: skip


KERNELS = {}


def main():
    """Time all variants in turn, in a process of its own; write JSON and table."""
    if "--child" in sys.argv:
        KERNELS.update({name: kernel_with(changes) for name, changes in VARIANTS.items()})
        print(json.dumps([row for batch in BATCHES for row in measured(batch, max(9, min(60, 2**18 // batch // 8)))]))
        return
    rows = measure.in_child(__file__, ["--child"], 1)
    measure.write("variants", {"rows": rows}, table(rows))
    print(table(rows))


def table(rows):
    """The result as Markdown."""
    batches = list(dict.fromkeys(row["batch"] for row in rows))
    heads = (f"us per row, batch {b} | time against {LIBRARY}" for b in batches)
    lines = [f"| variant | {' | '.join(heads)} |"]
    lines.append("|---" * (1 + 2 * len(batches)) + "|")
    for name in dict.fromkeys(row["name"] for row in rows):
        cells = [measure.span(row[f]) for row in rows if row["name"] == name for f in ("microseconds", "slower")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
