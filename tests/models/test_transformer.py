"""The transformer: every gradient in every combination by complex step, PyTorch's autograd, parts, records, files."""

from dataclasses import replace

import numpy as np
import pytest

from fffref import gradcheck
from fffref.formats import checkpoints
from fffref.layers.choices import Choices
from fffref.models import bert, parts, sizes, transformer
from fffref.models.sizes import Sizes
from fffref.training import losses
from fffref.training.penalties import compiled, penalty
from fffref.training.recipes import Recipe

SMALL = Sizes(
    vocabulary=7, layers=2, hidden=6, heads=2, context=5, width=5, depth=1, trees=2, leaf_width=2, experts=3,
    ff_bias=True,
)  # fmt: skip


def model_of(rng, dtype=np.float64, **changes):
    """A model whose every array is random: norms and biases, too."""
    model = sizes.draw(rng, replace(SMALL, **changes), np.float64)
    model = model.map(lambda a: a + 0.3 * rng.standard_normal(a.shape))
    if not model.ff_bias and type(model.blocks[0].ff).__name__ == "DenseFF":
        model = model.with_arrays({n: 0 * a for n, a in model.arrays().items() if n.endswith(("in_bias", "out_bias"))})
    return model.astype(dtype)


def objective(model, ids, targets, mask=None, at=None):
    """Cross-entropy of the next (or hidden) tokens."""
    logits, tape = model.forward(ids, mask, at)
    loss, dlogits = losses.cross_entropy(logits, targets)
    return loss, tape, dlogits


def passed(model, grads, value):
    """Every array's gradient is right to 1e-12."""
    reports = gradcheck.check_layer(lambda m, _: value(m), model, np.zeros(1), grads, method="complex")
    assert set(reports) == set(model.arrays())
    for name, report in reports.items():
        assert report.error <= 1e-12, f"{name}: {report}"


# ---------------------------------------------------------------------- gradients


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "masked"])
@pytest.mark.parametrize("padding", [False, True], ids=["", "padding"])
@pytest.mark.parametrize("ff", sizes.KINDS)
def test_every_gradient_is_right(ff, causal, padding, rng):
    model = model_of(rng, ff=ff, causal=causal)
    ids, targets = rng.integers(0, 7, (2, 3, 4)), rng.integers(0, 7, (2, 3, 4))
    mask = np.arange(4) < rng.integers(1, 5, (2, 3, 1)) if padding else None
    _, tape, dlogits = objective(model, ids, targets, mask)
    passed(model, model.backward(tape, dlogits), lambda m: objective(m, ids, targets, mask)[0])


def test_logits_of_a_few_rows_have_the_gradient_of_these(rng):
    model, ids = model_of(rng, ff="leaf", causal=False), rng.integers(0, 7, (2, 5))
    at, targets = np.array([1, 8, 1]), np.array([3, 0, 4])  # one row twice
    _, tape, dlogits = objective(model, ids, targets, at=at)
    np.testing.assert_allclose(model.forward(ids, at=at)[0], model.forward(ids)[0].reshape(10, 7)[at], rtol=1e-12)
    passed(model, model.backward(tape, dlogits), lambda m: objective(m, ids, targets, at=at)[0])


@pytest.mark.parametrize("smooth", [False, True])
def test_penalties_of_leaf_trees_compose_with_the_loss(smooth, rng):
    model, ids, targets = model_of(rng, ff="leaf"), rng.integers(0, 7, (2, 5)), rng.integers(0, 7, (2, 5))
    recipe = Recipe(entropy_weight=0.7, balance_weight=0.4, temperature=0.8, smooth_step=smooth)
    at = recipe.at(0.5)

    def value(model):
        logits, tape = model.forward(ids, settings=at)
        loss, dlogits = losses.cross_entropy(logits, targets)
        extra_loss, extra = penalty(model, tape, at)
        return loss + extra_loss, tape, dlogits, extra

    total, tape, dlogits, extra = value(model)
    plain, _ = losses.cross_entropy(model.forward(ids, settings=at)[0], targets)
    assert total > plain + 1e-3
    passed(model, model.backward(tape, dlogits, **extra), lambda m: value(m)[0])
    wrong = gradcheck.check_layer(
        lambda m, _: value(m)[0], model, np.zeros(1), model.backward(tape, dlogits), method="complex"
    )
    assert not all(report.passed for report in wrong.values())  # without the penalties' share


