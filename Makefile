# Two commands for a fresh clone: `make demo` runs the main job on sample photos, `make test` checks the code.
# Both set up .venv with the exact versions of constraints.txt; nothing but a package registry is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch first, alone: an index of CPU builds, where pip is configured with one, is then not outvoted by a newer release.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint types unit slow long clean

demo: $(VENV)/.demo
	$(BIN)/normpipe demo --out demo-out

test: lint types unit slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev
	$(BIN)/pytest -n 2

# A bounded share of the slow tests: those that finish within minutes on two cores.
slow: $(VENV)/.dev
	$(BIN)/pytest -m "slow and not long" -n 2 --durations 15

# The rest of them.
long: $(VENV)/.dev
	$(BIN)/pytest -m long -n 2 --durations 15

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip==26.3"

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[demo]"
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) "torch==2.13.0"
	$(PIP) --editable ".[audit,classify,demo,fit,hub,insightface,mediapipe,norface,s3,torch,train,transformers]" --group dev
	touch $@

clean:
	rm -rf $(VENV) demo-out build dist
