"""`fffref lm`: train a small language model on a text, judge it, let it write."""

from .. import checks, files
from . import shared

CHECKPOINT, TOKENIZER = "checkpoint.safetensors", "tokenizer.json"


def add(commands):
    """Add the command and its three."""
    text = """\
Train a small language model in NumPy, its feedforward layers trees or dense, then let it write.

A FOLDER holds checkpoint.safetensors (model, optimiser, history) and tokenizer.json. A model trained with --masked and
path or dense layers is also saved in UltraFastBERT's form, and fffref fill-mask reads it."""
    examples = """\
examples:
  fffref lm train --out lm                              the plays inside the package, two minutes
  fffref lm sample lm --prompt "To be, " --characters 300
  fffref lm evaluate lm --json                          nats a character, on the tenth that was held out
  fffref lm train --text mine.txt --ff path --trees 16 --depth 4 --out mine
  fffref lm train --masked 0.2 --ff path --out gaps && fffref fill-mask gaps "To be, or not to [MASK]e"
"""
    command = commands.add_parser("lm", help="train a language model, let it write", description=text, epilog=examples)
    kinds = command.add_subparsers(dest="kind", required=True, metavar="WHAT", parser_class=shared.Parser)
    _add_train(kinds)
    _add_evaluate(kinds)
    _add_sample(kinds)


def _add_text(command):
    """Add what names a text."""
    command.add_argument("--text", default="shakespeare", metavar="TEXT",
                         help="shakespeare (eight plays, inside the package), tiny-shakespeare, python (its "
                              "standard library), or a file in UTF-8; "
                         "its last tenth is held out (%(default)s)")  # fmt: skip
    command.add_argument(
        "--data-folder", metavar="FOLDER", help="where input.txt of tiny-shakespeare is, if you have it"
    )


def _add_train(kinds):
    """Add `train` and its options."""
    text = """\
Train a model and save it, twenty times on the way; what was stopped goes on with --resume, and ends with the same
weights, bit for bit."""
    train = kinds.add_parser("train", help="train a model", description=text)
    train.add_argument("--out", required=True, metavar="FOLDER", help="where to save")
    train.add_argument("--resume", action="store_true", help="go on from what --out holds")
    _add_text(train)
    train.add_argument("--tokenizer", metavar="FILE", help="a tokenizer.json, instead of characters as tokens")
    train.add_argument("--ff", choices=("dense", "path", "leaf", "none"), default="leaf",
                       help="feedforward layers: trees of the first (leaf) or second paper (path), dense, none "
                       "(%(default)s)")  # fmt: skip
    for name, default, what in (
        ("width", 512, "neurons of a dense layer"), ("depth", 3, "choices on the way down a tree"),
        ("trees", 1, "trees, path"), ("leaf-width", 64, "neurons a leaf, leaf"), ("layers", 4, "blocks"),
        ("heads", 4, "of attention"), ("hidden", 128, "width of a token's row"),
        ("context", 64, "tokens of a sequence"),
        ("batch-size", 12, "sequences a step"), ("steps", 2000, "of training, a multiple of 20"),
    ):  # fmt: skip
        train.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{what} (%(default)s)")
    train.add_argument("--learning-rate", type=float, default=3e-3, metavar="RATE", help="its peak (%(default)s)")
    train.add_argument("--masked", type=float, metavar="SHARE",
                       help="learn to fill gaps, not to go on: the share hidden, 0.15 to 0.25 as a rule")  # fmt: skip
    shared.add_common(train)
    train.set_defaults(run=run_train)


def _add_evaluate(kinds):
    """Add `evaluate` and its options."""
    text = "Nats a token over the whole held-out tenth of a text, routing hard; and soft, where a layer can be."
    evaluate = kinds.add_parser("evaluate", help="loss on held-out text", description=text)
    evaluate.add_argument("folder", metavar="FOLDER", help="what train saved")
    _add_text(evaluate)
    shared.add_common(evaluate, seed=False)
    evaluate.set_defaults(run=run_evaluate)


def _add_sample(kinds):
    """Add `sample` and its options."""
    text = """\
Go on with a text, character by character as they come. Where the model's context is full, its second half is read anew
and what is older is forgotten, so that the text may be as long as you like."""
    sample = kinds.add_parser("sample", help="let a model write", description=text)
    sample.add_argument("folder", metavar="FOLDER", help="what train saved")
    sample.add_argument("--prompt", default="\n", metavar="TEXT", help="what to go on with (a line's end)")
    sample.add_argument("--characters", type=int, default=500, metavar="N", help="how many, or tokens (%(default)s)")
    sample.add_argument("--temperature", type=float, default=0.8, metavar="T",
                        help="below 1 safer, above 1 more daring, 0 the likeliest always (%(default)s)")  # fmt: skip
    shared.add_common(sample)
    sample.set_defaults(run=run_sample)


