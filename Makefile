# Every verb sets up what it needs in .venv; CI calls the same verbs.
.PHONY: setup fmt lint types test native-test bench docs check demo clean
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.secateur-installed
NATIVE := CMakeLists.txt $(shell find native -name '*.cpp' -o -name '*.h')

setup: $(STAMP)

$(STAMP): requirements-dev.txt pyproject.toml $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements-dev.txt)"
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation -c requirements-dev.txt -e '.[all]'
	touch $(STAMP)

fmt: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

test: setup
	$(BIN)/python -m pytest -n 2

# The core's own tests under sanitizers, and, without them, that nothing of an instruction set leaves its file.
native-test: setup
	$(BIN)/cmake -S . -B build/sanitized -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
		-DSECATEUR_BINDING=OFF -DSECATEUR_TESTS=ON -DSECATEUR_SANITIZE=ON
	$(BIN)/cmake --build build/sanitized --parallel 2
	$(BIN)/ctest --test-dir build/sanitized --output-on-failure

docs: setup
	$(BIN)/python -m pytest tests/test_docs.py

check: lint types test

demo: setup
	$(BIN)/secateur demo

bench: setup
	$(BIN)/python -m benchmarks.overhead

clean:
	rm -rf .venv build dist
