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

# The reference results that are in the repository: the demo's picture, and each study on the embedded models.
# CONTROL names a folder of `testbed train --encoder random`, whose run then joins each study.
STUDIES := $(notdir $(basename $(wildcard experiments/*.toml)))
LEARNED := textual_inversion lego latent_inversion
CONTROL :=
SWEEP := --dtype bfloat16

results: $(READY) $(STUDIES:%=results/%/findings.md) $(LEARNED:%=results/%/summary.csv)
	$(BIN)/diffusion-lens show $(DEMO) --out results/demo/grid.png --overwrite

results/%/findings.md: experiments/%.toml experiments/prompts/%.csv $(READY)
	$(BIN)/diffusion-lens sweep $< $(SWEEP) --out runs/$*/emoji
	$(BIN)/diffusion-lens sweep $< $(SWEEP) --out runs/$*/emoji-clip --model emoji-clip --layers 0:12:2
	$(if $(CONTROL),$(BIN)/diffusion-lens sweep $< $(SWEEP) --out runs/$*/random --model $(CONTROL) --layers 0:12:6 --steps 20 --guidance 4)
	$(BIN)/diffusion-lens analyze runs/$*/* --out results/$* --overwrite

# its words are of one model
results/learned_words/findings.md: experiments/learned_words.toml experiments/prompts/learned_words.csv $(READY)
	$(BIN)/diffusion-lens sweep $< $(SWEEP) --out runs/learned_words/emoji
	$(BIN)/diffusion-lens analyze runs/learned_words/* --out results/learned_words --overwrite

results/textual_inversion/summary.csv: $(READY)
	$(BIN)/python -m experiments.studies.textual_inversion --out $(@D)

results/lego/summary.csv: $(READY)
	$(BIN)/python -m experiments.studies.lego --out $(@D)

results/latent_inversion/summary.csv: $(READY)
	$(BIN)/python -m experiments.studies.latent_inversion --out $(@D)

notebooks: $(READY)
	$(BIN)/python -m pytest -o addopts= -W default --nbmake --nbmake-timeout=120 notebooks

$(READY): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) demo.png demo.parquet
