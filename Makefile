# Everything here sets up what it needs: a virtual environment of its own with locked,
# hash-checked dependencies. `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PEERS  := .venv-peers
PEERS_READY := $(PEERS)/.ready
# All of the tests, file by file in two processes, each with a broker: many of them mostly wait.
# A process that dies is a failure, and no test of its file is run again.
WHOLE  := --numprocesses 2 --dist loadfile --max-worker-restart 0 --durations 25
# The bench that compares with them runs if it is named, and if none is.
NAMED  := $(filter-out -%,$(ARGS))
NEEDED := $(if $(filter frameworks,$(or $(NAMED),$(if $(filter --profile,$(ARGS)),,frameworks))),$(PEERS_READY))

.DEFAULT_GOAL := help
.PHONY: help run test check bench peers faults simulate clean lock

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

run: $(READY) ## Run the main job: history on real Kafka, rebuilt and proven (ARGS=--json)
	@$(BIN)/agentlog demo $(ARGS)

test: $(READY) ## Run the tests on a real embedded Kafka (ARGS="-k name")
	$(BIN)/python -m pytest $(or $(ARGS),$(WHOLE))

check: $(READY) ## Lint, format, types, the direction of imports, the schemas and their lock
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/agentlog schemas lock --check
	$(BIN)/agentlog schemas lint

bench: $(READY) $(NEEDED) ## Run the benchmarks, each beside its baseline (ARGS="publish replay")
	$(BIN)/python -m benchmarks $(ARGS)

peers: $(PEERS_READY) ## Install what the bench `frameworks` compares with, apart from agentlog

faults: $(READY) ## Break a three-node cluster and its workers in every way we know (ARGS=--json)
	@$(BIN)/python -m tests.faults $(ARGS)

simulate: $(READY) ## Run seeds of the simulation, new ones each time (ARGS="--seeds 20000")
	@$(BIN)/python -m tests.simulation $(ARGS)

lock: $(READY) ## Resolve pyproject.toml anew into requirements.lock
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --extra embedded --extra postgres \
	  --extra rocksdb --group dev \
	  pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate \
	  benchmarks/peers/requirements.in --output-file benchmarks/peers/requirements.lock

clean: ## Remove the virtual environment and every cache in this folder
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis \
	  dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is older; set PYTHON=python3.11, say" >&2; \
	  exit 2; }
	@echo "setting up $(VENV) (once, a minute or so)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --no-index --editable .
	@touch $(READY)

$(PEERS_READY): benchmarks/peers/requirements.lock
	@echo "setting up $(PEERS) (once, a minute or so)" >&2
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  --requirement benchmarks/peers/requirements.lock
	@touch $(PEERS_READY)
