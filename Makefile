# Every target does the set-up it needs. PYTHON names a Python 3.11.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-$(shell cat setup.py requirements.lock | cksum | cut -d' ' -f1)
CODE   := configs preprocessing trainer serving tests benchmarks setup.py


.PHONY: setup demo test test-slow test-flink test-prism soak lint format bench lock clean

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
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

test-slow: lint
	$(BIN)/python -m pytest -m slow

# Ten minutes of mixed load and reloads; `make test` has three seconds of it.
soak: setup
	SOAK_S=600 $(BIN)/python -m pytest tests/test_server_faults.py -k mixed_load

# The preprocessing job on Apache Flink, in a local cluster that Beam's job server starts: needs a
# Java that runs that Flink (11 or 17), and Maven for the jar.
BEAM  := 2.77.0
FLINK := 1.20
FLINK_JAR := build/flink/beam-runners-flink-$(FLINK)-job-server-$(BEAM).jar

$(FLINK_JAR):
	mvn --batch-mode --quiet dependency:copy -DoutputDirectory=$(CURDIR)/build/flink \
	  -Dartifact=org.apache.beam:beam-runners-flink-$(FLINK)-job-server:$(BEAM)

test-flink: setup $(FLINK_JAR)
	FLINK_JOB_SERVER_JAR=$(CURDIR)/$(FLINK_JAR) $(BIN)/python -m pytest -m slow tests/test_runners.py -k flink

# The same on Prism, Beam's runner in Go: needs Go.
build/prism/prism:
	GOBIN=$(CURDIR)/build/prism go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM)

test-prism: setup build/prism/prism
	PRISM=$(CURDIR)/build/prism/prism $(BIN)/python -m pytest -m slow tests/test_runners.py -k prism

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
