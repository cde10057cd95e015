# All that a clone needs: `make demo` to see it, `make test` to check it. `make` alone lists the targets.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PORT ?= 8600
JOBS ?= 2
ARGS ?=
BIN := .venv/bin

# The first Python that TensorFlow has wheels for. Say PYTHON=... to choose another.
ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell for candidate in python3.11 python3.12 python3.13 python3; do \
	"$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1 \
	&& { echo "$$candidate"; break; }; done)
endif
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(BIN)/python -m pip install -qq --no-input

.PHONY: help env test test-slow check demo format lock coverage clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

env: .venv/installed ## Make .venv with the locked packages and kapps itself (again only when they change)

# Two stamps: the packages follow the lock, the editable install of kapps follows pyproject.toml.
# The lock names every package, so pip has nothing to resolve (--no-deps): left to resolve, older pips take the newest
# release for a package asked for with an extra (coverage[toml]), and then find no hash for it.
.venv/locked: requirements.lock
	@test -n "$(PYTHON)" || { echo "error: expected Python 3.11, 3.12 or 3.13, found none: install one or say make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Installing the locked packages into .venv ($(PYTHON), about 3 GB; some minutes the first time)"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv \
		|| { rm -rf .venv; echo "error: $(PYTHON) cannot make virtual environments: install its venv package (Debian: python3-venv)" >&2; exit 1; }
	@$(PIP) --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip check
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

test: env ## Run the tests, two files at a time (JOBS=0: one; ARGS="-k lenet -x" goes to pytest)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-slow: env ## Run the tests that take minutes
	@$(BIN)/python -m pytest -m slow --timeout 3600 $(ARGS)

check: env ## Lint, format, types, import rules, generated tables
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/kapps tables --check

demo: env ## Open the gallery at http://localhost:8600 (PORT=... for another)
	@$(BIN)/kapps demo --port $(PORT)

format: env ## Put the code into the house's form
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

lock: env ## Resolve pyproject.toml anew into requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --extra dev --extra detect --extra onnx --extra openvino --extra litert --extra pretrained --extra explain --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate -o requirements.lock -q

coverage: env ## Run the tests and report what they do not reach (htmlcov/index.html)
	@$(BIN)/python -m pytest --cov=kapps --cov-report=term:skip-covered --cov-report=html $(ARGS)

clean: ## Remove the environment, caches and builds
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage htmlcov build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
