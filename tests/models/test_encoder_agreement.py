"""The encoder against the package transformers, where that is installed: what it saves is read, what it gives is given.

On a small BERT that it draws and saves itself; and on MiniLM, if FFFREF_MINILM names its folder.
"""

import os
import pathlib

import numpy as np
import pytest

from fffref.models import sentences
from fffref.models.encoder import Encoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MINILM = os.environ.get("FFFREF_MINILM")
SIZES = {
    "num_hidden_layers": 3, "hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 56, "vocab_size": 50,
    "max_position_embeddings": 64, "type_vocab_size": 2, "hidden_act": "gelu",
}  # fmt: skip
LENGTHS = (64, 1, 17, 5)  # of sentences in one batch: all but the first are padded
TEXTS = (
    "A man is eating.",
    "Naïve café: 3.5 kg, “quoted” — and a URL, https://example.org/a_b?c=d!",
    "word",
    "the quick brown fox jumps over the lazy dog, and " * 40,  # more than the model takes
    "A fast feedforward network computes one leaf for an input, and leaves the others alone. " * 5,
)


OTHER_SIZES = (
    {"num_hidden_layers": 1, "hidden_size": 35, "num_attention_heads": 5, "intermediate_size": 9},
    {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 1, "intermediate_size": 64},
    {"layer_norm_eps": 0.03, "type_vocab_size": 1},
)


def saved(folder, kind="BertModel", **changes):
    """A folder that transformers saved, with weights and biases large enough that each of them matters."""
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.BertConfig(**SIZES | changes))
    with torch.no_grad():
        for array in model.parameters():
            array += 0.2 * torch.randn_like(array)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def small(tmp_path):
    """The usual one."""
    return saved(tmp_path)


def theirs(folder, ids, mask):
    """Hidden states and embeddings by transformers; pooling in its tensors."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        ids, mask = torch.tensor(ids), torch.tensor(mask)
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return hidden.numpy(), torch.nn.functional.normalize(pooled, dim=1).numpy()


def agree(folder, ids, mask):
    """Hidden states of real tokens to 1e-5, embeddings to 1e-6, in NumPy and compiled."""
    hidden, embeddings = theirs(folder, ids, mask)
    assert np.abs(hidden).mean() > 0.1  # nobody compares zeros
    for encoder in (Encoder.load(folder), Encoder.load(folder).compiled()):
        np.testing.assert_allclose(encoder.hidden(ids, mask)[mask > 0], hidden[mask > 0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(encoder.embed(ids, mask), embeddings, rtol=0, atol=1e-6)


def test_a_small_model_in_one_padded_batch(small, rng):
    ids, mask = sentences.padded([rng.integers(1, 50, length).tolist() for length in LENGTHS])
    agree(small, ids, mask)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_small_model_without_padding(small, rng, length):
    ids = rng.integers(0, 50, (2, length))
    agree(small, ids, np.ones_like(ids))


@pytest.mark.parametrize("changes", OTHER_SIZES, ids=str)
def test_other_sizes_and_another_eps(tmp_path, rng, changes):
    ids, mask = sentences.padded([rng.integers(0, 50, length).tolist() for length in LENGTHS])
    agree(saved(tmp_path, **changes), ids, mask)


def test_names_with_a_prefix_and_a_head_beside(tmp_path, rng):
    """A model for masked text: its encoder's names begin with "bert.", and what follows the encoder is left alone."""
    ids = rng.integers(0, 50, (2, 9))
    agree(saved(tmp_path, "BertForMaskedLM"), ids, np.ones_like(ids))


def test_padding_on_the_left_and_within(small, rng):
    """A mask may hide any position; the positions of the others stay as they are."""
    ids, mask = rng.integers(0, 50, (3, 9)), np.ones((3, 9), int)
    mask[0, :4] = mask[1, 2:5] = 0
    agree(small, ids, mask)


def test_the_tanh_form_of_gelu_would_be_noticed(small, rng):
    """A configuration that asks for it is refused by `load`; and hidden states would differ by more than 1e-5."""
    ids = rng.integers(0, 50, (2, 9))
    exact, _ = theirs(small, ids, np.ones_like(ids))
    config = small / "config.json"
    config.write_text(config.read_text().replace('"gelu"', '"gelu_new"'))
    other, _ = theirs(small, ids, np.ones_like(ids))
    assert np.abs(exact - other).max() > 1e-5
    with pytest.raises(ValueError, match="hidden_act must be 'gelu'"):
        Encoder.load(small)


@pytest.mark.skipif(not MINILM, reason="FFFREF_MINILM does not name MiniLM's folder")
def test_minilm_tokens_hidden_states_and_embeddings():
    """From text to vectors; the longest is cut where sentence_bert_config.json says."""
    folder = pathlib.Path(MINILM)
    most = sentences.longest(folder, 512)
    rows, cut = sentences.tokens(sentences.tokenizer(folder / "tokenizer.json"), TEXTS, most)
    expected = transformers.AutoTokenizer.from_pretrained(folder)(list(TEXTS), truncation=True, max_length=most)
    assert rows == expected["input_ids"] and cut == [3]
    ids, mask = sentences.padded(rows)
    agree(folder, ids, mask)
    agree(folder, ids[:1, : mask[0].sum()], mask[:1, : mask[0].sum()])  # one short sentence, without padding
