"""What a carving is fitted to and judged on: a model in a folder, or a small one that is drawn, run on texts."""

import functools
import hashlib
import pathlib
from typing import NamedTuple

import numpy as np

from .. import checks, datasets
from ..formats import bert as form
from ..models import sentences
from ..models.encoder import Encoder
from ..models.fitting import Rows
from ..models.vocabulary import Characters
from . import carving_texts as texts

SMALL = "small"  # a model that is drawn, not read
KNOWN = {"53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db": "all-MiniLM-L6-v2"}
BATCH = 32  # passages
JUDGED = 100  # passages of each text


class Judged(NamedTuple):
    """A text to judge on: what enters and leaves each FF layer, and batches with the original's embeddings."""

    inputs: list
    outputs: list
    batches: list


class Prepared(NamedTuple):
    """An original with all that is fitted to and judged on."""

    encoder: Encoder
    rows: list
    judged: dict


@functools.lru_cache(maxsize=1)  # one seed's rows are a gigabyte
def prepared(model, folder, tokens, calibration, seed):
    """Load a model, and run it on calibration text and on text to judge on.

    Parameters
    ----------
    model, folder, tokens, calibration, seed
        As in `Run`.

    Returns
    -------
    Prepared
    """
    encoder, encode = _drawn() if model == SMALL else _read(folder)
    rng = np.random.default_rng(seed)
    rows = _drawn_rows(rng, encode, texts.calibration(calibration), tokens)
    inputs = ff_inputs(encoder, _batches(rows))
    fits = [Rows.of(block.ff, x[:tokens]) for block, x in zip(encoder.blocks, inputs, strict=True)]
    judged = {}
    for name, passages in texts.judged().items():
        chosen = np.random.default_rng(0).permutation(len(passages))[: JUDGED if folder else 20]
        batches = _batches(encode([passages[i] for i in chosen]))
        pairs = [(batch, encoder.embed(*batch)) for batch in batches]
        entering = ff_inputs(encoder, batches)
        leaving = [block.ff.forward_hard(x) for block, x in zip(encoder.blocks, entering, strict=True)]
        judged[name] = Judged(entering, leaving, pairs)
    return Prepared(encoder, fits, judged)


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


def ff_inputs(encoder, batches):
    """What enters each FF layer, a list of (n, H): rows of real tokens only, in a random order."""
    found = [[] for _ in encoder.blocks]
    for ids, mask in batches:
        real = mask.ravel().astype(bool)
        encoder.hidden(ids, mask, lambda i, x, real=real: found[i].append(x[real]))
    order = np.random.default_rng(0).permutation(sum(map(len, found[0])))
    return [np.concatenate(parts)[order] for parts in found]


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
