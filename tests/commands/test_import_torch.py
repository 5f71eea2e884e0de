"""`fffref import-torch`: what the library does, from the command line."""

import json

import numpy as np
from terminal import refused, run

from fffref import LeafFFF, PathFFF
from fffref.formats import checkpoints, fastfeedforward, ultrafastbert
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
    refused(capsys, "holds a PathFFF, expected a LeafFFF", "import-torch", path, "--back", *to)
    refused(capsys, "--activation is for the state dict", "import-torch", module, "--back", "--activation", "relu", *to)
    refused(capsys, "--prefix is for the state dict", "import-torch", module, "--layer", 1, "--prefix", "a", *to)
    refused(capsys, "the folder must hold config.json", "import-torch", tmp_path, "--layer", 0, *to)
    arch = Arch(layers=2, hidden=12, heads=3, vocabulary=30, depth=3)
    ultrafastbert.save(tmp_path / "model", arch, ultrafastbert.draw(rng, arch))
    refused(capsys, "layer must be at most 1, got 2", "import-torch", tmp_path / "model", "--layer", 2, *to)
    assert not out.exists()
