"""The first paper's package: its module's weights come back, whatever wrappers have added to their names."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from fffref import LeafFFF, checks
from fffref.formats import fastfeedforward, safetensors


def layer_of(rng, depth=3, dtype=np.float32):
    return LeafFFF.init(rng, 5, 3, depth, 2, "gelu", dtype)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("prefix", ["", "head.ff."])
def test_weights_come_back_bit_for_bit(depth, dtype, prefix, rng, tmp_path):
    layer = layer_of(rng, depth, dtype)
    layer.leaf_in_weight[0, 0, :3] = np.nan, -0.0, np.inf
    safetensors.write(
        tmp_path / "a.safetensors", fastfeedforward.fastfeedforward(layer, prefix) | {"other": np.zeros(2)}
    )
    tensors = dict(safetensors.mapped(tmp_path / "a.safetensors"))
    if not prefix:
        tensors.pop("other")
    again = fastfeedforward.leaf_fff(tensors, "gelu", prefix)
    for name, array in layer.arrays().items():
        np.testing.assert_array_equal(getattr(again, name).view(np.int32), array.view(np.int32), strict=True)
    assert again.activation == "gelu" and all(a.ctypes.data % 64 == 0 for a in again.arrays().values() if a.size)
    shapes = {name: array.shape for name, array in fastfeedforward.fastfeedforward(again).items()}
    N, L = 2**depth - 1, 2**depth
    assert shapes == {
        "node_weights": (N, 5), "node_biases": (N, 1), "w1s": (L, 5, 2), "b1s": (L, 2), "w2s": (L, 2, 3), "b2s": (L, 3),
        "depth": (),
    }  # fmt: skip


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("w2s"), "no weights of a fastfeedforward.FFF under the prefix '': missing w2s"),
        (lambda t: t.update(colour=np.zeros(3)), "unknown colour"),
        (lambda t: (t.pop("b1s"), t.update(colour=np.zeros(3))), "missing b1s; unknown colour"),
        (lambda t: t.update(depth=np.array(2)), "depth says 2, but there are weights for 3"),
        (lambda t: t.update(w1s=t["w1s"][0]), "w1s must have shape"),
        (lambda t: t.update(w1s=t["w1s"][:, :-1]), "must have shape"),
        (lambda t: t.update(node_biases=t["node_biases"][:, 0]), "node_biases must have shape"),
        (lambda t: t.update(node_weights=t["node_weights"][1:]), "must have shape"),
        (lambda t: [t.update({n: t[n][:-1]}) for n in ("node_weights", "node_biases")], "a complete binary tree"),
    ],
)
def test_weights_that_are_none_are_refused(change, message, rng):
    tensors = fastfeedforward.fastfeedforward(layer_of(rng))
    change(tensors)
    with pytest.raises(ValueError, match=message):
        fastfeedforward.leaf_fff(tensors)


def test_weights_of_two_types_are_refused(rng):
    tensors = fastfeedforward.fastfeedforward(layer_of(rng)) | {"b2s": np.zeros((8, 3))}
    with pytest.raises(TypeError, match="b2s must have dtype float32"):
        fastfeedforward.leaf_fff(tensors)


def test_statistics_are_no_weights(rng):
    tensors = fastfeedforward.fastfeedforward(layer_of(rng)) | {"node_usage": np.zeros(7), "leaf_usage": np.zeros(8)}
    assert fastfeedforward.leaf_fff(tensors).depth == 3
    with pytest.raises(ValueError, match="missing node_weights, node_biases, w1s, b1s and 2 more"):
        fastfeedforward.leaf_fff(tensors, prefix="head.")


@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_published_module_computes_the_same_in_training(depth, activation, rng, tmp_path):
    torch, package = pytest.importorskip("torch"), pytest.importorskip("fastfeedforward")
    from safetensors.torch import load_file, save_file

    kinds = {"relu": torch.nn.ReLU(), "gelu": torch.nn.GELU()}
    torch.manual_seed(0)
    module = package.FFF(6, 3, 4, depth, activation=kinds[activation], usage_mode="soft")
    save_file(module.state_dict(), tmp_path / "module.safetensors")
    layer = fastfeedforward.leaf_fff(safetensors.mapped(tmp_path / "module.safetensors"), activation)
    x = rng.standard_normal((50, 6), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    y, _ = layer.forward(x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    if depth:  # in evaluation the module fails for depth 0, and leaves b2s away
        with torch.no_grad():
            hard = module.eval()(torch.from_numpy(x)).numpy()
        bias = layer.leaf_out_bias[layer.route(x)]
        np.testing.assert_allclose(layer.forward_hard(x) - bias, hard, rtol=1e-5, atol=1e-5 * np.abs(hard).max())
        assert np.abs(bias).max() > 0.1

    safetensors.write(tmp_path / "back.safetensors", fastfeedforward.fastfeedforward(layer))
    other = package.FFF(6, 3, 4, depth, activation=kinds[activation])
    other.load_state_dict(load_file(tmp_path / "back.safetensors"))
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize(
    "wrapper", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module.", "module.module."]
)
@pytest.mark.parametrize("prefix", ["", "head."])
def test_what_wrappers_put_before_names_is_passed_over(wrapper, prefix, rng):
    layer = layer_of(rng)
    tensors = {wrapper + name: array for name, array in fastfeedforward.fastfeedforward(layer, prefix).items()}
    for asked in (prefix, wrapper + prefix):
        np.testing.assert_array_equal(
            fastfeedforward.leaf_fff(tensors, prefix=asked).leaf_in_weight, layer.leaf_in_weight
        )


def test_a_compiled_part_of_a_model_is_found(rng):
    layer = layer_of(rng)
    tensors = fastfeedforward.fastfeedforward(layer, "net._orig_mod.head.")
    np.testing.assert_array_equal(fastfeedforward.leaf_fff(tensors, prefix="net.head.").node_bias, layer.node_bias)


def test_two_names_that_are_one_but_for_a_wrapper_are_refused(rng):
    tensors = fastfeedforward.fastfeedforward(layer_of(rng))
    with pytest.raises(checks.InputError, match=r"_orig_mod.w1s and w1s are one name"):
        fastfeedforward.leaf_fff(tensors | {"_orig_mod.w1s": tensors["w1s"]})


def test_the_prefix_that_was_forgotten_is_named(rng):
    tensors = fastfeedforward.fastfeedforward(layer_of(rng), "head.ff.")
    with pytest.raises(checks.InputError, match=r"it is there under the prefix 'head\.ff\.', ask for that"):
        fastfeedforward.leaf_fff(tensors)


@pytest.mark.parametrize("other", [np.float16, np.uint8, np.int16])
def test_only_what_is_asked_for_is_judged(other, rng, tmp_path):
    layer = layer_of(rng)
    weights = {name: np.asarray(a, order="C") for name, a in fastfeedforward.fastfeedforward(layer, "head.").items()}
    save_file(weights | {"backbone.weight": np.zeros((4, 4), other)}, tmp_path / "mixed.safetensors")
    again = fastfeedforward.leaf_fff(safetensors.mapped(tmp_path / "mixed.safetensors"), "gelu", "head.")
    np.testing.assert_array_equal(again.leaf_out_weight, layer.leaf_out_weight, strict=True)
