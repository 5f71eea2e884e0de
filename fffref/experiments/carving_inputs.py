"""What a carving is fitted to and judged on: a model in a folder, or a small one that is drawn, run on texts."""

import functools
import hashlib
import pathlib
from typing import NamedTuple

import numpy as np

from .. import checks, datasets
from ..formats import bert as form
from ..models import sentences
from ..models.carving_layers import ff_inputs
from ..models.encoder import Encoder
from ..models.fitting import Rows
from ..models.vocabulary import Characters
from . import carving_categories as categories
from . import carving_texts as texts

SMALL = "small"  # a model that is drawn, not read
KNOWN = {"53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db": "all-MiniLM-L6-v2"}
BATCH = 32  # passages
JUDGED = 100  # passages of each text; as many others to tune by
FEW = 20  # of them, for the small model


class Judged(NamedTuple):
    """A text to tune or judge by: what enters and leaves each FF layer, and batches with the original's embeddings."""

    inputs: list
    outputs: list
    batches: list


class Categories(NamedTuple):
    """A task for embeddings: fitted classifiers, test glosses, their categories, and how good the original is."""

    classifiers: categories.Classifiers
    batches: list
    answers: np.ndarray
    original: dict


class Prepared(NamedTuple):
    """An original with all that is fitted to and judged by."""

    encoder: Encoder
    batches: list
    rows: list
    judged: dict


@functools.lru_cache(maxsize=1)  # one seed's rows are a gigabyte
def prepared(model, folder, tokens, calibration, seed, wordnet=None):
    """Load a model, and run it on text to calibrate by and on other text to judge by.

    Parameters
    ----------
    model, folder, tokens, calibration, seed, wordnet
        As in `Run`.

    Returns
    -------
    Prepared
    """
    encoder, encode = _drawn() if model == SMALL else _read(folder)
    rng = np.random.default_rng(seed)
    batches = _batches(_drawn_rows(rng, encode, texts.calibration(calibration, wordnet), tokens))
    inputs = ff_inputs(encoder, batches)
    fits = [Rows.of(block.ff, x[:tokens]) for block, x in zip(encoder.blocks, inputs, strict=True)]
    return Prepared(encoder, batches, fits, others("judging", model, folder, wordnet))


@functools.lru_cache(maxsize=4)  # the same for every seed
def others(purpose, model, folder, wordnet, names=texts.TEXTS):
    """Run the model on passages that nothing is calibrated by.

    Parameters
    ----------
    purpose : {"judging", "tuning"}
        Each has passages of its own.
    model, folder, wordnet
        As in `Run`.
    names : tuple of str
        Which texts, of those that are found.

    Returns
    -------
    dict of str to Judged
    """
    encoder, encode = _drawn() if model == SMALL else _read(folder)
    some, held = JUDGED if folder else FEW, texts.held_out(wordnet)
    part = {"judging": slice(some), "tuning": slice(some, 2 * some)}[purpose]  # what follows, the task has
    return {name: _run(encoder, _batches(encode(held[name][part]))) for name in names if held[name]}


@functools.lru_cache(maxsize=1)
def task(model, folder, wordnet):
    """Make the task of categories: see `Categories`; None where there is no WordNet.

    Parameters
    ----------
    model, folder, wordnet
        As in `Run`.
    """
    some, glosses = JUDGED if folder else FEW, texts.held_out(wordnet)["glosses"]
    if len(glosses) < 4 * some:
        return None
    encoder, encode = _drawn() if model == SMALL else _read(folder)
    return _task(encoder, encode, glosses[2 * some :], texts.categories(wordnet))


def _run(encoder, batches):
    """Run the original on batches."""
    entering = ff_inputs(encoder, batches)
    leaving = [block.ff.forward_hard(x) for block, x in zip(encoder.blocks, entering, strict=True)]
    return Judged(entering, leaving, [(batch, encoder.embed(*batch)) for batch in batches])


def _task(encoder, encode, glosses, category):
    """Fit classifiers on some glosses, to be tried on others."""
    test = min(categories.TEST, len(glosses) // 3)
    parts = []
    for part in (glosses[test:][: categories.TRAIN], glosses[:test]):
        rows = encode(part)
        order = sorted(range(len(rows)), key=lambda i, rows=rows: len(rows[i]))  # as `_batches` does
        batches = _batches([rows[i] for i in order])
        labels = np.array([category[part[i]] for i in order])
        parts.append((batches, labels, np.concatenate([encoder.embed(*batch) for batch in batches])))
    (_, labels, embeddings), (batches, answers, others) = parts
    classifiers = categories.Classifiers.fit(embeddings, labels)
    return Categories(classifiers, batches, answers, classifiers.accuracy(others, answers))


def _drawn_rows(rng, encode, parts, tokens):
    """Token numbers of passages drawn from each text in turn, a text's share until there are enough."""
    rows = []
    for passages in parts:
        order, count = iter(rng.permutation(len(passages))), 0
        while count < tokens / len(parts):
            some = [passages[i] for _, i in zip(range(BATCH), order, strict=False)]
            if not some:
                raise checks.InputError(f"a calibration text has {count} tokens; --tokens asks for more")
            rows += encode(some)
            count += sum(map(len, rows[-len(some) :]))
    return [rows[i] for i in rng.permutation(len(rows))]


def _batches(rows):
    """Token numbers and mask of batches; passages of like length share one."""
    rows = sorted(rows, key=len)
    return [sentences.padded(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]


def _read(folder):
    """A released encoder, and from passages to token numbers."""
    folder = pathlib.Path(folder)
    encoder, tokenizer = Encoder.load(folder), sentences.tokenizer(folder / "tokenizer.json")
    most = sentences.longest(folder, encoder.config.max_position_embeddings)
    return encoder, lambda passages: sentences.tokens(tokenizer, passages, most)[0]


def _drawn():
    """A small encoder of characters, drawn at random: to see that all works."""
    alphabet = Characters.of(datasets.text("shakespeare") + "".join(map(chr, range(32, 127))))
    config = form.Config(2, 32, 4, 128, len(alphabet), 64, 1, 1e-12)
    encoder = Encoder.of(config, form.draw(np.random.default_rng(0), config))
    known = set(alphabet.alphabet)
    keep = lambda passage: "".join(filter(known.__contains__, passage))[:64]  # noqa: E731
    return encoder, lambda passages: [alphabet.encode(keep(passage)).tolist() for passage in passages]


def name_of(folder):
    """What the model in a folder is called: its name where the weights are known, else the start of their digest."""
    path = pathlib.Path(folder) / form.WEIGHTS
    if not path.is_file():
        form.load(folder)  # says what is missing; a model in parts has an index
        path = pathlib.Path(folder) / form.INDEX
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return KNOWN.get(digest, digest[:12])
