"""Sheets of what a run drew, and a whole analysis of a run."""

import json
import subprocess
import sys

from PIL import Image

from diffusion_lens.figures.examples import draw_examples
from tests.scoring.made_runs import make_run, scene

PROMPTS = ["a red fox", "a blue cat at night", "two dogs"]


def test_one_row_a_prompt_and_one_column_a_layer(tmp_path):
    make_run(tmp_path / "run", PROMPTS, lambda cell, prompt: scene(prompt))
    [path] = draw_examples([tmp_path / "run"], tmp_path / "figures", prompts=2)
    assert path.name == "examples-run.png"
    with Image.open(path) as sheet:
        width, height = sheet.size
    assert width > 3 * 64 and 2 * 64 < height < 3 * 64


def test_a_run_without_images_has_no_sheet(tmp_path):
    make_run(tmp_path / "run", PROMPTS, lambda cell, prompt: None)
    assert draw_examples([tmp_path / "run"], tmp_path / "figures") == []


def test_several_runs_are_analysed_together_with_the_contrasts_they_planned(tmp_path):
    for name in ("one", "other"):
        make_run(tmp_path / name, PROMPTS, lambda cell, prompt: scene(prompt), seeds=(0,))
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        manifest["experiment"] |= {"claim": "all is there", "contrasts": ["kind=object,attribute"]}
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
    command = [sys.executable, "-m", "diffusion_lens"]
    for name in ("one", "other"):
        subprocess.run([*command, "score", name, "--scorer", "oracle"], cwd=tmp_path, check=True)
    analyse = [*command, "analyze", "one", "other", "--out", "out", "--resamples", "100"]
    subprocess.run(analyse, cwd=tmp_path, check=True)
    page = (tmp_path / "out" / "findings.md").read_text()
    assert "**Claim to test:** all is there" in page
    planned = (tmp_path / "out" / "tables" / "planned.csv").read_text()
    assert "object" in planned and "attribute" in planned
    assert "| one | `emoji` | 3 |" in page and "| other | `emoji` | 3 |" in page
    figures = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"examples-one.png", "examples-other.png"} <= figures
