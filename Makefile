# Five lines a target at most. `make help` lists them.
.PHONY: help setup demo check test bench lock
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
OK := .venv/.installed

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1  /p' $(MAKEFILE_LIST)

setup: $(OK)  ## .venv with exactly the locked packages and this checkout

$(OK): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $(OK)

demo: setup  ## the whole build on the embedded phantoms, into releases/
	$(BIN)/equiderm build

check: setup  ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/lint-imports

test: check  ## check, then every test, in two processes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: setup  ## every measurement: speed, memory, quality (hours; infra/bench/measure.py names the parts)
	$(BIN)/python infra/bench/measure.py

lock:  ## requirements.lock from pyproject.toml, in a fresh environment
	$(PYTHON) -m venv .venv.lock && .venv.lock/bin/pip install --quiet -e '.[dev]'
	{ echo "# Locked environment: make installs exactly these. Remade by 'make lock'."; \
	  .venv.lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > requirements.lock
	rm -rf .venv.lock
