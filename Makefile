# make demo, test, notebooks, book, bench: each sets up what it needs in .venv, then runs. Another Python: make demo PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
# What needs no more than the package's own dependencies: no notebooks, no book.
OLDEST := tests/layers tests/fast tests/counting tests/formats tests/training tests/models tests/test_gradients.py \
	tests/test_gradcheck.py tests/test_mutations.py tests/test_datasets.py tests/test_files.py tests/test_plots.py

.PHONY: demo lm test notebooks run-notebooks figures book bench bench-full lint clean
.DELETE_ON_ERROR:

demo: .venv/.installed
	$(BIN)/fffref demo

lm: .venv/.installed
	$(BIN)/fffref lm train --steps 1500 --out lm --resume
	$(BIN)/fffref lm sample lm --prompt "To be, or not to be" --characters 500

test: .venv/.installed-test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup

.PHONY: test-oldest
# The declared minimum versions, together, in an environment of their own; NumPy 2.0 needs Python 3.11 or 3.12.
test-oldest:
	$(PYTHON) scripts/oldest.py .venv-oldest
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n auto --maxprocesses 4 --dist loadgroup $(OLDEST)

notebooks: .venv/.installed-notebooks
	$(BIN)/jupyter lab notebooks

run-notebooks: .venv/.installed-notebooks
	$(BIN)/python scripts/notebooks.py --times

figures: .venv/.installed-notebooks
	$(BIN)/python scripts/notebooks.py --busy --no-write --figures build/figures

book: .venv/.installed-book
	$(BIN)/python scripts/book.py

bench: .venv/.installed
	$(BIN)/python -m pip install -q -e ".[bench]"
	$(BIN)/python benchmarks/fast_path.py

bench-full: .venv/.installed
	$(BIN)/python -m pip install -q -e ".[bench]"
	$(BIN)/python benchmarks/fast_path.py --full
	for script in variants start_up train_step; do $(BIN)/python benchmarks/$$script.py || exit 1; done

lint: .venv/.installed-test
	$(BIN)/python -m pip install -q ruff && $(BIN)/ruff check . && $(BIN)/ruff format --check .

clean:
	rm -rf .venv .venv-oldest build fffref-demo

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fffref needs Python 3.11 or newer, $(PYTHON) is %d.%d; try: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv

# A stamp is newer than pyproject.toml: nothing to install.
.venv/.installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q -e .
	@touch $@

.venv/.installed-test: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q -e ".[test]"
	@touch $@ .venv/.installed .venv/.installed-book .venv/.installed-notebooks

.venv/.installed-notebooks: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q -e ".[notebooks]"
	@touch $@ .venv/.installed

.venv/.installed-book: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q -e ".[book]"
	@touch $@ .venv/.installed
