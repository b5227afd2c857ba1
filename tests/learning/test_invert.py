"""Learning a word as a user does: resumed to the same bytes, kept at its best, refused plainly."""

import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler
from PIL import Image

from diffusion_lens.errors import InputError, RunError, UnsupportedPipelineError
from diffusion_lens.learning import metrics
from diffusion_lens.learning.checkpoint import load_state, save_state
from diffusion_lens.learning.concepts import read_concept
from diffusion_lens.learning.invert import Validation, invert
from diffusion_lens.learning.objective import DenoisingLoss
from diffusion_lens.learning.training import Learner, Settings
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.clip import Clip
from diffusion_lens.text.embedding_files import read_embedding, write_embedding
from diffusion_lens.text.embeddings import use_embeddings
from experiments.studies.subjects import SUBJECTS
from tests.few_steps import few_steps
from tests.text.test_embeddings import concept


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, image in enumerate(SUBJECTS[0].images()[:3]):
        image.save(folder / f"{index}.png")
    return folder


def brightness(images):
    """Vectors that tell bright images from dark ones."""
    means = np.array([np.asarray(image, float).mean() / 255 for image in images])
    return np.stack([np.cos(means), np.sin(means)], 1)


def test_a_killed_training_ends_with_the_same_bytes(zygote, photos, tmp_path):
    command = [
        "invert",
        str(photos),
        "--token",
        "<bird>",
        "--init",
        "bird",
        "--steps",
        "6",
        "--batch",
        "1",
        "--validate-every",
        "2",
        "--norm",
        "pull",
        "--snr-gamma",
        "5",
        "--flip",
    ]
    command += ["--out", "it.safetensors"]
    killed = zygote.start(
        "os.chdir(folder)\nwith few_steps(4): main(command)", command=command, folder=str(tmp_path)
    )
    state = tmp_path / "it.training" / "state.safetensors"
    while not state.exists() and killed.runs():
        time.sleep(0.02)
    killed.signal(signal.SIGKILL)
    code, said = killed.wait()
    assert code == -signal.SIGKILL, said
    assert not (tmp_path / "it.safetensors").exists() and state.stat().st_size < 20_000

    settings = Settings(steps=6, batch=1, validate_every=2, norm="pull", snr_gamma=5.0, flip=True)
    concepts = [read_concept(photos, "<bird>", "bird")]
    validation = Validation(metrics.load_embed("clip", "emoji-clip"), name="clip emoji-clip")
    with few_steps(4):
        lens = DiffusionLens.from_pretrained("emoji")
    for folder in ("it.training", "whole"):
        learner = Learner(lens.pipeline, concepts, settings)
        (word,) = invert(lens, learner, tmp_path / folder, validation, progress=False)
        write_embedding(tmp_path / f"{folder}.safetensors", word, lens.pipeline)
    assert (tmp_path / "it.training.safetensors").read_bytes() == (
        tmp_path / "whole.safetensors"
    ).read_bytes()
    assert state.read_bytes() == (tmp_path / "whole" / "state.safetensors").read_bytes()
    course = pd.read_csv(state.with_name("course.csv"))
    assert course["step"].tolist() == [2, 4, 6] and course["score"].between(-1, 1).all()

    with use_embeddings(lens.pipeline, [read_embedding(tmp_path / "whole.safetensors", lens.pipeline)]):
        shown = lens("a <bird> on grass", "native", steps=1, progress=False)
    assert shown.table["missing"].isna().all()


def test_the_best_rows_are_kept_and_patience_ends(new_lens, tmp_path):
    lens = new_lens("sd")
    learner = Learner(lens.pipeline, [concept()], Settings(steps=50, patience=2))
    rows = learner.embeddings[0].vectors["text_encoder"]
    for step, score in enumerate([0.1, 0.5, 0.2, 0.3]):
        rows.data.fill_(float(step))
        learner.validate(lambda _index, score=score: score)
    assert learner.finished and learner.progress.best[0][0] == 0.5
    assert (learner.learned()[0].vectors["text_encoder"] == 1).all()
    save_state(tmp_path / "state.safetensors", learner)
    again = Learner(lens.pipeline, [concept()], Settings(steps=50, patience=2))
    load_state(tmp_path / "state.safetensors", again)
    assert again.progress == learner.progress and (again.learned()[0].vectors["text_encoder"] == 1).all()
    with pytest.raises(RunError, match="another training: patience was 2 and is None; seed was 0 and is 1"):
        load_state(tmp_path / "state.safetensors", Learner(lens.pipeline, [concept()], Settings(seed=1)))
    (tmp_path / "state.safetensors").write_bytes(b"cut")
    with pytest.raises(RunError, match="can't be read"):
        load_state(tmp_path / "state.safetensors", again)


def test_scores_of_two_validations_are_not_compared(new_lens, tmp_path):
    lens = new_lens("sd")

    def learn(validation, steps):
        settings = Settings(steps=steps, validate_every=1, batch=1)
        return invert(
            lens, Learner(lens.pipeline, [concept()], settings), tmp_path, validation, progress=False
        )

    first = Validation(brightness, seeds=(0,), steps=1, name="brightness")
    learn(first, 1)
    for other, said in ((replace(first, name="clip"), "clip of"), (None, "none")):
        with pytest.raises(RunError, match=f"validation was brightness of .* and is {said}"):
            learn(other, 2)
    learn(first, 2)


@pytest.mark.parametrize(
    "wrong", [{"patience": -1}, {"snr_gamma": -5.0}, {"lr": float("inf")}, {"steps": 0}], ids=str
)
def test_settings_that_nothing_is_learned_with_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=f"{name} is .*; it must be"):
        Settings(**wrong)


