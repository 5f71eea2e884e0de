"""Install this package with the oldest versions that it declares, all together, into an environment of their own.

    python scripts/oldest.py .venv-oldest

What `make test-oldest` then runs shows that the lower bounds in pyproject.toml hold.
"""

import pathlib
import re
import subprocess
import sys
import tomllib
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "pyyaml")  # of the newest versions


def oldest():
    """The package's own dependencies at their lower bounds, a list for pip."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [exact(requirement) for requirement in needed]


def exact(requirement):
    """The requirement "numpy>=2.0" as "numpy==2.0.*", whose first release is taken: "numpy==2.0.0"."""
    name, version = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
    return f"{name}=={version}{'.0' * (2 - version.count('.'))}"


def main(folder):
    """Make the environment, or complete it."""
    python = pathlib.Path(folder) / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [python, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *oldest(), *TOOLS], check=True)
    subprocess.run([*pip, "--no-deps", "-e", ROOT], check=True)
    print("installed: " + " ".join(oldest()))


if __name__ == "__main__":
    main(*sys.argv[1:])
