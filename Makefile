# Every target makes what it needs: a virtual environment with the pinned development requirements and syncd itself.
# Needed beforehand: make, Python 3.11 or newer, and a package registry (for the real servers of tests: Debian's, too).

PYTHON ?= python3
VENV ?= .venv
T ?= tests
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.made
AUDIT := $(VENV)/audit
AUDIT_VERSION := 2.10.1
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
NEW_ENOUGH := $(PYTHON) -c \
	'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=...")'
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links

# Tests start hundreds of processes: without byte code each would compile all of syncd again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo run test check format reference bench soak idle image image-test service-test monitoring-test \
	migration requirements audit clean
.DELETE_ON_ERROR:

help: ## show this list
	@echo 'usage: make TARGET [PYTHON=python3.12]'
	@sed -n 's/^\([a-z-]*\):[^#]*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 19

setup: $(STAMP) ## make the virtual environment (every other target does so by itself)

demo: $(STAMP) ## play a day of mail against a real server; KEEP=1 leaves it running
	$(BIN)/python -m tests.demo $(if $(KEEP),--keep)

run: $(STAMP) ## run the daemon in the foreground; CONFIG=file.toml names its configuration
	$(if $(CONFIG),SYNCD_CONFIG=$(CONFIG)) $(BIN)/syncd run $(ARGS)

test: $(STAMP) ## run the tests, on real servers; T=path chooses, ARGS=... goes to pytest (-n0: one by one)
	$(BIN)/python -m pytest -p no:cacheprovider --numprocesses auto --dist worksteal $(ARGS) $(T)

check: $(STAMP) ## format, lint, types, the floors of the house, units of systemd, migrations at head, man pages fresh
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p syncd -p tests.servers -p tests.benchmarks -p tests.demo -p tests.image -p tests.monitoring \
		-p tests.reference -p tests.service -p tests.soak
	$(BIN)/lint-imports
	deploy/systemd/check.sh
	$(BIN)/python -m tests.contract.store.migrations_at_head
	$(BIN)/python -m tests.reference --check

format: $(STAMP) ## rewrite the sources as check wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

reference: $(STAMP) ## write man pages, completions, the JSON schema and migrations/sqlite.sql anew, of what the code says
	$(BIN)/python -m tests.reference
	$(BIN)/python -m tests.contract.store.migrations_at_head --at-once

bench: $(STAMP) ## measure syncd against its peers and against what could be done at least; ARGS=--help
	$(BIN)/python -m tests.benchmarks $(ARGS)

soak: $(STAMP) ## let a daemon live long in a short time, on a real server, and see whether it stays as it was; ARGS=--help
	$(BIN)/python -m tests.soak $(ARGS)

idle: $(STAMP) ## measure what a thousand accounts cost at rest; ARGS=--help
	$(BIN)/python -m tests.soak.idle $(ARGS)

image: $(STAMP) ## build the container image syncd with docker, else podman; BASE=image:tag chooses what it is built on
	$(BIN)/python -m tests.image build

image-test: $(STAMP) ## build the images, run them for real against real servers, and kill them; ARGS=--help
	$(BIN)/python -m tests.image test $(ARGS)

service-test: $(STAMP) ## install syncd on a Debian whose PID 1 is systemd, and see what the service does; needs root
	$(BIN)/python -m tests.service $(ARGS)

monitoring-test: $(STAMP) ## let a real Prometheus take the alert rules, and answer each query of the dashboard
	$(BIN)/python -m tests.monitoring

migration: $(STAMP) ## write a migration for what changed in the schema; M="what changes"
	@test -n "$(M)" || { echo 'usage: make migration M="what changes"' >&2; exit 2; }
	$(BIN)/python -m tests.contract.store.migrations_at_head "$(M)"

requirements: $(BIN)/uv ## choose versions anew and pin them with hashes
	$(COMPILE) --upgrade --all-extras --output-file requirements.txt pyproject.toml
	$(COMPILE) --upgrade --all-extras --group dev --constraints requirements.txt --output-file requirements-dev.txt \
		pyproject.toml
	$(COMPILE) --upgrade --group build --constraints requirements-dev.txt --output-file requirements-build.txt

audit: $(AUDIT)/.made-$(AUDIT_VERSION) ## ask the package index what became known of the pinned versions; fails where it cannot tell
	$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.txt

clean: ## remove everything that make and the tools have made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

include deploy/install.mk

$(STAMP): requirements-dev.txt pyproject.toml
	@$(NEW_ENOUGH)
	$(PYTHON) -B -m tests.servers.environment $(VENV)
	$(PIP) install --require-hashes --requirement requirements-dev.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/uv: | $(STAMP)
	$(PIP) install uv

$(AUDIT)/.made-$(AUDIT_VERSION): | $(STAMP)
	$(PYTHON) -B -m tests.servers.environment $(AUDIT)
	$(AUDIT)/bin/python -m pip --quiet --disable-pip-version-check --no-input install pip-audit==$(AUDIT_VERSION)
	@touch $@
