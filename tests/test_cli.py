"""The command line as a user meets it: in a process of its own."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "diffusion_lens", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


HELP = [[verb, "--help"] for verb in ("show", "sweep", "status", "export", "bench", "doctor")]
HELP += [[group, verb, "--help"] for group, verb in (("latent", "edit"), ("lego", "learn"))]


@pytest.mark.parametrize("verb", [["--help"], *HELP, ["models"]])
def test_help_and_models_do_not_import_torch(verb):
    code = "import sys; from diffusion_lens.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *verb], capture_output=True, check=False)
    assert done.returncode == 0


def test_models_names_every_family(tmp_path):
    done = run("models", cwd=tmp_path)
    assert "emoji" in done.stdout and "Qwen-Image" in done.stdout and "penultimate" in done.stdout


def test_show_writes_the_grid_and_the_table_behind_it(tmp_path, emoji):
    prompt = "a [red] fox / on grass"
    arguments = (
        "show",
        prompt,
        "--layers",
        "0",
        "-1",
        "--seeds",
        "2",
        "--steps",
        "2",
        "--out",
        "a b/fox.png",
    )
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["grid   a b/fox.png", "table  a b/fox.parquet"]
    assert "Warning" not in done.stderr and "torchvision" not in done.stderr
    expected = emoji(prompt, [0, -1], 2, steps=2, progress=False)
    written = Image.open(tmp_path / "a b" / "fox.png")
    assert np.array_equal(written, expected.grid())

    again = run(*arguments, cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr.startswith("error: a b/fox.png exists. Choose another path")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show"], "error: No prompt was given"),
        (["show", "x", "--model", "nonsense"], "error: There is no model 'nonsense'"),
        (["show", "x", "--layers", "99"], "error: Layer 99 is out of range. Allowed: layers 0 to 6"),
        (["show", "x", "--out", "fox.pdf"], "error: fox.pdf names no picture"),
        (["show", "x", "--out", "file/fox.png"], "error: file/fox.png can't be written"),
        (["show", "x", "--seeds", "one"], "Error parsing --seeds: "),
        (["doctor", "file"], "error: There is no model 'file'"),
    ],
)
def test_errors_are_one_message_and_exit_code_2(tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_doctor_says_what_is_wrong_with_a_model(tmp_path, new_lens):
    pipe = new_lens("sd").pipeline
    pipe.save_pretrained(tmp_path / "sd")
    done = run("doctor", "sd", "--height", "16", "--width", "16", cwd=tmp_path)
    assert "native image against the plain pipeline" in done.stdout
    # on a model this small a busy machine can fail the one check that measures time
    assert done.stdout.count("FAILED") == done.stdout.count("FAILED  time to encode")


def test_ctrl_c_ends_with_one_word(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "diffusion_lens", "show", "a fox", "--steps", "900"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.read(8).strip() == "Drawing"  # the first thing said is the progress bar
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.rstrip().endswith("stopped") and "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
