"""Vocabularies: from text to token numbers and back. A token is a character, or what a file of `tokenizers` makes."""

import json
import pathlib
from dataclasses import dataclass

import numpy as np

from .. import checks, files

MASK, UNKNOWN = "[MASK]", "[UNK]"  # what a masked model has beside its characters


@dataclass(frozen=True)
class Characters:
    """A vocabulary of characters: a character's number is its place in `alphabet`.

    Parameters
    ----------
    alphabet : str
        Each character once.
    masked : bool
        Two tokens more, for what is hidden and for what is unknown; a model that fills gaps needs the first.
    """

    alphabet: str
    masked: bool = False

    def __post_init__(self):
        if not isinstance(self.alphabet, str) or not self.alphabet or len(set(self.alphabet)) < len(self.alphabet):
            raise checks.InputError("an alphabet is a string of at least one character, each of them once")

    @classmethod
    def of(cls, text, masked=False):
        """Return the vocabulary of the characters of a text, in their order in Unicode."""
        return cls("".join(sorted(set(text))), masked)

    def __len__(self):
        return len(self.alphabet) + 2 * self.masked

    @property
    def mask(self):
        """Number of the token for what is hidden."""
        return len(self.alphabet)

    def encode(self, text):
        """Return the numbers of a text's characters (n,); ValueError names those that are unknown."""
        points, known = _points(text), _points(self.alphabet)  # (n,), (size,) code points
        order = np.argsort(known)  # an alphabet need not be sorted
        # clip: beyond the last there is no entry to look at
        place = np.searchsorted(known, points, sorter=order).clip(max=len(known) - 1)
        ids = order[place]
        wrong = known[ids] != points  # searchsorted gives a place for every character, known or not
        if wrong.any():
            unknown = "".join(sorted(set(map(chr, points[wrong]))))
            raise checks.InputError(
                f"the model does not know {len(unknown)} of the text's characters: {unknown[:20]!r}; "
                f"it knows {self.alphabet[:100]!r}"
            )
        return ids

    def decode(self, ids):
        """Return the text of numbers."""
        special = (MASK, UNKNOWN) if self.masked else ()
        return "".join(self.alphabet[i] if i < len(self.alphabet) else special[i - len(self.alphabet)] for i in ids)

    def save(self, path):
        """Write a file of the package `tokenizers`, which reads it; so does `load`."""
        words = [*self.alphabet, *((MASK, UNKNOWN) if self.masked else ())]
        special = [
            {"id": words.index(word), "content": word, "special": True, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False}
            for word in words[len(self.alphabet) :]
        ]  # fmt: skip
        # any character, line ends included, is a token
        split = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
        model = {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(words)}, "unk_token": UNKNOWN}
        tokenizer = {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": split, "post_processor": None, "decoder": {"type": "Fuse"}, "model": model,
        }  # fmt: skip
        with files.replacing(path) as temporary:
            temporary.write_text(json.dumps(tokenizer, indent=1) + "\n", encoding="utf-8")


class Tokens:
    """A vocabulary of the package `tokenizers`, from a file; it has the methods of `Characters`."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.tokenizer = _tokenizer(self.path)
        self.masked = self.tokenizer.token_to_id(MASK) is not None

    def __len__(self):
        return self.tokenizer.get_vocab_size()

    @property
    def mask(self):
        """Number of the token for what is hidden."""
        if not self.masked:
            raise checks.InputError(f"{self.path} has no token {MASK}; a model that fills gaps needs one")
        return self.tokenizer.token_to_id(MASK)

    def encode(self, text):
        """Return the numbers of a text's tokens (n,)."""
        # without [CLS] and [SEP]: a text is no sentence pair
        return np.array(self.tokenizer.encode(text, add_special_tokens=False).ids, np.intp)

    def decode(self, ids):
        """Return the text of numbers."""
        return self.tokenizer.decode([int(i) for i in ids])

    def save(self, path):
        """Write the same file again."""
        with files.replacing(path) as temporary:
            temporary.write_bytes(self.path.read_bytes())


def vocabulary(path):
    """Read what `save` wrote, or any file of the package `tokenizers`.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Characters or Tokens

    Raises
    ------
    ValueError
        If it is missing or is no such file.
    """
    path = pathlib.Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise checks.InputError(f"there is no {path}; fffref lm train makes it") from None
    except (OSError, ValueError) as error:
        raise checks.InputError(f"{path} is no readable JSON: {error}; take another copy") from error
    words = (content.get("model") or {}).get("vocab") if isinstance(content, dict) else None
    if isinstance(words, dict) and content["model"].get("type") == "WordLevel":
        # is it one of ours? single characters numbered from 0, and nothing else but the two special tokens
        plain = sorted((w for w in words if len(w) == 1), key=words.get)
        if [words[w] for w in plain] == list(range(len(plain))) and set(words) - set(plain) in (set(), {MASK, UNKNOWN}):
            return Characters("".join(plain), masked=MASK in words)
    return Tokens(path)


def _tokenizer(path):
    """What the package `tokenizers` reads from a file."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise checks.InputError('tokenizer files need the package tokenizers: pip install "fffref[text]"') from None
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises nothing more special
        raise checks.InputError(f"{path} is no tokenizer that the package tokenizers can read: {error}") from error


def _points(text):
    """Code points, as integers."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)  # 4 bytes a character, in every Python
