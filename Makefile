# make train | test | check | lint | bench | regress: each makes the virtual environment it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: train test check lint bench regress
train: $(VENV)/ready
	$(BIN)/innerloop train --preset first --out runs/first --overwrite

test: $(VENV)/ready
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 25

# What starts no process: lint, and the tests of everything below `distributed`.
check: lint
	$(BIN)/pytest -n 2 --dist loadfile tests/envs tests/learner tests/actors tests/test_layers.py tests/test_no_pickle.py

lint: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	mkdir -p $(VENV)/types && ln -sfn "$(CURDIR)" $(VENV)/types/innerloop
	$(BIN)/basedpyright

bench: $(VENV)/ready
	for work in W1 W2 W3; do $(BIN)/python benchmarks/throughput.py --work $$work || exit 1; done
	$(BIN)/python benchmarks/physics.py
	$(BIN)/python benchmarks/memories.py --runs 3
	$(BIN)/python benchmarks/few_shot.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/coordinator.py
	$(BIN)/python benchmarks/score.py --runs first bandit-100 tabular-mdp point-maml

# Whether training has changed: golden runs beside what is kept of them, by hand or at night.
regress: $(VENV)/ready
	$(BIN)/python benchmarks/regress.py

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
