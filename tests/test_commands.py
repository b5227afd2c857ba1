"""Commands on runs and models that go wrong, and the grid of a run: exit codes, messages and files."""

import numpy as np
import pandas as pd
import torch
from PIL import Image

from diffusion_lens.text.embedding_files import write_embedding
from diffusion_lens.text.embeddings import initial_embedding
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
    for option, what in (("--layers", "layer"), ("--seeds", "seed")):
        asked = ("grid", str(tmp_path / "run"), "--prompt", "a red fox", option, "9")
        wrong = run(*asked, "--out", str(tmp_path / "no.png"))
        assert wrong.returncode == 2 and f"holds no image of {what} 9. It holds: 0, 1" in wrong.stderr
    assert not (tmp_path / "no.png").exists()


def test_a_learned_word_that_is_the_vector_of_cat_is_said_traced_and_read_as_cat(tmp_path, emoji):
    word = initial_embedding(emoji.pipeline, "<it>", "cat")
    write_embedding(tmp_path / "it.safetensors", word, emoji.pipeline)
    given = ("--embedding", "it.safetensors", "--layers", "0", "3")
    (tmp_path / "few.txt").write_text("cat\ndog\nfox\ncar\ntree\nhouse\nred\n")
    said = {}
    for name, learned in (("cat", ()), ("<it>", given[:2])):
        asked = (f"a {name}", "--tokens", name, "--candidates", "few.txt")
        done = run("words", *asked, *learned, *given[2:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        said[name] = done.stdout.replace("<it>", "cat").split()
    assert said["<it>"] == said["cat"] and "cat" in said["cat"]
    few = ("--steps", "1", "--overwrite")
    read, traced = [], []
    for name, learned in (("cat", ()), ("<it>", given[:2])):
        asked = (f"a {name}", *learned, *given[2:], *few)
        assert run("attention", *asked, "--word", name, "--out", "at.png", cwd=tmp_path).returncode == 0
        assert run("trace", *asked, "--out", "traced", cwd=tmp_path).returncode == 0
        read.append(pd.read_csv(tmp_path / "at.csv")["share"])
        traced.append(pd.read_csv(tmp_path / "traced/trace.csv")["change"])
    np.testing.assert_allclose(*read, atol=1e-6)
    np.testing.assert_allclose(*traced, atol=1e-6)
    asked = [("Is there a cat?", "object", "cat", ""), ("Is the cat red?", "attribute", "cat", "red")]
    pd.DataFrame(
        [(f"a red {name}", *one) for name in ("cat", "<it>") for one in asked],
        columns=["prompt", "question", "kind", "subject", "attribute"],
    ).to_csv(tmp_path / "checks.csv", index=False)
    checked = ("--checks", "checks.csv", *few, "--seeds", "0")
    patched, lost = [], []
    for name, learned in (("cat", ()), ("<it>", given[:2])):
        pair = (f"a red {name}", f"a blue {name}", "--layers", "0", "--tokens", "#1")
        assert run("patch", *pair, *learned, *checked, "--out", "patched", cwd=tmp_path).returncode == 0
        alone = (pair[0], "--held-out", "100", "--pairs", "0")
        assert run("diagnose", *alone, *learned, *checked, "--out", "lost", cwd=tmp_path).returncode == 0
        patched.append(pd.read_csv(tmp_path / "patched/cells.csv")["restored"])
        lost.append(pd.read_csv(tmp_path / "lost/layers.csv"))
    np.testing.assert_allclose(*patched, atol=1e-6)
    pd.testing.assert_frame_equal(*lost)
    compared = ("a red <it>", *given, "--seeds", "0", *few, "--out", "compared")
    assert run("compare", *compared, cwd=tmp_path).returncode == 0
