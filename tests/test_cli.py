"""The command line as a user meets it; in process but for what only a process can show."""

import io
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from diffusion_lens import __version__
from diffusion_lens.cli import main
from diffusion_lens.cli.entry import CONFIG
from diffusion_lens.cli.values import VALUES
from diffusion_lens.cli.verbs import verbs
from diffusion_lens.testbed.scenes import Scene, render
from tests.command_line import run

EXAMPLES = [(one, example) for one in verbs() for example in one.examples]


@pytest.mark.parametrize("one", verbs(), ids=lambda one: one.name)
def test_help_has_examples_and_defaults_in_words(one):
    done = run(*one.path, "--help")
    said = done.stdout
    assert done.returncode == 0
    for example in one.examples:
        assert example[:60] in said
    assert not re.search(r"\bNone\b|\(default:[\s│]*(\)|True|False)", said)
    assert one.summary.endswith((".", "?")) and one.summary[0].isupper()


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("show", "image of each layer. (default: 0)"),
        ("when", "image of each layer. (default: 0 1 2 3)"),
        ("diagnose", "image of each layer. (default: 0 1 2 3)"),
        ("testbed evaluate", "such as 0:24:4. (default: native)"),
    ],
)
def test_an_option_that_verbs_share_has_the_default_of_each(verb, said):
    assert said in re.sub(r"[│\s]+", " ", run(*verb.split(), "--help").stdout)


@pytest.mark.parametrize(("one", "example"), EXAMPLES, ids=[example for _, example in EXAMPLES])
def test_examples_in_help_are_understood(one, example):
    program, *words = shlex.split(example)
    assert program == "diffusion-lens"
    named = next(verb for verb in verbs() if tuple(words[: len(verb.path)]) == verb.path)
    received = []

    def receive(*given: object, **options: object) -> None:
        received.append(given)

    receive.__signature__ = __import__("inspect").signature(named.function)
    receive.__annotations__ = named.function.__annotations__
    tyro.cli(receive, args=words[len(named.path) :], config=CONFIG, registry=VALUES)
    assert received


def test_the_version_and_the_way_on():
    assert run("--version").stdout == f"diffusion-lens {__version__}\n"
    done = run("models")
    said = done.stdout
    assert done.returncode == 0
    assert "emoji" in said and "Qwen-Image" in said and "penultimate" in said
    # names and ids are whole, also where the terminal is narrow
    assert "StableDiffusion3Pipeline, stabilityai/stable-diffusion-3.5-medium" in said or "…" not in said
    assert "Next:" in said and 'diffusion-lens show "a purple cat"' in said


