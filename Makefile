# Everything is set up by the target that needs it: git, make and Python (3.12 through pyenv or uv).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
UV_VERSION := 0.13.9

# Without cached byte code every import is four times slower.
unexport PYTHONDONTWRITEBYTECODE
export OPENBLAS_NUM_THREADS ?= 1

UV := $(shell command -v uv || echo .tools/bin/uv)
PYTHON := .venv/bin/python
DEMO ?= demo
PART ?= tests

.PHONY: help demo test check validate bench-incrementality bench-reconciliation lock clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/.installed  ## Build a world with known truth, measure it, and name the page to open
	.venv/bin/truelift demo $(DEMO)

test: .venv/.installed-dev check  ## Lint, types, then every test on real components
	$(PYTHON) tests/components.py
	$(PYTHON) -m pytest -n 2 --dist loadgroup -m "not validation" --durations=15

check: .venv/.installed-dev  ## Lint, format and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

validate: .venv/.installed-dev  ## The heavy simulations (PART=tests/… for some); writes docs/validation.md
	$(PYTHON) tests/components.py
	$(PYTHON) -m pytest -n 2 --dist loadgroup -m "validation or reference" $(PART) --junitxml=.validation/$(subst /,-,$(PART)).xml
	$(PYTHON) tests/validation/report.py .validation docs/validation.md

bench-incrementality: .venv/.installed-dev  ## Floor, peer and ours: moments, double ML, pooling
	$(PYTHON) benchmarks/moments.py
	$(PYTHON) benchmarks/double_ml.py
	$(PYTHON) benchmarks/hierarchical_bayes.py

bench-reconciliation: .venv/.installed-dev  ## All checks and the bridge against one window join
	$(PYTHON) benchmarks/reconciliation.py

lock: $(if $(filter .tools/%,$(UV)),.tools/bin/uv)  ## Resolve anew: versions and hashes, no hosts
	$(UV) lock --quiet --upgrade
	$(UV) export --quiet --no-header --no-emit-project --no-default-groups --group build --output-file requirements.lock
	$(UV) export --quiet --no-header --no-emit-project --all-groups --all-extras --output-file requirements-dev.lock

clean:  ## Remove what the targets made
	rm -rf .venv .tools $(DEMO)

.tools/bin/uv:
	python3 -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/bin/python: | $(if $(filter .tools/%,$(UV)),.tools/bin/uv)
	$(UV) venv --quiet --allow-existing --python 3.12 .venv

.venv/.installed: requirements.lock pyproject.toml | .venv/bin/python
	@echo "Installing Truelift (about a minute, once) …"
	$(UV) pip install --quiet --python $(PYTHON) --compile-bytecode --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.installed-dev: requirements-dev.lock .venv/.installed | .venv/bin/python
	@echo "Installing what the tests need …"
	$(UV) pip install --quiet --python $(PYTHON) --compile-bytecode --require-hashes -r requirements-dev.lock
	@touch $@
