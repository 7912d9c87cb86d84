PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# pip shows its progress on a terminal only.
PIP := $(BIN)/python -m pip --disable-pip-version-check $(shell [ -t 2 ] || echo --quiet)
# `make token` must print only the token, even if it installs first, so progress goes to standard error.
RUNNABLE := $(VENV)/.installed
TESTABLE := $(VENV)/.installed-with-tests
# The lines of constraints.txt without its comment.
PINS = $(foreach word,$(shell cat constraints.txt),$(if $(findstring ==,$(word)),$(word)))

# Without bytecode files, pytest and every process that a test starts compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

# Each process runs one test file at a time; tests/conftest.py says how many processes run.
PARALLEL := --numprocesses auto --dist loadfile
PYTEST := $(BIN)/python -m pytest $(PARALLEL)

# Markers of tests that need more than git, make, Python and coreutils, or take long; setup.cfg declares them. make test leaves
# these tests out, and then takes five minutes on two cores.
BEYOND := browser or citus or containers or deploy or faults or node or program or very_slow
# Every test in these directories has such a marker. pytest starts sooner if it does not import them.
OTHER_ROOMS := --ignore tests/browser --ignore tests/containers --ignore tests/deploy --ignore tests/faults

# These tests use databases of their own, and not the Citus cluster.
ON_CITUS := not (browser or containers or deploy or faults or node)

.PHONY: help run token test test-beyond test-all test-citus lint bench members picture demo clean
.DEFAULT_GOAL := help

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(RUNNABLE)  ## Start AgentIdP with its own PostgreSQL and a demo organization on port 3000
	@$(BIN)/agentidp serve --demo

token: $(RUNNABLE)  ## Print a bearer token of the demo organization and nothing else
	@$(BIN)/agentidp token

demo: $(RUNNABLE)  ## Make the demo organization without starting the service
	@$(BIN)/agentidp demo

test: $(TESTABLE)  ## Run the tests that need only git, make and Python, about five minutes on two cores
	$(PYTEST) -m "not ($(BEYOND))" $(OTHER_ROOMS)
	@echo "All of these passed. make test-beyond runs the tests that also need nginx, Chromium, Node.js, Prometheus, Debian's PostgreSQL, Citus, containers or other programs, and the tests that take long."

test-beyond: $(TESTABLE)  ## Run the tests that make test leaves out; on Debian, install the programs that are missing
	$(BIN)/python -m tests.beyond "$(BEYOND)" $(PARALLEL)

test-all: test  ## Run every test, about a quarter of an hour
	@$(MAKE) test-beyond

test-citus: $(TESTABLE)  ## Run the tests on the distributed tables of a Citus cluster, about half an hour
	AGENTIDP_TEST_CITUS=everywhere $(PYTEST) -m "$(ON_CITUS)"

lint: $(TESTABLE)  ## Check style, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy deploy/gunicorn.conf.py wsgi.py
	$(BIN)/lint-imports

bench: $(RUNNABLE)  ## Measure the service beside a bare Flask route, about six minutes
	$(BIN)/python -m bench

members: $(TESTABLE)  ## Write the tables of members in docs/ from the fields that describe them
	$(BIN)/python -m tests.members

picture: $(TESTABLE)  ## Make the pictures in docs/ again, with Chromium and Prometheus
	$(BIN)/python -m tests.browser.picture
	$(BIN)/python -m tests.deploy.picture

clean:  ## Remove the virtual environment and everything built; data stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { echo "$(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making a virtual environment in $(VENV)" >&2
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

$(RUNNABLE): setup.cfg constraints.txt $(VENV)/bin/python
	@echo "Installing AgentIdP into $(VENV), which takes about half a minute" >&2
	@$(PIP) install --constraint constraints.txt --editable '.[embedded]' >&2
	@touch $@

$(TESTABLE): setup.cfg constraints.txt $(VENV)/bin/python
	@echo "Installing AgentIdP and what its tests need into $(VENV), which takes about a minute" >&2
	@# Most modules of these packages are never imported, so it would take longer to compile them all. To find out which
	@# packages the packages require takes as long as installing them. constraints.txt lists all of them, so the first command
	@# does not ask. It runs three processes, because pip waits for the network half of the time. The second command installs
	@# AgentIdP, and whatever constraints.txt lacks or a process could not install.
	@install() { $(PIP) install --no-compile --no-deps "$$@" >&2; }; \
	  install $(wordlist 1,37,$(PINS)) & install $(wordlist 38,74,$(PINS)) & install $(wordlist 75,999,$(PINS)) & wait
	@$(PIP) install --no-compile --no-build-isolation --constraint constraints.txt --editable '.[test]' >&2
	@touch $@ $(RUNNABLE)
