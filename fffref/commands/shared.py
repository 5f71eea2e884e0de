"""What the commands share: the parser, common options, the layer that options describe, the way to finish."""

import argparse
import json
import math

import numpy as np

from .. import checks
from ..layers import activations


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose help keeps its line breaks."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message):
        """Print one line and leave with status 2."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see {self.prog} --help)\n")


def add_common(command, seed=True, nested=False):
    """Add `--seed`, `--json` and `--traceback`; `nested` where the command above has the last two as well."""
    if seed:
        command.add_argument("--seed", type=int, default=0, help="same seed, same result (%(default)s)")
    flag = {"action": "store_true", "default": argparse.SUPPRESS if nested else False}
    command.add_argument("--json", help="print the result as JSON and nothing else", **flag)
    command.add_argument("--traceback", help="show where in the program an error arose", **flag)


def add_data(command):
    """Add what names a data set."""
    command.add_argument("--data", default="mnist-small", metavar="NAME",
                         help="mnist-small (inside the package), mnist or fashion-mnist (%(default)s)")  # fmt: skip
    command.add_argument("--data-folder", metavar="FOLDER", help="where the data's IDX files are, if you have them")


def add_layer(command, depth=4, leaf_width=8, width=128, trees=1):
    """Add what describes a layer; the numbers are the defaults."""
    command.add_argument("--layer", choices=("leaf", "path", "dense"), default="leaf",
                         help="LeafFFF (paper 1), PathFFF (paper 2) or DenseFF (%(default)s)")  # fmt: skip
    command.add_argument("--depth", type=int, default=depth, help="choices from root to leaf (%(default)s)")
    command.add_argument("--leaf-width", type=int, default=leaf_width, help="neurons a leaf, LeafFFF (%(default)s)")
    command.add_argument("--trees", type=int, default=trees, help="trees, PathFFF (%(default)s)")
    command.add_argument("--width", type=int, default=width, help="neurons, DenseFF (%(default)s)")
    command.add_argument("--activation", choices=tuple(activations.ACTIVATIONS),
                         help="of the neurons (relu for leaf and dense, gelu for path)")  # fmt: skip


def layer_maker(arguments):
    """A function from numbers of inputs and outputs to the layer that the arguments describe."""
    from .. import DenseFF, LeafFFF, PathFFF
    from ..training import stream

    rng = stream(checks.integer("--seed", arguments.seed, 0), "weights")
    cls, sizes = {
        "leaf": (LeafFFF, {"depth": arguments.depth, "leaf_width": arguments.leaf_width}),
        "path": (PathFFF, {"depth": arguments.depth, "n_trees": arguments.trees}),
        "dense": (DenseFF, {"width": arguments.width}),
    }[arguments.layer]
    if arguments.activation is not None:
        sizes["activation"] = arguments.activation
    return lambda n_in, n_out: cls.init(rng, n_in, n_out, **sizes)


def finish(arguments, result, good=True):
    """Print the result where JSON is asked for; return the exit status."""
    if arguments.json:
        print(json.dumps(plain(result), indent=1, allow_nan=False))
    return 0 if good else 1


def plain(value):
    """The same for JSON, which has no NaN and no infinity (null) and no NumPy scalars."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def or_dash(value, factor, digits=2):
    """Text of `factor * value`, a dash for None."""
    return "-" if value is None else f"{factor * value:.{digits}f}"


def nothing(text):
    """Say nothing."""
