"""`fffref fill-mask`: UltraFastBERT's guesses for a word left out."""

import numpy as np

from .. import checks
from ..models import sentences
from . import shared

MASKS = ("[MASK]", "<mask>")  # as BERT's tokenizers write it, and as crammedBERT's do


def add(commands):
    """Add the command and its options."""
    text = """\
Let a pretrained UltraFastBERT, or its dense twin, guess the words behind [MASK] in a text.

The twin is the crammedBERT that UltraFastBERT's repository trains: GELU, not gated, sinusoidal positions, no biases.
The crammedBERT of cramming's own README is another (GELUglu: its FF layers are gated) and is refused by name.

FOLDER must hold three files, as a snapshot of pbelcak/UltraFastBERT-1x11-long on the Hugging Face hub does:
  config.json          the sizes
  model.safetensors    the weights, all of which are accounted for
  tokenizer.json       text to numbers and back, for the package tokenizers (pip install "fffref[text]")
Nothing is downloaded. Each layer engages 12 of 4095 neurons for a token and touches no others; with several masks,
each is guessed by itself, the others staying unknown."""
    examples = """\
examples:
  fffref fill-mask ultrafastbert "Paris is the [MASK] of France."
  fffref fill-mask ultrafastbert "[MASK] and [MASK]" --top 3 --json
"""
    command = commands.add_parser("fill-mask", help="guess words with UltraFastBERT", description=text, epilog=examples)
    command.add_argument("folder", metavar="FOLDER", help="where the three files are")
    command.add_argument("text", metavar="TEXT", help="with [MASK] (or <mask>) for each word to guess")
    command.add_argument("--top", type=int, default=5, metavar="N", help="guesses a mask (%(default)s)")
    command.add_argument("--threads", type=int, default=1,
                         help="for the FF layers and for loading; matrix products follow OPENBLAS_NUM_THREADS and the "
                         "like (%(default)s)")  # fmt: skip
    command.add_argument("--reference", action="store_true", help="plain NumPy instead of the compiled layers")
    shared.add_common(command, seed=False)
    command.set_defaults(run=run)


def run(arguments):
    """Guess; return the exit status."""
    from .. import files
    from ..models.bert import Bert

    folder = files.path_of(arguments.folder)
    tokenizer = sentences.tokenizer(folder / "tokenizer.json")
    ids, masks = _encoded(tokenizer, arguments.text)
    bert = Bert.load(folder, fast=not arguments.reference, threads=arguments.threads)
    top = checks.integer("--top", arguments.top, 1, bert.vocabulary)
    probability = _probabilities(bert.head(bert.hidden(ids)[masks]))
    report = [
        {"position": int(at), "words": [
            {"word": tokenizer.id_to_token(n) or f"(number {n})", "id": int(n), "probability": float(row[n])}
            for n in np.argsort(-row, kind="stable")[:top].tolist()
        ]}
        for at, row in zip(masks, probability, strict=True)
    ]  # fmt: skip
    if not arguments.json:
        print(_text(report))
    return shared.finish(arguments, {"text": arguments.text, "tokens": len(ids), "masks": report})


def _encoded(tokenizer, text):
    """Token ids (S,), and where among them the masks are."""
    own = next((mask for mask in MASKS if tokenizer.token_to_id(mask) is not None), None)
    if own is None:
        raise checks.InputError(
            f"tokenizer.json knows neither {' nor '.join(MASKS)}: it is not a masked language model's"
        )
    for mask in MASKS:
        text = text.replace(mask, own)
    ids = np.array(sentences.token_ids(tokenizer, text), np.intp)
    masks = np.flatnonzero(ids == tokenizer.token_to_id(own))
    if len(masks) == 0:
        raise checks.InputError(f"the text holds no {MASKS[0]}; put one where a word is to be guessed")
    return ids, masks


def _probabilities(logits):
    """Softmax of each row, in float64."""
    if not np.isfinite(logits).all():
        raise checks.InputError("the model's answer is not finite: its weights hold NaN or inf; take another copy")
    logits = logits.astype(np.float64)
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


def _text(report):
    """A line a guess, a heading a mask if there are several."""
    lines = []
    for number, mask in enumerate(report, 1):
        lines += [f"mask {number}, token {mask['position']}"] * (len(report) > 1)
        lines += [f"{100 * guess['probability']:6.2f} %  {guess['word']}" for guess in mask["words"]]
    return "\n".join(lines)
