"""`fffref conformance`: a port's way from the vectors to its fault's name."""

import json
import re
import subprocess
import sys

import pytest
from terminal import refused, run

from fffref.conformance import checker, planted, specs


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """What `export` writes, and the answers of its NumPy port: right ones, and those of one that sends ties left."""
    from fffref import cli

    folder = tmp_path_factory.mktemp("kit") / "vectors"
    assert cli.main(["conformance", "export", str(folder)]) == 0
    port = folder / "runners" / "port.py"
    (folder / "runners" / "broken.py").write_text(port.read_text().replace("(z >= 0)", "(z > 0)"))
    for name in ("port", "broken"):
        (folder / name).mkdir()
        command = [sys.executable, folder / "runners" / f"{name}.py", folder / "v1", folder / name]
        subprocess.run(command, check=True)
    return folder


def test_export_writes_all_that_a_port_needs(kit):
    for path in checker.VECTORS.iterdir():
        assert (kit / "v1" / path.name).read_bytes() == path.read_bytes()
    assert (kit / "README.md").read_text() == (checker.VECTORS.parent / "README.md").read_text()
    assert {path.name for path in (kit / "runners").glob("port*")} == {"port.c", "port.js", "port.py", "port_torch.py"}


def test_right_answers_pass(kit, capsys):
    status, out, err = run(capsys, "conformance", "check", kit / "port")
    assert status == 0 and err == "" and out.endswith("All claimed cases pass.\n")


def test_wrong_ones_are_told_why(kit, capsys):
    status, out, _ = run(capsys, "conformance", "check", kit / "broken")
    assert status == 1 and "sends a logit of exactly 0 to the left in a LeafFFF (leaf-tie-left)" in out
    status, out, _ = run(capsys, "conformance", "check", kit / "broken", "--json")
    result = json.loads(out)
    assert status == 1 and not result["passed"] and result["faults"] == [["leaf-tie-left"]]
    assert result["levels"]["1"] == {"leaf": {"passed": 7, "claimed": 10}, "path": {"passed": 9, "claimed": 9}}
    assert sorted(map(int, result["failed"])) == checker.catalogue()["leaf-tie-left"]["cases"]


def test_a_port_is_judged_by_what_it_claims(kit, capsys):
    for claim in (("--levels", "3-5"), ("--only", "path"), ("--levels", "1,2", "--without", "tie")):
        assert run(capsys, "conformance", "check", kit / "broken", *claim)[0] == 0
    claim = ("--levels", "1-2", "--only", "leaf", "--only", "tie")
    assert run(capsys, "conformance", "check", kit / "broken", *claim)[0] == 1


def test_explain(capsys):
    status, out, _ = run(capsys, "conformance", "explain", "leaf-no-output-bias")
    assert status == 0 and "leaves the leaf's output bias out" in out and "fastfeedforward 0.2.1" in out
    assert ", ".join(map(str, checker.catalogue()["leaf-no-output-bias"]["cases"])) in out
    status, out, _ = run(capsys, "conformance", "explain")
    assert status == 0 and [line.split()[0] for line in out.splitlines()] == list(planted.FAULTS)
    assert json.loads(run(capsys, "conformance", "explain", "--json")[1]) == checker.catalogue()


def test_bad_input_is_refused_in_a_line(kit, capsys, tmp_path):
    refused(capsys, "is no folder", "conformance", "check", tmp_path / "nowhere")
    refused(capsys, "--levels must be such as 1-3", "conformance", "check", kit / "port", "--levels", "one")
    refused(capsys, "must lie between 1 and 5", "conformance", "check", kit / "port", "--levels", "1-6")
    refused(capsys, "must lie between 1 and 5", "conformance", "check", kit / "port", "--levels", "3-1")
    refused(capsys, "no case has the flag 'leafs'", "conformance", "check", kit / "port", "--only", "leafs")
    refused(capsys, "there is no fault 'tie'", "conformance", "explain", "tie")
    (tmp_path / "file").write_text("")
    refused(capsys, "cannot write", "conformance", "export", tmp_path / "file")


def test_the_page_explains_every_flag_level_and_fault():
    page = (checker.VECTORS.parent / "README.md").read_text()
    flags = page[page.index("## Flags") :]
    assert dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", flags, re.M)) == specs.FLAGS
    for level, name in specs.LEVELS.items():
        assert f"| {level} | {name} |" in page
    for item in checker.index():
        for name in checker.load(item):
            known = name.removeprefix("expected_").removeprefix("d_")
            assert re.search(rf"`{known}`", page), name
