# `make help` lists what there is. All of it runs in an environment of its own, made when needed.
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
BIN := $(VENV)/bin
# Tests to run, as trial names them: make test TESTS=tests.store
TESTS ?= tests
# More options of a measurement: make bench BENCH='--only sends'
BENCH ?=
JOBS ?= 2
# Tests that are harder at full size.
TORTURED ?= tests.simulation tests.crashes tests.abuse tests.client.v3 tests.processes.test_backup \
  tests.cli.test_hostile_process tests.client.test_disk tests.balancer.test_rolling \
  tests.store.postgres
MODULES := $(subst /,.,$(patsubst %.py,%,$(wildcard tests/test_*.py $(addsuffix /test_*.py,\
  tests/* tests/*/* tests/*/*/*))))
# What is hard on it for long: other tests use the same code, so that these say nothing more of what
# is reached, and nothing of versions. Nor do documents and tools.
HARD := tests.abuse tests.attacks tests.balancer tests.benchmarks tests.cli.test_hostile \
  tests.cli.test_v3_process tests.client.v3.test_file_renewals tests.client.v3.test_kills tests.cluster \
  tests.crashes tests.docs tests.examples tests.guard tests.processes tests.simulation tests.tools \
  tests.tui.test_process tests.wire
NOT_HARD := $(filter-out $(HARD) $(addsuffix .%,$(HARD)),$(MODULES))
# What says little of versions: what imports little, and what is seen already with what else runs.
ANY_VERSION := tests.client.v3.test_file% tests.client.v3.test_model tests.deploy.% tests.store.% tests.testing.% \
  tests.test_collection tests.test_deploy tests.test_documents tests.test_layers tests.test_%doc \
  tests.tui.test_snapshots
LOWEST_TESTS := $(filter-out $(ANY_VERSION),$(NOT_HARD)) tests.store.v3.test_sqlite \
  tests.store.postgres.test_contract
# What `make fuzz` searches, and for how long.
TARGET ?= requests
SECONDS ?= 60

.PHONY: help demo test torture cluster-test fuzz serve bench docs record lint types cov hard lowest venv venv-lowest
.PHONY: docs-venv clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST)

demo: venv ## a relay and two clients exchange keys, texts and a file, and the relay is restarted
	@$(BIN)/python tools/demo.py

test: venv ## all tests; TESTS=tests.wire for some of them
	@$(if $(COV),$(BIN)/coverage run -m twisted.trial,$(BIN)/trial) --jobs $(JOBS) $(TESTS)

torture: venv ## faults and abuse at full size, which takes long; TORTURED=tests.abuse for a part
	@rm -f build/torture/results.jsonl
	@TORTURE=1 $(BIN)/trial $(TORTURED)

cluster-test: venv ## three relays, a primary and its standby, and all of them fail, many times: most of an hour
	@TORTURE=1 $(BIN)/trial tests.cluster

fuzz: venv ## search for inputs that break a reader: TARGET=rows SECONDS=600 (fuzz/README.md)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -I -m pip install --quiet \
	  --disable-pip-version-check --only-binary :all: --editable '.[fuzz]'
	@$(BIN)/python -m fuzz $(TARGET) --seconds $(SECONDS)

serve: venv ## a relay in the foreground, in this directory
	@exec $(BIN)/twistd --nodaemon --pidfile= messageu

bench: venv ## measure it beside others; QUICK=1: a minute, FULL=1: ten million messages, too
	@$(BIN)/python -m benchmarks.run $(if $(QUICK),--quick) $(if $(FULL),--full) $(BENCH)

docs: docs-venv ## the site of all documents, in build/site; a warning is an error
	@$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going --jobs auto -c docs . build/site

record: docs-venv ## record the demo anew: docs/demo.cast and docs/demo.md
	@$(BIN)/python -m tools.record

docs-venv: venv
	@$(BIN)/python -c 'import asciinema, furo, myst_parser, sphinxcontrib.asciinema' 2>/dev/null || \
	  $(BIN)/python -I -m pip install --quiet --disable-pip-version-check --only-binary :all: --editable '.[docs]'

lint: venv ## format, lint and the import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

types: venv ## mypy, strict
	@$(BIN)/mypy

cov: venv ## the tests that are not hard, and what of src they do not reach
	@rm -f .coverage .coverage.*
	@$(MAKE) --no-print-directory test COV=1 $(if $(filter tests,$(TESTS)),TESTS="$(NOT_HARD)")
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

hard: venv ## the other tests, which would take twice as long when they are measured
	@$(MAKE) --no-print-directory test TESTS="$(HARD)"

lowest: venv-lowest ## the tests on the lowest versions that pyproject.toml allows
	@HYPOTHESIS_PROFILE=brief $(LOWEST)/bin/trial --jobs $(JOBS) $(if $(filter tests,$(TESTS)),$(LOWEST_TESTS),$(TESTS))

venv:
	@$(PYTHON) tools/bootstrap.py $(VENV)

venv-lowest:
	@$(PYTHON) tools/bootstrap.py $(LOWEST) --lowest

clean: ## remove what these targets made
	rm -rf $(VENV) $(LOWEST) build dist htmlcov .coverage .coverage.* .hypothesis _trial_temp*
	rm -rf .mypy_cache .ruff_cache .import_linter_cache
	find src tests tools fuzz twisted -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache
