"""Conditionings as files: a sweep of them is the ordinary one, without encoders; others are refused."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from diffusion_lens import DiffusionLens
from diffusion_lens.errors import InputError, OutputError, RunError
from diffusion_lens.sweep import Job, encode_experiment, look_at_run, run_sweep
from diffusion_lens.sweep.engines.actor import Actor
from tests.command_line import run
from tests.conftest import build_lens
from tests.sweep.helpers import make, read, same

CHANGES = {"interventions": [[], ["keep(fox)"]], "layers": [0, "native"]}
PAGE = Path(__file__).parents[2] / "docs/conditionings.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, its ordinary run, and its conditionings; one of its prompts can't be read as asked."""
    base = tmp_path_factory.mktemp("conditionings")
    build_lens("sdxl").pipeline.save_pretrained(base / "sdxl")
    experiment = make(model=str(base / "sdxl"), **CHANGES)
    run_sweep(experiment, base / "plain", progress=False)
    encoded = encode_experiment(experiment, base / "made", shard_bytes=1)
    assert (encoded.cells, encoded.conditionings) == (24, 6)
    (reason,) = encoded.failed
    assert "does not hold 'fox'" in reason and encoded.failed[reason] == 6
    return base, experiment


def test_a_sweep_of_conditionings_is_the_ordinary_one(made, tmp_path):
    base, experiment = made
    summary = run_sweep(experiment, tmp_path / "run", conditionings=base / "made", progress=False)
    assert (summary.drawn, sum(summary.failed.values())) == (18, 6)
    same(read(tmp_path / "run"), read(base / "plain"))
    assert len(list((base / "made/conditionings").iterdir())) == 6 + 1  # cut by size


def test_no_encoder_is_called(made, tmp_path):
    base, experiment = made
    lens = DiffusionLens.from_pretrained(base / "sdxl")
    calls = []
    for encoder in lens.conditioner.encoders.values():
        encoder.module.register_forward_pre_hook(lambda *_: calls.append(1))
    run_sweep(experiment, tmp_path, lens=lens, conditionings=base / "made", progress=False)
    assert not calls
    same(read(tmp_path), read(base / "plain"))


def test_a_worker_of_another_engine_draws_from_them(made, tmp_path):
    base, experiment = made
    plan = look_at_run(experiment, tmp_path / "none").plan
    drawn = Actor(Job.of(plan, conditionings=str(base / "made"))).draw(plan.cells[:4])
    expected = read(base / "plain").set_index("cell")["image"]
    assert [one.image for one in drawn] == [expected[one.cell.id]["bytes"] for one in drawn]


def test_the_loader_of_the_page_gives_another_engine_what_it_needs(made):
    base, _ = made
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    exec(code, names := {})
    pipe = DiffusionLens.from_pretrained(base / "sdxl").pipeline
    drawn = read(base / "plain").set_index("cell")
    found = list(names["read_conditionings"](base / "made"))
    assert len(found) == len(drawn)
    for row, positive, negative in found[:2]:
        image = pipe(
            **positive,
            **negative,
            generator=torch.Generator("cpu").manual_seed(row.seed),
            num_inference_steps=2,
            guidance_scale=2.0,
            height=16,
            width=16,
        ).images[0]
        ours = Image.open(io.BytesIO(drawn.loc[row.cell, "image"]["bytes"])).convert("RGB")
        assert np.abs(np.asarray(image, int) - np.asarray(ours, int)).max() <= 1  # another batch shape


def test_what_does_not_fit_is_refused(made, tmp_path):
    base, experiment = made

    def refused(message, asked=experiment, folder="made", error=RunError, **options):
        with pytest.raises(error, match=message):
            run_sweep(asked, tmp_path / "run", conditionings=base / folder, progress=False, **options)

    refused("plain holds no conditionings. Write them with", folder="plain", error=InputError)
    more = make(model=experiment.model, seeds=[0, 7], **CHANGES)
    refused(r"lacks the conditionings of 8 of 16 cells, such as layer 0, seed 7 of 'a red fox'", more)
    other = DiffusionLens.from_pretrained(experiment.model)
    with torch.no_grad():
        other.pipeline.text_encoder_2.get_input_embeddings().weight[0] += 1
    refused("of another model, or of another dtype than float32: its text_encoder_2 changed", lens=other)
    half = make(model=experiment.model, machine={"dtype": "bfloat16"}, **CHANGES)
    refused("are of float32, and the run is of bfloat16", half)
    with pytest.raises(OutputError, match="holds a run or conditionings"):
        encode_experiment(experiment, base / "made")
    with pytest.raises(OutputError, match="holds a run or conditionings"):
        encode_experiment(experiment, base / "plain", overwrite=True)


def test_a_shard_that_is_cut_missing_or_changed_is_refused(made, tmp_path):
    experiment = make(model=made[1].model, prompts=["a fox"], layers=[0], seeds=[0])
    encode_experiment(experiment, tmp_path / "mine")
    shard = tmp_path / "mine/conditionings/00000.safetensors"
    content = shard.read_bytes()
    for changed, message in (
        (content[:-1], f"00000.safetensors is cut short: {len(content) - 1} bytes of {len(content)}"),
        (content[:-1] + bytes([content[-1] ^ 1]), "00000.safetensors is not what was written"),
        (None, "00000.safetensors is missing"),
    ):
        if changed is None:
            shard.unlink()
        else:
            shard.write_bytes(changed)
        with pytest.raises(RunError, match=message):
            run_sweep(experiment, tmp_path / "run", conditionings=tmp_path / "mine", progress=False)
    encode_experiment(experiment, tmp_path / "mine", overwrite=True)
    assert shard.read_bytes() == content
    with pytest.raises(InputError, match="Layer 99 is out of range"):  # and what is there stays
        encode_experiment(replace(experiment, layers=(99,)), tmp_path / "mine", overwrite=True)
    assert shard.read_bytes() == content and (tmp_path / "mine/manifest.json").exists()
    two = replace(experiment, layers=(0, 1))
    for more, shards in ({"shard_bytes": 1}, 2), ({"overwrite": True}, 1):
        encode_experiment(two, tmp_path / "two", **more)
        assert len(list((tmp_path / "two/conditionings").glob("0*"))) == shards


def test_conditionings_are_replaced_by_those_of_other_encoders_and_settings(made, tmp_path):
    experiment = make(model=made[1].model, prompts=["a fox"], layers=[0], seeds=[0])
    rounded = replace(experiment, text_encoders={"text_encoder": "own+int8"})
    longer = replace(experiment, sampler=replace(experiment.sampler, steps=3))
    for number, one in enumerate((experiment, rounded, longer, experiment)):
        encode_experiment(one, tmp_path / "mine", overwrite=True)
        found = run_sweep(one, tmp_path / f"{number}", conditionings=tmp_path / "mine", progress=False)
        assert found.drawn == 1


def test_the_command_encodes_and_draws(tmp_path):
    (tmp_path / "foxes.toml").write_text(
        'model = "emoji"\nprompts = ["a [red] fox"]\nlayers = [0, "native"]\nsampler.steps = 2\n'
    )
    done = run("encode", "foxes.toml", "--seeds", "0", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"conditionings: 2 conditionings of 4 cells, [\d.]+ MB\n", done.stdout)
    done = run("sweep", "foxes.toml", "--seeds", "1", "--conditionings", "conditionings", cwd=tmp_path)
    assert done.returncode == 0 and "2 images drawn" in done.stdout
    assert len(pd.read_parquet(tmp_path / "runs/foxes/images")) == 2
