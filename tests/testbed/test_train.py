"""Training stages on tiny settings: exact resume, decay, export, and clear errors."""

import csv
import json
import math
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPTextModel

from diffusion_lens.errors import DiffusionLensError, InputError, OutputError, UnknownModelError
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.clip import Clip
from diffusion_lens.testbed import captions, scenes
from diffusion_lens.testbed.autoencoder import AutoencoderSettings, AutoencoderStage, psnr, to_tensor
from diffusion_lens.testbed.clip import ClipSettings, ClipStage
from diffusion_lens.testbed.diffusion import DiffusionSettings, DiffusionStage
from diffusion_lens.testbed.inverter import InversionSettings, InversionStage, LatentInverter
from diffusion_lens.testbed.train import QUICK, train
from diffusion_lens.testbed.trainer import Progress, Trainer, learning_rate, read_progress
from diffusion_lens.testbed.training_log import COLUMNS, TrainingLog

TINY_AUTOENCODER = AutoencoderSettings(
    channels=(8, 8, 8, 8), latent_channels=4, side=32, batch=2, rate=2e-3, warmup=3
)
TINY_DIFFUSION = DiffusionSettings(
    channels=(32, 32), heads=16, batch=4, rate=2e-3, warmup=3, chunk=8, passes=2
)


def autoencoder(folder: Path, steps: int, resume: bool = False, **options: object) -> Progress:
    """Some steps of the tiny autoencoder, each in the log."""
    return train(
        "autoencoder",
        folder,
        1.0,
        resume,
        settings=TINY_AUTOENCODER,
        max_steps=steps,
        log_every=1,
        device="cpu",
        **options,
    )


