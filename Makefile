# `make` lists the targets. They all use the environment .venv, which the first one makes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
DEMO := checkpoints/demo
# The nets in the tests are tiny: one BLAS thread per process and one process per core are fastest.
TEST := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# What the compiled core changes, beside tests/nn, which always tests both.
CORE_TESTS := tests/parallel tests/generation tests/evaluation $(addprefix tests/training/test_,advice.py loop.py recovery.py resume.py)

.DEFAULT_GOAL := help
.PHONY: help demo test test-numpy test-docs test-cookbook test-learn test-mpi test-slow lint types format bench ablations records samples cookbook learn picture wheel clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

$(VENV)/installed: pyproject.toml setup.py $(wildcard charrnn/nn/core/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

$(VENV)/learn: $(VENV)/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[learn]"
	touch $@

# Without PyTorch the other sides are measured; the next `make bench` tries again.
$(VENV)/bench: $(VENV)/installed
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]" && touch $@

demo: $(VENV)/installed ## Train for a minute on data/ferry.txt, evaluate, and write a sample
	$(BIN)/charrnn train data/ferry.txt --minutes 1 --seed 1 --out $(DEMO) --force
	$(BIN)/charrnn eval -m $(DEMO)
	$(BIN)/charrnn sample -m $(DEMO) --prime '"The river' --seed 1
	@echo

test: $(VENV)/dev ## Run the tests
	$(TEST) -n 2 -q

test-numpy: $(VENV)/dev ## Run what the compiled core changes, with NumPy in its place
	CHARRNN_COMPILED=0 $(TEST) -n 2 -q $(CORE_TESTS)

test-slow: $(VENV)/dev ## Run the slow tests too
	$(TEST) -n 2 -q -m "slow or not slow"

test-cookbook: $(VENV)/dev ## Run the recipes of the cookbook on small texts
	$(TEST) -n 2 -q -m slow tests/test_cookbook.py

test-docs: $(VENV)/dev ## Run the commands and programs that README and documents show
	$(TEST) -n 2 -q -m slow tests/test_docs.py

test-mpi: $(VENV)/dev ## Run the tests that train on 2 and 4 ranks of MPI
	$(TEST) -q -m slow tests/parallel/test_mpi.py

test-learn: $(VENV)/learn ## Run the course's notebooks
	$(TEST) -n 2 -q -m slow tests/test_learn.py

lint: $(VENV)/dev ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev ## Check types
	$(BIN)/mypy

format: $(VENV)/dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/bench ## Measure the speed against PyTorch; update docs/performance.md; 20 minutes
	$(BIN)/python -m benchmarks.speed --write docs/performance.md

ablations: $(VENV)/installed ## Compare the recipe with one change at a time, on texts of the folder TEXTS; hours
	@test -n "$(TEXTS)" || { echo "name the folder with the texts: make ablations TEXTS=folder" >&2; exit 2; }
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.ablations "$(TEXTS)/tinyshakespeare.txt" "$(TEXTS)/irish_abc.txt" \
		--json docs/ablations.json
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.ablations.batch "$(TEXTS)/tinyshakespeare.txt" --json docs/batch.json

# ROWS chooses some: make records TEXTS=folder ROWS="tinyshakespeare, 3 minutes"
records: $(VENV)/installed ## Make and commit the runs missing from docs/results.md, from the folder TEXTS; hours
	@test -n "$(TEXTS)" || { echo "name the folder with the texts: make records TEXTS=folder" >&2; exit 2; }
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check matplotlib
	$(BIN)/python -m benchmarks.records "$(TEXTS)" --rows "$(ROWS)" --json docs/results.json --write docs/results.md --commit

samples: $(VENV)/installed ## Make docs/samples.md from the texts in the folder TEXTS; 45 minutes
	@test -n "$(TEXTS)" || { echo "name the folder with the texts: make samples TEXTS=folder" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[regex]"
	$(BIN)/python -m benchmarks.samples "$(TEXTS)" --folder checkpoints/samples --write docs/samples.md

cookbook: $(VENV)/installed ## Run the recipes of docs/cookbook.md on the texts in the folder TEXTS; half an hour
	@test -n "$(TEXTS)" || { echo "name the folder with the texts: make cookbook TEXTS=folder" >&2; exit 2; }
	$(BIN)/python -m benchmarks.cookbook "$(TEXTS)" --write docs/cookbook.md

learn: $(VENV)/learn ## Make the notebooks and pictures of docs/learn from its chapters; four minutes
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/learn/notebooks.py --run

picture: $(VENV)/dev ## Record training and sampling on a terminal: docs/terminal.svg, docs/live.svg; two minutes
	$(BIN)/python -m benchmarks.picture docs/terminal.svg docs/live.svg

wheel: $(VENV)/dev ## Build sdist and wheel into dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist

clean: ## Remove what can be made again; checkpoints stay
	rm -rf $(VENV) dist build *.egg-info charrnn/nn/_core.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
