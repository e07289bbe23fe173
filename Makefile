# Everything that a person or a CI system does with a checkout. Only Python, git and make are needed beforehand.

PYTHON ?= python3
LOCK ?= lock.txt
VENV ?= $(if $(LOCK),.venv,.venv-newest)
OUT ?= out/compare
JOBS ?= 3
BENCH ?=
FOR ?= 60s
BIN = $(VENV)/bin

.PHONY: compare compare-dspy compare-elixir test simulate lint bench docs setup lock dspy clean help

help:
	@echo "make compare   compare the two pools and write the report into $(OUT)"
	@echo "make compare-elixir  install Elixir if needed (Debian, as root) and compare the original's two pools in Elixir"
	@echo "make compare-dspy  install the extra dspy and compare the pools on real DSPy programs, report in $(OUT)-dspy"
	@echo "make test      run the tests, with branch coverage"
	@echo "make simulate  run V2 in virtual time from fresh seeds, FOR=60s, and check the guarantees (docs/explanation/simulation.md)"
	@echo "make lint      ruff and mypy"
	@echo "make bench     measure V2 beside a bare pipe, V1 and other pools (BENCH=--quick: 2 minutes)"
	@echo "make docs      build the documentation site in out/site; a warning is an error"
	@echo "make lock      write lock.txt anew: the newest releases that pyproject.toml allows"
	@echo "With LOCK= each of these installs the newest releases in place of those in lock.txt: make test LOCK="

setup:
	@sh tools/setup "$(PYTHON)" "$(VENV)" "$(LOCK)" dev

compare: setup
	$(BIN)/poolproof compare --out "$(OUT)"

ELIXIR_DRIVERS := examples/drivers/elixir
compare-elixir: setup
	@sh tools/elixir
	$(BIN)/poolproof compare --baseline "driver:elixir $(ELIXIR_DRIVERS)/v1.exs" \
	  --candidate "driver:elixir $(ELIXIR_DRIVERS)/v2.exs" --declare $(ELIXIR_DRIVERS)/serial.toml --jobs 3 --out "$(OUT)-elixir"

compare-dspy: dspy
	$(BIN)/poolproof compare --suite dspy --jobs 2 --out "$(OUT)-dspy"

dspy:
	@sh tools/setup "$(PYTHON)" "$(VENV)" "$(LOCK)" dev dspy
	@$(BIN)/python -m compileall -q "$$($(BIN)/python -c 'import dspy, os; print(os.path.dirname(dspy.__file__))')"

test: setup
	@sh tools/browser "$(VENV)"
	@sh tools/elixir || true
	@sh tools/plugins "$(VENV)" "$(LOCK)"
	@sh tools/test "$(BIN)" -n "$(JOBS)"

docs:
	@sh tools/setup "$(PYTHON)" "$(VENV)" "$(LOCK)" dev docs
	@sh tools/docs "$(BIN)" out/site

simulate: setup
	$(BIN)/poolproof simulate --for "$(FOR)"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks --out out/bench.json $(BENCH)

lock:
	@sh tools/lock "$(PYTHON)" lock.txt

clean:
	rm -rf "$(VENV)" .venv-newest out .mypy_cache .ruff_cache .pytest_cache .hypothesis