def test_biases_that_a_model_does_not_have_stay_zero(rng):
    model = model_of(rng, ff="dense", ff_bias=False)
    ids = rng.integers(0, 7, (2, 5))
    _, tape, dlogits = objective(model, ids, ids)
    grads = model.backward(tape, dlogits)
    for block in grads.blocks:
        assert not block.ff.in_bias.any() and not block.ff.out_bias.any() and block.ff.in_weight.any()


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_are_those_of_pytorch(causal, rng):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    model, ids, targets = (
        model_of(rng, ff="dense", causal=causal),
        rng.integers(0, 7, (3, 5)),
        rng.integers(0, 7, (3, 5)),
    )
    p = {name: torch.tensor(array, requires_grad=True) for name, array in model.arrays().items()}

    def norm(x, name):
        return F.layer_norm(x, (6,), p[f"{name}.weight"], p[f"{name}.bias"], model.eps)

    x = p["embedding.words"][ids] + p["embedding.scale"] * torch.tensor(parts.sinusoid(5, 6).copy())
    x = norm(x, "embedding.norm")
    for i in range(2):
        name = f"blocks.{i}"
        qkv = (norm(x, f"{name}.norm1") @ p[f"{name}.attention.qkv"].T).reshape(3, 5, 2, 3, 3)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + mixed.transpose(1, 2).reshape(3, 5, 6) @ p[f"{name}.attention.out"].T
        hidden = F.gelu(norm(x, f"{name}.norm2") @ p[f"{name}.ff.in_weight"].T + p[f"{name}.ff.in_bias"])
        x = x + hidden @ p[f"{name}.ff.out_weight"] + p[f"{name}.ff.out_bias"]
    logits = norm(x, "final_norm") @ p["embedding.words"].T
    theirs = F.cross_entropy(logits.reshape(-1, 7), torch.tensor(targets.reshape(-1)))
    theirs.backward()
    loss, tape, dlogits = objective(model, ids, targets)
    assert loss == pytest.approx(theirs.item(), rel=1e-12)
    for name, array in model.backward(tape, dlogits).arrays().items():
        np.testing.assert_allclose(array, p[name].grad.numpy(), rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------------- what it computes


@pytest.mark.parametrize("ff", sizes.KINDS)
def test_a_causal_model_does_not_see_what_follows(ff, rng):
    model, ids = model_of(rng, ff=ff), rng.integers(0, 7, (1, 5))
    changed = ids.copy()
    changed[0, 3:] = (changed[0, 3:] + 1) % 7
    np.testing.assert_allclose(model(changed)[0, :3], model(ids)[0, :3], rtol=1e-12)
    assert not np.allclose(model(changed)[0, 3:], model(ids)[0, 3:])
    other = replace(model, causal=False)
    assert not np.allclose(other(changed)[0, :3], other(ids)[0, :3])


@pytest.mark.parametrize("ff", ["dense", "path", "none"])
def test_inference_is_the_forward_pass_of_training_where_nothing_is_soft(ff, rng):
    model, ids = model_of(rng, ff=ff), rng.integers(0, 7, (2, 5))
    np.testing.assert_allclose(model(ids), model.forward(ids)[0], rtol=1e-12)
    if ff != "none":
        np.testing.assert_allclose(model.compiled()(ids), model(ids), rtol=1e-9)


def test_inference_is_hard_where_training_is_soft(rng):
    model, ids = model_of(rng, ff="leaf"), rng.integers(0, 7, (2, 5))
    settings = Recipe(straight_through=True).at(0)
    assert settings.choices == Choices(straight_through=True)
    np.testing.assert_allclose(model(ids), model.forward(ids, settings=settings)[0], rtol=1e-12)
    assert not np.allclose(model(ids), model.forward(ids)[0])


def test_parts_can_be_run_by_other_functions(rng):
    model, ids, seen = model_of(rng), rng.integers(0, 7, (2, 5)), []

    def watched(name, function):
        def run(*arguments):
            seen.append(name)
            return function(*arguments)

        return run

    timed = {name: watched(name, function) for name, function in model.parts().items()}
    np.testing.assert_array_equal(model.hidden(ids, instead=timed), model.hidden(ids))
    assert seen == list(model.parts()) and seen[0] == "embedding" and "blocks.1.ff" in seen


def test_path_trees_may_be_trained_by_their_visited_rows(rng):
    model, ids = model_of(rng, ff="path"), rng.integers(0, 7, (2, 5))
    _, tape, dlogits = objective(model, ids, ids)
    expected = model.backward(tape, dlogits)
    fast = compiled(model)
    _, tape, dlogits = objective(fast, ids, ids)
    for name, array in fast.backward(tape, dlogits).dense().arrays().items():
        np.testing.assert_allclose(array, expected.arrays()[name], rtol=1e-9, atol=1e-12)


def test_nothing_is_changed(rng):
    model, ids = model_of(rng, ff="leaf"), rng.integers(0, 7, (2, 5))
    for array in (ids, *model.arrays().values()):
        array.flags.writeable = False
    _, tape, dlogits = objective(model, ids, ids)
    model.backward(tape, dlogits)


# ---------------------------------------------------------------------- records and files


@pytest.mark.parametrize("ff", sizes.KINDS)
def test_a_checkpoint_gives_the_same_model(ff, rng, tmp_path):
    model, ids = model_of(rng, np.float32, ff=ff), rng.integers(0, 7, (2, 5))
    checkpoints.save(tmp_path / "model", model)
    loaded = checkpoints.load(tmp_path / "model", transformer.Transformer).layer
    assert loaded.options() == model.options() and loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded(ids), model(ids))


