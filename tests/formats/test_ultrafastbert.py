"""The released form: every tensor accounted for, and what goes wrong told in words."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fffref import DenseFF, PathFFF
from fffref.counting import presets
from fffref.formats import ultrafastbert
from fffref.formats.ultrafastbert import OUT, WORDS, Arch
from fffref.models.bert import Bert

TINY = Arch(layers=2, hidden=12, heads=3, vocabulary=30, max_length=9, n_trees=2, depth=2)
DENSE = Arch(layers=2, hidden=12, heads=3, vocabulary=30, max_length=9, width=7)


@pytest.fixture(params=[TINY, DENSE], ids=["fff", "dense"])
def arch(request):
    """Either kind of model."""
    return request.param


@pytest.fixture
def folder(tmp_path, rng, arch):
    """A folder, as the authors' code saves one."""
    tensors = ultrafastbert.draw(rng, arch)
    ultrafastbert.save(tmp_path, arch, tensors | {OUT: tensors[WORDS]})
    return tmp_path


def change_config(folder, change):
    """Edit config.json."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def change_weights(folder, change):
    """Edit model.safetensors."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def refused(folder, message):
    with pytest.raises(ValueError, match=message):
        Bert.load(folder)


# ---------------------------------------------------------------------- what is right


def test_a_model_comes_back(folder, arch, rng):
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    found, tensors = ultrafastbert.load(folder)
    assert found == arch and set(tensors) == set(arch.shapes()) - {OUT}
    ids = rng.integers(0, 30, (2, 9))
    expected = Bert.of(arch, tensors)(ids)
    for model in (Bert.load(folder), Bert.load(folder, threads=2), Bert.load(folder, fast=True, threads=2)):
        np.testing.assert_allclose(model(ids), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_weights_are_mapped_and_the_file_is_not_written(folder, arch):
    before = (folder / "model.safetensors").read_bytes()
    bert = Bert.load(folder)
    for array in (
        bert.embedding.words,
        bert.blocks[1].attention.qkv,
        bert.blocks[0].attention.out,
        bert.blocks[0].ff.in_weight,
    ):
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert not array.flags.owndata and isinstance(base, np.memmap)
        array.flat[0] = 0
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_drawn_model_is_the_authors_before_training(dtype, rng):
    tensors = ultrafastbert.draw(rng, Arch(layers=1, vocabulary=500, depth=3), dtype)
    assert {array.dtype for array in tensors.values()} == {np.dtype(dtype)}
    for name, array in tensors.items():
        last = name.rsplit(".", 1)[1]
        if ("norm" in name and "norm_factor" not in name) or last == "bias":
            assert (array == (0 if last == "bias" else 1)).all()
        elif array.size > 1:
            assert array[1:].std() == pytest.approx(0.02, rel=0.05)
    assert (tensors[WORDS][0] == 0).all()
    assert tensors["encoder.layers.0.attn.self_attention.norm_factor"] == pytest.approx(1 / 8)
    assert tensors["encoder.embedding.pos_embedding.scale_factor"] == pytest.approx(768**-0.5)


def test_the_tied_tensor_may_be_there_once(folder, rng):
    ids = rng.integers(0, 30, 9)
    expected = Bert.load(folder)(ids)
    change_weights(folder, lambda t: t.pop(OUT))
    np.testing.assert_array_equal(Bert.load(folder)(ids), expected)
    change_weights(folder, lambda t: t.update({OUT: t.pop(WORDS)}))
    np.testing.assert_array_equal(Bert.load(folder)(ids), expected)


def test_nan_in_the_tied_tensor_equals_itself(folder):
    def change(tensors):
        tensors[WORDS][3] = tensors[OUT][3] = np.nan

    change_weights(folder, change)
    assert np.isnan(Bert.load(folder).embedding.words[3]).all()


def test_a_configuration_may_leave_the_vocabulary_open(folder):
    change_config(folder, lambda c: c["arch"]["embedding"].update(vocab_size=None))
    assert Bert.load(folder).arch.vocabulary == 30


def test_the_layer_is_the_layer_of_its_columns(arch, rng):
    tensors = {name: rng.standard_normal(shape) for name, shape in arch.shapes().items()}
    layer, prefix = ultrafastbert.ff_layer(arch, tensors, 1), "encoder.layers.1.ffn."
    if arch.width is None:
        assert isinstance(layer, PathFFF) and (layer.n_trees, layer.depth) == (2, 2)
        neuron = 7 + 4  # of tree 1, neuron 4
        np.testing.assert_array_equal(layer.in_weight[1, 4], tensors[prefix + "linear_in.weight"][neuron])
        np.testing.assert_array_equal(layer.out_weight[1, 4], tensors[prefix + "linear_out.weight"][:, neuron])
        assert layer.in_bias[1, 4] == tensors[prefix + "linear_in.bias"][neuron]
        assert np.shares_memory(layer.in_weight, tensors[prefix + "linear_in.weight"])
    else:
        assert isinstance(layer, DenseFF) and not layer.in_bias.any() and not layer.out_bias.any()
        np.testing.assert_array_equal(layer.out_weight[4], tensors[prefix + "dense_out.weight"][:, 4])
    assert layer.activation == "gelu" and layer.out_weight.ctypes.data % 64 == 0


# ---------------------------------------------------------------------- sizes


def test_sizes_survive_the_configuration(arch):
    assert Arch.of(arch.config()) == arch == Arch(**asdict(arch))


@pytest.mark.parametrize(
    "sizes, kind, message",
    [
        ({"layers": 0}, ValueError, "layers must be at least 1"),
        ({"heads": 5}, ValueError, "heads must divide hidden, got 5 and 12"),
        ({"depth": -1}, ValueError, "depth must be at least 0"),
        ({"width": 0}, ValueError, "width must be at least 1"),
        ({"hidden": 12.0}, TypeError, "hidden must be an integer"),
        ({"eps": -1.0}, ValueError, "eps must lie in"),
    ],
)
def test_sizes_that_are_none_are_refused(sizes, kind, message):
    with pytest.raises(kind, match=message):
        replace(TINY, **sizes)


# ---------------------------------------------------------------------- what is wrong with a folder


@pytest.mark.parametrize("arch", [TINY], indirect=True)
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.pop("arch"), "has no 'arch': it describes no crammedBERT"),
        (lambda c: c.update(arch=3), "has no 'arch'"),
        (lambda c: c["arch"].pop("hidden_size"), "lacks arch.hidden_size"),
        (lambda c: c["arch"].pop("attention"), "lacks arch.attention.num_attention_heads"),
        (lambda c: c["arch"]["embedding"].pop("max_seq_length"), "lacks arch.embedding.max_seq_length"),
        (lambda c: c["arch"].pop("intermed_depth"), "lacks arch.intermed_depth"),
        (lambda c: c["arch"].update(intermed_type="moe"), "arch.intermed_type must be one of 'ff', 'fff', got 'moe'"),
        (lambda c: c["arch"].update(nonlin="GELUglu"), "arch.nonlin must be 'GELU' here, got 'GELUglu'"),
        (lambda c: c["arch"].update(norm="RMSNorm"), "arch.norm must be 'LayerNorm' here"),
        (lambda c: c["arch"]["attention"].update(rotary_embedding=True), "rotary_embedding must be False here"),
        (lambda c: c["arch"]["embedding"].update(pos_embedding="learned"), "must be 'scaled-sinusoidal' here"),
        (lambda c: c["arch"]["embedding"].update(embedding_dim=6), "embedding_dim must be 12 here, got 6"),
        (lambda c: c["arch"]["attention"].update(num_attention_heads=5), "config.json: heads must divide hidden"),
        (lambda c: c["arch"].update(num_transformer_layers="2"), "config.json: layers must be an integer"),
    ],
)
def test_configurations_of_other_models_are_refused(change, message, folder):
    change_config(folder, change)
    refused(folder, message)


