"""`fffref count` prints what `counting`, `transformers` and `presets` compute."""

import json
import math

import pytest

from fffref import cli, counting
from fffref.counting import presets


def run(capsys, *arguments):
    """Exit status, standard output and standard error of `fffref count`."""
    try:
        status = cli.main(["count", *map(str, arguments)])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def report(capsys, *arguments):
    status, out, err = run(capsys, *arguments, "--json")
    assert status == 0 and err == ""
    return json.loads(out, parse_constant=pytest.fail)  # no Infinity, no NaN


LAYERS = {
    "path-fff --n-in 768 --depth 11": counting.path_fff(768, 768, 11),
    "path-fff --n-in 7 --n-out 5 --depth 0 --trees 3": counting.path_fff(7, 5, 0, 3),
    "leaf-fff --n-in 784 --n-out 10 --depth 4 --leaf-width 8": counting.leaf_fff(784, 10, 4, 8),
    "dense-ff --width 3072": counting.dense_ff(768, 768, 3072),
    "dense-ff --n-in 40 --width 30 --gated": counting.dense_ff(40, 40, 30, gated=True),
    "moe --n-in 9 --experts 16 --k 2 --expert-width 256": counting.moe(9, 9, 16, 2, 256),
}


@pytest.mark.parametrize("words", LAYERS)
def test_layers(words, capsys):
    count, result = LAYERS[words], report(capsys, *words.split(), "--dtype", "float16", "--versus", 1234)
    for name in ("neurons_stored", "neurons_engaged", "training_size", "inference_size", "training_width",
                 "inference_width", "parameters", "parameters_engaged"):  # fmt: skip
        assert result[name] == getattr(count, name)
    for name, work in result["work"].items():
        assert (
            work["multiply_adds"] == getattr(count, name).multiply_adds and work["flops"] == getattr(count, name).flops
        )
    assert result["bytes_stored"] == 2 * count.parameters and result["speed_up_limit"] == count.speed_up(1234)
    status, out, _ = run(capsys, *words.split())
    assert status == 0 and f"{count.parameters:,}" in out and f"{count.inference.flops:,}" in out


@pytest.mark.parametrize("name", presets.PRESETS)
def test_models(name, capsys):
    model, result = presets.get(name), report(capsys, name, "--context", 256, "--ff-speedup", 341, "--dtype", "int8")
    assert result["parameters"] == model.parameters() and result["engaged"] == model.engaged()
    assert result["parameters_total"] == result["bytes_stored"] == model.n_parameters
    assert result["flops_per_token"] == model.flops_per_token(256)
    assert result["speed_up"] == model.speed_up(341, 256) < result["speed_up_limit"] == model.speed_up(math.inf, 256)
    assert result["published"] is None or result["published"]["agrees"]
    status, out, _ = run(capsys, name)
    assert status == 0 and f"{model.n_parameters:,}" in out and "on average over 512" in out


def test_generation_counts_the_last_token(capsys):
    model = presets.get("llama-2-7b")
    result = report(capsys, "llama-2-7b", "--context", 4096, "--generate")
    assert result["flops_per_token"] == model.flops_per_token(4096, new=1)
    assert result["crossover"] == model.crossover(new=1) < model.crossover()
    assert "the last token of 4,096" in run(capsys, "llama-2-7b", "--context", 4096, "--generate")[1]
    assert "at no context" in run(capsys, "mistral-7b")[1]


def test_list(capsys):
    result = report(capsys, "--list")
    assert {name: row["parameters"] for name, row in result.items()} == {
        name: model.n_parameters for name, model in presets.PRESETS.items()
    }
    status, out, _ = run(capsys, "--list")
    assert status == 0 and len(out.splitlines()) == 1 + len(presets.PRESETS) and "DISAGREES" not in out


def test_help_teaches(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0 and "multiply-add is 2 FLOPs" in out and "fffref count path-fff" in out


@pytest.mark.parametrize(
    "words, message", [
        ("", "name a layer"),
        ("--list bert-base", "give one of both"),
        ("gpt-5", "invalid choice: 'gpt-5' (choose from 'dense-ff'"),
        ("path-fff", "the following arguments are required: --depth"),
        ("path-fff --depth 40", "depth must be at most"),
        ("path-fff --depth 3 --leaf-width 2", "unrecognized arguments: --leaf-width 2"),
        ("path-fff --depth 3 --context 2", "unrecognized arguments: --context 2"),
        ("bert-base --depth 3", "unrecognized arguments: --depth 3"),
        ("bert-base --context 0", "context must be at least 1, got 0"),
        ("bert-base --ff-speedup 0", "--ff-speedup must lie in (0, inf), got 0"),
        ("bert-base --dtype int7", "dtype must be one of"),
        ("moe --experts 2 --k 3 --expert-width 4", "k must be at most 2, got 3"),
        ("dense-ff --width 1.5", "invalid int value"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_status_2(words, message, capsys):
    status, out, err = run(capsys, *words.split())
    assert status == 2 and out == "" and err.count("\n") == 1 and message in err
