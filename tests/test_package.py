"""The house: quick import, arrows that point one way, two lists of packages that agree, documented names."""

import ast
import graphlib
import importlib
import inspect
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

import fffref

ROOT = pathlib.Path(__file__).parent.parent
# A folder is an arrow: a module imports only from its own wing and from those before it.
WINGS = "checks files algorithms differences verdicts probes gradcheck layers texts datasets plots fast counting "
WINGS += "formats training models experiments commands cli"
WINGS = WINGS.split()


def modules():
    """Every module of the package but its root, a dict from dotted name to file."""
    files = {p.relative_to(ROOT / "fffref").with_suffix(""): p for p in (ROOT / "fffref").rglob("*.py")}
    names = {".".join(name.parts).removesuffix(".__init__"): file for name, file in files.items()}
    return {name: file for name, file in names.items() if name not in ("__init__", "__main__")}


MODULES = modules()


def source(name):
    return MODULES[name].read_text()


def imported_by(name):
    """Modules of the package that a module imports, anywhere in its text."""
    package = name.split(".") if MODULES[name].stem == "__init__" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(source(name))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module or "").split(".") * bool(node.module)
            full = [".".join([*base, alias.name]) for alias in node.names]
            yield from (module if module in MODULES else ".".join(base) for module in full)


def wing(name):
    return WINGS.index(name.partition(".")[0])


def test_every_wing_is_there_and_no_folder_holds_one_file():
    assert {name.partition(".")[0] for name in MODULES} == set(WINGS)


@pytest.mark.parametrize("name", MODULES)
def test_arrows_between_wings_point_one_way(name):
    imported = set(imported_by(name)) - {""}
    if name == "cli":
        assert "commands.train" in imported  # the test sees what it looks for
    assert all(wing(module) <= wing(name) for module in imported), imported


def test_imports_form_no_circle():
    graph = {name: set(imported_by(name)) - {"", name.rpartition(".")[0]} for name in MODULES}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_oracle_shares_no_code_with_what_it_judges():
    assert re.findall(r"^(?:from|import) .*", source("algorithms"), re.M) == ["import math"]


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_docstring(name):
    module = importlib.import_module(f"fffref.{name}")
    assert module.__doc__
    for label, thing in vars(module).items():
        if label.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        members = vars(thing).items() if inspect.isclass(thing) else ()
        for inner, member in [(label, thing), *members]:
            if inner.startswith("_") or not (inspect.isroutine(member) or inspect.isclass(member)):
                continue
            assert inspect.getdoc(member), f"{name}.{label}.{inner}"


@pytest.mark.parametrize("cls", [fffref.LeafFFF, fffref.PathFFF, fffref.DenseFF, fffref.MoE])
def test_docstrings_name_every_parameter(cls):
    members = [cls, cls.init, cls.forward, cls.backward, cls.forward_hard]
    for member in members:
        for parameter in inspect.signature(member).parameters:
            if parameter not in ("self", "cls"):
                assert re.search(rf"\b{parameter}\b.* : ", inspect.getdoc(member)), f"{member}: {parameter}"


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_leaves_heavy_packages_alone():
    heavy = {"numba", "matplotlib", "scipy.special", "scipy.sparse", "tqdm", "safetensors"}
    assert set(python("import sys, fffref; print(*sys.modules)").split()) & heavy == set()


def test_import_takes_little_more_than_numpys():
    code = "import time; s = time.perf_counter(); import numpy; m = time.perf_counter(); import fffref; "
    code += "print(time.perf_counter() - m)"
    assert min(float(python(code)) for _ in range(5)) < 0.15  # the least of five: the rest is other people's load


def test_conda_and_pip_ask_for_the_same_packages_and_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pip = set(project["dependencies"]).union(*project["optional-dependencies"].values())
    pip = {package for package in pip if not package.startswith("fffref[")}
    *conda, with_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = ({*conda, *with_pip["pip"]}) - {"pip", "-e ."}
    assert conda == pip | {f"python{project['requires-python']}"}


def test_the_version_is_written_once_more_and_agrees():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == fffref.__version__


def test_the_code_in_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_the_links_in_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!http|#)([^)#]+)", (ROOT / "README.md").read_text())
    assert links and all((ROOT / link).exists() for link in links), links


def test_continuous_integration_runs_the_readmes_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text() and "make test" in (ROOT / "README.md").read_text()
