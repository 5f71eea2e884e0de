"""The book's page on ports shows each fault's cases and the recorded table; the kit imports nothing that it judges."""

import ast
import json
import pathlib
import re
import sys

import pytest

from fffref.conformance import checker

ROOT = pathlib.Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import book  # noqa: E402

MODULES = sorted(pathlib.Path(checker.__file__).parent.glob("*.py"))


def test_the_matrix_is_the_catalogue():
    page = book.port_page((ROOT / "docs" / "port-it.md").read_text())
    numbers = [entry.number for entry in checker.index()]
    for name, fault in checker.catalogue().items():
        marks = re.search(rf"^{name} +([x. ]+)$", page, re.M)[1].replace(" ", "")
        assert [number for number, mark in zip(numbers, marks, strict=True) if mark == "x"] == fault["cases"]
        assert f"`{name}`: a port that {fault['wrong']}." in page
    assert "<!--" not in page


def test_the_recorded_table_says_what_the_package_does():
    rows = json.loads((ROOT / "benchmarks" / "results" / "ports.json").read_text())["rows"]
    assert rows["fastfeedforward 0.2.1"]["faults"] == [["leaf-no-output-bias", "depth-0-fails"]]
    assert all(not row["failed"] for name, row in rows.items() if name.startswith("this project's"))
    page = book.port_page((ROOT / "docs" / "port-it.md").read_text())
    assert all(f"| {name} |" in page for name in rows)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_kit_shares_no_code_with_what_it_judges(path):
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    outside = {alias.name for node in imports if node.level == 2 for alias in node.names}
    allowed = {"algorithms", "checks", "files"} if path.stem in ("answers", "vectors") else {"checks", "files"}
    assert outside <= allowed
    assert not [node for node in imports if node.module and node.module.startswith("fffref")]
