# Two commands matter: `make demo` and `make test`. Each sets everything up first.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# one thread a process: the tests run in several, and the demo's model is small
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint notebooks clean

demo: $(READY)
	OMP_NUM_THREADS= $(BIN)/diffusion-lens show "a red fox to the left of a pizza" "an automobile on grass" \
		--seeds 0 1 --out demo.png --overwrite

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup
	$(MAKE) notebooks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: $(READY)
	$(BIN)/python -m pytest -o addopts= -W default --nbmake --nbmake-timeout=120 notebooks

$(READY): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) demo.png demo.parquet
