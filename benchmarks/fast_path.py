"""What a compiled FFF layer is worth on this CPU: against the best dense code, and against its bound, two bare GEMMs.

Rows are random and all different; each contestant gives the reference's answers before it is timed, and is timed in a
process of its own: idle threads of a BLAS spin for some 20 ms, and would slow down whoever comes next.

    pip install threadpoolctl torch==2.13.0      # optional: the BLAS's kernel, a rival
    python benchmarks/fast_path.py               # a few minutes: make bench
    python benchmarks/fast_path.py --full        # more points and rounds: make bench-full
    python benchmarks/fast_path.py --quick       # one round, to see that it runs; writes no result
"""

import argparse
import json
import os

import cases
import figures
import measure
import numpy as np
import rivals
import roofline
from tqdm import tqdm

BARE = "two bare GEMMs, NumPy"


def measured(options):
    """All rows: each contestant of each case, round after round, in processes of their own."""
    rounds = 1 if options.quick else 5 if options.full else 3
    wanted = [case for case in cases.CASES if options.cases is None or case.__name__ in options.cases.split(",")]
    jobs = [
        (case, threads, name) for case in wanted for threads in cases.THREADS.get(case.__name__, (1,))
        for name in case(options.full)
    ]  # fmt: skip
    found = {}
    for _ in tqdm(range(rounds), desc="rounds", unit="round"):
        for case, threads, name in tqdm(jobs, desc="contestants", unit="process", leave=False):
            arguments = ["--child", case.__name__, "--name", name, *(["--full"] if options.full else [])]
            for title, seconds, more in measure.in_child(__file__, arguments, threads):
                found.setdefault((title, threads, name), []).append((seconds, more))
    return [row for title, threads in dict.fromkeys(key[:2] for key in found) for row in rows_of(title, threads, found)]


def rows_of(title, threads, found):
    """The rows of one case: microseconds a row, and ratios to the bare GEMMs and to the best dense contestant."""
    rounds = {name: timed for (a, b, name), timed in found.items() if (a, b) == (title, threads)}
    middle = {name: np.array([np.median(seconds) for seconds, _ in timed]) for name, timed in rounds.items()}
    dense = [name for name in middle if name.startswith("dense")]
    best = min(dense, key=lambda name: np.median(middle[name]), default=None)
    rows = []
    for name, timed in rounds.items():
        micro = 1e6 * np.concatenate([seconds for seconds, _ in timed])
        row = {"case": title, "threads": threads, "name": name, "microseconds": measure.quartiles(micro)}
        for key, rival in (("bare", BARE), ("dense", best)):
            if rival in middle:
                row[key] = measure.ratio(middle, rival, name) | {"against": rival}
        rows.append(row | timed[-1][1])
    return rows


def table(rows):
    """The rows as Markdown, a heading a case."""
    lines = []
    for title in dict.fromkeys((row["case"], row["threads"]) for row in rows if "case" in row):
        mine = [row for row in rows if (row.get("case"), row.get("threads")) == title]
        best = next((row["dense"]["against"] for row in mine if "dense" in row), "dense")
        lines += ["", f"### {title[0]}, {title[1]} thread{'s' * (title[1] > 1)}", ""]
        lines += [f"| | us per row | times as fast as {BARE} | times as fast as {best} |", "|---|---|---|---|"]
        for row in mine:
            ratios = (f"{measure.span(row[key])}x" if key in row else "" for key in ("bare", "dense"))
            told = f" ({row['rerouted']:.2%} of the rows take another path)" if row.get("rerouted") else ""
            lines.append(f"| {row['name']}{told} | {measure.span(row['microseconds'])} | {' | '.join(ratios)} |")
    return "\n".join(lines[1:]) + "\n"


def child(options):
    """Measure one contestant of one case in this process; print what `measured` collects."""
    threads = int(os.environ[measure.THREAD_VARIABLES[0]])
    if rivals.AVAILABLE["torch"] and "PyTorch" in options.name:
        import torch

        torch.set_num_threads(threads)
    case = next(case for case in cases.CASES if case.__name__ == options.child)
    print(json.dumps(list(case(options.full)[options.name](threads))))


def main():
    """Show what the machine can do; measure; write JSON, table and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more points and more rounds")
    parser.add_argument("--quick", action="store_true", help="one round; writes no result")
    parser.add_argument("--cases", help=f"some of {','.join(c.__name__ for c in cases.CASES)}; writes no result")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    for name, there in rivals.AVAILABLE.items():
        if not there:
            print(f"skipped: the rivals that need {name}, which is not installed")
    roofs, text = roofline.measured()
    print(text)
    rows = measured(options)
    print(table(rows))
    print(text)
    if not options.quick and options.cases is None:
        rows += [*roofs, *cases.weights_touched()]
        measure.write("fast_path", {"rows": rows}, table(rows))
        figures.draw(rows)


if __name__ == "__main__":
    main()
