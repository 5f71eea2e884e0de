"""`fffref reproduce language`: language models that differ in their FF layer alone."""

from .. import checks, files
from . import shared


def add(kinds):
    """Add `language` to what `reproduce` does."""
    text = """\
Train small language models on tiny-shakespeare that differ in nothing but their FF layer: none, dense of the stored and
of the engaged size, trees of both papers, a mixture of experts; every learning rate and both kinds of initial values at
seed 0, then the best of each arm with further seeds. Each run takes about a minute or two on a core; results are lines
in a file as soon as they end, and the same command goes on where it was stopped."""
    examples = """\
examples:
  fffref reproduce language --jobs 2 --seeds 3 --data-folder FOLDER
  fffref reproduce language --arms "none; dense 67; LeafFFF depth 3, leaves of 64" --seeds 1
  fffref reproduce language --masked 0.2 --out masked.jsonl
  fffref reproduce language --text python --out code.jsonl
  fffref reproduce language --report
"""
    command = kinds.add_parser("language", help="does the tree earn its keep in a language model?", description=text,
                               epilog=examples)  # fmt: skip
    command.add_argument("--arms", metavar="NAMES", help="only these, with semicolons between (all; see --report)")
    command.add_argument("--seeds", type=int, default=3, help="of each arm at its best (%(default)s)")
    command.add_argument("--rates", default="0.001,0.003", help="learning rates, with commas between (%(default)s)")
    command.add_argument("--initial", default="uniform,normal", help="initial values to try (%(default)s)")
    command.add_argument("--steps", type=int, default=2000, help="of every run (%(default)s)")
    command.add_argument("--text", default="tiny-shakespeare", help="as in fffref lm train (%(default)s)")
    command.add_argument("--masked", type=float, metavar="SHARE", help="hide so many positions, and guess them (none)")
    command.add_argument("--data-folder", metavar="FOLDER", help="where input.txt of tiny-shakespeare is")
    command.add_argument("--out", metavar="FILE", default="language.jsonl", help="results, appended to (%(default)s)")
    command.add_argument("--jobs", type=int, default=1, help="processes on this machine (%(default)s)")
    command.add_argument("--quick", action="store_true", help="40 steps a run: to see that all works")
    command.add_argument("--report", action="store_true", help="train nothing, print the tables of what is recorded")
    shared.add_common(command, seed=False)
    command.set_defaults(run=run)


def run(arguments):
    """Do it; return the exit status."""

    from ..experiments import language, sweep
    from ..models import text

    out = files.path_of(arguments.out)
    if not arguments.report:
        steps = 40 if arguments.quick else checks.integer("--steps", arguments.steps, text.EPOCHS)
        share = None if arguments.masked is None else checks.number("--masked", arguments.masked, "(0, 1]")
        options = {"steps": steps, "text": arguments.text, "masked": share, "folder": arguments.data_folder}
        seeds = checks.integer("--seeds", arguments.seeds, 1)
        progress = False if arguments.json else "search"
        search = language.grid(_arms(arguments), 1, _rates(arguments), _initial(arguments), **options)
        found = sweep.sweep(search, language.execute, out, arguments.jobs, progress=progress)
        repeats = language.repeated(found, seeds, **options)
        sweep.sweep(repeats, language.execute, out, arguments.jobs, progress=progress and "seeds")
    results = sweep.read(out)
    if not arguments.json:
        print(language.report(results, arguments.data_folder))
    return shared.finish(arguments, results)


def _arms(arguments):
    """The arms asked for."""

    from ..experiments import language

    if arguments.arms is None:
        return list(language.ARMS)
    return [checks.one_of("--arms", name.strip(), tuple(language.ARMS)) for name in arguments.arms.split(";")]


def _rates(arguments):
    """Learning rates as numbers."""
    try:
        return [float(rate) for rate in arguments.rates.split(",")]
    except ValueError:
        raise checks.InputError(f"--rates must be numbers with commas between, got {arguments.rates!r}") from None


def _initial(arguments):
    """Initial values asked for."""

    from ..models import sizes

    return [checks.one_of("--initial", name, sizes.INITIAL) for name in arguments.initial.split(",")]
