"""Sweeps whose prompts hold learned words."""

import io
import os
import re

import pytest
from PIL import Image

from diffusion_lens import DiffusionLens
from diffusion_lens.errors import InputError
from diffusion_lens.sweep.open import run_sweep
from diffusion_lens.text.embedding_files import write_embedding
from diffusion_lens.text.embeddings import initial_embedding
from tests.conftest import build_lens
from tests.sweep.helpers import make, read, same

PLAIN, LEARNED = "a red fox", "a <it> fox"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model in a folder, and beside it a word."""
    folder = tmp_path_factory.mktemp("model")
    pipe = build_lens("sd").pipeline
    pipe.save_pretrained(folder / "sd")
    write_embedding(folder / "it.safetensors", initial_embedding(pipe, "<it>", None, 2, seed=1), pipe)
    write_embedding(folder / "other.safetensors", initial_embedding(pipe, "<it>", None, 2, seed=2), pipe)
    return folder


def asked(model, /, **changes):
    given = {
        "model": str(model / "sd"),
        "prompts": [PLAIN, LEARNED],
        "embeddings": ["it.safetensors"],
        "machine": {"batch_size": 3},
    }
    return make(**{**given, **changes})


def test_a_sweep_draws_what_the_lens_draws(model, tmp_path):
    run_sweep(asked(model), tmp_path, base=model, progress=False)
    table = read(tmp_path)
    lens = DiffusionLens.from_pretrained(
        str(model / "sd"), batch_size=3, embeddings=[model / "it.safetensors"]
    )
    settings = {"steps": 2, "guidance": 2.0, "height": 16, "width": 16, "progress": False}
    drawn = lens(LEARNED, [0, 2, "native"], [0, 1, 2], **settings).table
    keys = ["layer", "native", "seed"]
    learned = table[table["prompt"] == LEARNED].sort_values(keys)
    swept = [Image.open(io.BytesIO(one["bytes"])).tobytes() for one in learned["image"]]
    assert swept == [image.tobytes() for image in drawn.sort_values(keys)["image"]]
    (said,) = set(learned["embeddings"])
    assert re.fullmatch("<it>=[0-9a-f]{16}", said)
    assert set(table["embeddings"]) == {"", said}


def test_a_lens_knows_an_experiments_embeddings_only_while_it_draws_it(model, tmp_path):
    lens = DiffusionLens.from_pretrained(str(model / "sd"), batch_size=3)
    run_sweep(asked(model), tmp_path / "lent", base=model, lens=lens, progress=False)
    assert not lens.embeddings.hashes
    run_sweep(asked(model), tmp_path / "own", base=model, progress=False)
    same(read(tmp_path / "lent"), read(tmp_path / "own"))


def test_a_lens_draws_as_before_once_an_experiment_has_drawn_with_it(model, tmp_path):
    lens = DiffusionLens.from_pretrained(str(model / "sd"), batch_size=3)
    small = {"steps": 2, "guidance": 2.0, "height": 16, "width": 16, "progress": False}
    before = lens(PLAIN, [0, "native"], **small).table
    changed = asked(model, approximations={"guided": 0.5}, machine={"batch_size": 2})
    run_sweep(changed, tmp_path, base=model, lens=lens, progress=False)
    assert set(read(tmp_path)["approximations"]) == {"guided=0.5"} and lens.denoiser.batch_size == 3
    after = lens(PLAIN, [0, "native"], **small).table
    assert [image.tobytes() for image in after["image"]] == [image.tobytes() for image in before["image"]]
    assert after["identical"].tolist() == [False, True] and after["batch"].tolist() == [2, 2]


def test_prompts_without_words_are_the_same_cells(model, tmp_path):
    run_sweep(asked(model), tmp_path / "with", base=model, progress=False)
    run_sweep(asked(model, embeddings=[], prompts=[PLAIN]), tmp_path / "without", progress=False)
    mixed = read(tmp_path / "with")
    same(mixed[mixed["prompt"] == PLAIN].reset_index(drop=True), read(tmp_path / "without"))


def test_another_word_makes_other_cells_of_its_prompts_alone(model, tmp_path, caplog):
    run_sweep(asked(model), tmp_path, base=model, progress=False)
    before = read(tmp_path)
    learned = before[before["prompt"] == LEARNED]
    again = asked(model, embeddings=["<it>=other.safetensors"])
    assert run_sweep(again, tmp_path, base=model, progress=False).drawn == len(learned)
    assert f"{len(learned)} images" in caplog.text and "kept as they are" in caplog.text
    after = read(tmp_path)
    same(before, after[after["cell"].isin(before["cell"])].reset_index(drop=True))
    added = after[~after["cell"].isin(before["cell"])]
    assert set(added["prompt"]) == {LEARNED}
    assert {one["bytes"] for one in added["image"]}.isdisjoint(one["bytes"] for one in learned["image"])


def test_words_of_the_negative_prompt_count_for_every_prompt(model, tmp_path):
    sampler = {"steps": 2, "guidance": 2.0, "height": 16, "width": 16, "negative_prompt": "a <it>"}
    machine = {"batch_size": 3, "states": 0.1}
    tables = []
    for number, embedding in enumerate(("it.safetensors", "<it>=other.safetensors")):
        one = asked(model, embeddings=[embedding], sampler=sampler, machine=machine, prompts=[PLAIN])
        # both in one folder: what was kept of the first must not serve the second
        assert run_sweep(one, tmp_path, base=model, progress=False).drawn == 9, number
        tables.append(read(tmp_path))
    before, after = tables
    added = after[~after["cell"].isin(before["cell"])]
    assert len(before) == len(added) == 9
    assert {one["bytes"] for one in added["image"]}.isdisjoint(one["bytes"] for one in before["image"])


def test_kept_states_are_of_the_word_that_they_were_made_with(model, tmp_path):
    machine = {"batch_size": 3, "states": 0.1}
    run_sweep(asked(model), tmp_path / "plain", base=model, progress=False)
    other = asked(model, embeddings=["<it>=other.safetensors"], machine=machine, seeds=[0])
    run_sweep(other, tmp_path / "kept", base=model, progress=False)
    run_sweep(asked(model, machine=machine, seeds=[0]), tmp_path / "kept", base=model, progress=False)
    leave = asked(model, machine={**machine, "encoders": "leave"})
    assert run_sweep(leave, tmp_path / "kept", base=model, progress=False).drawn > 0
    kept, plain = read(tmp_path / "kept"), read(tmp_path / "plain")
    columns = ["cell", "prompt", "layer", "seed", "embeddings"]
    mine = kept[kept["cell"].isin(plain["cell"])].reset_index(drop=True)
    assert mine[columns].equals(plain[columns])


def test_words_that_can_not_be_used_are_refused(model, tmp_path):
    with pytest.raises(InputError, match=r"There is no embedding .*absent\.safetensors"):
        run_sweep(asked(model, embeddings=["absent.safetensors"]), tmp_path, base=model, progress=False)
    assert not os.listdir(tmp_path)
    with pytest.raises(InputError, match="can't be used"):
        run_sweep(asked(model, model="emoji"), tmp_path / "emoji", base=model, progress=False)
