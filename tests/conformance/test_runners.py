"""The ports beside the vectors are right ones: each passes every level, in its own language."""

import pathlib
import shutil
import subprocess
import sys

import pytest

from fffref.conformance import checker

RUNNERS = pathlib.Path(checker.__file__).parent / "runners"
gcc, node = shutil.which("gcc"), shutil.which("node")


def passes(command, answers, **options):
    """Run a port and hold its answers against the vectors."""
    answers.mkdir()
    done = subprocess.run([*map(str, command), checker.VECTORS, answers], capture_output=True, text=True, **options)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    verdicts = checker.check(answers)
    assert {v.entry.number: v.complaints for v in verdicts if v.complaints} == {}
    assert len(verdicts) == len(checker.index())


@pytest.mark.parametrize("path", sorted(RUNNERS.glob("port*.*")), ids=lambda path: path.name)
def test_each_is_under_120_lines(path):
    lines = path.read_text().splitlines()
    assert len(lines) < 120 and max(map(len, lines)) <= 140


@pytest.mark.skipif(gcc is None, reason="no gcc on PATH, so the port in C was not run")
@pytest.mark.parametrize("options", ["-O2", "-O3 -ffp-contract=fast", "-O0 -fsanitize=undefined"])
def test_c(options, tmp_path):
    strict = ("-std=c99", "-Wall", "-Wextra", "-Werror")
    build = [gcc, *strict, *options.split(), "-o", tmp_path / "port", RUNNERS / "port.c", "-lm"]
    subprocess.run(build, check=True)
    passes([tmp_path / "port"], tmp_path / "answers")


@pytest.mark.skipif(node is None, reason="no node on PATH, so the port in JavaScript was not run")
def test_javascript(tmp_path):
    passes([node, RUNNERS / "port.js"], tmp_path / "answers")


def test_numpy(tmp_path):
    passes([sys.executable, "-W", "error", RUNNERS / "port.py"], tmp_path / "answers")


def test_pytorch(tmp_path):
    pytest.importorskip("torch", reason="no PyTorch, so its port was not run")
    passes([sys.executable, RUNNERS / "port_torch.py"], tmp_path / "answers")