def test_several_concepts_are_learned_in_one_run(tiny_lens, tmp_path):
    concepts = [concept(), concept("<that>", vectors=2)]
    lens, settings = tiny_lens("sdxl"), Settings(steps=2, batch=1, validate_every=1)
    learner = Learner(lens.pipeline, concepts, settings)
    words = invert(lens, learner, tmp_path, Validation(brightness, seeds=(0,)), progress=False)
    assert [(word.token, word.count) for word in words] == [("<it>", 1), ("<that>", 2)]


def test_an_embedding_gets_nearer_to_its_images(emoji):
    """Learning lowers the loss on what it learns, measured with the same noise before and after."""
    one = SUBJECTS[3].concept()
    learner = Learner(emoji.pipeline, [one], Settings(steps=10, batch=4, lr=0.02))
    with learner.training():
        before = sum(float(learner.losses(10_000 + step).detach()) for step in range(3))
        for _ in range(10):
            learner.step()
        after = sum(float(learner.losses(10_000 + step).detach()) for step in range(3))
    assert after < 0.97 * before


def test_an_image_may_have_sentences_of_its_own(photos):
    (photos / "1.txt").write_text("a <bird> on a tree\n\na {} at night\n")
    (photos / "notes.md").touch()
    (photos / "sub").mkdir()
    found = read_concept(photos, "<bird>")
    assert found.captions[1] == ("a {} on a tree", "a {} at night")
    assert found.captions[0] == found.captions[2] and len(found.images) == 3


def test_what_is_not_read_is_named(photos, caplog):
    (photos / "phone.HEIC").touch()
    (photos / ".hidden.png").write_bytes(b"no image")
    with caplog.at_level("WARNING", "diffusion_lens"):
        assert len(read_concept(photos, "<it>").images) == 3
    (message,) = caplog.messages
    assert "not read: phone.HEIC." in message and ".hidden" not in message


def test_folders_that_cannot_be_learned_from(photos, tmp_path, caplog, tiny_lens):
    with pytest.raises(InputError, match="is no folder"):
        read_concept(tmp_path / "none", "<it>")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        read_concept(tmp_path / "empty", "<it>")
    (photos / "9.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"9\.jpg can't be read as an image"):
        read_concept(photos, "<it>")
    Image.new("1", (10_000, 9_000)).save(photos / "9.png")
    (photos / "9.jpg").unlink()
    with pytest.raises(InputError, match="is huge"):
        read_concept(photos, "<it>")
    with pytest.raises(InputError, match=r"must hold \{\} once"):
        read_concept(_one(photos), "<it>", templates=["a photo"])
    Learner(tiny_lens("sd").pipeline, [read_concept(_one(photos), "<it>")])
    assert "from one image" in caplog.text


def _one(photos: Path) -> Path:
    for path in sorted(photos.iterdir())[1:]:
        path.unlink()
    return photos


def test_similarities_of_known_images():
    black, white = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "white")
    found = metrics.image_similarity(brightness, [black, white], [black, black, white])
    assert np.allclose(found, [(2 + np.cos(1)) / 3, (1 + 2 * np.cos(1)) / 3])
    given = [black, black, white]  # an image is not compared with itself
    assert np.allclose(metrics.image_similarity(brightness, given, given)[2], np.cos(1))
    assert metrics.without_word("a photo of {} on grass") == "a photo of on grass"
    clip, dog = Clip.from_pretrained(), Image.new("RGB", (64, 64), "red")
    assert metrics.text_similarity(clip, [dog] * 2, ["a red ball", "a blue sea"]).shape == (2,)


def test_an_autoencoder_is_as_it_was_after_an_error(new_lens):
    pipe = new_lens("sd").pipeline
    loss = DenoisingLoss(pipe)
    pipe.vae.half()

    def run_out(*_):
        raise torch.OutOfMemoryError("no memory is left")

    pipe.vae.encoder.register_forward_pre_hook(run_out)
    with pytest.raises(torch.OutOfMemoryError):
        loss.encode(concept().images)
    assert pipe.vae.dtype == torch.float16


def test_latents_have_the_mean_and_spread_that_the_autoencoder_names(new_lens):
    """As Playground 2.5's: what is learned on is what diffusers decodes to the images."""
    pipe, images = new_lens("sdxl").pipeline, concept().images
    plain = DenoisingLoss(pipe).encode(images)
    centre, spread, scale = [0.1, -0.2, 0.3, 0.4], [2.0, 4.0, 5.0, 8.0], pipe.vae.config.scaling_factor
    pipe.vae.register_to_config(latents_mean=centre, latents_std=spread)
    found = DenoisingLoss(pipe).encode(images)
    by_channel = torch.tensor([centre, spread])[:, None, :, None, None]
    assert torch.allclose(found.mean * by_channel[1] / scale + by_channel[0], plain.mean / scale, atol=1e-5)
    assert torch.allclose(found.std * by_channel[1], plain.std, atol=1e-5)


@pytest.mark.parametrize("scheduler", [EDMEulerScheduler, EDMDPMSolverMultistepScheduler])
def test_a_model_that_was_trained_as_edm_is_refused(new_lens, scheduler):
    pipe = new_lens("sdxl").pipeline
    pipe.scheduler = scheduler()
    with pytest.raises(UnsupportedPipelineError, match=f"{scheduler.__name__}.*trained as EDM"):
        DenoisingLoss(pipe)
