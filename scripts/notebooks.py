"""Execute the course's notebooks in place, so that what is committed is what they print.

    python scripts/notebooks.py                 all of them
    python scripts/notebooks.py 01 04           those whose names begin so
    python scripts/notebooks.py --times         and write the seconds into notebooks/README.md
    python scripts/notebooks.py --figures OUT   and leave each figure in the folder OUT, as SVG and PDF, for slides

Each runs top to bottom in a fresh kernel, in the folder notebooks/, and is written only if all went well. What varies
from run to run without meaning anything (cell ids, time stamps, the kernel's patch version) is made the same; widgets,
which a page without a kernel cannot show, are left out. Every figure has an alternative text, made of its titles.

Notebooks that time something are written only if the machine was quiet, before and after: two cores have to do nearly
twice the work of one. `--busy` writes them all the same, for work on their text; don't commit their times.
"""

import argparse
import os
import pathlib
import re
import sys
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
sys.path[:0] = [str(ROOT), str(FOLDER)]  # this checkout's fffref, installed or not, as in the kernels
import machine  # noqa: E402

from fffref import files, plots  # noqa: E402

TIMED = ("05", "06", "09")  # notebooks that say how long something takes
SECONDS = 600  # for one cell: a notebook takes less than a minute, a slow machine more
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}
METADATA_OF_CELLS = ("jupyter", "mystnb", "tags")
SOLUTION = {"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"}
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path, environment=()):
    """Run a notebook in a fresh kernel of this Python.

    Parameters
    ----------
    path : path-like
        Not written.
    environment : mapping, optional
        Variables to set for the kernel; those of value None are removed.

    Returns
    -------
    notebook : NotebookNode
        Executed and normalised.
    seconds : float

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell raises.
    ValueError
        If a cell writes to stderr: a warning is a mistake, too.
    """
    notebook = nbformat.read(path, as_version=4)
    quiet = ["--IPKernelApp.log_level=ERROR"]  # else each kernel warns that its sockets are plain TCP
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=SECONDS,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=quiet,
    )
    # nbclient's stand-in for a browser's widgets answers on the socket on which it awaits the cell's end, and sometimes
    # misses that (jupyter/nbclient issue 312). Without it, what a slider first shows is the cell's own output.
    client.comm_open_handlers.clear()
    start = time.perf_counter()
    client.execute(cwd=str(FOLDER), env=_environment(dict(environment)))
    seconds = time.perf_counter() - start
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                raise ValueError(f"{pathlib.Path(path).name} writes to stderr: {output['text']}")
    return normalise(notebook, pathlib.Path(path).stem), seconds


def execute_quietly(path, environment=()):
    """Run a notebook that times something; ValueError if the machine has other things to do, before or after."""
    before = machine.cores_at_work()
    result = execute(path, environment) if before >= machine.FREE else None
    after = machine.cores_at_work() if result else before
    said = (
        any(machine.BUSY in output.get("text", "") for cell in result[0].cells for output in cell.get("outputs", ()))
        if result
        else True
    )
    if min(before, after) < machine.FREE or said:
        raise ValueError(
            f"its times would mean nothing: two cores did the work of {before:.1f} before and of {after:.1f} after it, "
            f"and {machine.FREE} are asked for; end what else is running, or work on the text with --busy"
        )
    return result


def normalise(notebook, name):
    """Return the notebook without what varies from run to run; cells are numbered after `name`."""
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"{name}-{number}"[:64]
        cell["metadata"] = {key: cell["metadata"][key] for key in METADATA_OF_CELLS if key in cell["metadata"]}
        if "outputs" in cell:
            cell["outputs"] = [output for output in cell["outputs"] if WIDGET not in output.get("data", {})]
            _tell_the_book(cell)
    notebook["metadata"] = METADATA
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    nbformat.validate(notebook)
    return notebook


def _tell_the_book(cell):
    """What the book has to know of a cell: alternative text and width of its figure, and that it is a solution."""
    found = [
        output["metadata"]["image/png"] for output in cell["outputs"] if output.get("metadata", {}).get("image/png")
    ]
    if len(found) > 1:
        raise ValueError(f"a cell draws {len(found)} figures, and the book gives all of them one text: one cell each")
    told = {"image": {"alt": found[0]["alt"], "width": f"{found[0]['width']}px"}} if found and "alt" in found[0] else {}
    if "solution" in cell["metadata"].get("tags", ()):
        told |= SOLUTION
    if told:
        cell["metadata"]["mystnb"] = told


def write(notebook, path):
    """Write a notebook, atomically."""
    with files.replacing(path) as temporary:
        nbformat.write(notebook, temporary)


def main():
    """Execute what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of names; all notebooks if there are none")
    parser.add_argument("--times", action="store_true", help="write the times into notebooks/README.md")
    parser.add_argument("--figures", type=pathlib.Path, metavar="OUT", help="folder for a copy of each figure")
    parser.add_argument("--no-write", action="store_true", help="leave the notebooks as they are")
    parser.add_argument(
        "--busy", action="store_true", help="write notebooks that time something on a busy machine, too"
    )
    arguments = parser.parse_args()
    paths = [p for p in sorted(FOLDER.glob("*.ipynb")) if p.name.startswith(tuple(arguments.names) or "")]
    if not paths:
        parser.error(f"no notebook's name begins with {' or '.join(arguments.names)}")
    times = {}
    for path in (bar := tqdm(paths, unit="notebook")):
        bar.set_postfix_str(path.stem)
        pack = {plots.PACK: str(arguments.figures.resolve() / path.stem)} if arguments.figures else {}
        timed = path.name.startswith(TIMED) and not arguments.busy
        try:
            notebook, times[path.stem] = execute_quietly(path, pack) if timed else execute(path, pack)
        except (CellExecutionError, ValueError) as error:
            bar.close()
            sys.exit(f"{path.name} is left as it was: {error}")
        if not arguments.no_write:
            write(notebook, path)
    print("\n".join(f"{name:26}{seconds:6.0f} s" for name, seconds in times.items()))
    if arguments.times:
        _write_times(times)


def _environment(changes):
    """This process's variables, the checkout first on the path, and the changes."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    found = os.environ | {"PYTHONPATH": path} | changes
    return {name: value for name, value in found.items() if value is not None}


def _write_times(times):
    """Put the seconds, rounded up to ten, into the table's last column."""
    page = FOLDER / "README.md"
    text = page.read_text()
    for name, seconds in times.items():
        text = re.sub(rf"(\({name}\.ipynb\).*\| )[^|]*( \|\n)", rf"\g<1>{10 * int(-(-seconds // 10))} s\g<2>", text)
    with files.replacing(page) as temporary:
        temporary.write_text(text)


if __name__ == "__main__":
    main()
