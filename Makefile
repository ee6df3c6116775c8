# The two commands: make demo, make test. Each makes .venv first where there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test install lint bench docs docs-site clean

demo: install
	$(BIN)/i2r demo demo

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slurm and not faults and not slow and not gpu"

install: $(STAMP)

# pip is upgraded for --constraint with local versions; torch comes first, so that nothing else
# decides which build is taken.
$(STAMP): pyproject.toml constraints.txt
	@echo "installing into $(VENV): 2 to 3 GB, a few minutes without a word"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	-$(BIN)/i2r doctor --warm
	touch $(STAMP)

lint: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lint]'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m tests.benchmarks

docs: install
	$(BIN)/python -m i2r.cli.reference

# The documentation site in dist/site; the tutorials run. Nothing is fetched but the tools.
docs-site: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python .github/site/assemble.py dist/site

clean:
	rm -rf $(VENV) demo dist build
