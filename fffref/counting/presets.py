"""Models with their published sizes beside ours: `presets.get("bert-base")`, `presets.PRESETS`.

Every description follows the model's own configuration file or paper. Where a published figure is rounded, or counts
something more than we do, `Published` says so, and a test holds the computed size against it to that precision.
"""

from .. import checks
from .layers import dense_ff, path_fff
from .published import Published
from .transformers import Transformer


def get(name):
    """Return the `Transformer` of this name; ValueError names all there are."""
    return PRESETS[checks.one_of("model", name, tuple(PRESETS))]


def _bert_base():
    """BERT, the smaller one of its paper."""
    return Transformer(
        layers=12, width=768, heads=12, ff=dense_ff(768, 768, 3072), vocabulary=30522, positions=512,
        token_types=2, embedding_norm=True, pooler=True,
        published=Published(109_482_240, 1, "transformers.BertModel of bert-base-uncased; the paper, arXiv 1810.04805, "
                            "rounds to 110M"),
        note="encoder with pooler, without the head for masked words",
    )  # fmt: skip


def crammed(ff, layers=16, heads=12, vocabulary=32768, **options):
    """Describe a crammed BERT around any feedforward layer, as its repository's config/arch/crammed-bert.yaml does.

    Parameters
    ----------
    ff : Count
        Its feedforward layer, whose width is the model's.
    layers, heads, vocabulary : int
    **options
        Further fields of the `Transformer`, such as `published` and `note`.

    Returns
    -------
    Transformer
    """
    return Transformer(
        layers=layers, width=ff.n_in, heads=heads, ff=ff, vocabulary=vocabulary, qkv_bias=False, out_bias=False,
        embedding_norm=True, final_norm=True, head="tied", further=1, **options,  # further: the scale of its sinusoid
    )  # fmt: skip


def _ultrafastbert(n_trees, depth):
    """The second paper's K x D: K trees of D choices in place of every feedforward layer."""
    published = Published(
        755_000_000 // 4, 1_000_000 // 4, extra=32768 * 768,  # bytes to numbers of 4 bytes
        source="755 MB of float32 weights, model.safetensors of pbelcak/UltraFastBERT-1x11-long, where the tied output "
        "matrix is stored twice; listed elsewhere as 189M parameters",
    )  # fmt: skip
    return crammed(
        path_fff(768, 768, depth, n_trees),
        published=published if (n_trees, depth) == (1, 11) else None,
        note="arXiv 2311.10770, table 1, which gives neurons and no parameters",
    )


def _llama(layers, width, heads, ff_width, kv_heads, published, **options):
    """A causal model as LLaMA has them: gated, RMSNorm, no biases."""
    ff = dense_ff(width, width, ff_width, gated=True, in_bias=False, out_bias=False)
    return Transformer(
        layers=layers, width=width, heads=heads, ff=ff, vocabulary=32000, kv_heads=kv_heads, qkv_bias=False,
        out_bias=False, norm="rms", final_norm=True, head="untied", causal=True, published=published, **options,
    )  # fmt: skip


ULTRAFASTBERTS = (  # trees, depth: the rows of table 1
    (3072, 0), (1536, 1), (512, 2), (256, 3), (128, 4), (64, 5), (32, 6), (16, 7), (8, 8), (4, 9), (2, 10), (1, 11),
)  # fmt: skip

PRESETS = {
    "bert-base": _bert_base(),
    "crammed-bert": crammed(
        dense_ff(768, 768, 1536, gated=True, in_bias=False, out_bias=False),
        published=Published(478_000_000 // 4, 1_000_000 // 4, "478 MB of float32 weights, model.safetensors of "
                            "JonasGeiping/crammed-bert"),
        note="arXiv 2212.14034; 3072 rows into a gated layer of width 1536",
    ),
    "crammed-bert-3072": crammed(
        dense_ff(768, 768, 3072, in_bias=False, out_bias=False),
        note="the dense baseline of arXiv 2311.10770, as in its repository: not gated; no published total",
    ),
    **{f"ultrafastbert-{trees}x{depth}": _ultrafastbert(trees, depth) for trees, depth in ULTRAFASTBERTS},
    "gpt-3": Transformer(
        layers=96, width=12288, heads=96, ff=dense_ff(12288, 12288, 4 * 12288), vocabulary=50257,
        positions=2048, final_norm=True, head="tied", causal=True,
        published=Published(174_600_000_000, 100_000_000, "arXiv 2005.14165, table D.1, rounded; \"175B\" in the text"),
        note="attention counted dense in every layer; in every other one the paper's is banded",
    ),
    "llama-2-7b": _llama(
        32, 4096, 32, 11008, 32,
        Published(6_738_415_616, 1, "the checkpoint meta-llama/Llama-2-7b; arXiv 2307.09288 rounds to 7B"),
    ),
    "llama-2-70b": _llama(
        80, 8192, 64, 28672, 8,
        Published(68_976_648_192, 1, "the checkpoint meta-llama/Llama-2-70b; arXiv 2307.09288 rounds to 70B"),
    ),
    "mistral-7b": _llama(
        32, 4096, 32, 14336, 8,
        Published(7_241_732_096, 1, "the checkpoint mistralai/Mistral-7B-v0.1; arXiv 2310.06825 rounds to 7B"),
        window=4096,
    ),
}  # fmt: skip
