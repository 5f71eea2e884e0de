"""Transformers: parameters from lists of arrays, work from a forward pass written out, attention from its mask."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruments import counted, work

from fffref import counting
from fffref.counting.transformers import Published, Transformer

contexts = st.integers(1, 12)
windows = st.one_of(st.none(), st.integers(1, 12))


def tiny(**options):
    """A small one, to be changed by options."""
    width = options.pop("width", 12)
    sizes = {"layers": 2, "width": width, "heads": 4, "vocabulary": 11}
    sizes["ff"] = counting.dense_ff(width, width, 20)
    return Transformer(**sizes | options)


def mask(model, context):
    """Who sees whom: the attention mask itself."""
    i, j = np.indices((context, context))
    seen = (j <= i) if model.causal else np.ones_like(i, bool)
    return seen if model.window is None else seen & (i - j < model.window)


@given(context=contexts, window=windows, data=st.data())
def test_pairs_are_the_ones_of_the_causal_mask(context, window, data):
    model, new = tiny(causal=True, window=window), data.draw(st.integers(1, context))
    assert model.pairs(context) == mask(model, context).sum()
    assert model.pairs(context, new) == mask(model, context)[-new:].sum()
    assert tiny().pairs(context, new) == mask(tiny(), context)[-new:].sum()


@settings(max_examples=30, deadline=None)
@given(
    context=contexts, window=windows, heads=st.integers(1, 3), shared=st.integers(1, 3), head_width=st.integers(1, 4),
    gated=st.booleans(), causal=st.booleans(), head=st.sampled_from([None, "tied", "untied"]),
    pooler=st.booleans(), transform=st.booleans(), bias=st.booleans(),
)  # fmt: skip
def test_a_model_written_out(
    context, window, heads, shared, head_width, gated, causal, head, pooler, transform, bias
):  # fmt: skip
    w, f, V = 6, 10, 7
    model = tiny(
        width=w, heads=heads * shared, kv_heads=heads, head_width=head_width, causal=causal, vocabulary=V,
        window=window if causal else None, ff=counting.dense_ff(w, w, f, gated=gated, in_bias=bias, out_bias=bias),
        head=head, pooler=pooler, head_transform=transform, qkv_bias=bias, out_bias=bias, positions=20, token_types=2,
        norm="rms", final_norm=True, embedding_norm=True,
    )  # fmt: skip
    d, h, g = head_width, heads * shared, heads
    shapes = {"q": (w, h * d), "k": (w, g * d), "v": (w, g * d), "o": (h * d, w), "up": (w, f), "down": (f, w)}
    shapes |= {"gate": (w, f)} if gated else {}
    biases = {name: shape[-1:] for name, shape in shapes.items() if bias}
    norms = {name: (w,) for name in ("attention norm", "ff norm")}
    block = sum(math.prod(shape) for part in (shapes, biases, norms) for shape in part.values())
    ends = [(V, w), (20, w), (2, w), (w,), (w,)] + [(w, w), (w,)] * pooler
    ends += [(V, w)] * (head == "untied") + [(w, w), (w,), (w,), (V,)] * transform
    assert model.n_parameters == 2 * block + sum(map(math.prod, ends))

    rng = np.random.default_rng(0)
    layers = [dict(zip(shapes, counted(*map(rng.standard_normal, shapes.values())), strict=True)) for _ in range(2)]
    onto, square = counted(rng.standard_normal((V, w)), rng.standard_normal((w, w)))

    def forward(x):
        for layer in layers:
            q, k, v = (x @ layer[name] for name in "qkv")
            mixed = counted(np.zeros((context, h * d)))[0]
            for i, j in zip(*np.nonzero(mask(model, context)), strict=True):
                for n in range(h):
                    mine, theirs = slice(n * d, n * d + d), slice(n // shared * d, n // shared * d + d)
                    score = q[i : i + 1, mine] @ k[j, theirs]  # (1, d) @ (d,)
                    mixed[i, mine] += (score[:, None] @ v[None, j, theirs])[0]  # (1, 1) @ (1, d)
            x = x + mixed @ layer["o"]
            hidden = np.maximum(x @ layer["up"], 0)
            x = x + (hidden * (x @ layer["gate"]) if gated else hidden) @ layer["down"]
        if pooler:
            x[0] @ square
        if transform:
            x = x @ square
        return x @ onto.T if head else x

    _, done = work(forward, rng.standard_normal((context, w)))
    assert sum(model.multiply_adds(context).values()) == done.multiply_adds


@pytest.mark.parametrize("causal, window", [(False, None), (True, None), (True, 40)])
@pytest.mark.parametrize("projections", [False, True])
@pytest.mark.parametrize("ff_width", [1, 12, 30, 300])
def test_the_crossover_is_the_first_context_at_which_attention_leads(causal, window, projections, ff_width):
    model = tiny(causal=causal, window=window, ff=counting.dense_ff(12, 12, ff_width))

    def leads(context):
        parts = model.multiply_adds(context)
        return parts["scores"] + projections * parts["projections"] >= parts["feedforward"]

    first = next((context for context in range(1, 2000) if leads(context)), None)
    assert model.crossover(projections) == first


def test_the_rules_of_thumb_for_the_crossover():
    for w in (12, 96):  # ff 8 w^2, projections 4 w^2, scores 2 n w, or (n + 1) w on average before a causal mask
        model = tiny(width=w, ff=counting.dense_ff(w, w, 4 * w))
        assert (model.crossover(), model.crossover(projections=False)) == (2 * w, 4 * w)
        model = tiny(width=w, ff=counting.dense_ff(w, w, 4 * w), causal=True)
        assert (model.crossover(), model.crossover(projections=False)) == (4 * w - 1, 8 * w - 1)


def test_steps_of_generation_add_up_to_one_pass():
    model = tiny(causal=True, window=5, head="tied", head_transform=True)
    whole = model.multiply_adds(9)
    steps = [model.multiply_adds(context, new=1) for context in range(1, 10)]
    assert whole == {name: sum(step[name] for step in steps) for name in whole}


def test_shares_and_speed_ups():
    model = tiny(head="untied", causal=True)
    parts = model.flops_per_token(10)
    assert parts == {name: 2 * part / 10 for name, part in model.multiply_adds(10).items()}
    share = parts["feedforward"] / sum(parts.values())
    assert model.ff_share(10) == pytest.approx(share, rel=1e-14)
    assert model.speed_up(math.inf, 10) == pytest.approx(1 / (1 - share))
    assert model.speed_up(8, 10) == pytest.approx(
        sum(parts.values()) / (sum(parts.values()) - parts["feedforward"] * 7 / 8)
    )
    assert model.speed_up(8, 10) > model.speed_up(8, 1000)  # the longer, the more attention


def test_what_a_token_reads():
    ff = counting.path_fff(12, 12, depth=3)
    model = tiny(ff=ff, head="tied", positions=5)
    stored, engaged = model.parameters(), model.engaged()
    assert stored["feedforward"] == 2 * 15 * 25 and engaged["feedforward"] == 2 * 4 * 25
    assert stored["embeddings"] == (11 + 5) * 12 and engaged["embeddings"] == 2 * 12
    assert stored["head"] == 0 and engaged["head"] == 11 * 12
    assert {name for name in stored if stored[name] == engaged[name]} == {"attention", "norms", "pooler", "other"}


def test_another_feedforward_layer():
    dense = tiny(published=Published(1, 1, "nobody"))
    sparse = dense.with_ff(counting.path_fff(12, 12, depth=3))
    assert sparse.published is None
    assert dense.multiply_adds(5) | {"feedforward": 0} == sparse.multiply_adds(5) | {"feedforward": 0}
    assert sparse.multiply_adds(5)["feedforward"] == 5 * 2 * 4 * 24


def test_pytorch_stores_as_much():
    torch = pytest.importorskip("torch")
    block = torch.nn.TransformerEncoderLayer(12, 4, 20)
    model = tiny()
    parameters = model.parameters()
    assert sum(p.numel() for p in block.parameters()) * 2 == sum(parameters.values()) - parameters["embeddings"]


def test_a_published_number_is_right_to_half_its_unit():
    rounded = Published(110_000_000, 10_000_000, "somebody")
    assert rounded.agrees(105_000_000) and rounded.agrees(115_000_000)
    assert not rounded.agrees(104_999_999) and not rounded.agrees(115_000_001)
    assert Published(7, 1, "exact").agrees(7) and not Published(7, 1, "exact").agrees(8)
    assert Published(10, 1, "with three more", extra=3).agrees(7)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="heads must divide width, got 5 and 12"):
        tiny(heads=5)
    with pytest.raises(ValueError, match="kv_heads must divide heads, got 3 and 4"):
        tiny(kv_heads=3)
    with pytest.raises(ValueError, match="ff must lead from 12 to 12, got PathFFF 8 -> 12"):
        tiny(ff=counting.path_fff(8, 12, 1))
    with pytest.raises(ValueError, match="window is for causal models"):
        tiny(window=3)
    with pytest.raises(ValueError, match="norm must be one of"):
        tiny(norm="batch")
    with pytest.raises(ValueError, match="head must be one of"):
        tiny(head="both")
    with pytest.raises(ValueError, match="context must be at least 1, got 0"):
        tiny().multiply_adds(0)
    with pytest.raises(ValueError, match="new must be at most 3, got 4"):
        tiny().multiply_adds(3, new=4)
