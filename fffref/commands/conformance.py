"""`fffref conformance`: does a port of FFF compute what the papers say?"""

from .. import checks
from . import shared

TEXT = """\
Test vectors for ports of FFF to any language: a port reads numbered cases and writes its answers; here they are judged.

The folder that `export` writes has a page, README.md, that says what to compute, and small right ports in C,
JavaScript, NumPy and PyTorch. Five levels may be claimed: 1 route, 2 hard forward, 3 soft forward and entropy,
4 backward, 5 ten steps of SGD; for LeafFFF, PathFFF or both."""

EXAMPLES = """\
examples:
  fffref conformance export vectors             the cases, the page, the ports
  fffref conformance check answers              answers/101.txt and so on
  fffref conformance check answers --levels 1-2 --only leaf --without nan
  fffref conformance explain leaf-tie-left      what a fault is, and which cases expose it
  fffref conformance explain                    all faults that have a name
"""


def add(commands):
    """Add the command, its three parts and their options."""
    command = commands.add_parser(
        "conformance", help="check a port of FFF in any language", description=TEXT, epilog=EXAMPLES
    )
    parts = command.add_subparsers(dest="part", required=True, metavar="export | check | explain")
    export = parts.add_parser("export", help="write cases, page and ports to a folder")
    export.add_argument("folder", metavar="DIR")
    export.add_argument("--traceback", action="store_true", help="show where in the program an error arose")
    export.set_defaults(run=run_export)
    check = parts.add_parser("check", help="judge a port's answers; exit status 1 if anything fails")
    check.add_argument("folder", metavar="DIR", help="one text file a case: 101.txt and so on")
    check.add_argument("--levels", default="1-5", help="levels that the port claims, as 1-3 or 1,2,4 (%(default)s)")
    for option, what in (("--only", "only cases with this flag"), ("--without", "no cases with this flag")):
        check.add_argument(option, action="append", default=[], metavar="FLAG", help=f"{what}; may be repeated")
    shared.add_common(check, seed=False)
    check.set_defaults(run=run_check)
    explain = parts.add_parser("explain", help="say what a fault is; without a name, list all")
    explain.add_argument("fault", metavar="FAULT", nargs="?")
    shared.add_common(explain, seed=False)
    explain.set_defaults(run=run_explain)


def run_export(arguments):
    """Copy the kit to a folder."""
    import pathlib
    import shutil

    from .. import files
    from ..conformance import checker

    kit = pathlib.Path(checker.__file__).parent
    sources = {path.relative_to(kit / "vectors"): path for path in sorted((kit / "vectors").rglob("*.*"))}
    sources |= {path.relative_to(kit): path for path in sorted((kit / "runners").glob("port*.*"))}
    for name, source in sources.items():
        if source.is_file():
            with files.replacing(pathlib.Path(arguments.folder) / name) as temporary:
                shutil.copyfile(source, temporary)
    print(f"{len(checker.index())} cases in {arguments.folder}/v1; what to compute: {arguments.folder}/README.md")
    return 0


def run_check(arguments):
    """Judge answers; return 1 if anything fails."""
    from ..conformance import checker

    levels = _levels(arguments.levels)
    verdicts = checker.check(arguments.folder, levels, arguments.only, arguments.without)
    known = checker.catalogue()
    explanations = checker.diagnose(verdicts, known)
    failed = [verdict for verdict in verdicts if verdict.complaints]
    if not arguments.json:
        print(checker.report(verdicts, known, explanations))
    result = {
        "passed": not failed,
        "levels": {level: {layer: {"passed": passed, "claimed": claimed} for layer, (passed, claimed) in row.items()}
                   for level, row in checker.table(verdicts).items()},
        "failed": {entry.number: {"flags": entry.flags, "complaints": complaints} for entry, complaints, _ in failed},
        "faults": explanations,
    }  # fmt: skip
    return shared.finish(arguments, result, not failed)


def run_explain(arguments):
    """Say what a fault is, or list all faults."""
    from ..conformance import checker

    known = checker.catalogue()
    if arguments.fault is not None and arguments.fault not in known:
        raise checks.InputError(
            f"there is no fault {arguments.fault!r}; `fffref conformance explain` lists all {len(known)}"
        )
    if arguments.json:
        return shared.finish(arguments, known if arguments.fault is None else known[arguments.fault])
    if arguments.fault is None:
        print("\n".join(f"{name:32}{fault['wrong']}" for name, fault in known.items()))
        return 0
    fault = known[arguments.fault]
    print(f"A port that {fault['wrong']}.\n\n{fault['does']}\nSeen: {fault['seen']}.")
    print(f"Cases that expose it: {', '.join(map(str, fault['cases']))}")
    return 0


def _levels(text):
    """Level numbers from text such as 1-3 or 1,2,4."""
    levels = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.strip().isdecimal() and (last or first).strip().isdecimal()):
            raise checks.InputError(f"--levels must be such as 1-3 or 1,2,4, got {text!r}")
        levels |= set(range(int(first), int(last or first) + 1))
    if not levels or not levels <= {1, 2, 3, 4, 5}:
        raise checks.InputError(f"--levels must lie between 1 and 5, got {text!r}")
    return sorted(levels)
