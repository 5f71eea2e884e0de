"""Situations that users have reported, about what they pass and where it is written: what each should get.

As `test_reported_cases.py`. Those about weights of other people's code are in `formats/test_reported_files.py`, those
about data sets in `test_datasets.py`.
"""

import json
import os

import numpy as np
import pytest
from terminal import refused, run

import fffref
from fffref import DenseFF, LeafFFF, MoE, PathFFF, checks, cli
from fffref.formats import checkpoints
from fffref.layers import activations


def save(path, rng):
    checkpoints.save(path, DenseFF.init(rng, 3, 2, width=2))


# ---------------------------------------------------------------------- files


def test_a_umask_keeps_weights_private(tmp_path, rng):
    before = os.umask(0o077)
    try:
        save(tmp_path / "private.safetensors", rng)
        os.umask(0o002)
        save(tmp_path / "shared.safetensors", rng)
    finally:
        os.umask(before)
    modes = {path.stem: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"private": 0o600, "shared": 0o664}


def test_a_checkpoint_behind_a_link_is_renewed_where_it_is(tmp_path, rng):
    real, link = tmp_path / "real.safetensors", tmp_path / "link.safetensors"
    save(real, rng)
    before = real.read_bytes()
    link.symlink_to(real)
    save(link, rng)
    assert link.is_symlink() and real.read_bytes() != before and checkpoints.load(link).layer.width == 2


def test_a_mount_that_refuses_chmod_can_hold_checkpoints(tmp_path, rng, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    for _ in range(2):
        save(tmp_path / "mounted.safetensors", rng)
    assert checkpoints.load(tmp_path / "mounted.safetensors").layer.width == 2


def test_a_tilde_in_an_option_is_the_home_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    words = "train --layer dense --width 2 --epochs 1 --out ~/runs/a.safetensors".split()
    assert run(capsys, *words)[0] == 0 and run(capsys, "evaluate", "~/runs/a.safetensors")[0] == 0
    assert (tmp_path / "home" / "runs" / "a.safetensors").exists() and not (tmp_path / "~").exists()


def test_a_name_that_is_too_long_is_said_before_the_first_epoch(tmp_path, capsys, monkeypatch):
    from fffref import training

    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("it was trained"))
    refused(capsys, "File name too long", "train", "--out", tmp_path / ("x" * 300))


def test_a_misspelt_data_folder_is_said_and_nothing_is_downloaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FFFREF_DATA", str(tmp_path / "dtaa"))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("it asked a mirror"))
    refused(capsys, f"FFFREF_DATA names {tmp_path / 'dtaa'}, which lacks train-images-idx3-ubyte", "train", "--data",
            "mnist", "--out", tmp_path / "a.safetensors")  # fmt: skip


# ---------------------------------------------------------------------- the command line


def test_json_of_what_is_not_finite_is_json(capsys):
    from fffref.commands import shared

    class Arguments:
        json = True

    shared.finish(Arguments, {"loss": float("nan"), "best": -float("inf"), "rows": [np.float32("nan"), 1.0]})
    text = capsys.readouterr().out
    assert json.loads(text, parse_constant=pytest.fail) == {"loss": None, "best": None, "rows": [None, 1.0]}


def test_the_help_says_which_crammedberts_are_meant(capsys):
    status, out, _ = run(capsys, "fill-mask", "--help")
    assert status == 0 and "GELUglu" in out and "its dense twin" in out


def test_a_mistake_of_ours_is_no_bad_input(monkeypatch):
    monkeypatch.setattr("fffref.counting.presets.get", lambda name: 1 + "a")
    with pytest.raises(TypeError, match="unsupported operand") as caught:
        cli.main(["count", "bert-base"])
    assert not isinstance(caught.value, checks.InputError)