@pytest.mark.parametrize("arch", [TINY], indirect=True)
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("encoder.final_norm.bias"), "missing: encoder.final_norm.bias"),
        (lambda t: t.update({"encoder.pooler.weight": np.zeros(3)}), "unknown: encoder.pooler.weight"),
        (lambda t: t.update({"encoder.final_norm.bias": np.zeros(3, np.float32)}),
         r"encoder.final_norm.bias must have shape \(12\), got \(3,\)"),
        (lambda t: t.update({WORDS: t[WORDS].T.copy()}), "word_embedding.weight must have shape"),
        (lambda t: t.update({OUT: t[OUT] + 1}), "decoder.weight differs from encoder.embedding.word_embedding.weight"),
        (lambda t: [t.pop(name) for name in list(t) if "layers.1." in name], "missing: .* and 6 more"),
        (lambda t: [t.update({n.removeprefix("encoder."): t.pop(n)}) for n in list(t)], "no crammedBERT at all"),
        (lambda t: (t.clear(), t.update(a=np.zeros(3))), "vocabulary|no crammedBERT at all"),
    ],
)  # fmt: skip
def test_weights_of_other_models_are_refused(change, message, folder):
    change_weights(folder, change)
    refused(folder, message)


@pytest.mark.parametrize("arch", [TINY], indirect=True)
def test_numbers_of_two_types_are_refused(folder):
    change_weights(folder, lambda t: t.update({"encoder.final_norm.bias": np.zeros(12)}))
    with pytest.raises(TypeError, match=r"model\.safetensors: encoder\.final_norm\.bias must have dtype float32"):
        Bert.load(folder)


