"""The command line: `fffref demo | train | evaluate | gradcheck`. Bad input is one line and exit status 2."""

import argparse
import json
import pathlib
import sys

import numpy as np

from . import __version__, activations, checks, files

DESCRIPTION = """\
Fast feedforward networks (FFF) in plain NumPy, to read, to check and to time.

An FFF keeps its neurons in a binary tree: inference walks from the root to one leaf and computes only what lies
on the way. Training is soft (every leaf counts a little), and a loss or a falling temperature makes it hard."""

EXAMPLES = """\
start here:
  fffref demo                                   everything at once, in under a minute, with figures
  fffref train --out digits.safetensors         train a tree on handwritten digits, harden it, save it
  fffref evaluate digits.safetensors            how good, how hard, which leaves are used
  fffref gradcheck --layer leaf --depth 4       is every gradient right?
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose help keeps its line breaks."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message):
        """Print one line and leave with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv=None):
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        By default the process's arguments.

    Returns
    -------
    int
        0 if all went well, 1 if a gradient is wrong; bad input leaves with status 2 and one line.
    """
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ValueError, TypeError) as error:
        message = str(error).replace("\n", " ")
    except MemoryError:
        message = "this needs more memory than there is; choose smaller sizes"
    except KeyboardInterrupt:
        print(f"\nfffref {arguments.command}: stopped", file=sys.stderr)
        return 130
    print(f"fffref {arguments.command}: {message}", file=sys.stderr)
    return 2


def parser():
    """The parser of all commands."""
    top = Parser(prog="fffref", description=DESCRIPTION, epilog=EXAMPLES)
    top.add_argument("--version", action="version", version=f"fffref {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for add in (_add_demo, _add_train, _add_evaluate, _add_gradcheck):
        add(commands)
    return top


# ---------------------------------------------------------------------- demo


def _add_demo(commands):
    text = """\
Check the gradients of all layers, train four of them on a sample of MNIST, harden, compare, draw.

What to look at: the complex-step column is at rounding, so the gradients are exact; the tree with the entropy loss
loses accuracy when it is hardened and leaves most of its leaves unused, the annealed one does neither; and with 12
neurons engaged of 143 stored, it comes within a few points of a dense net that engages all of its 128."""
    command = commands.add_parser("demo", help="see it all, in under a minute", description=text)
    command.add_argument("--out", default="fffref-demo", metavar="FOLDER", help="where figures go (%(default)s)")
    _add_common(command)
    command.set_defaults(run=_demo)


def _demo(arguments):
    from . import demo

    quiet = arguments.json
    report = demo.run(arguments.out, arguments.seed, not quiet, _nothing if quiet else print)
    return _finish(arguments, report, all(row["passed"] for row in report["gradients"]))


# ---------------------------------------------------------------------- train


def _add_train(commands):
    text = """\
Train one layer as a classifier, harden it, and save it as a checkpoint after every epoch.

