"""The checker: what it lets pass, what it does not, and what it says of answers that it cannot read."""

import math

import pytest

from fffref.conformance import arrays, checker
from fffref.conformance.arrays import Array
from fffref.conformance.checker import Entry, Verdict


def entry(*flags, level=2):
    return Entry(203, level, ("leaf", *flags), "203.txt", "")


def case(dtype="float32", y=(1.0, -4.0), margin=(1.0, 1.0), **others):
    expected = {f"expected_{name}": array for name, array in others.items()}
    given = {"x": Array(dtype, (2, 1), [0.0, 0.0]), "margin": Array("float64", (2,), list(margin))}
    return given | {"expected_y": Array(dtype, (2, 1), list(y))} | expected


def complaints(of, answer, *flags, level=2, shape=(2, 1)):
    return checker.judge(entry(*flags, level=level), of, {"y": Array("float64", shape, list(answer))}).complaints


def test_numbers_may_differ_by_the_tolerance_of_the_largest():
    assert complaints(case(), (1 + 3.9e-5, -4.0)) == []
    assert complaints(case(), (1 + 4.2e-5, -4.0)) == ["y[0, 0] is 1.00004196, expected 1; 1 of 2 differ"]
    assert complaints(case("float64"), (1 + 3.9e-12, -4.0)) == []
    assert complaints(case("float64"), (1 + 4.1e-12, -4.0))


def test_dyadic_numbers_may_not_differ_but_entropy_may():
    of = case(entropy=Array("float32", (), [2.0]))
    answer = {"y": Array("float64", (2, 1), [1.0, -4.0]), "entropy": Array("float64", (), [2.0 + 1e-6])}
    assert checker.judge(entry("dyadic", level=3), of, answer).complaints == []
    answer["y"] = Array("float64", (2, 1), [1 + 2e-7, -4.0])
    assert checker.judge(entry("dyadic", level=3), of, answer).complaints
    assert complaints(case(y=(0.0, 1.0)), (-0.0, 1.0), "dyadic") == []


def test_answers_are_compared_in_the_cases_precision():
    assert complaints(case(y=(0.1, 1.0)), (0.100000001, 1.0)) == []
    exact = arrays.rounded("float32", 0.1)
    assert complaints(case(y=(exact, 1.0)), (0.1, 1.0), "dyadic") == []


@pytest.mark.parametrize(("expected", "answer", "right"), [
    (math.nan, math.nan, True), (math.nan, 0.0, False), (0.0, math.nan, False), (math.inf, math.inf, True),
    (math.inf, -math.inf, False), (math.inf, 1e30, False), (1.0, math.inf, False), (math.inf, math.nan, False),
])  # fmt: skip
def test_nan_is_nan_and_inf_the_same_inf(expected, answer, right):
    assert (complaints(case(y=(expected, 1.0)), (answer, 1.0)) == []) is right


def test_rows_near_a_tie_are_not_compared_before_level_3():
    of = case(margin=(1e-6, 1.0))
    verdict = checker.judge(entry(), of, {"y": Array("float64", (2, 1), [9.0, -4.0])})
    assert verdict.complaints == [] and verdict.skipped == 1
    assert complaints(of, (9.0, -5.0)) == ["y[1, 0] is -5, expected -4; 1 of 2 differ"]
    assert complaints(of, (9.0, -4.0), level=3) and complaints(of, (9.0, -4.0), "dyadic")
    assert complaints(case("float64", margin=(1e-6, 1.0)), (9.0, -4.0))


@pytest.mark.parametrize("shape", [(2,), (1, 2), (2, 1, 1)])
def test_shapes_must_be_equal(shape):
    assert complaints(case(), (1.0, -4.0), shape=shape) == [f"y has shape {shape}, expected (2, 1)"]


def test_missing_arrays_are_named_and_further_ones_ignored():
    of, y = case(), Array("float64", (2, 1), [1.0, -4.0])
    assert checker.judge(entry(), of, {"z": y}).complaints == ["y is missing"]
    assert checker.judge(entry(), of, {"y": y, "z": y}).complaints == []


def test_what_is_written_is_found(tmp_path):
    for item in checker.index():
        expected = {n.removeprefix("expected_"): a for n, a in checker.load(item).items() if n.startswith("expected_")}
        (tmp_path / f"{item.number}.txt").write_text(arrays.to_text(expected))
    assert all(verdict.complaints == [] for verdict in checker.check(tmp_path))
    path = tmp_path / "203.txt"
    good = path.read_text().splitlines()
    for changed, text, line in ((2, "0.5 zero", 2), (3, "1 2 3", len(good)), (len(good), "", len(good) - 1)):
        path.write_text("\n".join([*good[: changed - 1], text, *good[changed:]]))
        (verdict,) = (verdict for verdict in checker.check(tmp_path) if verdict.complaints)
        assert verdict.entry.number == 203 and f"{path}, line {line}:" in verdict.complaints[0]
    path.unlink()
    (verdict,) = (verdict for verdict in checker.check(tmp_path) if verdict.complaints)
    assert verdict.complaints == [f"{path} is missing"]


def test_claims_choose_the_cases():
    numbers = [item.number for item in checker.claimed((1, 2), ("path",), ("none", "nan"))]
    assert numbers and all(100 < number < 300 for number in numbers) and {116, 118, 219} & set(numbers) == set()
    with pytest.raises(ValueError, match="no case has the flag 'leav'; there are binary"):
        checker.claimed(only=("leav",))
    with pytest.raises(ValueError, match="no case is claimed"):
        checker.claimed((3,), ("path",))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no folder; pass the one"):
        checker.check(tmp_path / "nowhere")


def test_a_changed_vector_is_refused(tmp_path):
    for file in checker.VECTORS.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "101.txt").write_text("x float64 0\n1\n")
    with pytest.raises(ValueError, match=r"101\.txt is missing or has been changed"):
        checker.check(tmp_path, vectors=tmp_path)


def test_the_report_says_what_failed_and_why():
    faults = checker.catalogue()
    failed = set(faults["leaf-tie-left"]["cases"])
    verdicts = [Verdict(item, ["y is wrong"] * (item.number in failed)) for item in checker.index()]
    text = checker.report(verdicts, faults, checker.diagnose(verdicts, faults))
    assert "1 route                               7/10       9/9" in text
    assert "103 fails (leaf, float32, two-inputs, tie, dyadic): y is wrong" in text
    assert "sends a logit of exactly 0 to the left in a LeafFFF (leaf-tie-left)" in text
    more = [v._replace(complaints=["so is this"]) if v.entry.number == 501 else v for v in verdicts]
    text = checker.report(more, faults, checker.diagnose(more, faults))
    assert "No known fault explains this" in text and "7 of 8 are those of a port that sends a logit" in text
    right = [Verdict(item, []) for item in checker.index()]
    assert checker.report(right, faults, []).endswith("All claimed cases pass.")
