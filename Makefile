# make demo    a simulated dataset, reconstructed from start to page
# make test    linters, documentation and tests
# make fuzz    ten minutes of odd bytes for everything that reads files
# make bench   speed and memory beside peers, measured in the same run
# make mutants PACKAGE=evaluation [SAMPLE=200]
#              changes the package bit by bit, and shows which changes no test notices

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test fuzz bench mutants docs lint clean

$(BIN)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(BIN)/.installed-test: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@ $(BIN)/.installed

demo: $(BIN)/.installed
	rm -rf demo
	$(BIN)/bids-recon-demo demo

lint: $(BIN)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

docs: $(BIN)/.installed-test
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build

test: lint docs
	$(BIN)/pytest --numprocesses 2 --dist loadscope

fuzz: $(BIN)/.installed-test
	$(BIN)/python tests/fuzz/run.py 10

bench: $(BIN)/.installed-test
	$(BIN)/python tests/benchmarks/lss.py
	$(BIN)/python tests/benchmarks/identification.py
	$(BIN)/python tests/benchmarks/startup.py
	$(BIN)/python tests/benchmarks/coverage.py
	$(BIN)/python tests/benchmarks/sparse_logistic.py
	$(BIN)/python tests/benchmarks/bayes.py
	$(BIN)/python tests/benchmarks/unseen_patterns.py
	$(BIN)/python tests/benchmarks/ridge.py
	$(BIN)/python tests/benchmarks/training.py
	$(BIN)/python tests/benchmarks/graph_matters.py

$(BIN)/.installed-mutants: $(BIN)/.installed-test
	$(BIN)/pip install --quiet --editable '.[mutants]'
	touch $@

mutants: $(BIN)/.installed-mutants
	$(BIN)/python tests/mutants/run.py "$(PACKAGE)" $(SAMPLE)

clean:
	rm -rf $(VENV) demo docs/_build mutants
