# Everything happens in .venv; the only thing needed beforehand is Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

.PHONY: demo serve test lint bench screenshots faults sdk clean

demo: $(VENV)/.demo
	@$(RUN) example_project/demo.py

serve: $(VENV)/.demo
	@$(RUN) example_project/serve.py

# Every stage runs and any failure counts, so that one red stage hides no other.
test: $(VENV)/.dev
	@worst=0; set -x; \
	$(RUN) -m pytest -m "not alone" --numprocesses auto || worst=$$?; \
	$(RUN) -m pytest -c example_project/pytest.toml --rootdir example_project example_project || worst=$$?; \
	$(RUN) -m pytest -m alone || worst=$$?; \
	set +x; exit $$worst

lint: $(VENV)/.dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(RUN) -m mypy

bench: $(VENV)/.dev
	$(RUN) -m benchmarks

screenshots: $(VENV)/.dev
	$(RUN) -m tests.browser.screenshots

# Kills, cuts and faults around 10,000 payments, counted at the end; FAULTS="--orders 1000".
faults: $(VENV)/.dev
	$(RUN) -m tests.faults $(FAULTS)

# The official SDK, in an environment of its own: tests and benchmarks use it when it is there.
sdk: .sdk-venv/.installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --editable '.[simulator,postgresql]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --editable '.[simulator,postgresql]' --group dev
	@touch $@ $(VENV)/.demo

.sdk-venv/.installed: tests/constraints/sdk.txt
	$(PYTHON) -m venv .sdk-venv
	.sdk-venv/bin/python -m pip install --quiet --requirement tests/constraints/sdk.txt
	@touch $@

clean:
	rm -rf $(VENV) .sdk-venv .nox example_project/data
