"""`fffref gradcheck`: is every gradient of a layer right?"""

import numpy as np

from . import shared


def add(commands):
    """Add the command and its options."""
    text = """\
Check every gradient of a layer in float64, for cross-entropy plus entropy and balance losses, in two ways.

Central differences are taken at several steps, extrapolated, and given an error bar; the complex step is good to
rounding, 1e-16. An entry is wrong if it lies outside the bar. On a kink of relu or a boundary between paths it cannot
be resolved. The exit status is 1 unless all entries agree."""
    examples = "example:\n  fffref gradcheck --layer path --depth 5 --trees 2 --activation tanh\n"
    command = commands.add_parser("gradcheck", help="check a layer's gradients", description=text, epilog=examples)
    shared.add_layer(command, depth=3, leaf_width=3, width=9, trees=2)
    command.add_argument("--n-in", type=int, default=6, help="inputs (%(default)s)")
    command.add_argument("--n-out", type=int, default=4, help="outputs, classes (%(default)s)")
    shared.add_common(command)
    command.set_defaults(run=run)


def run(arguments):
    """Do it; return the exit status."""
    from ..experiments import demo

    layer = shared.layer_maker(arguments)(arguments.n_in, arguments.n_out).astype(np.float64)
    rows = demo.gradient_rows({type(layer).__name__: layer}, np.random.default_rng(arguments.seed))
    if not arguments.json:
        print(demo.gradient_table(rows))
    return shared.finish(arguments, {"gradients": rows}, all(row["passed"] for row in rows))
