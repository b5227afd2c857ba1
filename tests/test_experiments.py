"""The experiments that come with the repository: readable, complete, and of the prompts they claim."""

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from diffusion_lens import Result
from diffusion_lens.analysis.declared import check_experiment
from diffusion_lens.checks.assign import ask
from diffusion_lens.checks.checks import WHOLE
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.runs.experiment_files import load_experiments
from diffusion_lens.runs.prompts import read_prompts
from diffusion_lens.sweep import look_at_run, resolve, run_sweep

FOLDER = Path(__file__).parents[1] / "experiments"
STUDIES = sorted(path.stem for path in (FOLDER / "prompts").glob("*.csv"))
MODELS = {"sd21": "sd", "if": "if", "sdxl": "sdxl", "sd3": "sd3", "flux": "flux"}


def read(*paths: str) -> tuple[Experiment, tuple]:
    data, base = load_experiments([FOLDER / path for path in paths])
    experiment = Experiment.from_dict(data)
    return experiment, read_prompts(experiment.prompts, base)


def test_the_prompts_are_what_their_script_writes():
    spec = importlib.util.spec_from_file_location("write_prompts", FOLDER / "write_prompts.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for path, rows in script.tables():
        with open(path, newline="") as file:
            found = list(csv.DictReader(file))
        plain = [
            {k: json.dumps(v) if isinstance(v, list) else str(v) for k, v in row.items()} for row in rows
        ]
        assert found == plain, path


@pytest.mark.parametrize("study", STUDIES)
def test_every_prompt_of_a_study_and_of_its_twin_has_checks_by_rule(study):
    files = [(f"{study}.toml",), (f"paper/{study}.toml", "models/sd21.toml")]
    for paths in files[: 1 if study == "learned_words" else 2]:  # whose words are of one model
        experiment, prompts = read(*paths)
        assert experiment.claim and len(prompts) >= 10
        for one in ask(prompts).prompts:
            assert [check for check in one.checks if check.id != WHOLE], one.prompt
        check_experiment(experiment.contrasts, prompts)


@pytest.mark.parametrize("model", MODELS)
def test_a_twin_can_be_planned_on_each_model(model, new_lens):
    experiment, _ = read("paper/relations.toml", f"models/{model}.toml")
    lens = new_lens(MODELS[model])
    resolved = resolve(lens, experiment)
    first, *_, last = resolved.readings
    assert (first.layer, first.native) == (0, False) and last.native, "from the embedding to the native"
    assert first.depth == lens.plan(experiment.encoders[0]).depth
    assert resolved.settings["steps"] == experiment.sampler.steps


@pytest.mark.parametrize(("study", "sets"), [("denoiser_uses", 8), ("denoiser_places", 10)])
def test_studies_of_the_denoiser_are_planned_and_every_change_can_be_drawn(study, sets, emoji, tmp_path):
    experiment, prompts = read(f"{study}.toml")
    check_experiment(experiment.contrasts, prompts, [])
    assert len(resolve(emoji, experiment).readings) == sets * len(emoji.readings(experiment.layers))
    few = {"prompts": [prompts[0].prompt], "layers": [3], "seeds": [0]}
    few["sampler"] = {"steps": 11 if "places" in study else 1, "guidance": 1.0, "height": 16, "width": 16}
    small = Experiment.from_dict({**experiment.to_dict(), **few})
    run = look_at_run(small, tmp_path / "run", lens=emoji)
    assert len(run.todo()) == sets and not (tmp_path / "run").exists()
    assert run_sweep(small, tmp_path / "run", lens=emoji, progress=False).failed == {}


def test_the_study_of_slots_takes_each_in_and_out(new_lens, tmp_path):
    experiment, prompts = read("paper/slots.toml", "models/flux2.toml")
    assert Experiment.from_toml(experiment.to_toml()) == experiment
    lens = new_lens("flux2-klein")
    readings = resolve(lens, experiment).readings
    embedding = {str(one.reading.slots): one for one in readings if not one.native}
    assert set(embedding) == set(map(str, experiment.slots)) and len(embedding) == 7
    assert len(readings) == 14, "each choice stands beside the native image"
    small = {"prompts": [prompts[0].prompt], "seeds": [0], "sampler": {"height": 16, "width": 16}}
    drawn = Experiment.from_dict({**experiment.to_dict(), **small, "scorers": [], "machine": {}})
    denoised: list[int] = []
    count = lens.pipeline.transformer.register_forward_pre_hook(
        lambda _, args, named: denoised.append(len(named["hidden_states"])), with_kwargs=True
    )
    done = run_sweep(drawn, tmp_path / "run", lens=lens, progress=False)
    count.remove()
    table = Result.load(tmp_path / "run").table
    assert done.drawn == len(table) == 14 and done.left == 0
    assert len({np.asarray(image).tobytes() for image in table["image"]}) == 8, (
        "each choice is another image"
    )
    steps = experiment.sampler.steps
    assert sum(denoised) == 8 * steps, "the native image is drawn once for all choices"
    assert (table["seconds"] > 0).sum() == 8
    check_experiment(experiment.contrasts, prompts)


def test_a_later_file_goes_before_an_earlier_one(tmp_path):
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text('model = "a"\nprompts = ["x"]\n[sampler]\nsteps = 3\nguidance = 2.0\n')
    two.write_text('model = "b"\n[sampler]\nsteps = 5\n')
    data, base = load_experiments([one, two])
    assert data == {"model": "b", "prompts": ["x"], "sampler": {"steps": 5, "guidance": 2.0}}
    assert base == tmp_path
