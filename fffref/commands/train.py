"""`fffref train`: train one layer on images."""

from dataclasses import replace

from .. import checks, files
from . import shared


def add(commands):
    """Add the command and its options."""
    text = """\
Train one layer as a classifier, harden it, and save it as a checkpoint after every epoch.

The default recipe lowers the temperature of the choices, lets noise on them fade out, keeps the leaves in balance and
rounds the choices at the end. The first paper's own way is --recipe paper1: SGD and a summed entropy loss.
--recipe plain hardens nothing: compare soft and hard accuracy then. Layers other than leaf have nothing to harden: they
get the recipe's optimiser, rate and batches."""
    examples = """\
examples:
  fffref train --out digits.safetensors
  fffref train --data mnist --depth 7 --leaf-width 1 --epochs 15 --out deep.safetensors
  fffref train --layer path --depth 4 --trees 4 --out path.safetensors
  fffref train --out digits.safetensors --resume        go on after an interruption
"""
    command = commands.add_parser("train", help="train a layer on images", description=text, epilog=examples)
    command.add_argument("--out", required=True, metavar="FILE", help="the checkpoint to write (safetensors)")
    command.add_argument("--resume", action="store_true", help="go on from --out, if it is there")
    shared.add_layer(command)
    shared.add_data(command)
    command.add_argument("--recipe", choices=("hardening", "paper1", "plain"), default="hardening",
                         help="how to harden (%(default)s)")  # fmt: skip
    command.add_argument("--fast", action="store_true", help="compiled forward and backward passes, PathFFF only")
    command.add_argument("--epochs", type=int, default=10, help="passes over the data (%(default)s)")
    command.add_argument("--batch-size", type=int, help="samples a step (the recipe's)")
    command.add_argument("--learning-rate", type=float, help="peak of the one-cycle schedule (the recipe's)")
    command.add_argument("--entropy-weight", type=float, help="h of the first paper (the recipe's)")
    command.add_argument("--balance-weight", type=float, help="weight of the leaf balance (the recipe's)")
    shared.add_common(command)
    command.set_defaults(run=run)


def run(arguments):
    """Train and save; return the exit status."""
    from .. import datasets, training

    out = files.writable(arguments.out)
    if out.exists() and not arguments.resume:
        raise checks.InputError(f"{out} exists already; --resume goes on from it, or choose another --out")
    _recipe(arguments)  # refuses bad numbers before data are looked for
    layer_of = shared.layer_maker(arguments)
    data = datasets.load(arguments.data, arguments.data_folder)
    layer = layer_of(data.x_train.shape[1], data.n_classes)
    recipe = _recipe(arguments, layer)
    task = training.Classification(data.x_train, data.y_train)
    layer, history = training.train(
        layer, task, recipe, arguments.seed, out, resume=arguments.resume, progress=not arguments.json
    )
    if not arguments.json:
        print(_history_table(history))
        print(f"saved: {out}; next: fffref evaluate {out} --data {arguments.data}")
    return shared.finish(arguments, {"checkpoint": str(out), "recipe": repr(recipe), "history": history})


def _recipe(arguments, layer=None):
    """The named recipe, as far as the layer can use it, with what the arguments change."""
    from .. import training
    from ..training import schedules

    names = ("epochs", "batch_size", "entropy_weight", "balance_weight", "fast")
    changes = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.learning_rate is not None:
        changes["learning_rate"] = schedules.OneCycle(arguments.learning_rate)
    recipes = {"hardening": training.hardening, "paper1": training.paper1, "plain": training.Recipe}
    recipe = recipes[arguments.recipe]()
    return replace(recipe if layer is None else training.fitting(recipe, layer), **changes)


def _history_table(history):
    """A line an epoch."""
    head = f"{'epoch':>6}{'loss':>9}{'soft [%]':>10}{'hard [%]':>10}{'entropy':>10}{'leaves used':>13}"
    text = shared.or_dash
    body = (
        f"{row['epoch']:6}{row['loss']:9.4f}{text(row['soft_accuracy'], 100):>10}"
        f"{text(row['hard_accuracy'], 100):>10}{text(row['entropy'], 1, 4):>10}{row['leaves_used']:13}"
        for row in history
    )
    return "\n".join((head, *body))
