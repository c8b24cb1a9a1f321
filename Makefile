# make run: everything, with two Redis servers of its own.   make test: the whole test suite.
# make check: style, types, layers.                          make bench: speed and memory.

PYTHON ?= $(firstword $(foreach name,python3.12 python3.11 python3.13 python3.14 python3,$(shell command -v $(name))))
BIN := $(CURDIR)/.venv/bin
export NO_SKIPS
export PATH := $(BIN):$(PATH)

.PHONY: run test check bench clean

run: .venv/installed
	@$(BIN)/python -m tapfan.welcome & exec $(BIN)/supervisord -n -c supervisord.conf

test: .venv/installed
	$(BIN)/python -m pytest

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed
	$(BIN)/python -m bench

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "tapfan needs Python 3.11 or newer; name one: make run PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { echo "on Debian and Ubuntu, install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --editable '.[embedded,dev]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
