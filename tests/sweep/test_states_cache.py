"""States that a run keeps: going on with it asks no encoder, and gives the same bytes."""

import pytest

from diffusion_lens import DiffusionLens
from diffusion_lens.errors import InputError, RunError
from diffusion_lens.models.stub_encoders import load_stubs
from diffusion_lens.sweep.open import run_sweep
from tests.conftest import build_lens
from tests.sweep.helpers import make, read, same

SEEDS = [0, 1, 2, 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "sdxl"
    build_lens("sdxl").pipeline.save_pretrained(path)
    return str(path)


def experiment(folder, machine, **changes):
    asked = {"model": folder, "readouts": ["native", "final"], "pooled": "layer", "seeds": SEEDS}
    return make(machine={"batch_size": 4, **machine}, **{**asked, **changes})


@pytest.fixture(scope="module")
def grown(folder, tmp_path_factory):
    """A run of the whole experiment at once, and one that kept its states when it had less to draw."""
    base = tmp_path_factory.mktemp("runs")
    run_sweep(experiment(folder, {}), base / "plain", progress=False)
    small = experiment(folder, {"states": 0.1}, seeds=[0, 1], readouts=["native"])
    run_sweep(small, base / "kept", progress=False)
    return base


def test_encoders_are_not_run_again_for_new_seeds_and_readouts(folder, grown):
    lens = DiffusionLens.from_pretrained(folder)
    calls = []
    for encoder in lens.conditioner.encoders.values():
        encoder.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    lens.encode("a red fox")
    assert calls
    calls.clear()
    same_model = experiment(folder, {"states": 0.1}, seeds=[0, 1])
    assert run_sweep(same_model, grown / "kept", lens=lens, progress=False).drawn == 12
    assert not calls


def test_encoders_are_not_even_loaded(folder, grown):
    leave = experiment(folder, {"states": 0.1, "encoders": "leave"})
    assert run_sweep(leave, grown / "kept", progress=False).drawn > 0
    same(read(grown / "kept"), read(grown / "plain"))
    more = experiment(folder, {"states": 0.1, "encoders": "leave"}, prompts=["a red fox", "a green car"])
    with pytest.raises(RunError, match="text_encoder was left unloaded, or released, and is needed"):
        run_sweep(more, grown / "kept", progress=False)
    with pytest.raises(RunError, match="keeps no states to draw from"):
        run_sweep(leave, grown / "new", progress=False)
    with pytest.raises(InputError, match="emoji is embedded"):
        load_stubs("emoji", {})


def test_the_room_for_states_is_kept_to(folder, tmp_path, caplog):
    run_sweep(experiment(folder, {"states": 1e-5}), tmp_path, progress=False)
    kept = sum(path.stat().st_size for path in (tmp_path / "states").iterdir())
    assert 0 < kept <= 1e4 and "machine.states is reached" in caplog.text
    assert len(read(tmp_path)) == 2 * 2 * 3 * 4


def test_a_kept_file_that_is_cut_short_is_encoded_again(folder, grown, tmp_path):
    run_sweep(experiment(folder, {"states": 0.1}, seeds=[0]), tmp_path, progress=False)
    for number, path in enumerate(sorted((tmp_path / "states").iterdir())):
        path.write_bytes(path.read_bytes()[: 3 + 40 * number])
    found = run_sweep(experiment(folder, {"states": 0.1}), tmp_path, progress=False)
    assert (found.drawn, found.failed) == (36, {})
    same(read(tmp_path), read(grown / "plain"))


def test_changes_in_the_encoder_are_kept_by_prompt_and_set(folder, tmp_path):
    changes = [[], ["scale(fox, 3, place=encoder)"], ["keep(fox)"], ["skip(1)", "drop(fox)"]]
    asked = {"prompts": ["a red fox", "a fox"], "interventions": changes, "readouts": ["native"]}
    run_sweep(experiment(folder, {}, seeds=[0], **asked), tmp_path / "plain", progress=False)
    kept = tmp_path / "kept"
    first = experiment(folder, {"states": 0.1}, seeds=[0], **{**asked, "interventions": changes[:2]})
    run_sweep(first, kept, progress=False)
    run_sweep(experiment(folder, {"states": 0.1}, seeds=[0], **asked), kept, progress=False)
    same(read(kept), read(tmp_path / "plain"))
    table = read(kept)
    assert table["interventions"].nunique() == len(changes) and table["cell"].is_unique
    images = [image["bytes"] for image in table[table["layer"] == 2].query("prompt == 'a fox'")["image"]]
    assert len(set(images)) > 2
    assert not table[table["interventions"] != ""]["identical"].any()
