"""`fffref reproduce`: the first paper's table and the ablation, done again with every seed recorded."""

import pathlib

from . import carving, language, shared

QUICK = {"data": "mnist-small", "seeds": 2, "epochs": 10}
FULL = {"data": "mnist,fashion-mnist", "seeds": 5, "epochs": 8}
LONGER = 45  # epochs of `longer`
TABLES = ("longer", "table1", "ablation")  # in the order in which `search` does them


def add(commands):
    """Add the command and its options."""
    text = """\
Do the accuracy experiments again, every seed shown: no best of n.

Every result is a line in a file as soon as it ends. The same command again goes on where a sweep was stopped, and
a run that two tables share is computed once. --quick takes a few minutes and shows the shape of things only.

Trees and their rivals get the same care: learning rate and weight decay of every arm were searched on held-out
samples (`search`), over the same grid. The tables take what was found from a file that comes with this package, or
from your own (--search)."""
    examples = """\
examples:
  fffref reproduce table1 --quick --jobs 2
  fffref reproduce search --jobs 2 --out search.jsonl
  fffref reproduce table1 --data mnist,fashion-mnist --seeds 5 --jobs 2 --search search.jsonl
  fffref reproduce longer --jobs 2
  fffref reproduce ablation --data mnist --jobs 2
  fffref reproduce report accuracy.jsonl --out report
on a cluster (dask scheduler; dask worker ADDRESS --nthreads 1, on each machine; all need this package and the data):
  fffref reproduce table1 --scheduler tcp://192.168.0.1:8786
"""
    command = commands.add_parser("reproduce", help="the accuracies of the papers, every seed shown",
                                  description=text, epilog=examples)  # fmt: skip
    kinds = command.add_subparsers(dest="kind", required=True, metavar="WHAT", parser_class=shared.Parser)
    _add_search(kinds)
    _add_tables(kinds)
    _add_report(kinds)


def _add_search(kinds):
    """Add `search`."""
    text = """\
Try learning rates and weight decays for every arm of the tables, each judged by a tenth of the training data that is
held out; the test data is not looked at. The tables take the best, in the mean over the seeds."""
    search = kinds.add_parser("search", help="learning rates and weight decays of all arms", description=text)
    search.add_argument("--for", dest="tables", default=",".join(TABLES), metavar="TABLES",
                        help="whose arms, with commas between (%(default)s)")  # fmt: skip
    _add_recipes(search)
    _add_sweep(search, seeds=1)
    search.set_defaults(run=run_search)


def _add_tables(kinds):
    """Add `table1`, `longer` and `ablation`."""
    text = """\
The first paper's grid (training widths 16 to 128, leaf widths 1 to 8) with the paper's recipe and with ours, each
tree beside dense nets of its training width, its engaged size and its number of parameters; with --quoted beside
mixtures of experts too."""
    table1 = kinds.add_parser("table1", help="the first paper's grid, and its dense rivals", description=text)
    table1.add_argument("--quoted", action="store_true", help="only the trees of width 128 with leaves of 8 and of 1")
    _add_recipes(table1)
    text = f"""\
The trees of the ablation by our recipe for {LONGER} epochs, beside dense nets and mixtures of experts that engage as
much: how far does ours get, and what is left of its lead?"""
    longer = kinds.add_parser("longer", help="what more epochs are worth", description=text)
    text = "Our recipe less each ingredient and the published one plus each, on three of the grid's trees."
    ablation = kinds.add_parser("ablation", help="what each ingredient is worth", description=text)
    for command in (table1, longer, ablation):
        command.add_argument("--search", metavar="FILE", help="what `search` wrote (what was recorded)")
        _add_sweep(command, epochs=command is not longer)
        command.set_defaults(run=run)


def _add_recipes(command):
    """Add the option that leaves recipes of the grid out."""
    command.add_argument("--recipes", metavar="NAMES", help="of table1 only these, with commas between: paper1, "
                         "paper1 with mean entropy, hardening (all)")  # fmt: skip


def _add_report(kinds):
    """Add `report`."""
    text = """\
Tables and figures from recorded runs: mean and spread over all seeds, soft and hard, leaves used, collapsed runs,
rivals, and the search beside them. Prints the tables, and writes them as Markdown with the figures beside."""
    report = kinds.add_parser("report", help="tables and figures from recorded runs", description=text)
    report.add_argument("files", nargs="+", metavar="FILE", help="what table1, longer and ablation have written")
    report.add_argument("--search", metavar="FILE", help="what `search` wrote (what was recorded)")
    report.add_argument("--out", metavar="FOLDER", default="accuracy", help="where to write (%(default)s)")
    shared.add_common(report, seed=False)
    report.set_defaults(run=run_report)
    language.add(kinds)
    carving.add(kinds)


