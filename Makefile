# Two commands do everything: `make demo` and `make test`. `make` alone lists the rest.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo up test proof bench docs pictures lint types format lock clean

# The first Python that is new enough; when there is none, requirements/venv.py says so. `make PYTHON=…` decides otherwise.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$each -c '$(NEW_ENOUGH)' 2>/dev/null; then echo $$each; exit; fi; done; echo python3)
BIN := .venv/bin
# A second `make` may run beside this one; requirements/venv.py lets one of them install and the other wait.
READY := .venv/ready

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): requirements/dev.txt requirements/venv.py pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: there is no Python; Compass needs 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) requirements/venv.py

demo: $(READY) ## Run every flow with real parts on this machine; exit 0 when all were verified
	@$(BIN)/compass demo

up: $(READY) ## Start the plane and keep it up, with its data, until Ctrl-C
	@$(BIN)/compass up

test: lint types ## Check the code and run the tests
	@$(BIN)/python -m pytest -n 2

proof: $(READY) ## Prove every promise in its long form, plant bugs that must be caught, and print one table
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
		-r requirements/proof.txt
	@$(BIN)/python -m proof

bench: $(READY) ## Measure; prints a table, asserts nothing
	@$(BIN)/python -m bench

docs: $(READY) ## Write docs/reference anew from the code
	@$(BIN)/python -m docs.generate

pictures: $(READY) ## Take the pictures of the guides anew, where a page has changed; needs Chromium
	@COMPASS_PROOF=1 PICTURES=accept $(BIN)/python -m pytest -n 0 -q tests/console/test_pictures.py

lint: $(READY) ## Check style, format and the import contracts
	@$(BIN)/ruff check --quiet --output-format concise
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/lint-imports --no-logo

types: $(READY) ## Check the types
	@$(BIN)/mypy --no-error-summary

format: $(READY) ## Rewrite the code in the one format, and fix what can be fixed safely
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format

lock: $(READY) ## Resolve the dependencies anew and write requirements/*.txt
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--upgrade --extra embedded pyproject.toml --output-file requirements/runtime.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--upgrade --extra embedded --group dev --constraint requirements/runtime.txt pyproject.toml \
		--output-file requirements/dev.txt

clean: ## Remove what was made here: .venv, caches, build output
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
