# `make demo` and `make test` each set everything up themselves, once, in .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.tacit-setup

.PHONY: demo test test-slow test-gpu lint types format bench docs clean
.DEFAULT_GOAL := test

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "tacit needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up .venv (once, some minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  -e '.[dev]'
	@touch $@

demo: $(STAMP)
	@rm -rf runs/demo
	@$(BIN)/tacit pretrain --out runs/demo --no-report
	@$(BIN)/tacit evaluate runs/demo --probe knn
	@$(BIN)/tacit report runs/demo

test: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow tests

test-gpu: $(STAMP)
	@TACIT_TEST_GPU=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/gpu

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)
	@$(BIN)/mypy

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP)
	@$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