def test_bad_input_can_be_told_from_all_else():
    for act in (lambda: activations.get("swish"), lambda: PathFFF.init(np.random.default_rng(0), 0, 1, 1)):
        with pytest.raises(checks.InputError):
            act()
    with pytest.raises(TypeError) as caught:
        PathFFF.init(0, 1, 1, 1)
    assert isinstance(caught.value, checks.InputTypeError)


# ---------------------------------------------------------------------- weights and inputs of every kind


@pytest.mark.parametrize("cls", [LeafFFF, PathFFF, DenseFF])
@pytest.mark.parametrize("kind", [np.ma.masked_array, np.asmatrix])
def test_masked_arrays_and_matrices_are_refused(cls, kind, rng):
    sizes = {"LeafFFF": {"depth": 1, "leaf_width": 2}, "PathFFF": {"depth": 1}, "DenseFF": {"width": 2}}[cls.__name__]
    layer, x = cls.init(rng, 3, 2, **sizes), np.zeros((2, 3), np.float32)
    with pytest.warns(PendingDeprecationWarning) if kind is np.asmatrix else pytest.MonkeyPatch.context():
        odd = kind(x)
    for act in (layer.forward, layer.forward_hard, fffref.jit(layer)):
        with pytest.raises(checks.InputTypeError, match=r"x must be a plain NumPy array"):
            act(odd)
    name = next(iter(layer.arrays()))
    with pytest.raises(checks.InputTypeError, match="plain NumPy array"):
        cls(**layer.arrays() | {name: np.ma.masked_array(layer.arrays()[name])})


def layouts(x, folder):
    """The same rows in every form that memory may have."""
    read_only = x.copy()
    read_only.flags.writeable = False
    np.save(folder / "x.npy", x)
    shifted = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    shifted[:] = x
    return {
        "read-only": read_only, "mapped": np.load(folder / "x.npy", mmap_mode="r"), "columns": np.asfortranarray(x),
        "every second": np.repeat(x, 2, axis=0)[::2], "reversed": x[::-1].copy()[::-1], "misaligned": shifted,
        "a slice of columns": np.hstack([x, x])[:, : x.shape[1]],
    }  # fmt: skip


@pytest.mark.parametrize("cls", [LeafFFF, PathFFF, DenseFF])
def test_any_layout_of_the_inputs_gives_the_same(cls, rng, tmp_path):
    sizes = {"LeafFFF": {"depth": 3, "leaf_width": 2}, "PathFFF": {"depth": 3}, "DenseFF": {"width": 9}}[cls.__name__]
    layer = cls.init(rng, 6, 4, **sizes)
    x = rng.standard_normal((8, 6), np.float32)
    expected = layer.forward_hard(x)
    for name, other in layouts(x, tmp_path).items():
        for function in (layer.forward_hard, fffref.jit(layer)):
            np.testing.assert_allclose(function(other), expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_soft_and_hard_decisions_work_in_any_order(rng):
    layer, x = LeafFFF.init(rng, 4, 3, depth=2, leaf_width=2), rng.standard_normal((5, 4), np.float32)
    hard, soft = layer.forward_hard(x), layer.forward(x)[0]
    np.testing.assert_array_equal(layer.forward_hard(x), hard)
    np.testing.assert_array_equal(layer.forward(x)[0], soft)
    assert not np.allclose(hard, soft)


@pytest.mark.parametrize("k, experts", [(1, 1), (2, 2), (1, 4), (4, 4)])
@pytest.mark.parametrize("rows", [1, 10])
def test_experts_of_any_number_are_finite_with_and_without_noise(k, experts, rows, rng):
    layer = MoE.init(rng, 5, 3, n_experts=experts, expert_width=2, k=k)
    x = rng.standard_normal((rows, 5), np.float32)
    for noise in (None, np.random.default_rng(0)):
        y, tape = layer.forward(x, noise)
        grads, dx = layer.backward(tape, np.ones_like(y))
        assert all(np.isfinite(array).all() for array in (y, dx, *grads.arrays().values()))
