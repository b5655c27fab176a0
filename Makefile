# Everything a reader or a contributor types. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help lab test unit coverage notebooks hygiene extras lowest lint format sync links chapters site clean
SHELL := bash

# Paths are relative, and tools are modules (`python -m ruff`): a checkout may lie in any folder,
# "My Drive/Wörld Models" too, where the absolute paths in scripts and make's own lists would break.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
READY := $(VENV)/ready
CHAPTERS ?= $(sort $(wildcard notebooks/*.ipynb))
EXTRAS := tests/test_browser.py tests/test_web.py tests/test_cluster.py tests/test_readonly.py tests/test_site.py
# Tests and chapters run side by side, each with one thread: two that share cores wait for each other.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2> /dev/null || echo 2)
THREADS ?= 1

# On Linux, torch from the default index brings several GB of CUDA. Where no NVIDIA GPU is found, its
# CPU build does the same. TORCH=auto takes it there, TORCH=cpu everywhere, TORCH=default nowhere.
TORCH ?= auto
CPU_BUILDS := https://download.pytorch.org/whl/cpu
# $(call cpu_torch,PYTHON,FILE OF PINS): before all else, which is then content with it. (Without
# torch's own dependencies: that index has only old ones.)
define cpu_torch
	@case "$(TORCH)-$$(uname -s)-$$(uname -m)" in \
		cpu-*) ;; \
		auto-Linux-x86_64 | auto-Linux-aarch64) \
			[ ! -e /proc/driver/nvidia ] && ! nvidia-smi > /dev/null 2>&1 ;; \
		*) false ;; \
	esac || exit 0; \
	$(1) $(PIP_INSTALL) --timeout 10 --retries 1 --no-deps -c $(2) \
		--index-url $(CPU_BUILDS) torch > /dev/null 2>&1 || \
		echo "No CPU build of torch from $(CPU_BUILDS): going on with the default index, whose build for Linux brings several GB of CUDA."
endef

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; \
		sys.exit(None if v >= (3, 10) else f"Python 3.10 or newer is needed; $(PYTHON) is {v[0]}.{v[1]}. Name another one: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV): some minutes the first time, never again."
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "python -m venv failed: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	$(call cpu_torch,$(PY),constraints.txt)
	@$(PY) $(PIP_INSTALL) -c constraints.txt -e ".[notebooks,dev]"
	@$(PY) -m jupyterlab.labextensions disable --level=sys_prefix \
		@jupyterlab/apputils-extension:announcements > /dev/null 2>&1  # asks the network, and the reader
	@touch $@

lab: $(READY) ## open the first chapter in JupyterLab (options: make lab LAB="--port 9999")
	@$(PY) -m jupyterlab --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
		$$([ "$$(id -u)" = 0 ] && echo --allow-root) \
		$$([ "$$(uname)" = Linux ] && [ -z "$$DISPLAY$$WAYLAND_DISPLAY" ] && echo --no-browser) $(LAB)

test: unit notebooks hygiene ## everything: unit tests, every cell of every chapter, hygiene

unit: $(READY) ## the unit tests of wmlib
	@OMP_NUM_THREADS=$(THREADS) $(PY) -m pytest tests -m "not hygiene" -n $(JOBS) --dist loadfile \
		$(addprefix --ignore ,$(EXTRAS)) $(COVERAGE)

coverage: $(READY) ## the unit tests, and which lines of wmlib none of them runs (a quarter slower)
	@$(MAKE) --no-print-directory unit COVERAGE="--cov=wmlib --cov-report=term-missing:skip-covered"

# Each chapter in a process and a folder of its own: it must run alone. The last ones take longest.
# A kernel that dies before its first cell (seen once in some hundred starts) says nothing about the
# chapter: it is started once more.
define run_chapter
	for attempt in 1 2; do runs=$$(mktemp -d); \
	told=$$(WM_SCALE=smoke WM_RUNS="$$runs" OMP_NUM_THREADS=$(THREADS) $(PY) -m pytest -x --nbval-lax \
		--nbval-cell-timeout=240 -p no:cacheprovider "$$0" 2>&1); status=$$?; \
	echo "$$told"; rm -rf "$$runs"; \
	[[ $$told == *"Kernel died before replying"* ]] || break; done; exit $$status
endef
notebooks: $(READY) ## run every cell of every chapter at smoke scale
	@printf "%s\n" $(CHAPTERS) | sort -r | tr "\n" "\0" | xargs -0 -n 1 -P $(JOBS) bash -c '$(run_chapter)'

hygiene: $(READY) ## pairs in sync, cells run in order, no errors, size, links
	@$(PY) -m pytest tests -m hygiene

extras: $(READY) ## a real browser, a cluster, a read-only checkout, the site (installs Playwright, Dask, ViZDoom, Stable-Baselines3 and Sphinx; a Chromium must be there)
	@$(PY) $(PIP_INSTALL) -c constraints.txt -e ".[browser,cluster,doom,sb3,site]"
	@for part in $(EXTRAS) tests/test_external.py tests/test_ppo_ablation.py tests/test_take_cover.py; do $(PY) -m pytest $$part || exit 1; done

# In an environment of its own; uv finds the versions. LOWEST_TORCH=2.13.0 tries another torch than
# the lowest: not every machine reaches the index with that one's CPU build.
LOWEST := .venv-lowest
TESTS ?= tests
lowest: ## the unit tests with the lowest versions that pyproject.toml allows (TESTS=... for some)
	@"$(PYTHON)" -m venv --clear $(LOWEST)
	@$(LOWEST)/bin/python $(PIP_INSTALL) uv
	@echo $(if $(LOWEST_TORCH),torch==$(LOWEST_TORCH)) > $(LOWEST)/torch.txt
	@$(LOWEST)/bin/python -m uv pip compile --quiet --resolution lowest-direct \
		--extra notebooks --extra dev -c $(LOWEST)/torch.txt -o $(LOWEST)/pins.txt pyproject.toml
	$(call cpu_torch,$(LOWEST)/bin/python,$(LOWEST)/pins.txt)
	@$(LOWEST)/bin/python -m uv pip install --quiet -c $(LOWEST)/pins.txt -e ".[notebooks,dev]"
	@$(LOWEST)/bin/python -m pytest $(TESTS) -m "not hygiene"

lint: $(READY) ## ruff: check and format, notebooks too; types; the floors of the package
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -c "from importlinter.cli import lint_imports_command as floors; floors()" --no-cache

format: $(READY) ## let ruff mend what it can, then sync the pairs
	@$(PY) -m ruff check --fix . && $(PY) -m ruff format . && $(MAKE) --no-print-directory sync

sync: $(READY) ## bring notebooks and notebooks/text to the newer of each pair
	@$(PY) -m jupytext --quiet --sync notebooks/*.ipynb notebooks/text/*.py

links: $(READY) ## write the repository's address (in pyproject.toml) into chapters and README
	@$(PY) notebooks/links.py

chapters: $(READY) ## execute chapters from a clean kernel and keep their outputs (CHAPTERS=... for some)
	@$(PY) notebooks/run.py $(CHAPTERS)

site: $(READY) ## the executed chapters as web pages, and the dream as one, in _site (installs Sphinx)
	@$(PY) $(PIP_INSTALL) -c constraints.txt -e ".[site]"
	@$(PY) site/build.py _site
	@$(PY) -m wmlib export-web --out _site/dream

clean: ## remove the environments and the site (what was trained here, in data/runs, stays)
	rm -rf $(VENV) $(LOWEST) _site
