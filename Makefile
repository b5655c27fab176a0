# Everything a reader or a contributor types. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help lab test unit notebooks hygiene extras lint format sync chapters clean
SHELL := bash

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/ready
CHAPTERS ?= $(sort $(wildcard notebooks/*.ipynb))

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
		sys.exit(None if v >= (3, 10) else f"Python 3.10 or newer is needed; $(PYTHON) is {v[0]}.{v[1]}. Name another one: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV): some minutes the first time, never again."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "python -m venv failed: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@$(BIN)/python -m jupyter labextension disable --level=sys_prefix \
		@jupyterlab/apputils-extension:announcements > /dev/null 2>&1  # asks the network, and the reader
	@touch $@

lab: $(READY) ## open the first chapter in JupyterLab (options: make lab LAB="--port 9999")
	@$(BIN)/python -m jupyter lab --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
		$$([ "$$(id -u)" = 0 ] && echo --allow-root) \
		$$([ "$$(uname)" = Linux ] && [ -z "$$DISPLAY$$WAYLAND_DISPLAY" ] && echo --no-browser) $(LAB)

test: unit notebooks hygiene ## everything: unit tests, every cell of every chapter, hygiene

unit: $(READY) ## the unit tests of wmlib
	@$(BIN)/python -m pytest tests -m "not hygiene"

# Each chapter in a process and a folder of its own: it must run alone.
notebooks: $(READY) ## run every cell of every chapter at smoke scale
	@status=0; for chapter in $(CHAPTERS); do \
		runs=$$(mktemp -d); \
		WM_SCALE=smoke WM_RUNS=$$runs $(BIN)/python -m pytest -x --nbval-lax \
			--nbval-cell-timeout=240 -p no:cacheprovider $$chapter || status=1; \
		rm -rf $$runs; \
	done; exit $$status

hygiene: $(READY) ## pairs in sync, cells run in order, no errors, size, links
	@$(BIN)/python -m pytest tests -m hygiene

EXTRAS := tests/test_browser.py tests/test_cluster.py
extras: $(READY) ## a real browser, a cluster (installs Playwright and Dask; a Chromium must be there)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .[browser,cluster]
	@for part in $(EXTRAS); do $(BIN)/python -m pytest $$part || exit 1; done

lint: $(READY) ## ruff: check and format, notebooks too
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(READY) ## let ruff mend what it can, then sync the pairs
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format . && $(MAKE) --no-print-directory sync

sync: $(READY) ## bring notebooks and notebooks/text to the newer of each pair
	@$(BIN)/jupytext --quiet --sync notebooks/*.ipynb notebooks/text/*.py

chapters: $(READY) ## execute chapters from a clean kernel and keep their outputs (CHAPTERS=... for some)
	@$(BIN)/python notebooks/run.py $(CHAPTERS)

clean: ## remove the environment and everything trained here (not data/pretrained)
	rm -rf $(VENV) data/runs
