"""Gradient checkers on right and planted wrong gradients: how many right ones are refused, how many wrong ones pass?

    python benchmarks/gradcheck_battery.py            all functions, float64 and float32, all installed checkers
    python benchmarks/gradcheck_battery.py --quick    each function at one point, ours only

Rivals are optional: SciPy's check_grad, torch, jax, autograd, numdifftools. Each is given the claim in the way that it
takes one, torch, jax and autograd as a function whose backward pass returns it.
"""

import argparse
import json
import pathlib
import sys
import time
import warnings
from collections import Counter
from importlib import metadata

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import battery
import measure

from fffref import files, gradcheck

RIGHT, WRONG, UNRESOLVED = "right", "wrong", "cannot tell"


def ours(method):
    """`gradcheck.check`, or `check_projection`."""

    def run(f, x, claim):
        if method == "projection":
            report = gradcheck.check_projection(f, x, claim, np.random.default_rng(0))
        else:
            report = gradcheck.check(f, x, claim, method=method)
        return WRONG if report.wrong else UNRESOLVED if report.unresolved else RIGHT

    return run


def scipy_check(f, x, claim):
    """Its number against 1e-6 (float32: 1e-2) of the claim's norm."""
    from scipy.optimize import check_grad

    epsilon = float(np.sqrt(np.finfo(x.dtype).eps))
    error = check_grad(
        lambda z: float(f(z.astype(x.dtype))), lambda z: claim.astype(float), x.astype(float), epsilon=epsilon
    )
    limit = 1e-6 if x.dtype == np.float64 else 1e-2
    return RIGHT if error <= limit * max(np.linalg.norm(claim), 1e-300) else WRONG


def torch_check(f, x, claim):
    """torch.autograd.gradcheck, as it is in float64; with steps and tolerances for float32 there."""
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            return torch.as_tensor(np.asarray(f(z.detach().numpy().copy()))).reshape(())

        @staticmethod
        def backward(ctx, gradient):
            return gradient * torch.as_tensor(claim)

    options = {} if x.dtype == np.float64 else {"eps": 1e-2, "atol": 1e-2, "rtol": 1e-2}
    z = torch.tensor(x, requires_grad=True)
    return RIGHT if torch.autograd.gradcheck(Function.apply, (z,), raise_exception=False, **options) else WRONG


def jax_check(f, x, claim):
    """jax.test_util.check_grads, order 1, reverse mode, its own tolerances."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from jax.test_util import check_grads

    @jax.custom_vjp
    def function(z):
        return np.asarray(f(np.array(z)), x.dtype)

    function.defvjp(lambda z: (np.asarray(f(np.array(z)), x.dtype), None), lambda _, g: (g * claim,))
    try:
        check_grads(function, (x,), order=1, modes=["rev"])
    except AssertionError:
        return WRONG
    return RIGHT


def autograd_check(f, x, claim):
    """autograd.test_util.check_grads, order 1, reverse mode."""
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    function = primitive(lambda z: float(f(np.array(z))))
    defvjp(function, lambda _, z: lambda g: g * claim)
    try:
        check_grads(function, modes=["rev"], order=1)(x)
    except AssertionError:
        return WRONG
    return RIGHT


def numdifftools_check(f, x, claim):
    """Its gradient and ten times its error estimate."""
    import numdifftools

    answer = numdifftools.Gradient(lambda z: f(z.astype(x.dtype)), full_output=True)(x.astype(float))
    gradient, error = (
        (answer.estimate, answer.error_estimate)
        if hasattr(answer, "estimate")
        else (answer[0], answer[1].error_estimate)
    )
    bar = 10 * np.abs(np.ravel(error)) + 64 * np.finfo(x.dtype).eps * np.abs(claim)
    miss = np.abs(np.ravel(gradient) - claim)
    if np.all(miss <= bar):
        return RIGHT if np.all(bar <= 1e-2 * np.maximum(np.abs(claim), 1e-300)) or np.all(claim == 0) else UNRESOLVED
    return WRONG


CHECKERS = {
    "fffref, central": (ours("central"), None), "fffref, complex": (ours("complex"), None),
    "fffref, projection": (ours("projection"), None), "scipy check_grad": (scipy_check, "scipy"),
    "torch gradcheck": (torch_check, "torch"), "jax check_grads": (jax_check, "jax"),
    "autograd check_grads": (autograd_check, "autograd"), "numdifftools, 10 bars": (numdifftools_check, "numdifftools"),
}  # fmt: skip


def version(package):
    """A package's version, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def run(check, dtype, seed=0, quick=False):
    """Let a checker judge every case's right gradient and its faults.

    Returns
    -------
    dict
        Counts, the names of what went wrong, evaluations of f and seconds per entry of x.
    """
    counts, alarms, missed, calls, entries, seconds = Counter(), [], [], 0, 0, 0.0
    for case in tqdm(list(battery.cases(dtype, seed, quick)), leave=False, disable=quick):

        def f(z, case=case):
            nonlocal calls
            calls += 1
            return case.f(z)

        for fault, claim in [(None, case.gradient), *battery.faults(case, np.random.default_rng(seed))]:
            start = time.perf_counter()
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    verdict = check(f, case.x, claim)
                except Exception as error:  # a rival's own; counted as what its user sees
                    verdict = WRONG if fault is None else type(error).__name__
            seconds += time.perf_counter() - start
            entries += case.x.size
            counts["right claims" if fault is None else "faults"] += 1
            if fault is None and verdict != RIGHT:
                counts["false alarms" if verdict == WRONG else "right, cannot tell"] += 1
                alarms.append(f"{case.name}: {verdict}")
            elif fault is not None and verdict in (RIGHT, UNRESOLVED):
                counts["missed" if verdict == RIGHT else "faults, cannot tell"] += 1
                missed.append(f"{case.name}: {fault}")
    per_entry = {"evaluations": calls / entries, "microseconds": 1e6 * seconds / entries}
    return {"counts": dict(counts), "alarms": alarms, "missed": missed, **per_entry}


