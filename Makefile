# Everything runs from .venv, which the first target that needs it makes. Python 3.11+, git and make are enough.
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
GENERATED := generated

# The first interpreter that is new enough; `make install PYTHON=…` names another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# Held for what is installed and for what builds it. Older pips read the first, newer ones both.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install run example-django example-fastapi example-flask example-grpc test test-slow bench bench-quick check format generate sync baseline upgrade image clean

help: ## Show this help
	@grep -hE '^[a-z-]+[a-z -]*:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-11s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Make .venv with everything needed, in the versions of constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Watchword needs Python 3.11 or later. Install it, or name it: make install PYTHON=/path/to/python" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

run: $(INSTALLED) ## Serve on 127.0.0.1:7420, with a PostgreSQL of its own in .watchword
	$(BIN)/watchword serve

example-django example-fastapi example-flask: example-%: $(INSTALLED) ## Serve an example application beside `make run`
	$(BIN)/python -m examples.$*_app

example-grpc: $(INSTALLED) ## The same for a service that is called by gRPC
	$(BIN)/python -m examples.grpc_service

test: $(INSTALLED) ## Run the tests but the slow ones
	$(BIN)/pytest -m "not slow" -n auto --dist loadfile

test-slow: $(INSTALLED) ## Run the slow tests
	$(BIN)/pytest -m slow -n auto

bench: $(INSTALLED) ## Measure how fast it is; the report is written to docs/benchmarks
	$(BIN)/python -m benchmarks

bench-quick: $(INSTALLED) ## The same with a small world and short loops, in under a minute
	$(BIN)/python -m benchmarks --quick

check: $(INSTALLED) ## Run linters and type checkers; see that generated files are current and contracts kept
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against protos/baseline.binpb
	$(BIN)/python client/make_sync.py --check
	$(BIN)/pytest tests/test_generated.py tests/test_imports.py

format: $(INSTALLED) ## Format the sources and mend what linters can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format --write

generate: $(INSTALLED) ## Write generated/ from protos/
	$(BIN)/python -m grpc_tools.protoc -I protos \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=$(GENERATED) --grpc_python_out=$(GENERATED) \
	  --mypy_out=quiet:$(GENERATED) --mypy_grpc_out=quiet:$(GENERATED) protos/watchword/v1/*.proto
	touch $(GENERATED)/watchword/v1/py.typed

sync: $(INSTALLED) ## Write the synchronous client and its tests from the asynchronous ones
	$(BIN)/python client/make_sync.py

baseline: $(INSTALLED) ## Take the protos as they are for the contract that `make check` keeps; after each release
	$(BIN)/buf build --exclude-source-info -o protos/baseline.binpb

upgrade: $(INSTALLED) ## Move constraints.txt to the newest versions
	PIP_CONSTRAINT= PIP_BUILD_CONSTRAINT= $(BIN)/python -m pip install --upgrade --upgrade-strategy eager -e '.[dev]' setuptools
	$(BIN)/python -m pip freeze --all --exclude-editable | grep -v '^pip==' > constraints.txt

image: ## Build the container image
	docker build --tag watchword .

clean: ## Remove .venv and whatever else was made; .watchword, which holds data, stays
	rm -rf $(VENV) benchmarks/.peer dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find benchmarks client server generated tests -name __pycache__ -type d -prune -exec rm -rf {} +
