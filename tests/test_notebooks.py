"""The course: committed as executed, built in one shape, and every notebook runs from scratch without a network."""

import pathlib
import re
import sys

import nbformat
import pytest

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import notebooks  # noqa: E402

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Put before a kernel's own start: whoever asks for another machine is refused.
NO_NETWORK = """\
import socket
honest = socket.socket.connect
def connect(self, address):
    if isinstance(address, tuple) and not address[0].startswith("127."):
        raise OSError(f"no network in a test, asked for {address}")
    return honest(self, address)
socket.socket.connect = connect
"""
each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells(path, kind):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def is_solution(cell):
    return "solution" in cell.metadata.get("tags", ())


@each_notebook
def test_it_is_committed_as_executed(path):
    code = cells(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert path.stat().st_size < 1_500_000
    found = nbformat.read(path, as_version=4)
    assert notebooks.normalise(nbformat.from_dict(found), path.stem) == found


COURSE = [path for path in PATHS if path.name[:2] < "10"]
each_of_the_course = pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
LINES = 32  # of a cell that is not folded, formatted at 88 columns


def test_the_course_begins_at_0_and_has_no_gap():
    assert [path.name[:2] for path in COURSE] == [f"0{n}" for n in range(10)]


@each_of_the_course
def test_it_has_the_shape_of_a_lesson(path):
    prose, code = cells(path, "markdown"), cells(path, "code")
    text = "\n".join(cell.source for cell in prose)
    assert prose[0].source.startswith("# ")
    for part in ("**Question.**", "**What you will do.**", "**What you should know.**"):
        assert part in prose[0].source
    headings = re.findall(r"^## (Exercises|Answer|Solutions)$", text, re.M)
    assert headings == ["Exercises", "Answer", "Solutions"] and "**Answer.**" in text
    assert sum("assert " in cell.source for cell in code) >= 5
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    folded = [cell for cell in code if {"solution", "figure"} & set(cell.metadata.get("tags", ()))]
    assert all(len(cell.source.splitlines()) <= LINES for cell in code if cell not in folded)


@each_of_the_course
def test_solutions_are_folded_with_their_outputs_and_stand_behind_the_answer(path):
    everything = nbformat.read(path, as_version=4).cells
    answer = next(i for i, cell in enumerate(everything) if "**Answer.**" in cell.source)
    solutions = [i for i, cell in enumerate(everything) if is_solution(cell)]
    assert len(solutions) >= 2 and min(solutions) > answer
    for cell in (everything[i] for i in solutions):
        assert "hide-cell" in cell.metadata.tags and cell.metadata.jupyter.source_hidden
        assert cell.metadata.jupyter.outputs_hidden and "solution" in cell.metadata.mystnb.code_prompt_show


@each_of_the_course
def test_every_figure_says_what_it_shows(path):
    for cell in cells(path, "code"):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                told = output.metadata["image/png"]["alt"]
                assert len(told) > 15 and cell.metadata.mystnb.image.alt == told


@each_of_the_course
def test_one_law_has_one_notation(path):
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    assert "MiB" not in text and "KiB" not in text
    assert not re.search(r"1 - [fp]\) \+ [fp]", text)  # Amdahl's law is of s and k


@each_notebook
def test_the_readme_leads_to_it(path):
    assert f"[{path.stem}]({path.name}) |" in (ROOT / "notebooks" / "README.md").read_text()


@each_notebook
def test_it_runs_from_scratch_without_a_network_or_data(path, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    environment = {
        "PYTHONPATH": f"{tmp_path}:{ROOT}", "FFFREF_DATA": None, "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
    }  # fmt: skip
    notebook, _ = notebooks.execute(path, environment)
    assert len([c for c in notebook.cells if c.cell_type == "code"]) == len(cells(path, "code"))


def test_a_notebook_that_fails_or_warns_is_refused(tmp_path):
    for name, source in {"fails": "assert 1 == 2", "warns": "import sys; sys.stderr.write('careful')"}.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        with pytest.raises(Exception, match="careful" if name == "warns" else "assert 1 == 2"):
            notebooks.execute(tmp_path / f"{name}.ipynb")


def test_the_network_is_shut_in_these_tests(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    source = "import socket\ntry:\n    socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError as e: print(e)"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), tmp_path / "net.ipynb")
    notebook, _ = notebooks.execute(tmp_path / "net.ipynb", {"PYTHONPATH": str(tmp_path)})
    assert "no network in a test" in notebook.cells[0].outputs[0].text


def run(tmp_path, *sources):
    """The executed cells of a new notebook."""
    new = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(new, tmp_path / "new.ipynb")
    return notebooks.execute(tmp_path / "new.ipynb")[0]


def test_a_kernel_is_this_python_in_the_notebooks_folder_with_this_checkout(tmp_path):
    found = run(tmp_path, "import os, sys, fffref\nprint(sys.executable, os.getcwd(), fffref.__file__, sep='\\n')")
    expected = [sys.executable, str(ROOT / "notebooks"), str(ROOT / "fffref" / "__init__.py")]
    assert found.cells[0].outputs[0].text.split() == expected


def test_two_runs_with_a_slider_and_a_figure_give_the_same_bytes(tmp_path):
    slider = "import ipywidgets\n_ = ipywidgets.interact(lambda a: print('moved to', a), a=(0, 3))"
    figure = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    first, second = (nbformat.writes(run(tmp_path, slider, figure)) for _ in range(2))
    assert (
        first == second
        and "moved to 1" in first
        and "image/png" in first
        and "widget" not in first.replace("ipywidget", "")
    )


def test_what_is_printed_is_one_output_however_slowly_it_comes(tmp_path):
    source = "import time\nfor i in range(3):\n    print(i, flush=True)\n    time.sleep(0.5)"
    assert [output.text for output in run(tmp_path, source).cells[0].outputs] == ["0\n1\n2\n"]


def test_times_go_into_the_last_column(tmp_path, monkeypatch):
    page = "| [01-a](01-a.ipynb) | a? | - |\n| [02-b](02-b.ipynb) | b? | 20 s |\n"
    (tmp_path / "README.md").write_text(page)
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path)
    notebooks._write_times({"01-a": 31.2})
    assert (tmp_path / "README.md").read_text() == page.replace("| - |", "| 40 s |")
