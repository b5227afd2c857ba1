"""`sweep`, `status`, `export` and `bench` as a user meets them."""

import csv
import re
import signal

import pandas as pd
import pytest

from tests.command_line import run

SMALL = """
claim = "foxes are red"
model = "emoji"
prompts = ["a [red] fox", "a car"]
contrasts = ["prompt=a [red] fox,a car"]
layers = [0, "native"]
[sampler]
steps = 2
"""


def test_a_study_from_plan_to_files(tmp_path):
    (tmp_path / "foxes.toml").write_text(SMALL)
    done = run("sweep", "foxes.toml", "--seeds", "0", "3", "--limit", "1", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = "runs/foxes: 4 images = 1 prompts x text_encoder (native, 2 layers) x 2 seeds"
    first, second, third = done.stdout.splitlines()
    assert (first, second) == (expected, "done 0, failed 0, to draw now 4")
    assert re.fullmatch(r"about .+ s and [\d.]+ MB, by one batch", third)
    assert "The first 1 of 2 prompts are too few for the contrast 'prompt=a" in " ".join(
        done.stderr.split()
    )
    assert not (tmp_path / "runs").exists()
    done = run(
        "sweep",
        "foxes.toml",
        "--seeds",
        "0",
        "3",
        "--scorers",
        "oracle",
        "vqa",
        "--batch-size",
        "4",
        cwd=tmp_path,
    )
    assert done.returncode == 2, done.stderr  # of the scorers, one has no weights here
    assert re.search(r"about .+ s and [\d.]+ MB for the rest, by the first batch", done.stdout)
    assert "8 images drawn in" in done.stdout and "; 0 left." in done.stdout
    assert "runs/foxes/scores/oracle.parquet" in done.stdout
    assert "vqa: the scorer vqa can't load Qwen" in done.stderr
    assert set(pd.read_parquet(tmp_path / "runs/foxes/scores/oracle.parquet")["scorer"]) >= {"oracle"}
    done = run("sweep", "foxes.toml", "--seeds", "0", "3", "4", "--dry-run", cwd=tmp_path)
    assert "done 8, failed 0, to draw now 4" in done.stdout and "that are there" in done.stdout
    done = run("status", "runs/foxes", cwd=tmp_path)
    assert done.stdout.startswith("claim    foxes are red\nplanned  8\ndone     8 (")
    assert "to do    0" in done.stdout and "images a second and worker on cpu" in done.stdout
    done = run("export", "runs/foxes", "--out", "files", cwd=tmp_path)
    assert done.stdout == "8 images in files\n"
    table = pd.read_csv(tmp_path / "files/metadata.csv")
    assert sorted(path.name for path in (tmp_path / "files").glob("*.png")) == sorted(table["file_name"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "none.toml"], "error: The experiment none.toml can't be read: No such file"),
        (["sweep", "bad.toml"], "error: There is no key 'layer' in the experiment. Did you mean 'layers'?"),
        (["sweep", "orakel.toml"], "error: There is no scorer 'orakel'. Did you mean 'oracle'?"),
        (
            ["sweep", "setting.toml"],
            "error: There is no key 'modle' in [scorer.clip]. Did you mean 'model'?",
        ),
        (
            ["sweep", "listed.toml"],
            "sampler is 5; it must be a table, written below [sampler] with some of the keys steps, ",
        ),
        (
            ["sweep", "steps.toml"],
            "error: There is no key 'steps' in the experiment. It stands below [sampler].",
        ),
        (["sweep", "taken.toml", "--dry-run"], "error: The prompts have a column 'layer', which every run"),
        (["sweep", "checked.toml"], "error: All checks are of prompts that are not drawn, such as"),
        (["sweep", "foxes.toml", "--shard", "a"], "error: 'a' is no shard; give one as 3/16"),
        (["sweep", "foxes.toml", "--shard", "3/2"], "error: Shard 3 of 2 does not exist"),
        (["sweep", "foxes.toml", "--layers", "99"], "error: Layer 99 is out of range"),
        (["sweep", "foxes.toml", "--model", "nonsense"], "error: There is no model 'nonsense'"),
        (["sweep", "foxes.toml", "--out", "foxes.toml/run"], "error: foxes.toml/run can't be written"),
        (["sweep", "foxes.toml", "--out", "nonsense://x"], "error: nonsense://x can't be opened"),
        (["status", "."], ". is no run: it holds no manifest.json. Name the folder of a run"),
        (["status", "nowhere"], "There is no nowhere. Name the folder of a run"),
        (["bench", "lens", "--tune"], "error: --tune builds many models and needs an --architecture"),
    ],
)
def test_errors_are_one_message_and_exit_code_2(tmp_path, arguments, message):
    (tmp_path / "foxes.toml").write_text(SMALL)
    (tmp_path / "orakel.toml").write_text('scorers = ["orakel"]' + SMALL)
    (tmp_path / "setting.toml").write_text(SMALL + '[scorer.clip]\nmodle = "x"\n')
    (tmp_path / "checked.toml").write_text('checks = "c.csv"\nscorers = ["oracle"]' + SMALL)
    (tmp_path / "taken.toml").write_text('model = "emoji"\nprompts = [{ prompt = "a", layer = 1 }]\n')
    (tmp_path / "c.csv").write_text("prompt,question,kind\na cow,Is there a cow?,object\n")
    (tmp_path / "steps.toml").write_text("steps = 2\n" + SMALL)
    (tmp_path / "listed.toml").write_text('model = "emoji"\nprompts = ["a"]\nsampler = 5\n')
    (tmp_path / "bad.toml").write_text('layer = [1]\nmodel = "emoji"\n')
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_ends_with_a_summary(zygote, tmp_path):
    (tmp_path / "foxes.toml").write_text(SMALL)
    seeds = [str(seed) for seed in range(300)]
    child = zygote.command("sweep", "foxes.toml", "--seeds", *seeds, cwd=tmp_path)
    child.said(r"\| [1-9]\d*/[0-9]+ ")  # the bar, once a batch is drawn
    child.signal(signal.SIGINT)
    code, said = child.wait()
    assert code == 130
    assert "Stopped. The same command resumes it." in said and "images drawn in" in said
    assert "Traceback" not in said
    assert len(pd.read_parquet(tmp_path / "runs/foxes/images")) % 32 == 0


def test_bench_writes_its_figures(tmp_path):
    arguments = (
        "--architecture",
        "sd21",
        "--size",
        "tiny",
        "--steps",
        "1",
        "--rounds",
        "1",
        "--seeds",
        "2",
    )
    done = run("bench", "lens", *arguments, "--approximations", "--out", "a/bench", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "a/bench/timings.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["way"] for row in rows] == ["per image", "per layer", "lens", "sweep"]
    assert rows[0]["speedup"] == rows[1]["over_layers"] == "1"
    with open(tmp_path / "a/bench/approximation_error.csv", newline="") as file:
        errors = list(csv.DictReader(file))
    assert [row["rmse"] for row in errors[:4]] == ["0"] * 4
    assert {row["approximation"] for row in errors} == {
        "",
        "guided=0.5",
        "first_block=0.1",
        "pyramid=2",
        "precision=bfloat16",
    }
    text = (tmp_path / "a/bench/README.md").read_text()
    assert f"`diffusion-lens bench lens {' '.join(arguments)} --approximations --out a/bench`" in text
    assert "cores" in text and "| per layer |" in text and "| guided=0.5 |" in text
    again = run("bench", "lens", "--out", "a/bench", cwd=tmp_path)
    assert again.returncode == 2 and "a/bench/timings.csv exists" in again.stderr.replace("\n", "")
