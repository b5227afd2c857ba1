"""How often a sweep runs its encoder, and that it can be gone before the first image is drawn."""

import weakref

import numpy as np
import pytest

from diffusion_lens.models.stub_encoders import is_stub
from diffusion_lens.sweep.job import Job
from diffusion_lens.sweep.open import look_at_run, run_sweep
from diffusion_lens.sweep.worker import Worker
from tests.sweep.helpers import make, read, same

ASKED = {
    "prompts": ["a red fox", "a blue car"],
    "readouts": ["native", "final", "none"],
    "interventions": [[], ["keep(red)"]],
    "layers": [0, 2, "native"],
    "seeds": [0],
}


def draw(lens, folder, **changes):
    """Draw, and count the encoder's passes and those of the denoiser that had a whole encoder beside it."""
    passes, beside = [], []
    block = lens.conditioner.encoders["text_encoder"].blocks[0]
    counted = block.register_forward_pre_hook(lambda *_: passes.append(1))
    watched = lens.pipeline.unet.register_forward_pre_hook(
        lambda *_: beside.append(not is_stub(lens.pipeline.text_encoder))
    )
    try:
        run_sweep(make(**{**ASKED, **changes}), folder, lens=lens, progress=False)
    finally:
        counted.remove()
        watched.remove()
    return passes, beside


def test_each_prompt_is_encoded_once_for_all_its_readings(new_lens, tmp_path):
    prompts = ["a red fox", "a red car"]
    passes, _ = draw(new_lens("sd"), tmp_path, prompts=prompts, sampler={"steps": 1, "guidance": 0.0})
    table = read(tmp_path)
    assert len(table) == 2 * 3 * 2 * 3
    # two prompts, and the empty one that keep() needs
    assert len(passes) == 3


@pytest.mark.parametrize("states", [0.0, 1.0], ids=["in memory", "in the run"])
def test_encoders_are_released_before_the_first_image(new_lens, tmp_path, states):
    changes = {"prompts": ["a red fox", "a red car"], "layers": [0, "native"]}
    lens = new_lens("sd")
    fingerprint = lens.conditioner.encoders["text_encoder"].fingerprint
    machine = {"batch_size": 4, "encoders": "release", "states": states}
    _, beside = draw(lens, tmp_path / "released", machine=machine, **changes)
    assert beside and not any(beside)
    assert lens.conditioner.encoders["text_encoder"].fingerprint == fingerprint
    _, beside = draw(new_lens("sd"), tmp_path / "plain", machine={"batch_size": 4}, **changes)
    assert all(beside)
    same(read(tmp_path / "released"), read(tmp_path / "plain"))


def test_a_word_that_a_prompt_lacks_fails_its_cells_alone(new_lens, tmp_path):
    draw(new_lens("sd"), tmp_path)
    table = read(tmp_path)
    changed = table[table["interventions"] == "keep(red)"]
    assert set(changed["prompt"]) == {"a red fox"} and not changed["identical"].any()
    assert len(table) == 2 * 3 * 3 + 3 * 3
    natives = table[table["native"] & (table["interventions"] == "") & (table["readout"] == "native")]
    assert natives["identical"].all()


@pytest.mark.parametrize("layers", [None, [0, 4]])
def test_a_run_opens_as_a_result(new_lens, tmp_path, layers):
    from diffusion_lens import Result

    lens = new_lens("sd")
    draw(lens, tmp_path, interventions=[[]], readouts=["native"])
    result = Result.load(tmp_path, prompt="a blue car", layers=layers)
    assert set(result.table["prompt"]) == {"a blue car"}
    assert set(result.table["layer"]) == set(layers or [0, 2, 4])
    drawn = lens("a blue car", [0], 0, steps=2, guidance=2.0, height=16, width=16, progress=False)
    assert np.abs(np.asarray(result.image(0)).astype(int) - np.asarray(drawn.image(0))).max() <= 1
    assert list(result.table.columns) == [*result.table.columns.intersection(drawn.table.columns)]
    result.grid().verify()


def test_states_stay_in_memory_only_where_the_encoders_go(new_lens, tmp_path):
    lens = new_lens("sd")
    asked = make(**ASKED, machine={"encoders": "release"})
    plan = look_at_run(asked, tmp_path, lens=lens).plan
    worker = Worker(lens, Job.of(plan))
    asked_of = worker.reader, plan.prompts[0].prompt, plan.resolved.readings
    states = weakref.ref(worker.cache.states(*asked_of)["text_encoder"])
    assert states() is None
    worker.release_encoders(plan.cells)
    assert is_stub(lens.pipeline.text_encoder)
    assert worker.cache.states(*asked_of) is worker.cache.states(*asked_of)