@pytest.mark.parametrize(
    "other, said", [(TINY, "its FF layers are fast feedforward"), (DENSE, "its FF layers are dense")]
)
def test_dense_for_conditional_and_the_reverse_are_told(other, said, folder, arch, rng, tmp_path):
    """What happened to others silently: the layers that were configured stayed random."""
    if other == arch:
        return
    ultrafastbert.save(tmp_path / "other", other, ultrafastbert.draw(rng, other))
    (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
    refused(folder, said)


def test_missing_and_damaged_files_are_told(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    refused(folder, "truncated or damaged at")
    weights.unlink()
    refused(folder, "there is no file .*model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"PK")
    refused(folder, "holds pytorch_model.bin; convert it there: python -c .*save_file")
    (folder / "config.json").write_text("{")
    refused(folder, "config.json is no readable JSON")
    (folder / "config.json").unlink()
    refused(folder, "the folder must hold config.json and model.safetensors")


def test_the_conversion_that_we_advise_works(folder, rng):
    torch = pytest.importorskip("torch")
    from subprocess import run
    from sys import executable

    ids = rng.integers(0, 30, 9)
    expected = Bert.load(folder)(ids)
    tensors = {name: torch.from_numpy(array) for name, array in load_file(folder / "model.safetensors").items()}
    torch.save(tensors | {OUT: tensors[WORDS]}, folder / "pytorch_model.bin")  # tied: one memory
    (folder / "model.safetensors").unlink()
    run([executable, "-c", ultrafastbert.CONVERT], cwd=folder, check=True)
    np.testing.assert_array_equal(Bert.load(folder)(ids), expected)


@pytest.mark.parametrize("trees, depth", [(1, 11), (3072, 0), (16, 7)])
def test_the_preset_of_the_counts_is_the_architectures_own(trees, depth):
    preset = presets.get(f"ultrafastbert-{trees}x{depth}")
    assert Arch(n_trees=trees, depth=depth).counted() == replace(preset, published=None, note="")
    assert Arch(width=3072).counted() == replace(presets.get("crammed-bert-3072"), note="")


@pytest.mark.parametrize("arch", [TINY, DENSE], indirect=True)
def test_the_parameters_counted_are_the_tensors_but_for_attentions_factor(arch, rng):
    tensors = ultrafastbert.draw(rng, arch)
    stored = sum(array.size for name, array in tensors.items() if not name.endswith("norm_factor"))
    assert arch.counted().n_parameters == stored
