"""The command line: what it prints, what it refuses in one line, and that it does what the library does."""

import json
import subprocess
import sys

import pytest
from terminal import refused, run

from fffref import LeafFFF, cli
from fffref.formats import checkpoints


@pytest.mark.parametrize("command", [None, *(module.__name__.rpartition(".")[2] for module in cli.COMMANDS)])
def test_help_teaches(command, capsys):
    status, out, _ = run(capsys, *([command.replace("_", "-")] if command else []), "--help")
    assert status == 0 and "usage: fffref" in out and len(out.splitlines()) > 8


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
