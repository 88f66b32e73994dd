# Every target but `setup` and `clean` calls `setup`, which does nothing when .venv is up to date.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= demo-run

.PHONY: setup demo test check bench clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/synthset demo --out $(OUT)

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pip check

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv demo-run .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