@pytest.mark.parametrize("ff", ["dense", "path"])
def test_the_released_form_gives_the_same_model(ff, rng, tmp_path):
    model, ids = model_of(rng, np.float32, ff=ff, causal=False, ff_bias=False), rng.integers(0, 7, (2, 5))
    bert.save(tmp_path, model)
    loaded = bert.Bert.load(tmp_path)
    assert loaded.arch == bert.arch_of(model) and loaded.arch.max_length == 5
    np.testing.assert_allclose(loaded(ids), model(ids), rtol=1e-4, atol=1e-5)
    for name, array in loaded.arrays().items():
        np.testing.assert_array_equal(array, model.arrays()[name])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"ff": "dense", "causal": True, "ff_bias": False}, "causal=True and DenseFF"),
        ({"ff": "leaf"}, "causal=False and LeafFFF"),
        ({"ff": "none"}, "causal=False and NoneType"),
        ({"ff": "path", "activation": "relu"}, "PathFFF with relu"),
        ({"ff": "dense", "ff_bias": True}, "no biases in dense FF layers; train with ff_bias=False"),
    ],
)
def test_the_released_form_has_no_room_for_others(changes, message, rng, tmp_path):
    model = model_of(rng, **{"causal": False} | changes)
    with pytest.raises(ValueError, match=message):
        bert.save(tmp_path, model)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"heads": 4}, "heads must divide hidden, got 4 and 6"),
        ({"ff": "tree"}, "ff must be one of 'dense', 'path', 'leaf', 'top', 'moe', 'none', got 'tree'"),
        ({"initial": "xavier"}, "initial must be one of"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"depth": -1}, "depth must be at least 0"),
    ],
)
def test_sizes_that_are_none_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


@pytest.mark.parametrize("ff", sizes.KINDS)
def test_initial_values_are_as_said_and_a_seed_gives_a_model(ff):
    wide = replace(SMALL, hidden=64, width=200, ff=ff, ff_bias=False)
    first, again = (sizes.draw(np.random.default_rng(3), wide) for _ in range(2))
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])
        assert array.dtype == np.float32
    assert first.blocks[0].attention.qkv.std() == pytest.approx(0.02, rel=0.05)
    assert first.blocks[0].attention.out.std() == pytest.approx(0.01, rel=0.05)  # 0.02 / sqrt(2 * 2)
    if ff in ("dense", "path"):
        normal = sizes.draw(np.random.default_rng(3), replace(wide, initial="normal")).blocks[0].ff
        assert normal.in_weight.std() == pytest.approx(0.02, rel=0.15) and not normal.in_bias.any()
        uniform = first.blocks[0].ff
        assert np.abs(uniform.in_weight).max() == pytest.approx(1 / 8, rel=0.05)
        assert uniform.in_bias.any() == (ff == "path")


def test_arrays_of_parts_must_fit_together():
    with pytest.raises(ValueError, match=r"bias must have shape \(3\), got \(4,\)"):
        parts.Norm(np.zeros(3), np.zeros(4))


def test_the_gradient_of_routing_reaches_the_trees(rng):
    model, ids = model_of(rng, ff="path"), rng.integers(0, 7, (2, 5))
    settings = Recipe(route_gradient="straight-through").at(0)
    _, tape, dlogits = objective(model, ids, ids)
    value, extra = penalty(model, tape, settings)
    routed, plain = model.backward(tape, dlogits, **extra).blocks[1].ff, model.backward(tape, dlogits).blocks[1].ff
    assert value == 0 and not np.allclose(routed.in_weight, plain.in_weight)  # to blame for where it sends a sample
    np.testing.assert_allclose(routed.out_weight, plain.out_weight, rtol=1e-10)  # what comes behind is the same
