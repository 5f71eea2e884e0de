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
WINGS = """
    checks files algorithms differences verdicts probes reports gradcheck layers texts sources datasets plots fast
    counting formats training models experiments conformance commands cli
""".split()


def modules():
    """Every module of the package but its root, a dict from dotted name to file."""
    files = {p.relative_to(ROOT / "fffref").with_suffix(""): p for p in (ROOT / "fffref").rglob("*.py")}
    files = {name: file for name, file in files.items() if "runners" not in name.parts}  # ports, no modules of ours
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


def public(name):
    """The public functions, classes and methods of a module, with their dotted names."""
    module = importlib.import_module(f"fffref.{name}")
    for label, thing in vars(module).items():
        if label.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        members = vars(thing).items() if inspect.isclass(thing) else ()
        for inner, member in members:
            if not inner.startswith("_") and inspect.isroutine(member):
                yield f"{label}.{inner}", getattr(thing, inner)
        if callable(thing):
            yield label, thing


def documented(docstring):
    """Names in the section Parameters of a numpydoc docstring, in their order; None if there is no such section."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", docstring, re.M | re.S)
    if section is None:
        return None
    lines = [line for line in section[1].splitlines() if line and not line.startswith(" ")]
    return [name.strip().lstrip("*") for line in lines for name in line.partition(" : ")[0].split(",")]


def taken(thing):
    """Names of the parameters of a function or class, in their order."""
    return [name for name in inspect.signature(thing).parameters if name not in ("self", "cls")]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_name_the_parameters_that_there_are(name):
    """All of them and no others; where there is no section, the first line says all."""
    for label, thing in public(name):
        names = documented(inspect.getdoc(thing) or "")
        if names is not None:
            assert sorted(names) == sorted(taken(thing)), f"{name}.{label}: documented {names}, taken {taken(thing)}"


@pytest.mark.parametrize("thing", [fffref.LeafFFF, fffref.PathFFF, fffref.DenseFF, fffref.MoE])
def test_layers_document_every_parameter(thing):
    for member in (thing, thing.init, thing.forward, thing.backward, thing.forward_hard):
        assert sorted(documented(inspect.getdoc(member))) == sorted(taken(member)), member


def test_the_check_of_docstrings_sees_a_wrong_one():
    def function(first, second=1):
        """Do it.

        Parameters
        ----------
        first, third : int
            More about them.

        Returns
        -------
        int
        """

    assert documented(inspect.getdoc(function)) == ["first", "third"] != taken(function) == ["first", "second"]


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"algorithms"}))
def test_bad_input_is_refused_by_its_own_exceptions(name):
    """A bare ValueError or TypeError would look like a mistake of this package; internal ones are caught at once."""
    tree = ast.parse(source(name))
    caught = {node for block in ast.walk(tree) if isinstance(block, ast.Try) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node not in caught:
            raised = ast.unparse(node.exc.func)
            helper = name == "formats.checkpoints" and node.lineno  # json's hook must raise TypeError
            assert raised not in ("ValueError", "TypeError") or helper, f"{name}:{node.lineno}"


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_leaves_heavy_packages_alone():
    heavy = {"numba", "matplotlib", "scipy.special", "scipy.sparse", "tqdm", "safetensors"}
    assert set(python("import sys, fffref; print(*sys.modules)").split()) & heavy == set()


def test_import_takes_no_module_that_nobody_asked_for():
    """The package's own: layers, what they need, and their checks. Everything else is imported where it is used."""
    loaded = set(python("import sys, fffref; print(*(m for m in sys.modules if m.startswith('fffref')))").split())
    wings = {module.split(".")[1] for module in loaded if "." in module}
    assert wings <= {"checks", "layers", "_version"}, wings


def test_conda_and_pip_ask_for_the_same_packages_and_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pip = set(project["dependencies"]).union(*project["optional-dependencies"].values())
    pip = {package for package in pip if not package.startswith("fffref[")}
    *conda, with_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = ({*conda, *with_pip["pip"]}) - {"pip", "-e ."}
    assert conda == pip | {f"python{project['requires-python']}"}


def test_the_version_is_written_once_more_and_agrees():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == fffref.__version__


def test_the_code_in_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # it writes a checkpoint
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_the_links_in_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!http|#)([^)#]+)", (ROOT / "README.md").read_text())
    assert links and all((ROOT / link).exists() for link in links), links


def test_continuous_integration_runs_the_readmes_command(tmp_path):
    """The script itself is run, with commands that only say that they were called."""
    for name in ("make", "apt-get", "chromium"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" in "$PWD"\nexit 3\n')
        (tmp_path / name).chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([ROOT / ".ci" / "run"], cwd=tmp_path, env=path, capture_output=True, text=True)
    assert done.stdout == f"make test in {ROOT}\n" and done.returncode == 3  # its failure is the script's
    assert re.search(r"^make test\b", (ROOT / "README.md").read_text(), re.M)


def test_the_oldest_versions_are_read_off_the_project():
    sys.path.insert(0, str(ROOT / "scripts"))
    import oldest

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(oldest.oldest()) == len(project["dependencies"])
    assert oldest.exact("numpy>=2.0") == "numpy==2.0.0" and oldest.exact("scipy>=1.13.1") == "scipy==1.13.1"
    makefile = (ROOT / "Makefile").read_text()
    for word in re.search(r"^OLDEST := (.*?)\n\n", makefile.replace("\\\n", " "), re.M | re.S)[1].split():
        if word.startswith("tests"):
            assert (ROOT / word).exists(), word
