"""Text: characters to numbers and back, windows, what is asked for, what is refused; and training on it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fffref.models import sizes, vocabulary
from fffref.models.sizes import Sizes
from fffref.models.text import CausalText, MaskedText
from fffref.models.vocabulary import Characters
from fffref.training import Recipe, losses, train

TEXT = "the cat sat on the mat. " * 20


def small(vocabulary, **changes):
    """A model for short windows."""
    options = {"layers": 1, "hidden": 8, "heads": 2, "context": 6, "width": 8, "depth": 1, "leaf_width": 4} | changes
    return sizes.draw(np.random.default_rng(0), Sizes(vocabulary=len(vocabulary), **options))


# ---------------------------------------------------------------------- vocabularies


@given(st.text(min_size=1), st.booleans())
def test_numbers_give_the_text_back(text, masked):
    characters = Characters.of(text, masked)
    ids = characters.encode(text)
    assert characters.decode(ids) == text and len(characters) == len(set(text)) + 2 * masked
    assert ids.shape == (len(text),) and ids.max() == len(set(text)) - 1


def test_unknown_characters_are_named():
    with pytest.raises(ValueError, match="does not know 2 of the text's characters: 'zß'; it knows 'abc'"):
        Characters("abc").encode("abzßzc")
    assert Characters("abc").encode("").shape == (0,)
    for wrong in ("", "aa"):
        with pytest.raises(ValueError, match="an alphabet is a string of at least one character, each of them once"):
            Characters(wrong)


@pytest.mark.parametrize("masked", [False, True])
def test_a_vocabulary_comes_back_from_its_file_which_tokenizers_reads(masked, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    characters = Characters.of('a b\nc."\\ü', masked)
    characters.save(tmp_path / "tokenizer.json")
    assert vocabulary.vocabulary(tmp_path / "tokenizer.json") == characters
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "ü a\n\nb c"
    np.testing.assert_array_equal(theirs.encode(text).ids, characters.encode(text))
    assert theirs.decode(theirs.encode(text).ids) == text
    if masked:
        assert theirs.encode("a[MASK]b").ids[1] == characters.mask == theirs.token_to_id("[MASK]")


def test_another_tokenizer_is_taken_as_it_is(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"the": 0, "cat": 1, "[MASK]": 2}, unk_token="[MASK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "words.json"))
    tokens = vocabulary.vocabulary(tmp_path / "words.json")
    np.testing.assert_array_equal(tokens.encode("cat the cat"), [1, 0, 1])
    assert tokens.decode([0, 1]) == "the cat" and len(tokens) == 3 and tokens.mask == 2
    tokens.save(tmp_path / "copy.json")
    assert len(vocabulary.vocabulary(tmp_path / "copy.json")) == 3


@pytest.mark.parametrize(
    "content, message",
    [(None, "there is no"), ("{", "no readable JSON"), ("[]", "no tokenizer that"), ("{}", "no tokenizer")],
)
def test_files_that_are_no_vocabulary_are_refused(content, message, tmp_path):
    pytest.importorskip("tokenizers")
    if content is not None:
        (tmp_path / "v.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        vocabulary.vocabulary(tmp_path / "v.json")


# ---------------------------------------------------------------------- windows


def test_a_text_is_split_by_position_and_windows_stay_in_their_part():
    ids = np.arange(100)
    task = CausalText.of(ids, 8, epoch=50)
    np.testing.assert_array_equal(task.train, ids[:90])
    np.testing.assert_array_equal(task.validation, ids[90:])
    batches = list(task.batches(16, np.random.default_rng(0)))
    assert len(batches) == task.steps(16) == 50
    seen = np.concatenate([targets.ravel() for _, _, targets in batches])
    assert seen.min() == 1 and seen.max() == 89  # each place, up to both ends
    for x, at, targets in batches:
        assert at is None and x.shape == (16, 8)
        np.testing.assert_array_equal(targets, x + 1)


@pytest.mark.parametrize("n", [9, 10, 16, 17, 18, 600])
def test_every_held_out_token_but_the_first_is_asked_for_once(n):
    task = CausalText(np.arange(9), np.arange(n), 8)
    asked = [(x, targets) for x, _, targets in task.held_out()]
    np.testing.assert_array_equal(np.concatenate([t.ravel() for _, t in asked]), np.arange(1, n))
    np.testing.assert_array_equal(np.concatenate([x.ravel() for x, _ in asked]), np.arange(n - 1))


def test_hidden_tokens_are_asked_for_and_seen_nowhere():
    task = MaskedText(np.arange(900), np.arange(900, 1000), 10, mask=5000, share=0.2)
    hidden = 0
    for ids, at, targets in task.batches(30, np.random.default_rng(0)):
        np.testing.assert_array_equal(np.flatnonzero(ids.ravel() == 5000), at)
        restored = ids.ravel().copy()
        restored[at] = targets
        assert (np.diff(restored.reshape(30, 10)) == 1).all()
        hidden += len(at)
    assert hidden / (100 * 300) == pytest.approx(0.2, abs=0.01)
    first, second = (list(task.held_out()) for _ in range(2))
    for (_, at, targets), (_, same, again) in zip(first, second, strict=True):
        np.testing.assert_array_equal(at, same)
        np.testing.assert_array_equal(targets, again)
    tiny = MaskedText(np.arange(9), np.arange(9), 3, mask=10, share=1e-9)
    assert all(len(at) == 1 for _, at, _ in tiny.batches(1, np.random.default_rng(0)))


def test_the_watched_loss_is_the_mean_over_the_whole_part():
    characters = Characters.of(TEXT)
    ids = characters.encode(TEXT)
    model, task = small(characters, ff="leaf"), CausalText.of(ids, 6)
    watched = task.watch(model, Recipe(temperature=0.5).at(0))
    held = ids[int(len(ids) * 0.9) :]
    total = 0.0
    for i in range(1, len(held)):  # one at a time, each window begins anew
        start = (i - 1) // 6 * 6
        row = model(held[start:i])[-1].astype(np.float64)
        total += losses.cross_entropy(row[None], held[[i]])[0]
    assert watched["validation_loss"] == pytest.approx(total / (len(held) - 1), rel=1e-5)
    assert watched["soft_loss"] != pytest.approx(watched["validation_loss"], rel=1e-6)
    assert task.watch(small(characters), Recipe().at(0))["soft_loss"] is None


# ---------------------------------------------------------------------- training


@pytest.mark.parametrize("ff", sizes.KINDS)
@pytest.mark.parametrize("masked", [False, True], ids=["causal", "masked"])
def test_training_learns_a_text_that_repeats(ff, masked):
    characters = Characters.of(TEXT, masked)
    ids = characters.encode(TEXT)
    task = MaskedText.of(ids, 6, epoch=40, mask=characters.mask) if masked else CausalText.of(ids, 6, epoch=40)
    model = small(characters, ff=ff, causal=not masked, experts=2)
    before = task.watch(model, Recipe().at(0))["validation_loss"]
    _, history = train(model, task, Recipe(epochs=3, batch_size=8, learning_rate=0.03), progress=False)
    assert (
        history[-1]["validation_loss"] < (0.87 if masked else 0.7) * before and history[-1]["loss"] < history[0]["loss"]
    )


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    characters = Characters.of(TEXT)
    task, model = CausalText.of(characters.encode(TEXT), 6, epoch=5), small(characters, ff="leaf")
    recipe = Recipe(epochs=4, batch_size=4, learning_rate=0.01, noise=0.5)

    class Stopped(CausalText):
        def batches(self, batch_size, rng):
            yield from [] if calls.append(1) or len(calls) > 2 else super().batches(batch_size, rng)
            if len(calls) > 2:
                raise KeyboardInterrupt

        def facts(self):
            return task.facts()

    whole, history = train(model, task, recipe, seed=1, progress=False)
    calls = []
    with pytest.raises(KeyboardInterrupt):
        train(model, Stopped(**vars(task)), recipe, seed=1, checkpoint=tmp_path / "c", progress=False)
    resumed, again = train(model, task, recipe, seed=1, checkpoint=tmp_path / "c", resume=True, progress=False)
    assert again == history
    for name, array in resumed.arrays().items():
        np.testing.assert_array_equal(array, whole.arrays()[name])


# ---------------------------------------------------------------------- what is refused


def test_texts_and_contexts_that_do_not_fit_are_refused():
    ids = np.arange(50)
    with pytest.raises(
        ValueError, match="validation part of the text has 5 tokens, shorter than a context of 5 and the"
    ):
        CausalText.of(ids, 5)
    CausalText.of(ids, 4)
    MaskedText.of(ids, 5)
    with pytest.raises(ValueError, match="shorter than a context of 6; take a longer text or a shorter context"):
        MaskedText.of(ids, 6)
    with pytest.raises(TypeError, match="train must be an array of token numbers"):
        CausalText("abc", ids)
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\], got 0"):
        MaskedText(ids, ids, 5, share=0)
    model = small(Characters("abc"))
    with pytest.raises(ValueError, match="context 7 is longer than the model's 6 positions"):
        train(model, CausalText(ids % 3, ids % 3, 7), progress=False)
    with pytest.raises(ValueError, match="the text has token 49, the model knows 0 to 2"):
        train(model, CausalText(ids, ids, 6), progress=False)
    with pytest.raises(ValueError, match="mask must be at most 2, got 3"):
        train(model, MaskedText(ids % 3, ids % 3, 6, mask=3), progress=False)