# ---------------------------------------------------------------------- doing it


def run_train(arguments):
    """Train; return the exit status."""
    from .. import training
    from ..models import sizes, text

    steps = checks.integer("--steps", arguments.steps, text.EPOCHS)
    out = files.folder(arguments.out)
    if (out / CHECKPOINT).exists() and not arguments.resume:
        raise checks.InputError(f"{out / CHECKPOINT} exists already; --resume goes on from it, or choose another --out")
    words, ids = _read(arguments)
    share = arguments.masked
    seed = training.stream(arguments.seed, "weights")
    model = sizes.draw(seed, _sizes(arguments, len(words)))
    task = _task(ids, words, arguments.context, share, epoch=steps // text.EPOCHS)
    recipe = text.recipe(arguments.ff, arguments.learning_rate, arguments.batch_size)
    words.save(out / TOKENIZER)
    model, history = training.train(
        model, task, recipe, arguments.seed, checkpoint=out / CHECKPOINT, resume=arguments.resume,
        progress=not arguments.json, watch_every=text.EPOCHS,
    )  # fmt: skip
    if share is not None and arguments.ff in ("path", "dense"):
        from ..models import bert

        bert.save(out, model)
    loss = history[-1]["validation_loss"]
    if not arguments.json:
        further = "sample" if share is None else "evaluate"
        print(f"held-out loss {loss:.3f} nats a token; saved: {out}; next: fffref lm {further} {out}")
    return shared.finish(arguments, {"folder": str(out), "validation_loss": loss, "parameters": model.n_parameters,
                                     "soft_loss": history[-1]["soft_loss"], "history": history})  # fmt: skip


def run_evaluate(arguments):
    """Judge; return the exit status."""
    from .. import datasets
    from ..training.recipes import Settings

    model, words, info = _load(arguments.folder)
    ids = words.encode(datasets.text(arguments.text, arguments.data_folder))
    task = _task(ids, words, model.max_length, None if model.causal else info["data"]["share"])
    task.check(model)
    choices = Settings()
    watched = task.watch(model, choices)
    if not arguments.json:
        print(f"held-out loss {watched['validation_loss']:.4f} nats a token")
    return shared.finish(arguments, {"text": arguments.text, "tokens": len(task.validation)} | watched)


def run_sample(arguments):
    """Write; return the exit status."""
    import numpy as np

    from ..models import sampling

    model, words, _ = _load(arguments.folder)
    if not arguments.prompt:
        raise checks.InputError("--prompt is empty; give at least one character, or leave it out for a line's end")
    rng = np.random.default_rng(checks.integer("--seed", arguments.seed, 0))
    ids = words.encode(arguments.prompt)
    n = checks.integer("--characters", arguments.characters, 1)
    tokens = sampling.sample(model.compiled(), ids, n, arguments.temperature, rng)
    if arguments.json:
        return shared.finish(arguments, {"prompt": arguments.prompt, "text": words.decode(list(tokens))})
    print(arguments.prompt.lstrip("\n"), end="")
    written, shown = list(ids), len(words.decode(list(ids)))
    for token in tokens:
        written.append(token)
        text = words.decode(written)
        print(text[shown:], end="", flush=True)
        shown = len(text)
    print()
    return 0


def _read(arguments):
    """The vocabulary and the tokens of the text."""
    from .. import datasets
    from ..models import vocabulary

    content = datasets.text(arguments.text, arguments.data_folder)
    if arguments.tokenizer is None:
        words = vocabulary.Characters.of(content, masked=arguments.masked is not None)
    else:
        words = vocabulary.Tokens(arguments.tokenizer)
    return words, words.encode(content)


def _sizes(arguments, n_tokens):
    """The model's sizes, from the options of the same names."""
    from ..models.sizes import Sizes

    names = ("layers", "hidden", "heads", "context", "ff", "width", "depth", "trees", "leaf_width")
    options = {name: getattr(arguments, name) for name in names}
    return Sizes(vocabulary=n_tokens, causal=arguments.masked is None, **options)


def _task(ids, words, context, share, **options):
    """The task of a text: go on with it, or fill gaps."""
    from ..models import text

    if share is None:
        return text.CausalText.of(ids, context, **options)
    return text.MaskedText.of(ids, context, mask=words.mask, share=share, **options)


def _load(folder):
    """Model, vocabulary and facts that `train` saved."""
    from ..formats import checkpoints
    from ..models import vocabulary
    from ..models.transformer import Transformer

    folder = files.path_of(folder)
    if not (folder / CHECKPOINT).exists():
        raise checks.InputError(f"there is no {folder / CHECKPOINT}; fffref lm train --out {folder} makes one")
    saved = checkpoints.load(folder / CHECKPOINT, Transformer)
    return saved.layer, vocabulary.vocabulary(folder / TOKENIZER), saved.info
