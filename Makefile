# Everything a fresh machine needs: Python 3.11 or later and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Further options of pip where PyTorch is installed, such as --extra-index-url of its CPU builds.
PIP_TORCH ?=
# Further options of scripts/check_dist.sh, such as --tests and --image.
DIST ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test test-all faults reliability check lint types imports docs plugins dist format clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.core  ## Install, train the built-in quickstart on the CPU, sample from it, report: minutes
	rm -rf runs/demo
	$(BIN)/sedd train quickstart --device cpu --run runs/demo
	$(BIN)/sedd sample runs/demo -n 3
	$(BIN)/sedd report runs/demo
	@echo "To type sedd yourself: . $(VENV)/bin/activate"

test: $(VENV)/.dev  ## Run the test suite, without what takes long
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not long"

test-all: $(VENV)/.dev  ## Run the complete test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

faults: $(VENV)/.dev  ## Plant faults in the code, see which test catches each, and write docs/planted-faults.md
	$(BIN)/python -m tests.planted_faults --write

reliability: $(VENV)/.dev  ## Try faults by the thousand, and write docs/reliability.md: 20 minutes of two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.reliability --write

check: lint types imports docs  ## Lint, strict types, import layers, docs

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/shellcheck .ci/run scripts/*.sh deploy/*.sbatch
	test ! -e $(BIN)/hadolint || $(BIN)/hadolint deploy/Dockerfile

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy plugins/*/src benchmarks

imports: $(VENV)/.dev
	$(BIN)/lint-imports

docs: $(VENV)/.dev  ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

plugins: $(VENV)/.dev  ## Install every plugin in plugins/ as a user would, and run its own tests
	for plugin in plugins/*/; do \
		$(PIP) $$plugin && (cd $$plugin && $(CURDIR)/$(BIN)/python -m pytest -q) || exit 1; done

dist: $(BIN)/python  ## Build wheel and sdist, and try the wheel where there is no repository; DIST=--tests: the sdist too
	scripts/check_dist.sh --python $(BIN)/python $(DIST) -- $(PIP_TORCH)

format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## Remove the environment, caches and built pages (not runs/)
	rm -rf $(VENV) site .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@echo "Making the environment $(VENV) ..."
	$(PYTHON) -m venv $(VENV)

# Without --quiet: the packages are hundreds of MB, with PyTorch for CUDA several GB, and pip shows how far it is.
$(VENV)/.core: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing PyTorch, matplotlib and sedd into $(VENV): about a minute, longer on a slow line."
	$(subst --quiet,,$(PIP)) $(PIP_TORCH) --editable ".[report]"
	touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "Installing the tools for tests and docs into $(VENV): about a minute."
	$(PIP) --editable ".[dev]"
	touch $@
