# Two commands matter: `make run` and `make test`. Both set up .venv from the pinned, hashed lock file first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv run test lint bench bench-smoke lock clean

venv: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: venv
	@$(BIN)/gateway serve

lint: venv
	$(BIN)/ruff check gateway tests benchmarks
	$(BIN)/ruff format --check gateway tests benchmarks
	$(BIN)/mypy

test: venv lint
	$(BIN)/python -m pytest

# Arguments: make bench ARGS="--quick --scenario batches --peer syslog-ng"; --list names what there is.
bench: venv
	$(BIN)/python -m benchmarks $(ARGS)

bench-smoke: venv
	$(BIN)/python -m benchmarks.smoke

# Writes the lock file anew: every dependency pinned with its hashes, no index address.
lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet pip-tools
	build/lock/bin/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --no-header --extra test --extra build --extra bench --extra sbom --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info benchmarks/results
	find gateway tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
