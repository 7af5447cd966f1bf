# Two commands on a fresh machine: `make demo` and `make test`. Each makes .venv, installs, and runs.
PYTHON ?= python3
VENV ?= .venv
DATA ?=
RECIPES := samed_synapse pgsam_synapse pgsam_synapse_10pct hsam_synapse hsam_synapse_10pct hsam_la hsam_promise12 \
    medsa_btcv medsa_2d refsam3d_btcv
BIN := $(VENV)/bin

.PHONY: install demo test test-slow check format bundles clean

$(BIN)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

install: $(BIN)/.installed

demo: install
	$(BIN)/pgsam demo $(if $(DATA),--data '$(DATA)')

# One thread a process: two of pytest's workers with two threads each would wait for each other.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n 2

test-slow: install
	$(BIN)/python -m pytest -m "slow"

check: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bundles: install
	for recipe in $(RECIPES); do $(BIN)/pgsam-plan --recipe $$recipe --bundles_dir bundles || exit 1; done

clean:
	rm -rf $(VENV) build *.egg-info
