"""Each fault of the catalogue, planted in a right port, fails exactly the cases that name it, and is recognised."""

import itertools

import numpy as np
import pytest

from fffref.conformance import checker, planted
from fffref.conformance.faults import FAULTS

CATALOGUE = checker.catalogue()
MANY = list(itertools.islice(itertools.combinations(FAULTS, 2), 0, None, 37))


def judged(failed, claimed=None):
    """Verdicts in which just these cases failed."""
    entries = claimed or checker.index()
    return [checker.Verdict(entry, ["no"] * (entry.number in failed)) for entry in entries]


def test_the_right_port_passes_everything():
    found = planted.verdicts(planted.port())
    assert [verdict for verdict in found if verdict.complaints] == [] and len(found) == len(checker.index())


def test_the_catalogue_is_whole():
    assert len(FAULTS) >= 18 and list(FAULTS) == list(planted.CHANGES) == list(CATALOGUE)
    for name, fault in FAULTS.items():
        assert CATALOGUE[name] == fault._asdict() | {"cases": CATALOGUE[name]["cases"]}
        assert fault.wrong and fault.does.endswith(".") and fault.seen


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_fails_exactly_the_cases_that_name_it(name):
    found = planted.verdicts(planted.port(name))
    failed = [verdict.entry.number for verdict in found if verdict.complaints]
    assert failed == CATALOGUE[name]["cases"] != []
    assert checker.diagnose(found, CATALOGUE) == [(name,)]


def test_no_two_faults_are_exposed_by_the_same_cases():
    assert len({tuple(fault["cases"]) for fault in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.parametrize("pair", MANY, ids="+".join)
def test_two_faults_at_once_are_told(pair):
    failed = {number for name in pair for number in CATALOGUE[name]["cases"]}
    found = checker.diagnose(judged(failed), CATALOGUE)
    assert all(set().union(*(CATALOGUE[name]["cases"] for name in names)) == failed for names in found)
    alone = [name for name in FAULTS if set(CATALOGUE[name]["cases"]) == failed]
    assert found == [(alone[0],)] if alone else pair in found


def test_what_is_not_known_is_not_named():
    assert checker.diagnose(judged({101}), CATALOGUE) == []
    assert checker.diagnose(judged(set()), CATALOGUE) == []


def test_a_port_that_claims_little_is_told_all_that_its_cases_allow():
    claimed = checker.claimed(levels=(1,), only=("leaf",))
    failed = {entry.number for entry in claimed} & set(CATALOGUE["leaf-tie-left"]["cases"])
    assert ("leaf-tie-left",) in checker.diagnose(judged(failed, claimed), CATALOGUE)


def test_a_change_that_does_not_fit_the_port_is_refused(monkeypatch):
    monkeypatch.setitem(planted.CHANGES, "leaf-tie-left", (("(z >= 1)", "(z > 0)"),))
    with pytest.raises(ValueError, match="occurs 0 times"):
        planted.port("leaf-tie-left")


def test_the_committed_catalogue_is_what_is_written(tmp_path):
    for file in checker.VECTORS.iterdir():
        if file.name != "faults.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    planted.write(tmp_path)
    assert (tmp_path / "faults.json").read_bytes() == (checker.VECTORS / "faults.json").read_bytes()


@pytest.mark.parametrize("wrong", [np.zeros_like, lambda a: np.roll(a, 1, 0), lambda a: a * 1.001])
def test_zeros_shuffled_and_scaled_answers_fail(wrong):
    right = planted.port()

    def answer(level, c):
        return {name: wrong(np.asarray(array)) if level == 2 else array for name, array in right(level, c).items()}

    for verdict in planted.verdicts(answer):
        if verdict.entry.level == 2 and "one" not in verdict.entry.flags and "none" not in verdict.entry.flags:
            assert verdict.complaints, verdict.entry
