# A fresh machine needs two commands only: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo demo-predictions test lint types imports unit fuzz chaos docs browser format benchmarks clean

demo: $(INSTALLED)
	$(BIN)/foldstill demo

# A verdict on generated prediction files, in seconds.
demo-predictions: $(INSTALLED)
	$(BIN)/foldstill demo --kind predictions

test: lint types imports unit

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

imports: $(INSTALLED)
	$(BIN)/lint-imports --no-cache

# One thread per process, set before torch is imported, and one process per core.
# The tests of a file stay in one process, so that only that process creates the file's fixtures.
# Bytecode is kept, also where the environment says otherwise: every process would compile the package again.
unit: $(INSTALLED)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# Thousands of wrong inputs for every command and public function, and a table of what became of them.
fuzz: $(INSTALLED)
	$(BIN)/python tests/fuzz/campaign.py

# Kills runs, preparations and searches 200 times, and compares what they leave with calls that were not killed.
chaos: $(INSTALLED)
	$(BIN)/python tests/chaos/chaos_campaign.py

# The documentation site in build/docs. Its journeys are notebooks, which are executed; a warning is an error.
docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt '.[docs]'
	PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --fail-on-warning --keep-going -b html docs build/docs

# Reads a report and the documentation site in a headless Chromium, which must be installed.
browser: docs
	$(BIN)/python -m pip install --quiet --constraint constraints.txt '.[browser]'
	$(BIN)/python -m pytest -m browser tests/test_browser.py

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The comparison with other libraries installs them first: python benchmarks/bench_peers.py
benchmarks: $(INSTALLED)
	for file in $(filter-out %/bench_peers.py, $(wildcard benchmarks/bench_*.py)); do $(BIN)/python $$file || exit 1; done

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "foldstill needs Python 3.11 or later, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
