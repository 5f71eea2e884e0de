"""`fffref gradcheck`: is every gradient of a layer right?"""

import numpy as np

from . import shared


def add(commands):
    """Add the command and its options."""
    text = """\
Check every gradient of a layer in float64, for cross-entropy plus entropy and balance losses, in two ways.

Central differences are good to about 1e-9, and lie near a kink of relu or a boundary between paths. The complex
step is good to rounding, 1e-16. A gradient is called wrong above 1e-6 and 1e-12; the exit status is then 1."""
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
