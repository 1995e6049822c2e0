# Everything is set up in .venv, and again only when pyproject.toml or this file has changed.
# Needs Python 3.11 or newer, git and make:  make test PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: help demo test check quick chaos bench build clean

help:
	@echo "make demo    set up, and run an app: training in one process, deploying its checkpoints in another"
	@echo "make test    set up, and run every check"
	@echo "make quick   the tests that take no more than seconds"
	@echo "make chaos   kill, cut and fuzz for hours, where make test does so for a minute"
	@echo "make bench   measure this and its peers, side by side"
	@echo "make clean   remove what these commands made"

$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --editable '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/lightning run app examples/continuous_deployment/app.py --open-ui=false

test: check
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

quick: $(READY)
	$(BIN)/python -m pytest -m 'not slow'

# What a failure names is played again alone:  make chaos CHAOS_SEED=17
chaos: $(READY)
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --editable '.[dev,fuzz]'
	CHAOS=long $(BIN)/python -m pytest tests/chaos

bench: $(READY)
	$(BIN)/python -m benchmarks

build: $(READY)
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:
	rm -rf .venv .cache .lightning build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
