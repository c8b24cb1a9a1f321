# make run: everything, with two Redis servers of its own.   make test: the whole test suite.
# make check: style, types, layers.                          make bench: speed and memory.
# make soak SECONDS=300: faults at random, under load; SEED=… repeats them, RATE=… captures so many packets/s, as root.

# The first that is there and new enough; 3.11 and 3.12 first, for which there is a wheel with a redis-server.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3.12 python3.11 python3 python3.13 python3.14; do \
  $$name -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$name; break; }; done)
BIN := $(CURDIR)/.venv/bin
export NO_SKIPS
export PATH := $(BIN):$(PATH)

.PHONY: run test check bench soak clean

run: .venv/installed
	@if running=$$($(BIN)/supervisorctl -c supervisord.conf pid 2>/dev/null) && [ "$$running" -gt 0 ] 2>/dev/null; then \
	  echo "tapfan runs here already (process $$running); supervisorctl shutdown stops it" >&2; exit 1; fi
	@$(BIN)/tapfan check >/dev/null
	@( $(BIN)/python -m tapfan.welcome & ); exec $(BIN)/supervisord -n -c supervisord.conf

test: .venv/installed
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed
	$(BIN)/python -m bench

soak: .venv/installed
	$(BIN)/python -m bench.soak --seconds $(or $(SECONDS),300) $(if $(SEED),--seed $(SEED)) $(if $(RATE),--rate $(RATE))

.venv/installed: pyproject.toml
	@$(if $(PYTHON),,echo "no Python 3.11 or newer found; name one: make run PYTHON=/path/to/python3" >&2; exit 1)
	$(PYTHON) -m venv .venv || { echo "on Debian and Ubuntu, install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --editable '.[embedded,dev]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
