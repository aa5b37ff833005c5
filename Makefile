# Everything a newcomer runs. `make` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CONFIG ?= serve_config.yaml
# Extra arguments of pytest, the benchmarks or the training script.
ARGS ?=
PY := .venv/bin/python

.PHONY: help install serve test test-unit test-plain faults check docs fmt bench bench-autoscaling bench-cold-start bench-settings \
	demo-models lock clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r target text; do printf '  make %-17s %s\n' "$$target" "$$text"; done

install: ## make .venv from the lock file; PYTHON names the interpreter
	@requirements/install.sh

serve: install ## run the gateway and its models in the foreground; CONFIG names the configuration
	@exec $(PY) -m deployments.serve $(CONFIG)

test: install ## run the whole test suite
	@requirements/test_tools.sh
	@tests/run.sh $(ARGS)

test-unit: install ## run the tests that need neither Ray nor vLLM
	@requirements/test_tools.sh
	$(PY) -m pytest tests/unit -n auto $(ARGS)

faults: install ## break every part while requests run, and print what clients see of it
	@requirements/test_tools.sh
	$(PY) -m pytest tests/faults $(ARGS)

test-plain: install ## run the tests of the API and of faults on Serve's own proxy, without HAProxy
	$(PY) -m pytest tests/faults tests/conformance tests/bad_input --plain $(ARGS)

check: install ## check format, lint, types, imports and generated documentation
	$(PY) -m ruff format --check --output-format concise .
	$(PY) -m ruff check .
	$(PY) -m pyright
	.venv/bin/lint-imports
	$(PY) -m catalog.docs --check
	$(PY) -m raymux.cli.docs --check

docs: install ## build the documentation site into build/site; a dead link fails
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	@echo "docs: build/site/index.html"

fmt: install ## format the code and mend what ruff can mend
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: install ## run the suite of benchmarks (about 20 minutes), or the one that ARGS names
	$(PY) -m benchmarks $(ARGS)

bench-autoscaling: install ## replay the traces through the scaling policies
	$(PY) -m benchmarks autoscaling $(ARGS)

bench-cold-start: install ## time the first token of cold models
	$(PY) -m benchmarks cold_start $(ARGS)

bench-settings: install ## measure what an operator's settings move
	$(PY) -m benchmarks settings $(ARGS)

demo-models: install ## train the embedded demo models again
	$(PY) -m models.train_demo_chat $(ARGS)

# uv has an environment of its own, so that a broken lock can be mended with it.
UV := .cache/uv/bin/uv
UV_VERSION := 0.13.8
# uv does not read pip's configuration, where a local copy of torch's CPU build may be named.
PIP_FIND_LINKS ?= $(shell python3 -m pip config get global.find-links 2>/dev/null)
COMPILE = $(UV) pip compile --quiet --generate-hashes --no-annotate --custom-compile-command "make lock" \
	--python-version 3.11 --python-platform x86_64-manylinux_2_31 --only-binary :all: --no-python-downloads \
	--index-strategy unsafe-best-match $(addprefix --extra-index-url ,$(PIP_EXTRA_INDEX_URL)) $(if $(UPGRADE),--upgrade)

lock: $(UV) ## solve the lock files again, keeping pins that still fit; UPGRADE=1 takes the newest
	$(COMPILE) pyproject.toml --extra cpu --extra train --extra bench --extra test --extra dev --excludes requirements/cpu-excludes.txt \
		$(addprefix --find-links ,$(PIP_FIND_LINKS)) --output-file requirements/cpu.txt >/dev/null
	$(COMPILE) pyproject.toml --extra cpu --extra train --extra fine_tuning --constraint requirements/cpu.txt --excludes requirements/cpu-excludes.txt \
		$(addprefix --find-links ,$(PIP_FIND_LINKS)) --output-file requirements/fine_tuning.txt >/dev/null
	requirements/without.sh requirements/fine_tuning.txt requirements/cpu.txt
	$(COMPILE) pyproject.toml --extra gpu --extra train --output-file requirements/gpu.txt >/dev/null
	$(COMPILE) benchmarks/locks/litellm.in --output-file benchmarks/locks/litellm.txt >/dev/null
	$(COMPILE) benchmarks/locks/vllm_router.in --output-file benchmarks/locks/vllm_router.txt >/dev/null
	$(COMPILE) pyproject.toml --extra cpu --extra train --constraint requirements/cpu.txt --excludes requirements/cpu-excludes.txt \
		$(addprefix --find-links ,$(PIP_FIND_LINKS)) --output-file deploy/docker/cpu.txt >/dev/null
	$(COMPILE) deploy/loadtest/locust.in --output-file deploy/loadtest/locust.txt >/dev/null
	$(COMPILE) tests/deploy/validators.in --output-file tests/deploy/validators.txt >/dev/null
	$(COMPILE) tests/sources/moto.in --output-file tests/sources/moto.txt >/dev/null

$(UV): Makefile
	$(or $(PYTHON),python3) -m venv .cache/uv
	.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $(UV)

clean: ## remove caches and build output; .venv stays
	rm -rf .cache .hypothesis .pytest_cache .ruff_cache .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
