# Needs git, make and Python 3.11 or newer. Each target sets up .venv by itself, once.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
FRAMEWORKS := .venv-frameworks/.ready
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
COMPILE := .venv-lock/bin/uv --quiet pip compile pyproject.toml --universal --python-version 3.11 --upgrade \
	--generate-hashes --no-emit-index-url --no-emit-find-links
TYPING := $(wildcard tests/typing/*.py)

# Hundreds of processes are started below: without these files each would compile the package anew.
export PYTHONDONTWRITEBYTECODE :=

# Pyright would otherwise ask the network for a newer version.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-frameworks lint proof bench lock lock-frameworks clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/make \1|\2/p' Makefile | while IFS='|' read -r name what; do printf '%-20s %s\n' "$$name" "$$what"; done

demo: $(READY) ## see an agent survive a crash
	@$(BIN)/holdfast demo

# Four processes on two cores: while some wait for a lease or a process, others work.
test: $(READY) ## the tests (about 6 minutes on two cores)
	@$(BIN)/pytest -q -n 4 --dist worksteal tests

test-frameworks: $(FRAMEWORKS) ## agent frameworks as they are, killed at every step (own venv)
	@.venv-frameworks/bin/pytest -q -n 2 --dist worksteal -m frameworks tests/frameworks

lint: $(READY) ## style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy src proof $(TYPING)
	@$(if $(TYPING),$(BIN)/pyright $(TYPING))
	@$(BIN)/lint-imports --no-logo

proof: $(READY) ## the long proofs, counted; writes docs/evidence.json and the README's claims (PROOF_HOURS=n: longer)
	@$(BIN)/python -m proof $(if $(PROOF_HOURS),--hours $(PROOF_HOURS))

bench: $(READY) ## the benchmarks (PEERS=1: beside other libraries)
	@$(if $(PEERS),$(PIP) install --requirement requirements/peers.txt)
	@$(BIN)/python -m bench $(if $(PEERS),--peers)

lock: .venv-lock ## resolve requirements/dev.lock anew
	@$(COMPILE) --extra anthropic --extra apprise --extra openai --extra postgres --extra prices --extra slack --extra test \
		--extra web --group dev \
		--custom-compile-command 'make lock' --output-file requirements/dev.lock

lock-frameworks: .venv-lock ## resolve requirements/frameworks.lock anew
	@$(COMPILE) --extra prices --extra test --group frameworks \
		--custom-compile-command 'make lock-frameworks' --output-file requirements/frameworks.lock

clean: ## remove .venv, caches and build results
	@rm -rf .venv .venv-frameworks .venv-lock build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("holdfast needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@echo 'Setting up .venv (once; about a minute) ...'
	@$(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes --requirement requirements/dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(FRAMEWORKS): requirements/frameworks.lock pyproject.toml
	@echo 'Setting up .venv-frameworks (once; a few minutes) ...'
	@$(PYTHON) -m venv .venv-frameworks
	@.venv-frameworks/bin/python -m pip -qq --disable-pip-version-check install --require-hashes --requirement requirements/frameworks.lock
	@.venv-frameworks/bin/python -m pip -qq --disable-pip-version-check install --no-deps --no-build-isolation --editable .
	@touch $@

.venv-lock:
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip -qq --disable-pip-version-check install --upgrade uv
