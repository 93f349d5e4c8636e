# One-word commands. The first use of a command sets up what it needs below .venv; later uses start
# at once. PYTHON names another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
SETUP_FILES := setup.cfg setup.py pyproject.toml tools/generate_protos.py \
	$(wildcard cluster/wire/pb/*.proto cluster/wire/pb/*/*.proto)
# Pure tests; the others start processes or whole clusters.
FAST_TESTS := $(wildcard tests/unit tests/property tests/scripts)

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench soak venv clean

help:
	@echo 'make demo    a cluster of one master and two agents runs real work (needs no set-up)'
	@echo 'make test    all tests'
	@echo 'make check   format, lint, types, import contracts and the fast tests'
	@echo 'make format  bring the code into its format'
	@echo 'make bench   all benchmarks, as tables'
	@echo 'make venv    only the development environment, in .venv'
	@echo 'make clean   remove everything that the other commands made'

demo: $(VENV)/.ready-to-run
	@$(BIN)/python -m examples.hello

test: $(VENV)/.ready-to-develop
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.ready-to-develop
	@$(BIN)/ruff format --check --quiet || { echo 'make format brings these into their format'; exit 1; }
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config setup.cfg
	@$(BIN)/python -m pytest $(FAST_TESTS) $(ARGS)

format: $(VENV)/.ready-to-develop
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format --quiet

BENCHMARKS = messages actors launch allocator master

bench: $(VENV)/.ready-to-develop
	@for name in $(BENCHMARKS); do \
		echo "== $$name"; $(BIN)/python -m benchmarks.$$name $(ARGS) || exit 1; \
	done

soak: $(VENV)/.ready-to-develop
	@$(BIN)/python -m benchmarks.soak $(ARGS)

venv: $(VENV)/.ready-to-develop

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage* .pytest_cache .mypy_cache .ruff_cache \
		.import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find cluster/wire/pb -name '*_pb2.py*' -delete

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo 'make: $(PYTHON) is missing or older than Python 3.11; name another one: make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'make: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv'; exit 1; }
	@echo 'setting up $(VENV) (once) ...'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.ready-to-run: $(SETUP_FILES) | $(BIN)/python
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.ready-to-develop: $(SETUP_FILES) | $(BIN)/python
	@$(PIP) install --editable '.[dev]'
	@touch $(VENV)/.ready-to-run $@
