# Two commands matter: `make run` and `make test`. Both set up .venv from the pinned, hashed lock file first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv run test chromium lint soak bench bench-smoke lock licences sbom clean

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

test: venv lint chromium
	$(BIN)/python -m pytest

# What the browser tests drive. Debian's is installed when there is none.
chromium:
	@$(foreach name,chromium chromium-browser google-chrome google-chrome-stable,command -v $(name) >/dev/null ||) test -n "$$CHROMIUM" || \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium; } >/dev/null 2>&1 || \
		{ echo "The browser tests need a Chromium: run 'apt-get install chromium' as root, or give one as CHROMIUM=PATH." >&2; exit 1; }

# The tests that crash, break and kill, with as many cases as a night allows (`make test` has a few minutes of them).
soak: venv chromium
	$(BIN)/python -m pytest --soak

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

# After a change of the lock file: LICENCES.md, which a test compares with what is installed.
licences: venv
	$(BIN)/python -m tests.supply_chain licences

# A CycloneDX bill of materials of what the gateway runs with, in build/sbom.json.
sbom: venv
	@mkdir -p build
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
		--output-file build/sbom.json $(BIN)/python
	$(BIN)/python -m tests.supply_chain sbom build/sbom.json

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info benchmarks/results
	find gateway tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
