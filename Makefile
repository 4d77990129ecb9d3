# `make` alone lists what there is. Needs Python 3.11+; the servers of demo, up, test and bench need Java 17+ and Maven,
# those of test MariaDB too; bench compiles one of the peers, which takes a JDK.
PYTHON ?= python3
PY := .venv/bin/python
STAMP := .venv/.installed
SEED ?= 1
RUNS ?= 1000
INPUTS ?= 10000
MODULE ?=
ROWS ?= 340000
WARM_ROWS ?= 1000000
BENCH_RUNS ?= 3
UV_VERSION := 0.13.9

.DEFAULT_GOAL := help
.PHONY: help demo up down test lint format simulate planted mutants fuzz bench lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements-dev.lock
	@echo "making .venv (once)"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed; set PYTHON=") if sys.version_info < (3, 11) else None'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)  ## the whole way once, with kill -9 half-way, checked against a ledger
	@$(PY) -m legacy_demo.demo

up: $(STAMP)  ## start PostgreSQL, Kafka and Kafka Connect, and leave them running
	@$(PY) -m deploy.stack up

down: $(STAMP)  ## stop what `make up` started
	@$(PY) -m deploy.stack down

test: lint  ## everything: lint, types, import rules, then all tests
	@$(PY) -m pytest --durations=60

lint: $(STAMP)  ## ruff, mypy and the import rules
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports

format: $(STAMP)  ## let ruff write the layout
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

simulate: $(STAMP)  ## seeded crashes and faults against the real core: SEED=1 RUNS=1000
	@$(PY) -m tests.simulate --seed $(SEED) --runs $(RUNS)

planted: $(STAMP)  ## apply each planted bug and check that the simulator catches it
	@$(PY) -m tests.planted

mutants: $(STAMP)  ## change the core a little, everywhere; each change must make a test fail: MODULE="released history" (default: all)
	@$(PY) -m tests.mutants $(MODULE)

fuzz: $(STAMP)  ## coverage-guided inputs to the readers of YAML, mappings, expressions and records: INPUTS=10000
	@$(PY) -m tests.fuzz --inputs $(INPUTS)

bench: $(STAMP)  ## the whole job beside a pass-through, Kafka Streams and Quix Streams: ROWS=340000 WARM_ROWS=1000000 BENCH_RUNS=3
	@$(PY) -m deploy.bench --peers --rows $(ROWS) --warm-rows $(WARM_ROWS) --runs $(BENCH_RUNS)

lock:  ## resolve the dependencies anew into the lock files
	@test -x .stack/uv/bin/uv || ($(PYTHON) -m venv .stack/uv && .stack/uv/bin/pip install --quiet uv==$(UV_VERSION))
	@.stack/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' pyproject.toml -o requirements.lock
	@.stack/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	@.stack/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' deploy/bench/peers/quix/requirements.in -o deploy/bench/peers/quix/requirements.txt

clean:  ## remove the environment, caches and downloaded servers
	@test ! -d .stack/run/up -o ! -x $(PY) || $(PY) -m deploy.stack down
	@rm -rf .venv .stack .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache out build *.egg-info
