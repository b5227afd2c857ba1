"""Learning a word as a user does: resumed to the same bytes, kept at its best, refused plainly."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diffusion_lens.errors import InputError, RunError
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.learning import metrics
from diffusion_lens.learning.checkpoint import load_state, save_state
from diffusion_lens.learning.concepts import read_concept
from diffusion_lens.learning.invert import Look, invert
from diffusion_lens.learning.study import RATES, VECTORS, study, summarise
from diffusion_lens.learning.subjects import SUBJECTS
from diffusion_lens.learning.training import Learner, Settings
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.clip import Clip
from diffusion_lens.text.embedding_files import write_embedding
from tests.command_line import run
from tests.text.test_embeddings import concept


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, picture in enumerate(SUBJECTS[0].pictures()[:3]):
        picture.save(folder / f"{index}.png")
    return folder


def brightness(pictures):
    """Vectors that tell bright pictures from dark ones."""
    means = np.array([np.asarray(picture, float).mean() / 255 for picture in pictures])
    return np.stack([np.cos(means), np.sin(means)], 1)


def test_a_killed_training_ends_with_the_same_bytes(photos, tmp_path, emoji):
    command = [
        "invert", str(photos), "--token", "<bird>", "--init", "bird", "--steps", "4", "--batch", "1",
        "--validate-every", "2", "--norm", "pull", "--snr-gamma", "5", "--flip",
    ]  # fmt: skip
    arguments = [sys.executable, "-m", "diffusion_lens", *command, "--out", "it.safetensors"]
    killed = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.DEVNULL)
    state = tmp_path / "it.training" / "state.safetensors"
    while not state.exists() and killed.poll() is None:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "it.safetensors").exists() and state.stat().st_size < 20_000

    settings = Settings(steps=4, batch=1, validate_every=2, norm="pull", snr_gamma=5.0, flip=True)
    concepts = [read_concept(photos, "<bird>", "bird")]
    look = Look(metrics.load_embed("clip", "emoji-clip"))
    for folder in ("it.training", "whole"):
        (word,) = invert(emoji, concepts, settings, look, tmp_path / folder, progress=False)
        write_embedding(tmp_path / f"{folder}.safetensors", word, emoji.pipeline)
    assert (tmp_path / "it.training.safetensors").read_bytes() == (
        tmp_path / "whole.safetensors"
    ).read_bytes()
    assert state.read_bytes() == (tmp_path / "whole" / "state.safetensors").read_bytes()
    course = pd.read_csv(state.with_name("course.csv"))
    assert course["step"].tolist() == [2, 4] and course["score"].between(-1, 1).all()

    shown = run(
        "show", "a <bird> on grass", "--embedding", "whole.safetensors", "--layers", "native",
        "--steps", "1", "--out", "grid.png", cwd=tmp_path,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert pd.read_parquet(tmp_path / "grid.parquet")["missing"].isna().all()


def test_the_best_rows_are_kept_and_patience_ends(new_lens, tmp_path):
    lens = new_lens("sd")
    learner = Learner(lens.pipeline, [concept()], Settings(steps=50, patience=2))
    rows = learner.words[0].rows["text_encoder"]
    for step, score in enumerate([0.1, 0.5, 0.2, 0.3]):
        rows.data.fill_(float(step))
        learner.look(lambda _word, _index, score=score: score)
    assert learner.finished and learner.progress.best[0][0] == 0.5
    assert (learner.learned()[0].rows["text_encoder"] == 1).all()
    save_state(tmp_path / "state.safetensors", learner)
    again = Learner(lens.pipeline, [concept()], Settings(steps=50, patience=2))
    load_state(tmp_path / "state.safetensors", again)
    assert again.progress == learner.progress and (again.learned()[0].rows["text_encoder"] == 1).all()
    with pytest.raises(RunError, match="another training"):
        load_state(tmp_path / "state.safetensors", Learner(lens.pipeline, [concept()], Settings(seed=1)))
    (tmp_path / "state.safetensors").write_bytes(b"cut")
    with pytest.raises(RunError, match="can't be read"):
        load_state(tmp_path / "state.safetensors", again)


def test_several_concepts_are_learned_in_one_run(tiny_lens, tmp_path):
    concepts = [concept(), concept("<that>", vectors=2)]
    settings, look = Settings(steps=2, batch=1, validate_every=1), Look(brightness, seeds=(0,))
    words = invert(tiny_lens("sdxl"), concepts, settings, look, tmp_path, progress=False)
    assert [(word.token, word.vectors) for word in words] == [("<it>", 1), ("<that>", 2)]


def test_a_word_gets_nearer_to_its_pictures(emoji):
    """Learning lowers the loss on what it learns, measured with the same noise before and after."""
    one = SUBJECTS[3].concept()
    learner = Learner(emoji.pipeline, [one], Settings(steps=25, batch=4, rate=0.02))
    with learner.training():
        before = sum(float(learner.losses(10_000 + step).detach()) for step in range(6))
        for _ in range(25):
            learner.step()
        after = sum(float(learner.losses(10_000 + step).detach()) for step in range(6))
    assert after < 0.97 * before


def test_a_picture_may_have_sentences_of_its_own(photos):
    (photos / "1.txt").write_text("a <bird> on a tree\n\na {} at night\n")
    (photos / "notes.md").touch()
    (photos / "sub").mkdir()
    found = read_concept(photos, "<bird>")
    assert found.captions[1] == ("a {} on a tree", "a {} at night")
    assert found.captions[0] == found.captions[2] and len(found.pictures) == 3


def test_folders_that_cannot_be_learned_from(photos, tmp_path, caplog, tiny_lens):
    with pytest.raises(InputError, match="is no folder"):
        read_concept(tmp_path / "none", "<it>")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        read_concept(tmp_path / "empty", "<it>")
    (photos / "9.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"9\.jpg can't be read as a picture"):
        read_concept(photos, "<it>")
    Image.new("1", (10_000, 9_000)).save(photos / "9.png")
    (photos / "9.jpg").unlink()
    with pytest.raises(InputError, match="is huge"):
        read_concept(photos, "<it>")
    with pytest.raises(InputError, match=r"must hold \{\} once"):
        read_concept(_one(photos), "<it>", templates=["a photo"])
    Learner(tiny_lens("sd").pipeline, [read_concept(_one(photos), "<it>")])
    assert "from one picture" in caplog.text


def _one(photos: Path) -> Path:
    for path in sorted(photos.iterdir())[1:]:
        path.unlink()
    return photos


def test_similarities_of_known_pictures():
    black, white = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "white")
    found = metrics.image_similarity(brightness, [black, white], [black, black, white])
    assert np.allclose(found, [(2 + np.cos(1)) / 3, (1 + 2 * np.cos(1)) / 3])
    given = [black, black, white]  # a picture is not compared with itself
    assert np.allclose(metrics.image_similarity(brightness, given, given)[2], np.cos(1))
    assert metrics.without_word("a photo of {} on grass") == "a photo of on grass"
    clip, dog = Clip.from_pretrained(), Image.new("RGB", (64, 64), "red")
    assert metrics.text_similarity(clip, [dog] * 2, ["a red ball", "a blue sea"]).shape == (2,)


def test_the_summary_compares_words_with_captions():
    rows = [
        {"concept": f"c{index}", "way": way, "measure": "image", "value": value + 0.01 * index}
        for index in range(8)
        for way, value in (("word", 0.8), ("short", 0.5 + 0.005 * index))
    ]
    summary = summarise(pd.DataFrame(rows)).set_index("way")
    assert np.isclose(summary.loc["short", "gain"], 0.3 - 0.005 * 3.5)
    assert 0 < summary.loc["short", "gain_low"] < summary.loc["short", "gain"]
    assert summary.loc["short", "p"] < 0.01


def test_subjects_are_what_training_never_drew_or_drew_seldom(emoji):
    from diffusion_lens.testbed.scenes import OBJECTS

    assert len(SUBJECTS) >= 8
    for one in SUBJECTS:
        assert (one.kind == "unseen object") == (not one.is_style and one.name not in OBJECTS)
        assert len(one.pictures()) == 5
        for prompt in one.edits().values():  # nothing of a description is cut off
            ids = emoji.pipeline.tokenizer(prompt.replace("{}", one.long)).input_ids
            assert len(ids) <= emoji.pipeline.tokenizer.model_max_length
        assert one.name not in (one.short, one.init)


def test_the_study_runs_and_goes_on_from_what_is_there(emoji, tmp_path):
    lens = DiffusionLens(emoji.pipeline, defaults=Sampler(steps=1, guidance=1.0))
    settings = Settings(steps=1, batch=1, validate_every=1)
    chosen = (SUBJECTS[0], SUBJECTS[-2], SUBJECTS[-1])

    def call():
        return study(
            lens, Clip.from_pretrained(), tmp_path, subjects=chosen, settings=settings, grid_steps=1,
            samples=1, progress=False,
        )  # fmt: skip

    table, grid = call()
    assert len(table) == 3 * 5 * 3 and table["value"].between(-1, 1).all()
    assert len(grid) == len(RATES) * len(VECTORS) * 3
    layers = pd.read_csv(tmp_path / "layers.csv")
    assert set(layers["way"]) == {"word", "real"} and set(layers["layer"]) == set(range(7))
    assert set(summarise(table)["way"]) == {"word", "short", "long", "no word", "pictures"}
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    call()
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