def losses(folder: Path, stage: str) -> list[float]:
    """The log's losses."""
    with (folder / f"{stage}.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny autoencoder after six steps."""
    folder = tmp_path_factory.mktemp("trained")
    autoencoder(folder, 6)
    return folder


def copy(source: Path, target: Path, *names: str) -> Path:
    """Some files of a trained folder in a fresh one."""
    target.mkdir(exist_ok=True)
    for name in names:
        (target / name).write_bytes((source / name).read_bytes())
    return target


def test_autoencoder_resumes_exactly(trained: Path, tmp_path: Path) -> None:
    autoencoder(tmp_path, 3)
    progress = autoencoder(tmp_path, 3, resume=True)
    assert (progress.step, progress.samples) == (6, 12)
    assert losses(tmp_path, "autoencoder") == losses(trained, "autoencoder")
    whole = load_file(trained / "autoencoder.safetensors")
    resumed = load_file(tmp_path / "autoencoder.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_weights_are_kept_on_the_way(tmp_path: Path) -> None:
    autoencoder(tmp_path, 5, keep_every=4)  # two samples a step
    kept = sorted((tmp_path / "autoencoder.kept").iterdir())
    assert [path.stem for path in kept] == ["0000000", "0000004", "0000008"]
    weights = [load_file(path) for path in kept]
    assert all(value.dtype == torch.float16 for value in weights[0].values())
    assert not torch.equal(weights[0]["decoder.conv_in.weight"], weights[-1]["decoder.conv_in.weight"])
    with pytest.raises(InputError, match="can't be kept every 0 samples"):
        autoencoder(tmp_path / "other", 1, keep_every=0)


def test_autoencoder_learns_and_loads_with_its_scale(tmp_path: Path) -> None:
    autoencoder(tmp_path, 70)
    found = losses(tmp_path, "autoencoder")
    assert sum(found[-10:]) < 0.7 * sum(found[:10])
    vae = AutoencoderKL.from_pretrained(tmp_path / "vae")
    stage = AutoencoderStage(TINY_AUTOENCODER, tmp_path, torch.device("cpu"), tmp_path / "vae")
    with torch.no_grad():
        means = stage.model.encode(stage._scenes(70_001, 0, 64, 32)).latent_dist.mean
    assert float(means.std()) * vae.config.scaling_factor == pytest.approx(1, abs=0.1)


def test_decoder_alone_leaves_the_latents(trained: Path, tmp_path: Path) -> None:
    settings = replace(TINY_AUTOENCODER, decoder_only=True)
    with pytest.raises(InputError, match="needs the autoencoder to start from"):
        train("autoencoder", tmp_path, 1.0, settings=settings)
    for resume in (False, True):
        train(
            "autoencoder",
            tmp_path,
            1.0,
            resume,
            settings=settings,
            start=trained / "vae",
            max_steps=2,
            device="cpu",
        )
    before, after = (AutoencoderKL.from_pretrained(f / "vae") for f in (trained, tmp_path))
    assert before.config.scaling_factor == after.config.scaling_factor
    old, new = before.state_dict(), after.state_dict()
    changed = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"decoder", "post_quant_conv"}


def test_diffusion_resumes_exactly_across_chunks(trained: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder, parts in zip(folders, ((6,), (3, 3)), strict=True):
        folder.mkdir()
        (folder / "vae").symlink_to(trained / "vae")
        for number, steps in enumerate(parts):  # chunks change after four steps
            train(
                "diffusion",
                folder,
                1.0,
                number > 0,
                settings=TINY_DIFFUSION,
                max_steps=steps,
                log_every=1,
                device="cpu",
            )
    whole, parts = (load_file(folder / "diffusion.safetensors") for folder in folders)
    assert losses(folders[0], "diffusion") == losses(folders[1], "diffusion")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert UNet2DConditionModel.from_pretrained(folders[0] / "unet").config.sample_size == 4
    scheduler = json.loads((folders[0] / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "v_prediction"


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # inside diffusers
def test_diffusion_learns_and_draws(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "vae").symlink_to(trained / "vae")
    settings = replace(TINY_DIFFUSION, chunk=16, passes=100)
    train("diffusion", tmp_path, 1.0, settings=settings, max_steps=30, log_every=1, device="cpu")
    found = losses(tmp_path, "diffusion")
    assert sum(found[-10:]) < 0.8 * sum(found[:10])
    stage = DiffusionStage(settings, tmp_path, torch.device("cpu"), tmp_path / "unet")
    pictures = stage.draw(["a dog", "two cats"], seed=0, steps=2)
    assert pictures.shape == (2, 32, 32, 3) and pictures.dtype == torch.uint8
    assert stage.validate() == stage.validate() < found[0]


@pytest.fixture
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inverter starts from, and is validated on, few scenes."""
    for name in ("REFERENCE_SCENES", "VALIDATION_SCENES"):
        monkeypatch.setattr(f"diffusion_lens.testbed.inverter.{name}", 16)


@pytest.mark.usefixtures("few_scenes")
def test_inversion_learns_and_resumes_exactly(trained: Path, tmp_path: Path) -> None:
    settings = InversionSettings(
        width=32, depth=1, batch=8, rate=1e-2, warmup=3, noise=0.0, chunk=8, passes=20
    )
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder, parts in zip(folders, ((30,), (10, 20)), strict=True):
        folder.mkdir()
        (folder / "vae").symlink_to(trained / "vae")
        for number, steps in enumerate(parts):  # chunks change after twenty steps
            train(
                "inversion",
                folder,
                1.0,
                number > 0,
                settings=settings,
                max_steps=steps,
                log_every=1,
                device="cpu",
            )
    found = losses(folders[0], "inversion")
    assert found == losses(folders[1], "inversion")
    assert found[0] == pytest.approx(1, abs=0.25)  # it starts from the mean state
    assert sum(found[15:20]) < 0.9 * sum(found[:5])
    whole, parts = (LatentInverter.from_pretrained(folder / "inverter") for folder in folders)
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())
    weights = load_file(folders[0] / "inverter" / "diffusion_pytorch_model.safetensors")
    assert whole.config.side == 4 and {value.dtype for value in weights.values()} == {torch.float16}


@pytest.mark.usefixtures("few_scenes")
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # inside diffusers
def test_an_inverter_learns_from_what_the_denoiser_draws(trained: Path, tmp_path: Path) -> None:
    settings = InversionSettings(
        width=32, depth=1, batch=4, warmup=1, chunk=8, passes=1, cycle=1.0, drawn=4
    )
    (tmp_path / "vae").symlink_to(trained / "vae")
    with pytest.raises(InputError, match=r"no denoiser in .*unet: the cycle term draws"):
        InversionStage(settings, tmp_path, torch.device("cpu"))
    train("diffusion", tmp_path, 1.0, settings=TINY_DIFFUSION, max_steps=1, device="cpu")
    stage = InversionStage(settings, tmp_path, torch.device("cpu"))
    rendered = InversionStage(replace(settings, cycle=0.0), tmp_path, torch.device("cpu"))
    rendered.model.load_state_dict(stage.model.state_dict())
    # chunks change after two steps; what is drawn follows from the step alone
    with torch.no_grad():
        added = [float(stage.loss(step) - rendered.loss(step)) for step in range(4)]
        again = [float(stage.loss(step) - rendered.loss(step)) for step in (3, 0)]
    assert min(added) > 0.5 and again == [added[3], added[0]]


@pytest.mark.usefixtures("few_scenes")
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # inside diffusers
def test_an_inverter_reads_exact_latents_in_reduced_precision(trained: Path, tmp_path: Path) -> None:
    settings = InversionSettings(
        width=32, depth=1, batch=4, warmup=1, chunk=4, passes=1, cycle=1.0, drawn=4
    )
    (tmp_path / "vae").symlink_to(trained / "vae")
    train("diffusion", tmp_path, 1.0, settings=TINY_DIFFUSION, max_steps=1, device="cpu")
    latents = []
    for reduced in (False, True):
        stage = InversionStage(settings, tmp_path, torch.device("cpu"))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            stage.loss(0)
        assert stage._drawn is not None
        latents.append((stage._drawn[0].latents, stage._drawn[1]))
    (rendered, drawn), (reduced_rendered, reduced_drawn) = latents
    assert torch.equal(rendered, reduced_rendered) and torch.equal(drawn, reduced_drawn)


def test_captions_are_dropped_to_the_encoding_of_nothing(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "vae").symlink_to(trained / "vae")
    stage = DiffusionStage(TINY_DIFFUSION, tmp_path, torch.device("cpu"))
    assert torch.equal(stage.null, stage.encoder([""])[0].float())
    seen: list[torch.Tensor] = []
    stage.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    chunk = stage.chunks.encode(0, 0, 8)
    stage._loss(chunk, torch.arange(8), drop=1.0, noise_seed=0, contrast=0.0)
    assert torch.equal(seen[0], stage.null.expand(8, 20, 384))
    assert float(chunk.latents.std()) == pytest.approx(1, abs=0.2)


def test_rate_warms_up_by_steps_and_decays_by_samples_or_seconds() -> None:
    settings = AutoencoderSettings(warmup=10, rate=1.0)
    assert learning_rate(Progress(step=0), settings) == pytest.approx(0.1)
    assert learning_rate(Progress(step=500), settings) == 1.0
    half = Progress(step=500, samples=150, decay_from=100.0, decay_over=100.0)
    assert learning_rate(half, settings) == pytest.approx(0.5)
    assert Progress(samples=200, decay_from=100.0, decay_over=100.0).finished
    late = Progress(
        step=500, samples=150, seconds=75.0, decay_by="seconds", decay_from=0.0, decay_over=100.0
    )
    assert learning_rate(late, settings) == pytest.approx(0.5 * (1 + math.cos(0.75 * math.pi)))
    assert not late.finished and replace(late, seconds=100.0).finished


def test_a_decay_over_the_minutes_of_a_run_goes_on_where_it_was_stopped(
    trained: Path, tmp_path: Path
) -> None:
    copy(trained, tmp_path, "autoencoder.safetensors", "autoencoder.csv")
    before = read_progress(tmp_path / "autoencoder.safetensors")
    stopped = autoencoder(tmp_path, 2, resume=True, decay=True)
    assert stopped.decay_by == "seconds" and stopped.decay_over == 60
    assert stopped.decay_from == before.seconds and 0 < stopped.decayed < 1
    later = autoencoder(tmp_path, 2, resume=True, decay=True)
    assert later.decay_from == stopped.decay_from and later.decayed > stopped.decayed


def test_export_alone_leaves_checkpoint_and_log(trained: Path, tmp_path: Path) -> None:
    copy(trained, tmp_path, "autoencoder.safetensors")
    train("autoencoder", tmp_path, 0.0, True, settings=TINY_AUTOENCODER, device="cpu")
    same = (trained / "autoencoder.safetensors").read_bytes()
    assert (tmp_path / "autoencoder.safetensors").read_bytes() == same
    assert not (tmp_path / "autoencoder.csv").exists()
    assert AutoencoderKL.from_pretrained(tmp_path / "vae").config.latent_channels == 4


def test_decay_stops_and_keeps_the_checkpoint_before_it(trained: Path, tmp_path: Path) -> None:
    copy(trained, tmp_path, "autoencoder.safetensors", "autoencoder.csv")
    progress = autoencoder(tmp_path, 100, resume=True, decay_samples=8)
    assert progress.finished and progress.step == 10
    before = tmp_path / "autoencoder.before-decay.safetensors"
    assert before.read_bytes() == (trained / "autoencoder.safetensors").read_bytes()


def test_log_is_cut_back_to_the_checkpoint(trained: Path, tmp_path: Path) -> None:
    copy(trained, tmp_path, "autoencoder.safetensors", "autoencoder.csv")
    with (tmp_path / "autoencoder.csv").open("a") as file:
        file.write("7,9,14,99.0,0,0,\n")  # a step that no checkpoint holds
    autoencoder(tmp_path, 1, resume=True)
    assert 99.0 not in losses(tmp_path, "autoencoder")
    assert len(losses(tmp_path, "autoencoder")) == 7


def test_a_log_that_can_not_be_cut_back_is_left_whole(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.csv", 0)
    for step in range(1, 500):
        log.write(dict.fromkeys(COLUMNS, step))
    before = log.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"log\.csv could not be written"):
            TrainingLog(log.path, 498)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert log.path.read_bytes() == before
    TrainingLog(log.path, 2)
    assert log.path.read_text().splitlines()[1:] == [",".join(str(step) * 7) for step in (1, 2)]


def test_full_disk_keeps_the_last_checkpoint(trained: Path, tmp_path: Path) -> None:
    copy(trained, tmp_path, "autoencoder.safetensors")
    before = (tmp_path / "autoencoder.safetensors").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"can't be written: .*last good one was kept"):
            autoencoder(tmp_path, 1, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "autoencoder.safetensors").read_bytes() == before


def test_clear_errors(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train stage autoencoder first"):
        train("diffusion", tmp_path, 1.0, settings=TINY_DIFFUSION)
    with pytest.raises(InputError, match="nothing to resume"):
        autoencoder(tmp_path, 1, resume=True)
    with pytest.raises(InputError, match="exists: give --resume"):
        autoencoder(trained, 1)
    with pytest.raises(InputError, match="no stage 'clap'"):
        train("clap", tmp_path, 1.0)
    other = replace(TINY_AUTOENCODER, channels=(8, 8, 8, 16))
    with pytest.raises(InputError, match=r"other settings: channels \[8, 8, 8, 8\]"):
        train("autoencoder", trained, 1.0, True, settings=other)
    whole = (trained / "autoencoder.safetensors").read_bytes()
    (tmp_path / "autoencoder.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        autoencoder(tmp_path, 1, resume=True)


def test_two_trainings_of_one_folder_are_refused(trained: Path, tmp_path: Path) -> None:
    copy(trained, tmp_path, "autoencoder.safetensors")
    code = (
        "import sys; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "autoencoder.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(InputError, match="another process trains stage autoencoder"):
            autoencoder(tmp_path, 1, resume=True)
        # an export only reads
        train("autoencoder", tmp_path, 0.0, True, settings=TINY_AUTOENCODER, device="cpu")
        other.communicate()
    assert autoencoder(tmp_path, 1, resume=True).step == 7


def test_loss_that_is_not_finite_stops_before_it_spoils_the_weights(tmp_path: Path) -> None:
    stage = AutoencoderStage(TINY_AUTOENCODER, tmp_path, torch.device("cpu"))
    trainer = Trainer(stage, tmp_path)
    weight = trainer.parameters["decoder.conv_in.weight"]
    stage.loss = lambda step: weight.sum() * math.nan  # type: ignore[method-assign]
    with pytest.raises(DiffusionLensError, match="lower rate"):
        trainer.step(autocast=False)
    assert all(torch.isfinite(p).all() for p in trainer.parameters.values())


def test_psnr_of_a_known_error() -> None:
    target = torch.zeros(1, 3, 4, 4)
    assert float(psnr(target + 0.2, target)) == pytest.approx(20, abs=1e-4)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages of `testbed train --quick`, for an eighth of its steps, on as few scenes."""
    folder = tmp_path_factory.mktemp("quick")
    for stage, (whole, steps) in QUICK.items():
        settings = replace(whole, chunk=256) if isinstance(whole, DiffusionSettings) else whole
        train(stage, folder, 60.0, settings=settings, max_steps=steps // 8, log_every=1, device="cpu")
    return folder


@pytest.mark.parametrize("stage", ["autoencoder", "clip", "diffusion"])
def test_quick_run_learns_in_every_stage(quick: Path, stage: str) -> None:
    found = losses(quick, stage)
    tenth = len(found) // 10
    assert sum(found[-tenth:]) < 0.9 * sum(found[:tenth])


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # inside diffusers
def test_plain_diffusers_loads_what_was_trained(quick: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(quick, safety_checker=None, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    image = pipe("a dog", num_inference_steps=2, generator=torch.manual_seed(0)).images[0]
    assert image.size == (32, 32)
    lens = DiffusionLens.from_pretrained(quick)
    table = lens("a dog", "native", (0,), steps=2, guidance=7.5).table
    assert table["identical"].all()
    assert (np.asarray(table["image"][0]) == np.asarray(image)).all()


def test_untrained_control_says_the_same_at_every_layer(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "vae").symlink_to(trained / "vae")
    settings = replace(TINY_DIFFUSION, encoder="random")
    train("diffusion", tmp_path, 1.0, settings=settings, max_steps=1, device="cpu")
    encoder = CLIPTextModel.from_pretrained(tmp_path / "text_encoder", dtype=torch.float32)
    tokens = torch.tensor([[1, 2, 3]])
    states = encoder(tokens, output_hidden_states=True).hidden_states
    assert len(states) == 13 and all(torch.equal(states[0], state) for state in states)
    swapped = encoder(tokens[:, [0, 2, 1]], output_hidden_states=True).hidden_states[0]
    assert not torch.equal(states[0][:, [0, 2, 1]], swapped)  # it knows positions


def test_diffusion_on_clip_needs_the_clip_stage(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "vae").symlink_to(trained / "vae")
    with pytest.raises(InputError, match="train stage clip first"):
        train("diffusion", tmp_path, 1.0, settings=replace(TINY_DIFFUSION, encoder="clip"))


def test_clip_resumes_exactly(tmp_path: Path) -> None:
    settings = ClipSettings(width=32, layers=1, vision_layers=1, side=32, batch=4, warmup=2)
    for folder, parts in ((tmp_path / "whole", (4,)), (tmp_path / "parts", (2, 2))):
        for number, steps in enumerate(parts):
            train("clip", folder, 1.0, number > 0, settings=settings, max_steps=steps, log_every=1)
    whole, parts = (load_file(tmp_path / name / "clip.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_clip_embeds_texts_and_pictures_as_it_was_trained(quick: Path) -> None:
    clip = Clip.from_pretrained(quick)
    drawn = [scenes.sample(1, i, ("single",)) for i in range(4)]
    pictures = scenes.render_batch(drawn, 32)
    texts = [captions.caption(scene, 1, i) for i, scene in enumerate(drawn)]
    cosines = clip.embed_images([Image.fromarray(p) for p in pictures]) @ clip.embed_texts(texts).T
    stage = ClipStage(QUICK["clip"][0], quick, torch.device("cpu"))
    Trainer(stage, quick).load()
    with torch.no_grad():
        logits = stage._logits(to_tensor(pictures), texts)
    assert cosines.shape == (4, 4) and float(cosines.abs().max()) <= 1
    # half precision, and the average instead of the last weights
    assert torch.corrcoef(torch.stack([cosines.flatten(), logits.flatten()]))[0, 1] > 0.9
    again = ClipStage(QUICK["clip"][0], quick, torch.device("cpu"), start=quick)
    with torch.no_grad():  # what was exported is what training can start from
        logits = again._logits(to_tensor(pictures), texts)
    assert torch.corrcoef(torch.stack([cosines.flatten(), logits.flatten()]))[0, 1] > 0.999
    with pytest.raises(UnknownModelError, match="has no CLIP"):
        Clip.from_pretrained(quick / "unet")
