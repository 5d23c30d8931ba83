# make demo      set everything up in .venv and run the demo
# make test      lint, types, format and all tests, on all cores
# make quick     the same without the tests that are marked slow
# make coverage  all tests, and which lines of gradkern they run
# make bench     benchmarks (on a quiet machine)
# make docs      the documentation site, in docs/_build/html; runs the tutorials
# make lint      the checks alone                  make format  rewrite the code in its style
# make mutate    break the kernels in every way and see the tests fail
# make aarch64   the CPU kernels compiled for aarch64, and their tests under QEMU
# make minimal   make quick on the oldest dependencies that pyproject.toml allows, in .venv-minimal
# make clean     remove .venv, .venv-minimal and what was built
#
# Needed: make, Python 3.11 or later with its headers, a C++17 compiler; nvcc if there shall be CUDA kernels.
PYTHON ?= python3
TORCH ?= torch==2.13.0
WORKERS ?= auto

VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.done

NATIVE := CMakeLists.txt setup.py pyproject.toml $(shell find csrc python -type f)
CPP := $(shell find csrc python tests/emulate tests/foreign -name '*.h' -o -name '*.cpp' -o -name '*.cu')

# A worker per core, each computing on one thread: the pools of several workers would wait for one another. A file of
# tests stays with one worker, so that its fixtures are made once; files with slow tests start first (tests/conftest.py).
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
  $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 32 --dist loadfile --no-loadscope-reorder --doctest-modules tests gradkern

.PHONY: demo test quick quick-tests coverage bench docs lint format mutate aarch64 minimal clean
.DELETE_ON_ERROR:

demo: $(DONE)/native
	$(BIN)/gradkern demo --output demo-report --overwrite

test: lint
	$(PYTEST)

quick: lint quick-tests

coverage: $(DONE)/test
	$(PYTEST) --cov --cov-report=term --cov-report=xml

bench: $(DONE)/bench $(DONE)/test
	for file in benchmarks/bench_*.py; do $(BIN)/python -m pytest $$file || exit; done

# Warnings are errors. Nothing is fetched. GRADKERN_TUTORIALS=skip shows the tutorials without running them.
docs: $(DONE)/docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build/html

lint: $(DONE)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CPP)

format: $(DONE)/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

mutate: $(DONE)/test
	$(BIN)/python -m tests.mutate_kernels

# A .venv of its own. Types and style are those of newer releases: they are not checked here.
minimal:
	PIP_CONSTRAINT=$(CURDIR)/tests/minimal.txt $(MAKE) VENV=.venv-minimal TORCH=torch quick-tests

quick-tests: $(DONE)/test
	$(PYTEST) -m 'not slow'

aarch64: $(DONE)/test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.foreign

clean:
	rm -rf $(VENV) .venv-minimal build dist *.egg-info docs/_build docs/reference docs/tutorials gradkern/_native*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f .coverage .coverage.* coverage.xml

$(DONE)/venv:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("gradkern needs Python 3.11 or later, but $(PYTHON) is %d.%d; say: make PYTHON=python3.11" % v[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@mkdir -p $(DONE) && touch $@

# A torch that is there already, of whichever kind, is left alone.
$(DONE)/torch: $(DONE)/venv
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install $(TORCH)
	@touch $@

$(DONE)/native: $(DONE)/torch $(NATIVE)
	$(BIN)/python -m pip install -e '.[demo]'
	@touch $@

# gradkern itself is installed by now: these bring only what the extra adds, and build nothing.
$(DONE)/test $(DONE)/bench $(DONE)/docs: $(DONE)/%: $(DONE)/native
	$(BIN)/python -m pip install 'gradkern[$*]'
	@touch $@
