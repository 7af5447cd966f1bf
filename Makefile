# Two commands on a fresh machine: `make demo` and `make test`. Each makes .venv, installs, and runs.
PYTHON ?= python3
VENV ?= .venv
DATA ?=
RECIPES := samed_synapse pgsam_synapse pgsam_synapse_10pct hsam_synapse hsam_synapse_10pct hsam_la hsam_promise12 \
    medsa_btcv medsa_2d refsam3d_btcv
BIN := $(VENV)/bin
# MONAI Label wants older versions of some packages, so it has an environment of its own; `pgsam label` finds it here.
VENV_LABEL := .venv-label

.PHONY: install label demo test test-slow check format bundles clean

$(BIN)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

install: $(BIN)/.installed

$(VENV_LABEL)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV_LABEL)
	$(VENV_LABEL)/bin/python -m pip install --quiet --upgrade pip
	$(VENV_LABEL)/bin/python -m pip install --quiet --editable '.[label,test]'
	touch $@

label: $(VENV_LABEL)/.installed

demo: install
	$(BIN)/pgsam demo $(if $(DATA),--data '$(DATA)')

# One thread a process: two of pytest's workers with two threads each would wait for each other. A file's tests stay with
# one worker, so that a server or a trained bundle is made once; the longest files come first, so that both end together.
# What needs MONAI Label runs in its environment.
PYTEST := -m pytest -m "not slow and not gpu" -n 2 --dist loadfile --no-loadscope-reorder
NEED_LABEL := $(addprefix tests/pgsam_monai/,label/tasks/test_label_tasks.py label/tasks/test_label_studies.py label/training/test_label_training.py \
    label/tasks/test_label_scoring.py label/test_from_nothing.py label/http/test_file_as_it_is.py dicom base/dicom predicting/test_predict_segmentations.py) \
    tests/fuzz/test_fuzz_requests.py

test: install label
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) tests/test_*.py tests/pgsam_monai tests/preprocess tests/fuzz
	OMP_NUM_THREADS=1 $(VENV_LABEL)/bin/python $(PYTEST) $(NEED_LABEL)

test-slow: install label
	$(BIN)/python -m pytest -m "slow"

check: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: install
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bundles: install
	for recipe in $(RECIPES); do $(BIN)/pgsam-plan --recipe $$recipe --bundles_dir bundles || exit 1; done

clean:
	rm -rf $(VENV) $(VENV_LABEL) build *.egg-info
