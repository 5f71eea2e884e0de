"""`fffref demo`: the first run."""

from . import shared


def add(commands):
    """Add the command and its options."""
    text = """\
Check the gradients of all layers, train five nets on a sample of MNIST, harden, compare, draw.

What to look at: the complex-step column is at rounding, so the gradients are exact; the tree with the entropy loss
loses accuracy when it is hardened and leaves most of its leaves unused, the annealed one does neither; and with 12
neurons engaged of 143 stored, it comes within a few points of a dense net that engages all of its 128."""
    command = commands.add_parser("demo", help="see it all, in under a minute", description=text)
    command.add_argument("--out", default="fffref-demo", metavar="FOLDER", help="where figures go (%(default)s)")
    shared.add_common(command)
    command.set_defaults(run=run)


def run(arguments):
    """Run the demonstration; return the exit status."""
    from ..experiments import demo

    quiet = arguments.json
    report = demo.run(arguments.out, arguments.seed, not quiet, shared.nothing if quiet else print)
    return shared.finish(arguments, report, all(row["passed"] for row in report["gradients"]))
