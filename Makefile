# kd3d: every task a developer or a newcomer runs. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OFFICIAL_VENV := .venv-official
OFFICIAL_STAMP := $(OFFICIAL_VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format bench cost-table data-card student-study gain-study weight-study method-study official-env parity clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## make .venv and install kd3d with its pinned requirements

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info[:2] <= (3, 13) else "kd3d needs Python 3.10 to 3.13; this is " + sys.version.split()[0] + ". Name another one: make install PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install ## simulate, train a teacher, a plain and a distilled student, and report (CPU, about 10 minutes)
	$(BIN)/kd3d-train experiment=cp_pillar_kd scale=demo

test: export OMP_NUM_THREADS ?= 1
test: lint ## lint, types and all tests, on all cores
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

lint: install ## format check, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install ## format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## run every benchmark, one after the other
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

student-study: install ## train students of other widths, depths and cells (resumable, about 30 minutes), for docs/cost.md
	$(BIN)/python studies/which_student.py

gain-study: install ## run or go on with docs/gain-study.md: rows of runs over paired seeds (CPU, under 2.5 hours)
	$(BIN)/kd3d-train experiment=gain_study

weight-study: install ## run or go on with docs/weight-study.md: three weights for every method (CPU, about one core hour)
	$(BIN)/kd3d-train experiment=weight_study

method-study: install ## run or go on with docs/methods.md: every method of distillation, pair by pair (CPU, about 5 hours)
	$(BIN)/kd3d-train experiment=method_study

cost-table: install ## profile all networks and write docs/cost.md
	$(BIN)/python docs/make_cost_table.py

data-card: install ## make kd3d-sim-small if it is not there, and write its data card into docs/simulated-benchmark.md
	$(BIN)/python docs/make_data_card.py

official-env: $(OFFICIAL_STAMP) ## make .venv-official with the original Waymo evaluator (Linux, Python 3.9 to 3.11)

$(OFFICIAL_STAMP): official/requirements.txt official/find_python.sh
	@python=$$(OFFICIAL_PYTHON='$(OFFICIAL_PYTHON)' official/find_python.sh) && $$python -m venv --clear $(OFFICIAL_VENV)
	$(OFFICIAL_VENV)/bin/python -m pip install --quiet --no-deps --requirement official/requirements.txt
	@touch $@

parity: install ## compare with the original Waymo evaluator on every case (after make official-env)
	@$(BIN)/python official/parity.py

clean: ## remove .venv, caches and build output (never logs or data)
	rm -rf $(VENV) $(OFFICIAL_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
