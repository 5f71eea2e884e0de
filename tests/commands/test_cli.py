"""The command line: what it prints, what it refuses in one line, and that it does what the library does."""

import argparse
import hashlib
import http.client
import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from terminal import refused, run

from fffref import LeafFFF, checks, cli, datasets
from fffref.commands import shared
from fffref.formats import checkpoints

COMMANDS = [module.__name__.rpartition(".")[2].replace("_", "-") for module in cli.COMMANDS]


def options(parser):
    """Every option of a parser and of those below it."""
    for action in parser._actions:
        yield from action.option_strings
        for below in (action.choices or {}).values() if isinstance(action, argparse._SubParsersAction) else ():
            yield from options(below)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_describes_every_option_and_its_examples_are_accepted(command, capsys):
    """Each example line of the help is parsed, so that none goes stale."""
    status, _, _ = run(capsys, command, "--help")
    (below,) = (a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    parser = below.choices[command]
    assert status == 0 and all(action.help or action.choices for action in parser._actions)
    examples = re.findall(rf"^  fffref ({command}\b.*?)(?:   .*)?$", parser.epilog or f"  fffref {command}", re.M)
    assert examples
    for example in examples:
        arguments = cli.parser().parse_args(shlex.split(example.partition(" && ")[0]))
        assert arguments.command == command and callable(arguments.run)
    assert {"--json", "--traceback"} <= set(options(parser))


def test_the_first_help_names_every_command(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0 and all(re.search(rf"^ +{command}\b", out, re.M) for command in COMMANDS)


@pytest.mark.parametrize("layer", ["leaf", "path", "dense"])
@pytest.mark.parametrize("activation", ["gelu", "tanh", "identity"])
def test_gradcheck_passes(layer, activation, capsys):
    status, out, _ = run(capsys, "gradcheck", "--layer", layer, "--activation", activation, "--json")
    rows = json.loads(out)["gradients"]
    assert status == 0 and all(row["passed"] for row in rows)
    assert max(row["complex"] for row in rows) < 1e-12 and max(row["central"] for row in rows) < 1e-6
    status, out, _ = run(capsys, "gradcheck", "--layer", layer, "--activation", activation)
    assert status == 0 and "in_weight" in out and "ok" in out


def test_gradcheck_exits_with_1_on_a_wrong_gradient(capsys, monkeypatch):
    honest = LeafFFF.backward

    def wrong(self, *args, **kwargs):
        grads, dx = honest(self, *args, **kwargs)
        return grads.map(lambda g: 1.0005 * g), dx

    monkeypatch.setattr(LeafFFF, "backward", wrong)
    status, out, _ = run(capsys, "gradcheck")
    assert status == 1 and "WRONG" in out


def test_train_evaluate_and_resume(capsys, tmp_path):
    file = tmp_path / "digits.safetensors"
    shape = ["--depth", 2, "--leaf-width", 4]
    status, out, err = run(capsys, "train", "--out", file, "--epochs", 2, *shape)
    assert status == 0 and "leaves used" in out and "fffref evaluate" in out and "training: 100%" in err
    assert checkpoints.load(file, LeafFFF).layer.depth == 2
    status, out, err = run(capsys, "train", "--out", file, "--epochs", 2, *shape, "--resume", "--json")
    assert status == 0 and len(json.loads(out)["history"]) == 2
    status, out, err = run(capsys, "evaluate", file, "--json")
    result = json.loads(out)
    assert status == 0 and 0.5 < result["hard_accuracy"] <= 1 and len(result["leaf_share"]) == 4
    status, out, err = run(capsys, "evaluate", file)
    assert status == 0 and "neurons stored" in out and f"{100 * result['hard_accuracy']:.2f} % hard" in out


@pytest.mark.parametrize("kind", ["path", "dense"])
def test_other_layers_train_too(kind, capsys, tmp_path):
    file = tmp_path / "run.safetensors"
    status, _, _ = run(capsys, "train", "--layer", kind, "--depth", 2, "--width", 8, "--out", file, "--epochs", 1)
    assert status == 0
    assert run(capsys, "evaluate", file)[0] == 0


def test_bad_input_is_one_line_and_status_2(capsys, tmp_path):
    file = tmp_path / "run.safetensors"
    afile = tmp_path / "afile"
    afile.write_text("not a checkpoint")
    refused(capsys, "invalid choice", "trian")
    refused(capsys, "required", "train")
    refused(capsys, "depth must be at least 0, got -1", "train", "--out", file, "--depth", -1)
    refused(capsys, "invalid int value: '1.5'", "train", "--out", file, "--depth", 1.5)
    refused(capsys, "leaf_width must be at least 1, got 0", "train", "--out", file, "--leaf-width", 0)
    refused(capsys, "epochs must be at least 1", "train", "--out", file, "--epochs", 0)
    refused(capsys, "--seed must be at least 0", "train", "--out", file, "--seed", -1)
    refused(capsys, "mnist-small", "train", "--out", file, "--data", "cifar")
    refused(capsys, "train-images", "train", "--out", file, "--data", "mnist", "--data-folder", tmp_path)
    refused(capsys, "cannot write to the folder", "train", "--out", afile / "run.safetensors")
    refused(capsys, "exists already; --resume", "train", "--out", afile)
    refused(capsys, "there is no checkpoint", "evaluate", file)
    refused(capsys, "no complete safetensors file", "evaluate", afile)
    refused(capsys, "cannot read", "evaluate", tmp_path)
    refused(capsys, "File name too long", "train", "--out", tmp_path / ("x" * 300))
    refused(capsys, "no regular file", "train", "--out", tmp_path)
    refused(capsys, "unrecognized arguments: a b", "train", "--out", file, "a\nb")
    refused(capsys, "cannot write to the folder", "demo", "--out", afile)
    refused(capsys, "invalid choice", "gradcheck", "--activation", "swish")
    refused(capsys, "n_in must be at least 1", "gradcheck", "--n-in", 0)


def test_temperature_must_be_above_0(capsys, tmp_path):
    file = tmp_path / "run.safetensors"
    run(capsys, "train", "--out", file, "--depth", 1, "--leaf-width", 1, "--epochs", 1, "--json")
    refused(capsys, "temperature must lie in", "evaluate", file, "--temperature", 0)


def test_it_is_a_module_too():
    done = subprocess.run([sys.executable, "-m", "fffref", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("fffref ")


# ---------------------------------------------------------------------- what the system refuses, and our own mistakes


def raising(monkeypatch, error):
    """Let `fffref count` end in an error."""

    def run(arguments):
        raise error

    monkeypatch.setattr("fffref.commands.count.run_list", run)


@pytest.mark.parametrize(
    "error, message",
    [
        (checks.InputError("two\nlines"), "two lines"),
        (checks.InputTypeError("wrong type"), "wrong type"),
        (OSError(28, "No space left on device", "a.txt"), "No space left on device: 'a.txt'"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (TimeoutError(), "TimeoutError"),
        (http.client.BadStatusLine("hello"), "hello"),
        (MemoryError(), "needs more memory"),
    ],
)
def test_what_the_system_refuses_is_one_line_and_status_2(error, message, capsys, monkeypatch):
    raising(monkeypatch, error)
    refused(capsys, message, "count", "--list")
    with pytest.raises(type(error)):
        cli.main(["count", "--list", "--traceback"])


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, RecursionError])
def test_a_mistake_of_ours_shows_its_traceback(error, capsys, monkeypatch):
    raising(monkeypatch, error("a mistake"))
    with pytest.raises(error, match="a mistake"):
        cli.main(["count", "--list"])


def test_stopping_is_no_failure(capsys, monkeypatch):
    raising(monkeypatch, KeyboardInterrupt())
    status, out, err = run(capsys, "count", "--list")
    assert (status, out, err) == (130, "", "\nfffref count: stopped\n")


def shell(command, **options):
    text = command.replace("fffref", f"{shlex.quote(sys.executable)} -m fffref")
    return subprocess.run(["bash", "-o", "pipefail", "-c", text], capture_output=True, text=True, **options)


@pytest.mark.parametrize("words", ["count --list", "count gpt-3 --json", "train --help"])
def test_a_closed_pipe_is_quiet(words):
    done = shell(f"fffref {words} | (exec <&-; sleep 1)")
    assert done.returncode in (141, 0 if "--help" in words else 141)  # argparse says nothing of its own print
    assert done.stdout == done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("words", ["count --list", "count gpt-3 --json"])
def test_a_full_disk_under_standard_output_is_one_line(words):
    done = shell(f"fffref {words} > /dev/full")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space left on device" in done.stderr


@pytest.mark.parametrize("error, status", [(BrokenPipeError(), 141), (OSError(28, "No space left on device"), 2)])
def test_a_help_text_that_cannot_be_printed_is_no_traceback(error, status, monkeypatch, capsys):
    """Early versions of Python 3.11 let argparse raise what later ones pass over."""
    monkeypatch.setattr(argparse.ArgumentParser, "_print_message", lambda *_: (_ for _ in ()).throw(error))
    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "--help"])
    assert stopped.value.code == status and capsys.readouterr().err.count("\n") == (status == 2)


def test_a_terminal_without_the_words_does_not_fail():
    done = shell("fffref count --list", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0


def strict(text):
    """JSON as others read it: no NaN, no Infinity."""
    return json.loads(text, parse_constant=pytest.fail)


def test_json_has_no_nan(capsys):
    arguments = argparse.Namespace(json=True)
    values = {"nan": float("nan"), "inf": [np.inf, (-np.inf,)], "numpy": np.float32(np.nan), 3: np.int64(2),
              "array": np.array([1.5, np.nan]), "flag": np.bool_(True), "text": "NaN", "none": None}  # fmt: skip
    assert shared.finish(arguments, values) == 0
    assert strict(capsys.readouterr().out) == {
        "nan": None, "inf": [None, [None]], "numpy": None, "3": 2, "array": [1.5, None], "flag": True, "text": "NaN",
        "none": None,
    }  # fmt: skip


def test_a_diverged_training_is_no_success(tmp_path):
    file = tmp_path / "nan.safetensors"
    words = f"train --layer dense --width 8 --learning-rate 1e30 --epochs 1 --recipe plain --out {file} --json"
    done = shell(f"fffref {words}")
    assert (
        done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1 and "the loss is nan" in done.stderr
    )


def test_an_evaluation_of_another_data_set_is_refused(tmp_path, capsys, monkeypatch):
    """A folder with the files of one set, called by the name of the other: their names are the same."""
    import gzip

    small = datasets.EMBEDDED / "mnist-small"
    contents = {file: (small / f"{file}.gz").read_bytes() for file in datasets.FILES}
    sums = {file: hashlib.sha256(gzip.decompress(content)).hexdigest() for file, content in contents.items()}
    monkeypatch.setitem(datasets.SHA256, "mnist", sums)  # the sample stands for all of it
    for file, content in contents.items():
        (tmp_path / f"{file}.gz").write_bytes(content)
    monkeypatch.setenv("FFFREF_DATA", str(tmp_path))
    net = tmp_path / "net.safetensors"
    assert (
        run(capsys, "train", "--data", "mnist", "--layer", "dense", "--width", 2, "--epochs", 1, "--out", net)[0] == 0
    )
    refused(capsys, "holds mnist, not fashion-mnist", "evaluate", net, "--data", "fashion-mnist")
    refused(capsys, "holds mnist, not fashion-mnist", "reproduce", "table1", "--data", "fashion-mnist", "--quick",
            "--out", tmp_path / "out.jsonl")  # fmt: skip
    assert not (tmp_path / "out.jsonl").exists()
