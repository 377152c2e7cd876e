# make demo    a simulated dataset, reconstructed from start to page
# make test    linters, documentation and tests
# make fuzz    ten minutes of odd bytes for everything that reads files
# make bench   speed and memory beside peers, measured in the same run
# make mutants PACKAGE=evaluation [SAMPLE=200]
#              changes the package bit by bit, and shows which changes no test notices
# make lock    what images hold: the versions that are installed here
# make container-test   the image, built and run without an engine (Debian, as root)
# make slurm-test       one node of SLURM: arrays and --cluster slurm (Debian, as root)
# make at-once-test     four runs on one folder in process numbers of their own (root)
# make release-test     wheel, source archive and clone, each installed and tried

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test fuzz bench mutants docs lint lock container-test slurm-test at-once-test release-test clean

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
	$(BIN)/python tests/benchmarks/two_workers.py
	$(BIN)/python tests/benchmarks/nsd_size.py --fraction 1/16 --side 128

$(BIN)/.installed-mutants: $(BIN)/.installed-test
	$(BIN)/pip install --quiet --editable '.[mutants]'
	touch $@

mutants: $(BIN)/.installed-mutants
	$(BIN)/python tests/mutants/run.py "$(PACKAGE)" $(SAMPLE)

$(BIN)/.installed-release: setup.cfg pyproject.toml $(BIN)/.installed-test
	$(BIN)/pip install --quiet --editable '.[release]'
	touch $@

lock: $(BIN)/.installed-release
	$(BIN)/python containers/lock.py
	$(BIN)/python containers/boutiques.py

# Needs nothing of this project's environment: all happens in build/containers.
container-test:
	$(PYTHON) containers/test.py

# Needs: apt-get install slurm-wlm munge
slurm-test: $(BIN)/.installed-test
	$(BIN)/python tests/slurm.py

# Needs: root, for process numbers of their own
at-once-test: $(BIN)/.installed-test
	$(BIN)/python tests/at_once.py

release-test: $(BIN)/.installed-release
	$(BIN)/python tests/release.py

clean:
	rm -rf $(VENV) demo docs/_build docs/examples build dist mutants
