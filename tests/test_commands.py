"""Commands on runs and models that go wrong, and the grid of a run: exit codes, messages and files."""

import numpy as np
import torch
from PIL import Image

from tests.command_line import run
from tests.conftest import build_lens

SIZE = 'sampler = {steps = 1, guidance = 0.0, height = 16, width = 16}\nmachine = {dtype = "float32"}\n'


def save_tiny(folder, *, broken=False):
    """A tiny model in a folder; a broken one draws what is no number."""
    pipe = build_lens("sd").pipeline
    if broken:
        with torch.no_grad():
            pipe.unet.conv_out.weight.fill_(float("nan"))
    pipe.save_pretrained(folder)
    return folder


def test_doctor_names_what_is_wrong_with_a_model_and_exits_with_1(tmp_path):
    model = save_tiny(tmp_path / "model", broken=True)
    done = run("doctor", str(model), "--height", "16", "--width", "16", "--steps", "1")
    assert done.returncode == 1
    assert "FAILED" in done.stdout and "nan" in done.stdout
    assert "checks failed" in done.stderr and "Traceback" not in done.stderr


def test_a_sweep_that_draws_nothing_exits_with_1(tmp_path):
    save_tiny(tmp_path / "model")
    study = tmp_path / "study.toml"
    study.write_text(
        f'model = "{tmp_path}/model"\nprompts = ["a red fox"]\nlayers = [0]\n'
        f'interventions = [["keep(unicorn)"]]\n{SIZE}'
    )
    done = run("sweep", str(study), "--out", str(tmp_path / "run"))
    assert done.returncode == 1
    assert "does not hold 'unicorn'" in done.stderr


def test_the_grid_of_a_prompt_of_a_run(tmp_path):
    save_tiny(tmp_path / "model")
    study = tmp_path / "study.toml"
    study.write_text(
        f'model = "{tmp_path}/model"\nprompts = ["a red fox", "a car"]\nlayers = ["all"]\n'
        f"seeds = [0, 1]\n{SIZE}"
    )
    assert run("sweep", str(study), "--out", str(tmp_path / "run")).returncode == 0
    drawn = tmp_path / "fox.png"
    arguments = ("grid", str(tmp_path / "run"), "--prompt", "a red fox", "--layers", "0", "4")
    done = run(*arguments, "--out", str(drawn))
    assert done.returncode == 0 and "4 images" in done.stdout
    assert np.asarray(Image.open(drawn)).std() > 0
    again = run(*arguments, "--out", str(drawn))
    assert again.returncode == 2 and "exists" in again.stderr
    wrong = run("grid", str(tmp_path / "run"), "--prompt", "a blue dog", "--out", str(tmp_path / "no.png"))
    assert wrong.returncode == 2
    assert "holds no image of prompt 'a blue dog'" in wrong.stderr and "'a car'" in wrong.stderr
    assert not (tmp_path / "no.png").exists()
