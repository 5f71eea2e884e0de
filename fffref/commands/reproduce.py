"""`fffref reproduce`: the first paper's table and the ablation, done again with every seed recorded."""

import pathlib

from . import language, shared

QUICK = {"data": "mnist-small", "seeds": 2, "epochs": 10}
FULL = {"data": "mnist,fashion-mnist", "seeds": 5, "epochs": 8}
LONGER = (15, 45)  # epochs of `longer`


def add(commands):
    """Add the command and its options."""
    text = """\
Do the accuracy experiments again, every seed shown: no best of n.

Every result is a line in a file as soon as it ends. The same command again goes on where a sweep was stopped, and
a run that two tables share is computed once. --quick takes a few minutes and shows the shape of things only."""
    examples = """\
examples:
  fffref reproduce table1 --quick --jobs 2
  fffref reproduce table1 --data mnist,fashion-mnist --seeds 5 --jobs 2
  fffref reproduce ablation --jobs 2
  fffref reproduce longer --jobs 2
  fffref reproduce report accuracy.jsonl --out report
on a cluster (dask scheduler; dask worker ADDRESS --nthreads 1, on each machine; all need this package and the data):
  fffref reproduce table1 --scheduler tcp://192.168.0.1:8786
"""
    command = commands.add_parser("reproduce", help="the accuracies of the papers, every seed shown",
                                  description=text, epilog=examples)  # fmt: skip
    kinds = command.add_subparsers(dest="kind", required=True, metavar="WHAT", parser_class=shared.Parser)
    text = """\
The first paper's grid (training widths 16 to 128, leaf widths 1 to 8) with the paper's recipe and with ours, each
tree beside dense nets of its training width, its engaged size and its number of parameters."""
    table1 = kinds.add_parser("table1", help="the first paper's grid, and its dense rivals", description=text)
    table1.add_argument("--quoted", action="store_true", help="only the trees of width 128 with leaves of 8 and of 1")
    _add_sweep(table1)
    text = "Our recipe less each ingredient and the published one plus each, on three of the grid's trees."
    _add_sweep(kinds.add_parser("ablation", help="what each ingredient is worth", description=text))
    some, many = LONGER
    text = f"""\
The trees of width 128 with leaves of 8 and of 1, and their rivals, for {some} epochs by all recipes; those of the
ablation and the dense nets of their engaged size for {many} by ours: does the published recipe recover with time, and
how far does ours get?"""
    _add_sweep(kinds.add_parser("longer", help="what more epochs are worth", description=text), epochs=False)

    text = """\
Tables and figures from recorded runs: mean and spread over all seeds, soft and hard, leaves used, collapsed runs, dense
rivals. Prints the tables, and writes them as Markdown with the figures beside."""
    report = kinds.add_parser("report", help="tables and figures from recorded runs", description=text)
    report.add_argument("files", nargs="+", metavar="FILE", help="what table1 and ablation have written")
    report.add_argument("--out", metavar="FOLDER", default="accuracy", help="where to write (%(default)s)")
    shared.add_common(report, seed=False)
    report.set_defaults(run=run_report)
    language.add(kinds)


def _add_sweep(command, epochs=True):
    """Add the options of a sweep."""
    quick = "{data}, {seeds} seeds" + ", {epochs} epochs" * epochs + " (unless you say otherwise)"
    command.add_argument("--data", metavar="NAMES", help=f"data sets, with commas between ({FULL['data']})")
    command.add_argument("--data-folder", metavar="FOLDER", help="where the data's IDX files are, if you have them")
    command.add_argument("--seeds", type=int, help=f"how many ({FULL['seeds']})")
    if epochs:
        command.add_argument("--epochs", type=int, help=f"passes over the data ({FULL['epochs']})")
    command.add_argument("--quick", action="store_true", help=quick.format(**QUICK))
    command.add_argument("--out", metavar="FILE", help="results, appended to (accuracy.jsonl or accuracy-quick.jsonl)")
    command.add_argument("--jobs", type=int, default=1, help="processes on this machine (%(default)s)")
    command.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler, whose workers compute instead")
    shared.add_common(command, seed=False)
    command.set_defaults(run=run)


def run(arguments):
    """Do a sweep; return the exit status."""
    from .. import datasets
    from ..experiments import runs as experiments
    from ..experiments import sweep

    for name, value in (QUICK if arguments.quick else FULL).items():
        if getattr(arguments, name, None) is None:
            setattr(arguments, name, value)
    runs = _runs(arguments)
    for name in {run.data for run in runs}:
        datasets.load(name, arguments.data_folder, progress=not arguments.json)  # fails, or downloads, at once
    out = pathlib.Path(arguments.out or ("accuracy-quick.jsonl" if arguments.quick else "accuracy.jsonl"))
    label = arguments.kind + (" (quick)" if arguments.quick else "")
    progress = False if arguments.json else label
    results = sweep.sweep(runs, experiments.execute, out, arguments.jobs, arguments.scheduler, progress)
    if not arguments.json:
        print(f"{label}: {len(results)} results in {out}; next: fffref reproduce report {out}")
    return shared.finish(arguments, results)


def _runs(arguments):
    """The runs that are asked for."""
    from .. import checks, datasets
    from ..experiments import runs as experiments

    names = [checks.one_of("data set", name, datasets.NAMES) for name in arguments.data.split(",")]
    seeds = checks.integer("--seeds", arguments.seeds, 1)
    if arguments.kind == "longer":
        return experiments.longer(names, seeds, *LONGER, arguments.data_folder)
    options = {"folder": arguments.data_folder, "epochs": checks.integer("--epochs", arguments.epochs, 1)}
    if arguments.kind == "table1":
        return experiments.table1(names, seeds, quoted=arguments.quoted, **options)
    cases = [case for name in names for case in experiments.cases(name)]
    return experiments.ablation(cases, seeds, **options)


def run_report(arguments):
    """Write the report; return the exit status."""
    from .. import files, plots
    from ..experiments import report

    by_epochs, set_aside = report.read(arguments.files)
    folder = files.folder(arguments.out)
    drawn = {f"{stem}.png": found for stem, found in report.figures(report.grid_of(by_epochs)).items()}
    for name, (_, figure) in drawn.items():
        plots.save(figure, folder / name)
    text = report.markdown(by_epochs, set_aside, [(title, name) for name, (title, _) in drawn.items()])
    with files.replacing(folder / "report.md") as temporary:
        temporary.write_text(text)
    written = [str(folder / name) for name in ("report.md", *drawn)]
    if not arguments.json:
        print(text)
        print("written: " + ", ".join(written))
    return shared.finish(arguments, {"written": written})
