# Every verb sets up what it needs in .venv; CI calls the same verbs.
.PHONY: setup fmt lint types test slow-test native-test wheel-test fuzz bench docs check demo clean
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
	command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium) \
		|| echo "chromium is missing: install it with your system's packages, the tests of the report's page need it"
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
	$(BIN)/python -m pytest -n 2 -m "not slow"

# CI runs these, too.
slow-test: setup
	$(BIN)/python -m pytest -n 2 -m slow

# The core's own tests, under sanitizers.
native-test: setup
	$(BIN)/cmake -S . -B build/sanitized -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
		-DSECATEUR_BINDING=OFF -DSECATEUR_TESTS=ON -DSECATEUR_SANITIZE=ON
	$(BIN)/cmake --build build/sanitized --parallel 2
	$(BIN)/ctest --test-dir build/sanitized --output-on-failure

# What is shipped is tested as it is shipped: the wheel, installed beside nothing of the source tree. Its dependencies are
# those of .venv, whose own secateur comes later on the path.
WHEEL := build/wheel-env
wheel-test: setup
	rm -rf build/wheel $(WHEEL)
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation -w build/wheel .
	$(BIN)/python -m venv $(WHEEL)
	$(WHEEL)/bin/python -m pip install --quiet --no-deps build/wheel/*.whl
	$(BIN)/python -c "import site; print(site.getsitepackages()[0])" > $$(echo $(WHEEL)/lib/python3*/site-packages)/dependencies.pth
	$(WHEEL)/bin/python -c "import secateur, sys; assert sys.prefix in secateur.__file__, secateur.__file__"
	$(WHEEL)/bin/python -m pytest -n 2 tests/format tests/native tests/runtime tests/compiler/test_compiling.py \
		tests/cli/test_export.py tests/pruning/test_gradients.py

# Damaged files by the thousand: each is refused with a FormatError, or runs.
fuzz: setup
	$(BIN)/python -m tests.format.fuzz --run --inputs 2000 --seed 1

docs: setup
	$(BIN)/python -m pytest tests/test_docs.py

check: lint types test slow-test

demo: setup
	$(BIN)/secateur demo

bench: setup
	$(BIN)/python -m benchmarks.overhead

clean:
	rm -rf .venv build dist
