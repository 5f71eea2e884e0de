"""The checker: reads a port's answers, compares them with the vectors, and names the fault that explains them.

It knows the files and nothing of the layers. Answers are text files, one a case, `ANSWERS/203.txt`.
"""

import hashlib
import itertools
import json
import pathlib
from typing import NamedTuple

import numpy as np

from .. import checks
from . import arrays
from .specs import LAYERS, LEVELS

VECTORS = pathlib.Path(__file__).parent / "vectors" / "v1"
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}  # of the largest number; of a logit, what counts as near a tie


class Entry(NamedTuple):
    """A line of the index."""

    number: int
    level: int
    flags: tuple
    file: str
    sha256: str


class Verdict(NamedTuple):
    """What the checker says of a case: `complaints` is empty if it passed; `skipped` rows are too near a tie."""

    entry: Entry
    complaints: list
    skipped: int = 0


def index(vectors=VECTORS):
    """The entries of the index of a folder of vectors."""
    lines = (line.split() for line in (pathlib.Path(vectors) / "index.txt").read_text().splitlines())
    return [Entry(int(number), int(level), tuple(flags.split(",")), *rest) for number, level, flags, *rest in lines]


def load(entry, vectors=VECTORS):
    """The arrays of a case by name; ValueError if the file is not the one that the index means."""
    path = pathlib.Path(vectors) / entry.file
    # a case that was edited would fail right ports
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry.sha256:
        raise checks.InputError(f"{path} is missing or has been changed; export the vectors again")
    return arrays.read(path)


def check(answers, levels=tuple(LEVELS), only=(), without=(), vectors=VECTORS):
    """Judge the answers in a folder.

    Parameters
    ----------
    answers : path-like
        Folder with a text file for each case.
    levels : sequence of int
        Levels that the port claims.
    only, without : sequence of str
        Flags that a case must have, and must not have, to be claimed.
    vectors : path-like

    Returns
    -------
    list of Verdict
        One a claimed case.

    Raises
    ------
    ValueError
        If there is no such folder, no case is claimed, or a flag is unknown.
    """
    answers = pathlib.Path(answers)
    if not answers.is_dir():
        raise checks.InputError(f"{answers} is no folder; pass the one that holds your answers, 101.txt and so on")
    entries = claimed(levels, only, without, vectors)
    return [judge(entry, load(entry, vectors), *_answer(answers / f"{entry.number}.txt")) for entry in entries]


def claimed(levels=tuple(LEVELS), only=(), without=(), vectors=VECTORS):
    """The entries of the levels and flags that a port claims."""
    entries = index(vectors)
    known = {flag for entry in entries for flag in entry.flags}  # a misspelt flag would claim nothing, or everything
    for flag in (*only, *without):
        if flag not in known:
            raise checks.InputError(f"no case has the flag {flag!r}; there are {', '.join(sorted(known))}")
    chosen = [
        entry
        for entry in entries
        if entry.level in levels and set(only) <= set(entry.flags) and not set(without) & set(entry.flags)
    ]
    if not chosen:
        raise checks.InputError("no case is claimed; take more levels, or fewer flags")
    return chosen


def _answer(path):
    """The arrays of an answer by name, and what is wrong with its file, if anything."""
    if not path.is_file():
        return {}, f"{path} is missing"
    try:
        return arrays.read(path), None
    except ValueError as error:
        return {}, str(error)


def judge(entry, case, answer, unreadable=None):
    """Compare the answer to one case with what is expected.

    Parameters
    ----------
    entry : Entry
    case, answer : dict of str to Array
    unreadable : str, optional
        Why there is no answer.

    Returns
    -------
    Verdict
    """
    if unreadable:
        return Verdict(entry, [unreadable])
    dtype = case["x"].dtype
    decided = np.ones(case["x"].shape[0], bool)  # (B,)
    if entry.level < 3 and "dyadic" not in entry.flags:
        # near 0, another order of summation may turn the other way
        decided = np.array(case["margin"].values) > TOLERANCE[dtype]
    complaints = []
    for name, expected in case.items():
        if name.startswith("expected_"):
            name = name.removeprefix("expected_")
            # entropy has logarithms in it, whose last digit is nobody's
            exact = expected.dtype == "int32" or ("dyadic" in entry.flags and name != "entropy")
            rows = decided if entry.level < 3 else None  # soft outputs hardly change where a logit is near 0
            complaints += _compare(name, answer.get(name), expected, 0.0 if exact else TOLERANCE[dtype], rows)
    return Verdict(entry, complaints, int((~decided).sum()))


