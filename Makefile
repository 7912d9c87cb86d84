PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# `make token` must print the token and nothing else, also where it has to install first.
RUNNABLE := $(VENV)/.installed
TESTABLE := $(VENV)/.installed-with-tests

.PHONY: help run token test lint bench picture demo clean
.DEFAULT_GOAL := help

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(RUNNABLE)  ## Start AgentIdP with its own PostgreSQL and a demo organization on port 3000
	@$(BIN)/agentidp serve --demo

token: $(RUNNABLE)  ## Print a bearer token of the demo organization and nothing else
	@$(BIN)/agentidp token

demo: $(RUNNABLE)  ## Make the demo organization without starting the service
	@$(BIN)/agentidp demo

test: $(TESTABLE)  ## Run all tests against a disposable PostgreSQL
	$(BIN)/python -m pytest

lint: $(TESTABLE)  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(RUNNABLE)  ## Measure the service beside a bare Flask route, about five minutes
	$(BIN)/python -m bench

picture: $(TESTABLE)  ## Make the pictures of the dashboard in docs/ anew, with Chromium
	$(BIN)/python -m tests.browser.picture

clean:  ## Remove the virtual environment and everything built; data stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(RUNNABLE): setup.cfg constraints.txt $(VENV)/bin/python
	@$(PIP) install --constraint constraints.txt --editable . >&2
	@touch $@

$(TESTABLE): setup.cfg constraints.txt $(VENV)/bin/python
	@$(PIP) install --constraint constraints.txt --editable '.[test]' >&2
	@touch $@ $(RUNNABLE)
