# Two commands do everything on a fresh machine: `make run` and `make test`.
# A system Python >= 3.11 with venv is all they assume. HOST, PORT and ADMIN_PORT override the addresses.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TESTS  ?=
VLLM   := PYTHON=$(abspath $(BIN))/python bash tests/real/vllm.sh install
LOCK   := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: help run test check bench bench-routing prove-limits prove-bench baseline bars test-real lock docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Set up, fetch the default model once, start the platform with a real model answering
	@exec $(BIN)/penstock up

test: $(VENV)/.dev ## Run the test suite
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not real' $(TESTS)

check: $(VENV)/.dev ## Lint, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: $(VENV)/.dev ## Measure the gateway against its peers; writes results/gateway
	@$(BIN)/python -m benchmarks.gateway install
	@$(BIN)/python -m benchmarks.gateway run

bench-routing: $(VENV)/.dev ## Measure routing on real engines against other routers; writes results/routing
	@$(BIN)/python -m benchmarks.routing install
	@$(VLLM)
	@$(BIN)/python -m benchmarks.routing run
	@$(BIN)/python -m benchmarks.routing prove

prove-limits: $(VENV)/.dev ## Prove limits, fairness, ledger and audit log; writes results/limits
	@$(BIN)/python -m benchmarks.limits run

prove-bench: $(VENV)/.dev ## Prove the load tester beside others, and 3x at an equal p95 (60 to 80 min); writes results/bench
	@$(BIN)/python -m benchmarks.bench install
	@$(VLLM)
	@$(BIN)/python -m benchmarks.bench run --only truth,capacity,rivals,locust,knee,frameworks,three_x

baseline: $(VENV)/.dev ## Add baselines of lab L06's contract on llama.cpp and vLLM, run them 20 times again, compare (100 min on a quiet machine)
	@$(VLLM)
	@$(BIN)/python -m benchmarks.bench run --only again_llamacpp,again_vllm

bars: $(VENV)/.dev ## Print every bar that results/ holds
	@$(BIN)/python -m benchmarks.bars

test-real: $(VENV)/.dev ## Tests against a real vLLM and a real Prometheus (installs vLLM into .deps)
	@$(BIN)/python -m pytest -m real --timeout 900 tests/real $(TESTS)

lock: $(VENV)/.dev ## Resolve requirements.lock and requirements-dev.lock anew
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/pip install -q --disable-pip-version-check uv
	@$(LOCK) --extra llamacpp --group build -o requirements.lock pyproject.toml
	@$(LOCK) --extra dns --extra llamacpp --extra nats --extra oidc --extra picker --extra postgres --extra profile --extra redis --group build --group dev -c requirements.lock -o requirements-dev.lock pyproject.toml

docs: $(VENV)/.dev ## Regenerate the generated parts of docs/
	@$(BIN)/python -m penstock.cli.reference
	@if [ -e docs/generate.py ]; then PYTHONPATH=. $(BIN)/python docs/generate.py; fi

clean: ## Remove what the commands above made here (not the model cache)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed; set PYTHON=" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "make: python3-venv is missing; on Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 2; }

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing Penstock into $(VENV) (once)"
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	@echo "Installing the development tools into $(VENV) (once)"
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
