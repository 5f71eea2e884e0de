"""Execute the course's notebooks in place, so that what is committed is what they print.

    python scripts/notebooks.py                 all of them
    python scripts/notebooks.py 01 04           those whose names begin so
    python scripts/notebooks.py --times         and write the minutes into notebooks/README.md

Each runs top to bottom in a fresh kernel, in the folder notebooks/, and is written only if all went well. What varies
from run to run without meaning anything (cell ids, time stamps, the kernel's patch version) is made the same; widgets,
which a page without a kernel cannot show, are left out.
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
sys.path.insert(0, str(ROOT))  # this checkout's fffref, installed or not, as in the kernels
from fffref import files  # noqa: E402

FOLDER = ROOT / "notebooks"
SECONDS = 600  # for one cell: a notebook takes less than a minute, a slow machine more
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}
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


def normalise(notebook, name):
    """Return the notebook without what varies from run to run; cells are numbered after `name`."""
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"{name}-{number}"[:64]
        cell["metadata"] = {key: cell["metadata"][key] for key in ("jupyter", "tags") if key in cell["metadata"]}
        if "outputs" in cell:
            cell["outputs"] = [output for output in cell["outputs"] if WIDGET not in output.get("data", {})]
    notebook["metadata"] = METADATA
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    nbformat.validate(notebook)
    return notebook


def write(notebook, path):
    """Write a notebook, atomically."""
    with files.replacing(path) as temporary:
        nbformat.write(notebook, temporary)


def main():
    """Execute what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of names; all notebooks if there are none")
    parser.add_argument("--times", action="store_true", help="write the times into notebooks/README.md")
    arguments = parser.parse_args()
    paths = [p for p in sorted(FOLDER.glob("*.ipynb")) if p.name.startswith(tuple(arguments.names) or "")]
    if not paths:
        parser.error(f"no notebook's name begins with {' or '.join(arguments.names)}")
    times = {}
    for path in (bar := tqdm(paths, unit="notebook")):
        bar.set_postfix_str(path.stem)
        try:
            notebook, times[path.stem] = execute(path)
        except (CellExecutionError, ValueError) as error:
            bar.close()
            sys.exit(f"{path.name} is left as it was: {error}")
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