The default recipe anneals the temperature of the choices from 2 to 0.02 and keeps the leaves in balance. The first
paper's own way is --recipe paper1: SGD and a summed entropy loss. --recipe plain hardens nothing: compare soft
and hard accuracy then."""
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
    _add_layer(command)
    _add_data(command)
    command.add_argument("--recipe", choices=("hardening", "paper1", "plain"), default="hardening",
                         help="how to harden (%(default)s)")  # fmt: skip
    command.add_argument("--fast", action="store_true", help="compiled forward and backward passes, PathFFF only")
    command.add_argument("--epochs", type=int, default=10, help="passes over the data (%(default)s)")
    command.add_argument("--batch-size", type=int, help="samples a step (the recipe's)")
    command.add_argument("--learning-rate", type=float, help="peak of the one-cycle schedule (the recipe's)")
    command.add_argument("--entropy-weight", type=float, help="h of the first paper (the recipe's)")
    command.add_argument("--balance-weight", type=float, help="weight of the leaf balance (the recipe's)")
    _add_common(command)
    command.set_defaults(run=_train)


def _train(arguments):
    from . import datasets, training

    out = pathlib.Path(arguments.out)
    files.folder(out.parent)
    if out.exists() and not arguments.resume:
        raise ValueError(f"{out} exists already; --resume goes on from it, or choose another --out")
    recipe = _recipe(arguments)
    layer_of = _layer_maker(arguments)
    data = datasets.load(arguments.data, arguments.data_folder)
    layer = layer_of(data.x_train.shape[1], data.n_classes)
    layer, history = training.train(
        layer, data.x_train, data.y_train, recipe, arguments.seed,
        checkpoint=out, resume=arguments.resume, progress=not arguments.json,
    )  # fmt: skip
    if not arguments.json:
        print(_history_table(history))
        print(f"saved: {out}; next: fffref evaluate {out} --data {arguments.data}")
    return _finish(arguments, {"checkpoint": str(out), "recipe": repr(recipe), "history": history})


def _recipe(arguments):
    """The named recipe, with what the arguments change."""
    from . import schedules, training

    changes = {
        name: value
        for name in ("epochs", "batch_size", "entropy_weight", "balance_weight", "fast")
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.learning_rate is not None:
        changes["learning_rate"] = schedules.OneCycle(arguments.learning_rate)
    recipes = {"hardening": training.hardening, "paper1": training.paper1, "plain": training.Recipe}
    return recipes[arguments.recipe](**changes)


def _history_table(history):
    head = f"{'epoch':>6}{'loss':>9}{'soft [%]':>10}{'hard [%]':>10}{'entropy':>10}{'leaves used':>13}"
    body = (
        f"{row['epoch']:6}{row['loss']:9.4f}{_or_dash(row['soft_accuracy'], 100):>10}"
        f"{_or_dash(row['hard_accuracy'], 100):>10}{_or_dash(row['entropy'], 1, 4):>10}{row['leaves_used']:13}"
        for row in history
    )
    return "\n".join((head, *body))


# ---------------------------------------------------------------------- evaluate


def _add_evaluate(commands):
    text = """\
Test a checkpoint: accuracy soft and hard, entropy of the choices, use of the leaves.

A tree with entropy near 0 is hard, but look at the leaves used as well: a tree that sends everything to one leaf
has no entropy either."""
    examples = "example:\n  fffref evaluate digits.safetensors --data mnist-small --json\n"
    command = commands.add_parser("evaluate", help="test a checkpoint", description=text, epilog=examples)
    command.add_argument("checkpoint", metavar="FILE", help="what fffref train has written")
    command.add_argument("--temperature", type=float,
                         help="of the soft pass (that of the last epoch of training)")  # fmt: skip
    _add_data(command)
    _add_common(command, seed=False)
    command.set_defaults(run=_evaluate)


def _evaluate(arguments):
    from . import checkpoints, datasets, training

    found = checkpoints.load(arguments.checkpoint)
    layer, history = found.layer, found.info.get("history", [])
    temperature = arguments.temperature
    if temperature is None:
        temperature = history[-1]["temperature"] if history else 1.0
    data = datasets.load(arguments.data, arguments.data_folder)
    result = training.evaluate(layer, data.x_test.astype(layer.dtype), data.y_test, temperature)
    if not arguments.json:
        share = sorted(result["leaf_share"], reverse=True)
        print(f"{type(layer).__name__}: {layer.neurons_stored} neurons stored, {layer.neurons_engaged} engaged")
        print(f"test accuracy: {_or_dash(result['soft_accuracy'], 100)} % soft at temperature {temperature:.3g}, "
              f"{_or_dash(result['hard_accuracy'], 100)} % hard")  # fmt: skip
        print(f"mean entropy of the choices: {_or_dash(result['entropy'], 1, 4)} nats")
        print(f"leaves used: {result['leaves_used']} of {len(share)}; the busiest takes {100 * share[0]:.1f} %")
    return _finish(arguments, result | {"temperature": temperature})


# ---------------------------------------------------------------------- gradcheck


def _add_gradcheck(commands):
    text = """\
