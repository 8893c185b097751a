# The two commands: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ALL := dev,train,influx,report,bridge,data,docs

.PHONY: demo test test-shared test-alone coverage test-all test-bounds check bench schema screenshots docs slides clean

demo: $(VENV)/.core
	$(BIN)/cellpulse demo $(DEMO)

# Shared out among two processes, file by file; then the files marked `alone`.
# `make -k test` goes on where something fails.
test: test-shared test-alone coverage

test-shared: $(VENV)/.all
	mkdir -p build && rm -f build/coverage*
	$(BIN)/coverage run -m pytest -m "not long and not alone" -n 2 --dist loadfile

test-alone: $(VENV)/.all test-shared
	$(BIN)/python -m pytest -m "alone and not long"

# How much of the branches the shared tests take, with a floor for each package.
coverage: test-shared
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage json --quiet -o build/coverage.json
	$(BIN)/python .ci/coverage_floors.py build/coverage.json

test-all: $(VENV)/.all
	$(BIN)/python -m pytest

# Every kernel with its indices checked; the cache keeps those apart.
CHECKED = tests/monitor/kernels tests/monitor/test_engine.py tests/monitor/test_pipeline.py \
	tests/monitor/test_quarantine.py tests/monitor/test_refused.py \
	tests/monitor/test_thermal_risk.py tests/monitor/test_soh_doubt.py \
	tests/recordings/test_bounds.py tests/recordings/test_contract.py \
	tests/recordings/test_generic.py tests/recordings/test_analysis.py \
	tests/simulator/test_twin.py tests/training/test_thermal.py \
	tests/training/test_thermal_injection.py

test-bounds: $(VENV)/.all
	NUMBA_BOUNDSCHECK=1 $(BIN)/python -m pytest -m "not long" $(CHECKED)

check: $(VENV)/.all
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@command -v tsc > /dev/null || { \
	  echo "make check needs tsc for the page's scripts: apt install node-typescript" >&2; exit 1; }
	tsc -p monitor/dashboard/jsconfig.json

bench: $(VENV)/.all
	$(BIN)/cellpulse bench engine

SHOWN = fleet-en-light asset-en-light alarms-en-dark analyse-en-light \
	fleet-zh-light asset-zh-dark asset-zh-light-phone analyse-zh-light

# All of them into build/screenshots; those that the documents show into docs/images too.
screenshots: $(VENV)/.all
	$(BIN)/python -m benchmarks.screenshots build/screenshots
	cp $(SHOWN:%=build/screenshots/page-%.png) docs/images/

schema: $(VENV)/.core
	$(BIN)/cellpulse schema docs/schema

docs: $(VENV)/.all
	$(BIN)/python docs/build.py --run-course

slides: $(VENV)/.all
	$(BIN)/python docs/slides/make.py

CODE = monitor simulator training benchmarks

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(CODE) -name '*.nb[ic]' -delete

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Cellpulse needs Python 3.11 or newer; say which with PYTHON=python3.12 make ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	$(BIN)/cellpulse warm
	@touch $@

$(VENV)/.all: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[$(ALL)]"
	@touch $@