def test_show_writes_the_grid_and_the_table_behind_it(tmp_path, emoji):
    prompt = "a [red] fox / on grass"
    command = [sys.executable, "-m", "diffusion_lens", "show", prompt, "--layers", "0", "-1"]
    command += ["--seeds", "2", "--steps", "2", "--out", "a b/fox.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["grid   a b/fox.png", "table  a b/fox.parquet"]
    assert "Warning" not in done.stderr and "torchvision" not in done.stderr
    expected = emoji(prompt, [0, -1], 2, steps=2, progress=False)
    written = Image.open(tmp_path / "a b" / "fox.png")
    assert np.array_equal(written, expected.grid())


BAD = [
    (["show"], "No prompt was given"),
    (["show", "x", "--model", "nonsense"], "error: There is no model 'nonsense'"),
    (["show", "x", "--layers", "99"], "error: Layer 99 is out of range. Allowed: layers 0 to 6"),
    (["show", "x", "--slots", "²"], "error: '²' names no slots. Allowed: all, cap, an index such as 0"),
    (["show", "x", "--out", "fox.pdf"], "error: fox.pdf names no image"),
    (["show", "x", "--out", "file/fox.png"], "error: file/fox.png can't be written"),
    (["show", "x", "--out", "x" * 300 + ".png"], "is too long for a file system"),
    (["show", "x", "--out", "folder.png", "--overwrite"], "error: folder.png is a folder"),
    (["show", "x", "--intervene", "keep(" * 20_000], " [...] "),
    (["show", "x", "--words", "999"], "error: --words is 999; it must be from 0 to 100"),
    (["tune", "t.safetensors", "--count", "0"], "error: 0 captions were asked for"),
    (["testbed", "scenes", "--n", "99999999999"], "ask for 1 to 10,000"),
    (["show", "x", "--seeds", "one"], "error: --seeds: 'one' is not a whole number"),
    (["show", "x", "--seeds", "9" * 30], "not a whole number of at most 64 bits"),
    (["show", "x", "--guidance", "nan"], "is not a number"),
    (["show", "caf\udce9"], "is not valid UTF-8"),
    (["show", "x", "--device", "None"], "None"),
    (["show", "x", "--device", "meta"], "error: Device 'meta' can't be used"),
    (["show", "x", "--seed", "1"], "--seeds"),
    (["sweep", "x.toml", "--shard", "²/3"], "x.toml"),
    (["analyze", "file", "--out", "o", "--seed", "-1"], "error: --seed: '-1' is no seed"),
    (["sweep"], "error: No experiment was given"),
    (["sweep", "--study", "nothing"], "error: No study 'nothing' comes with the package. Known: "),
    (["doctor", "file"], "error: file is a file, and no checkpoint: those end in .safetensors"),
    (["nonsense"], "nonsense"),
    (
        ["compare", "x", "--encoder-b", "own+int9", "--out", "new/one"],
        "'own+int9' describes no text encoder",
    ),
    (["compare", "x", "--encoder-a", "own+int8"], "--encoder-a and --encoder-b are both own+int8"),
    (["compare", "x", "--text-encoder", "own+int8"], "Name it as one of these: --encoder-b own+int8"),
    (["words", "x", "--out", "said.png"], "said.png names no table; end it in .csv"),
    (["trace", " ", "--model", "nonsense"], "error: The prompt ' ' is blank, and has no word"),
    (["attention", "", "--word", "x", "--model", "nonsense"], "error: The prompt '' is blank"),
    (["words", "x", " "], "A prompt is blank, and has no word whose state could be said"),
    (["words", "x", "--count", "0"], "--count is 0; give at least 1"),
    (["checks", "file", "--out", "checks.png"], "checks.png names no table; end it in .csv"),
    (["when", "a red car", ""], "is blank. What can be asked for: car, red"),
    (
        ["when", "a red car", "red", "--scorer", "similarity"],
        "similarity can't tell whether 'red' is there",
    ),
    (["patch", "a car", "a red car"], "Whatever 'a car' states, 'a red car' states too"),
    (["diagnose", "a red car", "--held-out", "0"], "Seed 0 is drawn with and held out too"),
    (["new", " "], "is no name of a study"),
    (["new", "a\0b"], "is no name of a study"),
    (["latent"], "caption"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda part: ascii(part)[:40])
def test_errors_are_one_message_and_exit_code_2(tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in " ".join(line.strip("│ ") for line in (done.stdout + done.stderr).splitlines())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def test_images_that_all_overflowed_are_an_exit_code(tmp_path):
    words = ["show", "a fox", "--layers", "native", "--steps", "1", "--guidance", "1e308", "--out", "x.png"]
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 1 and "not finite" in done.stderr
    assert (tmp_path / "x.parquet").exists()  # which says so too


def test_files_are_replaced_only_when_asked(tmp_path):
    (tmp_path / "fox.png").write_text("mine")
    done = run("show", "a fox", "--out", "fox.png", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: fox.png exists. Choose another path")
    assert (tmp_path / "fox.png").read_text() == "mine"


def test_doctor_passes_a_sound_model(tmp_path, new_lens):
    new_lens("sd").pipeline.save_pretrained(tmp_path / "sd")
    done = run("doctor", "sd", "--height", "16", "--width", "16", cwd=tmp_path)
    assert done.returncode == 0
    assert "native image against the plain pipeline" in done.stdout and "FAILED" not in done.stdout


def test_what_nobody_reads_is_not_an_error(tmp_path):
    """`diffusion-lens ... | head`: the work is done all the same."""
    command = [sys.executable, "-m", "diffusion_lens", "testbed", "scenes", "--n", "40"]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len((tmp_path / "scenes.jsonl").read_text().splitlines()) == 40


def test_scenes_are_written_one_by_one_as_sets_takes_them(tmp_path):
    command = ("testbed", "scenes", "--n", "3", "--images", "single")
    assert run(*command, cwd=tmp_path).returncode == 0
    rendered = [
        render(Scene.from_json(line)) for line in (tmp_path / "scenes.jsonl").read_text().splitlines()
    ]
    single = sorted((tmp_path / "single").iterdir())
    assert [np.asarray(Image.open(path)).tolist() for path in single] == [one.tolist() for one in rendered]
    again = run(*command, "--out", "other.png", cwd=tmp_path)
    assert (
        again.returncode == 2
        and "00000.png exists" in again.stderr
        and not (tmp_path / "other.png").exists()
    )


def test_output_in_any_encoding(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    main(["models"])
    stream.seek(0)
    assert "Stable Diffusion" in stream.read()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_disk_is_one_message():
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "diffusion_lens", "models"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: No space left on device") and "Traceback" not in done.stderr


def test_ctrl_c_ends_with_one_word(zygote, tmp_path):
    child = zygote.command("show", "a fox", "--steps", "900", cwd=tmp_path)
    assert child.said("Drawing").strip().startswith("Drawing")  # the first thing said is the progress bar
    child.signal(signal.SIGINT)
    code, said = child.wait()
    assert code == 130
    assert said.rstrip().endswith("stopped") and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