def _compare(name, found, expected, tolerance, rows):
    """Complaints about one array; `rows` are those that are compared, None for all."""
    if found is None:
        return [f"{name} is missing"]
    if found.shape != expected.shape:
        return [f"{_place(name, found)} has shape {found.shape}, expected {expected.shape}"]
    ours, theirs = (_numbers(array, expected.dtype) for array in (expected, found))
    finite = np.isfinite(ours)
    with np.errstate(invalid="ignore", over="ignore"):
        # relative to the largest number: small ones are sums that cancel
        near = finite & (np.abs(theirs - ours) <= tolerance * np.abs(ours[finite]).max(initial=0))
    # infinities must be equal; NaN must be NaN
    wrong = ~(near | (ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    if rows is not None:
        wrong[~rows] = False
    if not wrong.any():
        return []
    at = tuple(int(i) for i in np.argwhere(wrong)[0])  # the first, as a reader would look for it
    where = f"{name}{list(at)}" if at else name
    digits = ".17g" if expected.dtype == "float64" else ".9g"
    line = f"line {found.line}, " if found.line else ""
    counts = f"{wrong.sum()} of {wrong.size} differ"
    return [f"{line}{where} is {theirs[at]:{digits}}, expected {ours[at]:{digits}}; {counts}"]


def _numbers(array, dtype):
    """An array's values in NumPy, rounded to a dtype."""
    with np.errstate(over="ignore"):
        numbers = np.array(array.values, float).reshape(array.shape)
        # a port may print more digits than its dtype has
        return numbers.astype(np.float32).astype(float) if dtype == "float32" else numbers


def _place(name, array):
    """An array's name with the line where it begins, if it comes from a file."""
    return f"line {array.line}, {name}" if array.line else name


# ------------------------------------------------------------------ what the verdicts say together


def catalogue(vectors=VECTORS):
    """The known faults by name: what is `wrong`, what it `does`, where it was `seen`, which `cases` expose it."""
    return json.loads((pathlib.Path(vectors) / "faults.json").read_text())


def diagnose(verdicts, faults):
    """Faults that explain the verdicts: every set of as few as possible that fails exactly what failed.

    Parameters
    ----------
    verdicts : list of Verdict
    faults : dict
        As `catalogue` returns them.

    Returns
    -------
    list of tuple of str
        Names; more than one tuple if the claimed cases cannot tell them apart, none if no three faults explain it.
    """
    judged = {verdict.entry.number for verdict in verdicts}
    failed = {verdict.entry.number for verdict in verdicts if verdict.complaints}
    # only claimed cases can say anything
    exposed = {name: judged & set(fault["cases"]) for name, fault in faults.items()}
    # a fault that would fail what passed is none of this port's
    possible = {name: cases for name, cases in exposed.items() if cases and cases <= failed}
    for count in (1, 2, 3) if failed else ():  # the fewest faults that explain all: no more are looked for
        sets = itertools.combinations(possible, count)
        found = [names for names in sets if set().union(*(possible[name] for name in names)) == failed]
        if found:
            return found
    return []


def table(verdicts):
    """Passed and claimed cases, a dict from level to a dict from layer to a pair."""
    counts = {level: {layer: (0, 0) for layer in LAYERS} for level in LEVELS}
    for entry, complaints, _ in verdicts:
        passed, total = counts[entry.level][entry.flags[0]]  # the first flag is the layer
        counts[entry.level][entry.flags[0]] = passed + (not complaints), total + 1
    return counts


def report(verdicts, faults, explanations, most=20):
    """The verdicts as text: a table by level, the first cases that failed, and the faults that explain them."""
    lines = [f"{'level':32}" + "".join(f"{layer:>10}" for layer in LAYERS)]
    for level, row in table(verdicts).items():
        cells = (f"{passed}/{total}" if total else "-" for passed, total in row.values())
        lines.append(f"{level} {LEVELS[level]:30}" + "".join(f"{cell:>10}" for cell in cells))
    failed = [verdict for verdict in verdicts if verdict.complaints]
    skipped = sum(verdict.skipped for verdict in verdicts)
    lines += [f"rows too near a tie to be compared: {skipped}"] if skipped else []
    lines += [""] * bool(failed)
    for entry, complaints, _ in failed[:most]:
        lines.append(f"{entry.number} fails ({', '.join(entry.flags)}): {complaints[0]}")
    lines += [f"and {len(failed) - most} more"] * (len(failed) > most)
    return "\n".join(lines + _explained(failed, faults, explanations))


def _most(failed, faults):
    """The fault all of whose claimed cases failed, and that explains the most; its name and cases."""
    numbers = {verdict.entry.number for verdict in failed}
    explained = {name: set(fault["cases"]) for name, fault in faults.items() if set(fault["cases"]) <= numbers}
    return max(explained.items(), key=lambda item: len(item[1]), default=(None, set()))


def _explained(failed, faults, explanations):
    """Lines that say which faults explain the failures."""
    if not failed:
        return ["", "All claimed cases pass."]
    if not explanations:
        best, cases = _most(failed, faults)
        lines = ["", "No known fault explains this, nor do three together: see what the flags mean in README.md."]
        if cases:
            lines.append(f"{len(cases)} of {len(failed)} are those of a port that {faults[best]['wrong']} ({best}).")
        return lines
    lines = ["", "Your answers are those of a port that"]
    for i, names in enumerate(explanations):
        lines += ["or, as far as these cases can tell,"] * (i > 0)
        lines += [f"  {faults[name]['wrong']} ({name}). {faults[name]['does']}" for name in names]
    return lines
