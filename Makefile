# Everything a contributor runs. Each target makes what it needs first, so a fresh clone may begin with any of them.
# The machine needs make, a POSIX shell, and Python 3.11 or later (the first found below, or PYTHON=…).

PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
# The project's real path, even where a test sees the project through links: installed programs contain the path of
# their interpreter.
ROOT := $(dir $(realpath $(firstword $(MAKEFILE_LIST))))
BIN := .venv/bin
READY := .venv/.ready
RELEASED := protos/released.txtpb

VERIFY := verify-format verify-lint verify-types verify-imports verify-proto verify-breaking verify-generated \
	verify-sync verify-console verify-docs verify-sizes verify-oldest

# Compiled modules are kept, but not among the sources: a server that has to compile its modules first takes a quarter
# longer to start, and the tests start hundreds.
export PYTHONPYCACHEPREFIX := $(ROOT).cache/bytecode
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast integrations verify fix gen console fmt bench bench-page bench-compare docs release-protos $(VERIFY) \
	fix-format fix-lint fix-proto fix-generated fix-sync fix-console fix-docs

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## Make .venv with everything that running, testing and changing the project needs.

# Made again only when pyproject.toml changes. pip older than 25.1 does not know dependency groups.
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: install it, or name it with PYTHON=…"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(ROOT)$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(ROOT)$(BIN)/python -m pip install --quiet --editable '$(ROOT)[all]' --group dev
	@touch $@

run: $(READY) ## Start the server on 127.0.0.1:50051, and HTTP on 8080, with an embedded database in this folder.
	@SESSIONS_HTTP_LISTEN=$${SESSIONS_HTTP_LISTEN-127.0.0.1:8080} $(BIN)/sessions-server serve

test: $(READY) ## Run all tests; ARGS='-k name' narrows them.
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses 2 --dist loadfile --max-worker-restart 0)

# Left out of test-fast: they run tools or processes of their own, or load the packages of several providers.
SLOW := client/test_channels.py client/test_typing.py client/test_unasync.py tasks/test_definitions.py \
	tasks/test_rendering.py

test-fast: $(READY) ## Run the tests that need neither PostgreSQL nor another toolchain, in less than a minute.
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --hypothesis-profile fast \
		$(SLOW:%=--ignore tests/unit/%) tests/unit tests/conformance -k 'unit or memory' $(ARGS)

integrations: $(READY) ## Run the adapters' contracts, each beside its framework in an environment of its own.
	SESSIONS_TEST_EVERY_FRAMEWORK=1 $(BIN)/python -m pytest tests/integrations $(ARGS)

# Most checks keep one core busy, so two run at once. The tests of the last two use both cores by themselves.
verify: $(READY) ## Run every check and all tests, the README's commands among them.
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target $(filter-out verify-oldest,$(VERIFY))
	@$(MAKE) --no-print-directory verify-oldest test

bench: $(READY) ## Measure speed beside a bare gRPC echo; writes benchmarks/results.json. QUICK=1 takes two minutes.
	$(BIN)/python benchmarks/run.py $(if $(QUICK),--quick) $(ARGS)

bench-page: $(READY) ## Publish the results of `make bench` in the docs: the table and the chart.
	@test -f benchmarks/results.json || { echo "There are no results. Run \`make bench\` first."; exit 1; }
	@cp benchmarks/results.json docs/benchmarks.json
	@$(BIN)/python -m docs.generate

bench-compare: $(READY) ## Measure the server of another commit beside this tree's: REV=main~1.
	@test -n "$(REV)" || { echo "Name the commit to compare with: make bench-compare REV=…"; exit 1; }
	$(BIN)/python benchmarks/compare.py $(REV) $(ARGS)

gen: fix-generated ## The same as fix-generated.

console: fix-console ## The same as fix-console.

fmt: fix-format fix-proto ## Format Python and protos.

fix: fix-lint fix-format fix-proto fix-generated fix-sync fix-console fix-docs ## Repair everything that a command can repair.

# The suites of client, server and command lines on SQLite, except tests that need other tools or packages, or the newest
# grpcio-health-checking (which needs a newer protobuf than the oldest), and slow tests that packages hardly affect.
NOT_OLDEST := $(addprefix unit/client/test_,typing.py unasync.py) \
	$(addprefix behaviour/test_,command_line.py command_line_dumps.py doctor.py examples.py listening.py) \
	$(addprefix behaviour/test_,operations.py setup.py tracing.py)
