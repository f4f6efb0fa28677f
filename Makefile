# Every target does the set-up it needs. PYTHON names a Python 3.11.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-$(shell cat setup.py requirements.lock | cksum | cut -d' ' -f1)
CODE   := configs preprocessing trainer serving tests benchmarks setup.py


.PHONY: setup demo test lint format bench lock clean

setup: $(STAMP)

$(STAMP): setup.py requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "PYTHON: found %d.%d, expected 3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

lint: setup
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

test: lint
	$(BIN)/python -m pytest

demo: setup
	PYTHON=$(BIN)/python scripts/demo.sh demo-run

bench: setup
	$(BIN)/python -m benchmarks.simulator
	$(BIN)/python -m benchmarks.quality --row=short_video --workdir=bench-run
	$(BIN)/python -m benchmarks.quality --row=streamrec --workdir=bench-run

lock:
	$(BIN)/uv pip compile setup.py --extra dev --extra bench --extra text --generate-hashes --quiet \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-emit-index-url \
	  --custom-compile-command 'make lock' --output-file requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache demo-run bench-run