Check every gradient of a layer in float64, for cross-entropy plus entropy and balance losses, in two ways.

Central differences are good to about 1e-9, and lie near a kink of relu or a boundary between paths. The complex
step is good to rounding, 1e-16. A gradient is called wrong above 1e-6 and 1e-12; the exit status is then 1."""
    examples = "example:\n  fffref gradcheck --layer path --depth 5 --trees 2 --activation tanh\n"
    command = commands.add_parser("gradcheck", help="check a layer's gradients", description=text, epilog=examples)
    _add_layer(command, depth=3, leaf_width=3, width=9, trees=2)
    command.add_argument("--n-in", type=int, default=6, help="inputs (%(default)s)")
    command.add_argument("--n-out", type=int, default=4, help="outputs, classes (%(default)s)")
    _add_common(command)
    command.set_defaults(run=_gradcheck)


def _gradcheck(arguments):
    from . import demo

    layer = _layer_maker(arguments)(arguments.n_in, arguments.n_out).astype(np.float64)
    rows = demo.gradient_rows({type(layer).__name__: layer}, np.random.default_rng(arguments.seed))
    if not arguments.json:
        print(demo.gradient_table(rows))
    return _finish(arguments, {"gradients": rows}, all(row["passed"] for row in rows))


# ---------------------------------------------------------------------- shared


def _add_common(command, seed=True):
    if seed:
        command.add_argument("--seed", type=int, default=0, help="same seed, same result (%(default)s)")
    command.add_argument("--json", action="store_true", help="print the result as JSON and nothing else")


def _add_data(command):
    command.add_argument("--data", default="mnist-small", metavar="NAME",
                         help="mnist-small (inside the package), mnist or fashion-mnist (%(default)s)")  # fmt: skip
    command.add_argument("--data-folder", metavar="FOLDER", help="where the data's IDX files are, if you have them")


def _add_layer(command, depth=4, leaf_width=8, width=128, trees=1):
    command.add_argument("--layer", choices=("leaf", "path", "dense"), default="leaf",
                         help="LeafFFF (paper 1), PathFFF (paper 2) or DenseFF (%(default)s)")  # fmt: skip
    command.add_argument("--depth", type=int, default=depth, help="choices from root to leaf (%(default)s)")
    command.add_argument("--leaf-width", type=int, default=leaf_width, help="neurons a leaf, LeafFFF (%(default)s)")
    command.add_argument("--trees", type=int, default=trees, help="trees, PathFFF (%(default)s)")
    command.add_argument("--width", type=int, default=width, help="neurons, DenseFF (%(default)s)")
    command.add_argument("--activation", choices=tuple(activations.ACTIVATIONS),
                         help="of the neurons (relu for leaf and dense, gelu for path)")  # fmt: skip


def _layer_maker(arguments):
    """A function from numbers of inputs and outputs to the layer that the arguments describe."""
    from . import DenseFF, LeafFFF, PathFFF

    rng = np.random.default_rng(checks.integer("--seed", arguments.seed, 0))
    cls, sizes = {
        "leaf": (LeafFFF, {"depth": arguments.depth, "leaf_width": arguments.leaf_width}),
        "path": (PathFFF, {"depth": arguments.depth, "n_trees": arguments.trees}),
        "dense": (DenseFF, {"width": arguments.width}),
    }[arguments.layer]
    if arguments.activation is not None:
        sizes["activation"] = arguments.activation
    return lambda n_in, n_out: cls.init(rng, n_in, n_out, **sizes)


def _finish(arguments, result, good=True):
    """Print the result where JSON is asked for; return the exit status."""
    if arguments.json:
        print(json.dumps(result, indent=1))
    return 0 if good else 1


def _or_dash(value, factor, digits=2):
    return "-" if value is None else f"{factor * value:.{digits}f}"


def _nothing(text):
    """Say nothing."""