OLDEST := $(addprefix tests/unit/,client domain http log rpc security service storage) tests/behaviour \
	$(addprefix tests/conformance/test_,postgres.py reads.py writes.py) \
	-k 'unit or test_postgres or not (postgres or replicas or gunicorn or celery or gevent)' \
	--hypothesis-profile fast -W 'ignore::DeprecationWarning:typer' $(NOT_OLDEST:%=--ignore tests/%) \
	--deselect tests/unit/rpc/test_server.py::test_health_lists_the_services

# A failed check ends by saying how to fix it.
cure = || { echo "$@ failed: $(1)"; exit 1; }

verify-format: $(READY) ## Check the format of Python code.
	@$(BIN)/ruff format --quiet --diff . $(call cure,run \`make fix-format\`.)

fix-format: $(READY) ## Format Python code.
	@$(BIN)/ruff format --quiet .

verify-lint: $(READY) ## Check Python code for common faults.
	@$(BIN)/ruff check --quiet . $(call cure,run \`make fix-lint\`; mend by hand what it leaves.)

fix-lint: $(READY) ## Fix the faults that can be fixed safely.
	@$(BIN)/ruff check --quiet --fix .

verify-types: $(READY) ## Check types, strictly.
	@$(BIN)/mypy $(call cure,mend the types that are named above.)

verify-imports: $(READY) ## Check which module may import which.
	@$(BIN)/lint-imports --no-logo $(call cure,move the code to the layer that may import this; pyproject.toml has the rules.)

verify-proto: $(READY) ## Check that the protos are formatted and documented.
	@$(BIN)/buf format --diff --exit-code protos $(call cure,run \`make fix-proto\`.)
	@$(BIN)/buf lint protos $(call cure,mend what is named above.)

fix-proto: $(READY) ## Format the protos.
	@$(BIN)/buf format --write protos

verify-breaking: $(READY) ## Check that no client of the last release breaks.
	@test -f $(RELEASED) $(call cure,nothing is released yet; run \`make release-protos\` and commit $(RELEASED).)
	@$(BIN)/buf breaking protos --against $(RELEASED) \
		$(call cure,take the change back and add instead of changing; reserve what is removed; or begin sessions.v2.)

release-protos: $(READY) ## Record the protos as released, which must not break the release before.
	@if test -f $(RELEASED); then $(MAKE) --no-print-directory verify-breaking; fi
	@$(BIN)/buf build protos --exclude-source-info --output $(RELEASED)

verify-generated: $(READY) ## Check that generated/ and the description of the HTTP API match protos/.
	@$(BIN)/python protos/generate.py --check $(call cure,run \`make fix-generated\`.)
	@$(BIN)/python protos/openapi.py --check $(call cure,run \`make fix-generated\`.)

fix-generated: $(READY) ## Write generated/ and the description of the HTTP API from protos/.
	@$(BIN)/python protos/generate.py
	@$(BIN)/python protos/openapi.py

verify-sync: $(READY) ## Check that the synchronous client matches the asynchronous one.
	@$(BIN)/python client/unasync.py --check $(call cure,run \`make fix-sync\`.)

fix-sync: $(READY) ## Generate the synchronous client from the asynchronous one.
	@$(BIN)/python client/unasync.py

docs: $(READY) ## Build the documentation site into .cache/site.
	@NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/mkdocs build --quiet $(call cure,mend what is named above.)

verify-console: $(READY) ## Check that the built console matches its sources; needs Node.js.
	@$(BIN)/python client/console/build.py --check $(call cure,run \`make fix-console\`.)

fix-console: $(READY) ## Build the console from its sources; needs Node.js.
	@$(BIN)/python client/console/build.py

verify-docs: docs ## Check the docs' tables and pictures, and that the site builds without a warning.
	@$(BIN)/python -m docs.generate --check $(call cure,run \`make fix-docs\`.)

fix-docs: $(READY) ## Write the tables of the docs that are derived, and draw the pictures.
	@$(BIN)/python -m docs.generate

verify-sizes: $(READY) ## Check that files and functions stay small; prints their sizes.
	@$(BIN)/python -m tests.meta.sizes $(call cure,split what is named above.)

verify-oldest: $(READY) ## Run the suites of client and server with the oldest packages that pyproject.toml allows.
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .cache/oldest
	@$(BIN)/uv pip install --quiet --python .cache/oldest --resolution lowest-direct --editable '$(ROOT)[all]'
	@$(BIN)/uv pip install --quiet --python .cache/oldest --group test
	@.cache/oldest/bin/python -m pytest --quiet --numprocesses 2 --dist loadfile -p no:cacheprovider $(OLDEST) \
		$(call cure,raise the floor in pyproject.toml of the package that is too old.)
