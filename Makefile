# Two commands matter: `make demo` and `make test`. Each sets everything up first.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := "an automobile on grass" "a puppy at night" --seeds 0 1

.PHONY: demo test lint notebooks results clean

demo: $(READY)
	$(BIN)/diffusion-lens show $(DEMO) --out demo.png --overwrite

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup
	$(MAKE) notebooks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# the reference results that are in the repository
results: $(READY)
	$(BIN)/diffusion-lens show $(DEMO) --out results/demo/grid.png --overwrite

notebooks: $(READY)
	$(BIN)/python -m pytest -o addopts= -W default --nbmake --nbmake-timeout=120 notebooks

$(READY): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) demo.png demo.parquet