def table(results):
    """The results as a Markdown table."""
    lines = [
        "| checker | dtype | false alarms | faults missed | cannot tell: right, faults | evaluations an entry | "
        "µs an entry |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, dtype), result in results.items():
        c = Counter(result["counts"])
        lines.append(
            f"| {name} | {dtype} | {c['false alarms']} of {c['right claims']} | {c['missed']} of {c['faults']} | "
            f"{c['right, cannot tell']}, {c['faults, cannot tell']} | {result['evaluations']:.1f} | "
            f"{result['microseconds']:.0f} |"
        )
    return "\n".join(lines)


def main():
    """Run what the arguments say; record it unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one point a function, ours only, nothing recorded")
    parser.add_argument("--seed", type=int, default=0, help="of points and faults (%(default)s)")
    parser.add_argument("--out", default=measure.RESULTS, help="folder of the results (%(default)s)")
    arguments = parser.parse_args()
    results = {}
    for name, (check, package) in CHECKERS.items():
        if package is not None and (arguments.quick or version(package) is None):
            continue
        for dtype in (np.float64, np.float32):
            if name.startswith("autograd") and dtype == np.float32:
                continue  # it has no setting for it
            results[name, dtype.__name__] = run(check, dtype, arguments.seed, arguments.quick)
            print(table({(name, dtype.__name__): results[name, dtype.__name__]}).splitlines()[-1], flush=True)
    if not arguments.quick:
        record(results, pathlib.Path(arguments.out), arguments.seed)


def record(results, folder, seed):
    """Write JSON and Markdown."""
    packages = {package: version(package) for _, package in CHECKERS.values() if package}
    facts = {
        "command": f"python benchmarks/gradcheck_battery.py --seed {seed}",
        "packages": packages,
        "machine": measure.machine(),
    }
    rows = [{"checker": name, "dtype": dtype, **result} for (name, dtype), result in results.items()]
    with files.replacing(folder / "gradcheck_battery.json") as temporary:
        temporary.write_text(json.dumps(facts | {"results": rows}, indent=1, ensure_ascii=False))
    text = (
        f"# Gradient checkers on right and planted wrong gradients\n\nBy `{facts['command']}`; "
        f"{', '.join(f'{name} {number}' for name, number in packages.items() if number)}. Counts do not depend "
        "on the machine; "
        f"times do ({facts['machine']['processor']}, shared with other work).\n\n{table(results)}\n"
    )
    with files.replacing(folder / "gradcheck_battery.md") as temporary:
        temporary.write_text(text)


if __name__ == "__main__":
    main()
