# The few verbs people type. Each sets up .venv by itself; everything else is an option of a tool named here.
#   make demo [ONCE=1] [STUDY=folder]   the whole loop on loopback        make check   style, types, layers, docstrings
#   make test [FAST=1] [ARGS='-k seg']  tests, with real peer programs    make bench   measured times and sizes
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.ONESHELL:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
  "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo "$$p"; break; }; done)
# Give TORCH_INDEX=URL of an index with the CPU build of torch, where the usual one brings the large GPU build.
TORCH_INDEX ?=
PACKAGES := gateway models orthanc dicom_sr
JOBS ?= 2
TIMEOUT ?= 300

.PHONY: help venv peers demo check test bench docs clean

help:
	@sed -n 's/^#   //p' Makefile

venv: $(VENV)/ready

# The stamp holds the checksum of what was installed, so an untouched checkout costs nothing, whatever its file times.
$(VENV)/ready: pyproject.toml
	@if [ -f $@ ] && sha256sum --check --status $@; then touch $@; exit 0; fi
	export PIP_DISABLE_PIP_VERSION_CHECK=1
	if [ ! -x $(BIN)/python ]; then
	  [ -n "$(PYTHON)" ] || { echo "make: no Python 3.11 to 3.13 found: install one, or give PYTHON=/path/to/python3" >&2; exit 1; }
	  echo "make: setting up $(VENV) with $(PYTHON), once; torch is a large download"
	  $(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) has no venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	fi
	torch=$$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
	pip() {
	  $(BIN)/python -m pip install --quiet "$$@" 2> $(VENV)/pip.log && return
	  tail -n 30 $(VENV)/pip.log >&2; echo "make: pip failed (see above); run the same again" >&2; exit 1
	}
	pip $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) "$$torch"
	pip --editable '.[dev]'
	sha256sum pyproject.toml > $@

# Real peer programs of the tests (Orthanc, dcmtk, a browser ...): installed by apt where that is possible.
peers:
	@bash tests/support/install_peers.sh

demo: $(VENV)/ready
	@$(BIN)/overread demo $(if $(ONCE),--once) $(if $(STUDY),--study '$(STUDY)') $(ARGS)

check: $(VENV)/ready
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports --no-logo
	$(BIN)/interrogate $(PACKAGES)
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_checks_see_files.py tests/test_module_size.py

test: $(VENV)/ready peers
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --timeout $(TIMEOUT) $(if $(FAST),-m 'not slow') $(ARGS)

bench: $(VENV)/ready
	@$(BIN)/python -m tests.bench.run $(ARGS)

# Rewrites the tables of the documentation that come from the code; a test fails when they are out of date.
docs: $(VENV)/ready
	@$(BIN)/python -m tests.support.generated_docs

clean:
	@rm -rf build dist .bench .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
