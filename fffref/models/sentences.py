"""Sentences as token numbers, by the tokenizer in a released model's folder; padded, or cut where they are too long."""

import numpy as np

from .. import checks
from ..formats import safetensors
from ..formats.bert import read_json

LONGEST = 256  # tokens of a sentence, where the folder does not say another number


def tokenizer(path):
    """Read a tokenizer.json; InputError says what is missing. It neither pads nor cuts."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise checks.InputError('this needs the package tokenizers: pip install "fffref[text]"') from None
    if not path.is_file():
        raise checks.InputError(
            f"there is no {path}; the folder must hold config.json, model.safetensors and tokenizer.json"
        )
    try:
        found = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises nothing more special
        with path.open("rb") as file:
            kind = safetensors.what_it_is(file.read(512))
        said = f"is {kind}" if kind else f"is no tokenizer that the package tokenizers can read: {error}"
        raise checks.InputError(f"{path} {said}") from error
    found.no_padding()
    found.no_truncation()
    return found


def token_ids(found, text):
    """Token numbers of a text, a list; the errors of the package, such as an unknown word, are bad input."""
    try:
        return found.encode(text).ids
    except Exception as error:  # the package raises nothing more special
        raise checks.InputError(f"tokenizer.json cannot read this text: {error}; take the model's own file") from error


def longest(folder, positions):
    """How many tokens of a sentence the model takes: what sentence_bert_config.json says, if it is there."""
    path = folder / "sentence_bert_config.json"
    said = read_json(path).get("max_seq_length") if path.exists() else LONGEST
    return min(positions, said if isinstance(said, int) and said > 0 else LONGEST)


def tokens(found, texts, most):
    """Return the token numbers of sentences, a list of lists; and the numbers of the sentences that were cut."""
    rows, cut = [], []
    for number, text in enumerate(texts):
        row = token_ids(found, text)
        if len(row) > most:
            cut.append(number)
            row = [*row[: most - 1], row[-1]]  # the last token marks the end
        rows.append(row)
    if not all(rows):
        raise checks.InputError(
            f"sentence {rows.index([])} has no token; tokenizer.json adds none, and the text has none"
        )
    return rows, cut


def padded(rows):
    """Return token numbers and mask, (B, S) each, padded to the longest row."""
    ids = np.zeros((len(rows), max(map(len, rows))), np.intp)
    mask = np.zeros(ids.shape, np.int8)
    for number, row in enumerate(rows):
        ids[number, : len(row)], mask[number, : len(row)] = row, 1
    return ids, mask
