"""`fffref import-torch`: what the library does, from the command line."""

import json

import numpy as np
import pytest
from terminal import refused, run

from fffref import DenseFF, LeafFFF, PathFFF
from fffref.formats import checkpoints, fastfeedforward, safetensors, ultrafastbert
from fffref.formats.ultrafastbert import Arch


def test_a_module_becomes_a_checkpoint_and_comes_back(capsys, tmp_path, rng):
    layer = LeafFFF.init(rng, 5, 3, 2, 4, "gelu")
    module, leaf, back = (tmp_path / name for name in ("module.safetensors", "leaf.safetensors", "back.safetensors"))
    safetensors.write(
        module, fastfeedforward.fastfeedforward(layer, "ff.") | {"ff.node_usage": np.zeros(3, np.float32)}
    )
    arguments = module, "--prefix", "ff.", "--activation", "gelu", "--out", leaf
    status, out, _ = run(capsys, "import-torch", *arguments)
    assert (
        status == 0
        and "LeafFFF, float32: node_weight (3, 5)" in out
        and "left out, being no weights: node_usage" in out
    )
    found = checkpoints.load(leaf, LeafFFF)
    assert found.layer.options() == {"activation": "gelu"} and found.info == {"imported_from": "module.safetensors"}
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(getattr(found.layer, name), array, strict=True)
    status, out, _ = run(capsys, "import-torch", leaf, "--back", "--prefix", "ff.", "--out", back, "--json")
    assert status == 0 and json.loads(out)["shapes"]["leaf_in_weight"] == [4, 4, 5]
    one, other = safetensors.mapped(module), safetensors.mapped(back)
    assert set(one) - {"ff.node_usage"} == set(other)
    for name, array in other.items():
        np.testing.assert_array_equal(one[name], array, strict=True)


def test_a_layer_of_a_model_becomes_a_checkpoint(capsys, tmp_path, rng):
    arch = Arch(layers=2, hidden=12, heads=3, vocabulary=30, depth=3, n_trees=2)
    tensors = ultrafastbert.draw(rng, arch)
    ultrafastbert.save(tmp_path / "model", arch, tensors)
    status, out, _ = run(
        capsys, "import-torch", tmp_path / "model", "--layer", 1, "--out", tmp_path / "path.safetensors"
    )
    assert status == 0 and "PathFFF, float32: in_weight (2, 15, 12)" in out
    found = checkpoints.load(tmp_path / "path.safetensors", PathFFF)
    expected = ultrafastbert.ff_layer(arch, tensors, 1)
    np.testing.assert_array_equal(found.layer.out_weight, expected.out_weight)
    assert found.info == {"imported_from": "model", "layer": 1}
    assert run(capsys, "evaluate", tmp_path / "path.safetensors")[0] == 2  # 12 inputs are no images


def test_what_cannot_be_imported_is_told_in_one_line(capsys, tmp_path, rng):
    module, out = tmp_path / "module.safetensors", tmp_path / "out.safetensors"
    safetensors.write(module, fastfeedforward.fastfeedforward(LeafFFF.init(rng, 5, 3, 2, 4)))
    path = tmp_path / "path.safetensors"
    checkpoints.save(path, PathFFF.init(rng, 5, 3, 2))
    to = "--out", out
    refused(capsys, "required", "import-torch", module)
    refused(capsys, "there is no file", "import-torch", tmp_path / "none", *to)
    refused(capsys, "missing node_weights", "import-torch", module, "--prefix", "x.", *to)
    refused(capsys, "activation must be one of", "import-torch", module, "--activation", "swish", *to)
    refused(capsys, "exists already; choose another --out", "import-torch", module, "--out", module)
    refused(capsys, "not allowed with", "import-torch", module, "--back", "--layer", 1, *to)
    refused(capsys, "no 'fffref 1' checkpoint", "import-torch", module, "--back", *to)
    checkpoints.save(tmp_path / "dense.safetensors", DenseFF.init(rng, 5, 3, 2))
    refused(capsys, "holds a DenseFF, expected a LeafFFF or a PathFFF", "import-torch", tmp_path / "dense.safetensors",
            "--back", *to)  # fmt: skip
    refused(capsys, "--trees is for UltraFastBERT's FFF", "import-torch", module, "--trees", 2, *to)
    refused(capsys, "--trees is for the state dict", "import-torch", path, "--back", "--trees", 2, *to)
    refused(capsys, "--activation is for the state dict", "import-torch", module, "--back", "--activation", "relu", *to)
    refused(capsys, "--prefix is for the state dict", "import-torch", module, "--layer", 1, "--prefix", "a", *to)
    refused(capsys, "the folder must hold config.json", "import-torch", tmp_path, "--layer", 0, *to)
    arch = Arch(layers=2, hidden=12, heads=3, vocabulary=30, depth=3)
    ultrafastbert.save(tmp_path / "model", arch, ultrafastbert.draw(rng, arch))
    refused(capsys, "layer must be at most 1, got 2", "import-torch", tmp_path / "model", "--layer", 2, *to)
    assert not out.exists()


@pytest.mark.parametrize("trees", [1, 2])
@pytest.mark.parametrize("prefix", ["", "encoder.layers.3.ffn."])
def test_ultrafastberts_module_becomes_a_checkpoint_and_comes_back(trees, prefix, capsys, tmp_path, rng):
    layer = PathFFF.init(rng, 5, 3, 2, trees)
    module, path, back = (tmp_path / f"{name}.safetensors" for name in ("module", "path", "back"))
    safetensors.write(module, ultrafastbert.module(layer, "_orig_mod." + prefix))
    words = "--prefix", prefix, "--trees", trees
    status, out, _ = run(capsys, "import-torch", module, *words, "--out", path)
    assert status == 0 and f"PathFFF, float32: in_weight ({trees}, 7, 5)" in out
    again = checkpoints.load(path, PathFFF).layer
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(getattr(again, name), array, strict=True)
    status, _, _ = run(capsys, "import-torch", path, "--back", "--prefix", prefix, "--out", back)
    one, other = safetensors.mapped(module), safetensors.mapped(back)
    assert status == 0 and {f"_orig_mod.{name}" for name in other} == set(one)
    for name, array in other.items():
        np.testing.assert_array_equal(one[f"_orig_mod.{name}"], array, strict=True)
    refused(capsys, f"{7 * trees} neurons are not 3 complete trees; possible numbers of trees: 1, 7"[:40],
            "import-torch", module, "--prefix", prefix, "--trees", 3, "--out", tmp_path / "no")  # fmt: skip


def test_half_precision_is_widened_and_said_in_a_line(capsys, tmp_path, rng):
    layer = LeafFFF.init(rng, 5, 3, 2, 4)
    halves = {
        name: array.astype(np.float16) if array.dtype == np.float32 else array
        for name, array in fastfeedforward.fastfeedforward(layer).items()
    }
    safetensors.write(tmp_path / "half.safetensors", halves)
    status, out, err = run(capsys, "import-torch", tmp_path / "half.safetensors", "--out", tmp_path / "out.safetensors")
    assert status == 0 and "LeafFFF, float32" in out
    assert err == f"fffref: {tmp_path / 'half.safetensors'} holds F16: its numbers are widened to float32\n"
    found = checkpoints.load(tmp_path / "out.safetensors", LeafFFF).layer
    np.testing.assert_array_equal(found.leaf_in_bias, layer.leaf_in_bias.astype(np.float16).astype(np.float32))