def _add_sweep(command, epochs=True, seeds=None):
    """Add the options of a sweep."""
    quick = "{data}, {seeds} seeds" + ", {epochs} epochs" * epochs + " (unless you say otherwise)"
    command.add_argument("--data", metavar="NAMES", help=f"data sets, with commas between ({FULL['data']})")
    command.add_argument("--data-folder", metavar="FOLDER", help="where the data's IDX files are, if you have them")
    command.add_argument("--seeds", type=int, default=seeds, help=f"how many ({seeds or FULL['seeds']})")
    if epochs:
        command.add_argument("--epochs", type=int, help=f"passes over the data ({FULL['epochs']})")
    command.add_argument("--quick", action="store_true", help=quick.format(**QUICK))
    command.add_argument("--out", metavar="FILE", help="results, appended to (accuracy.jsonl or accuracy-quick.jsonl)")
    command.add_argument("--jobs", type=int, default=1, help="processes on this machine (%(default)s)")
    command.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler, whose workers compute instead")
    shared.add_common(command, seed=False)


def run(arguments):
    """Do the sweep of a table; return the exit status."""
    from ..experiments import runs, sweep, tables, tuning

    _settle(arguments)
    choice = tuning.choice(arguments.search)
    todo = [
        run
        for name in arguments.data
        for run in tables.seeded(_arms(arguments, name), arguments.seeds, choice, arguments.data_folder)
    ]
    _load(arguments)
    out, label = _out(arguments, "accuracy"), arguments.kind + (" (quick)" if arguments.quick else "")
    progress = False if arguments.json else label
    results = sweep.sweep(todo, runs.execute, out, arguments.jobs, arguments.scheduler, progress)
    if not arguments.json:
        print(f"{label}: {len(results)} results in {out}; next: fffref reproduce report {out}")
    return shared.finish(arguments, results)


def run_search(arguments):
    """Search; return the exit status."""
    from .. import checks
    from ..experiments import tuning

    wanted = [checks.one_of("--for", name, TABLES) for name in arguments.tables.split(",")]
    _settle(arguments)
    _load(arguments)
    out, results = _out(arguments, "search"), []
    for table in TABLES:
        if table in wanted:
            options = {"epochs": LONGER if table == "longer" else arguments.epochs}
            options |= {"bases": arguments.recipes} if table == "table1" else {}
            arms = [arm for name in arguments.data for arm in getattr(tuning, table)(name, **options)]
            progress = False if arguments.json else f"search for {table}"
            results += tuning.search(arms, out, arguments.jobs, arguments.seeds, arguments.scheduler, progress,
                                     arguments.data_folder)  # fmt: skip
    if not arguments.json:
        print(f"search: {len(results)} trials in {out}; next: fffref reproduce table1 --search {out}")
    return shared.finish(arguments, results)


def _settle(arguments):
    """Set what was not said, and check what was."""
    from .. import checks, datasets
    from ..experiments import variants

    for name, value in (QUICK if arguments.quick else FULL).items():
        if getattr(arguments, name, None) is None:
            setattr(arguments, name, value)
    arguments.data = [checks.one_of("data set", name, datasets.NAMES) for name in arguments.data.split(",")]
    arguments.seeds = checks.integer("--seeds", arguments.seeds, 1)
    arguments.epochs = checks.integer("--epochs", arguments.epochs, 1)
    recipes = getattr(arguments, "recipes", None)
    recipes = recipes.split(",") if recipes else variants.GRID
    arguments.recipes = [checks.one_of("recipe", name, variants.GRID) for name in recipes]


def _load(arguments):
    """Fail, or download, before the first run."""
    from .. import datasets

    for name in arguments.data:
        datasets.load(name, arguments.data_folder, progress=not arguments.json)


def _out(arguments, stem):
    return pathlib.Path(arguments.out or f"{stem}{'-quick' * arguments.quick}.jsonl")


def _arms(arguments, name):
    """The arms that are asked for, on one data set."""
    from ..experiments import tables

    if arguments.kind == "longer":
        return tables.longer(name, LONGER)
    if arguments.kind == "ablation":
        return tables.ablation(name, epochs=arguments.epochs)
    return tables.table1(name, arguments.quoted, arguments.recipes, epochs=arguments.epochs)


def run_report(arguments):
    """Write the report; return the exit status."""
    from .. import files, plots
    from ..experiments import figures, recorded, report, searched, tuning

    groups, set_aside = recorded.read(arguments.files)
    trials = searched.markdown(tuning.read(arguments.search))
    folder = files.folder(arguments.out)
    drawn = {f"{stem}.png": named for stem, named in figures.figures(groups).items()}
    for name, (_, figure) in drawn.items():
        plots.save(figure, folder / name)
    text = report.markdown(groups, set_aside, trials, [(title, name) for name, (title, _) in drawn.items()])
    with files.replacing(folder / "report.md") as temporary:
        temporary.write_text(text)
    written = [str(folder / name) for name in ("report.md", *drawn)]
    if not arguments.json:
        print(text)
        print("written: " + ", ".join(written))
    return shared.finish(arguments, {"written": written})
