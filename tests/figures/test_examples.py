"""Sheets of what a run drew, and a whole analysis of a run."""

import json
import re

import numpy as np
from PIL import Image

from diffusion_lens.figures.examples import draw_examples, row_labels
from diffusion_lens.runs.images import RunImages
from tests.command_line import run
from tests.scoring.made_runs import make_run, scene

PROMPTS = ["a red fox", "a blue cat at night", "two dogs"]


def drawn(prompt: str, layer: int) -> Image.Image:
    """A scene of the prompt with a corner that says which layer it is of."""
    image = scene(prompt)
    image.paste((80 * layer, 0, 255), (0, 0, 9, 9))
    return image


def found(sheet: np.ndarray, image: Image.Image) -> tuple[int, int]:
    """The one place at which a sheet shows an image, pixel for pixel."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    here = [
        (y, x)
        for y, x in np.argwhere((sheet == pixels[0, 0]).all(axis=2))
        if np.array_equal(sheet[y : y + height, x : x + width], pixels)
    ]
    (place,) = here
    return int(place[0]), int(place[1])


def test_one_row_a_prompt_and_one_column_a_layer(tmp_path):
    make_run(tmp_path / "run", PROMPTS, lambda cell, prompt: drawn(prompt, cell.layer))
    [path] = draw_examples([tmp_path / "run"], tmp_path / "figures", prompts=2)
    assert path.name == "examples-run.png"
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    # the first and the last prompt, each at all three layers, in the order of the run
    places = [found(pixels, drawn(prompt, layer)) for prompt in PROMPTS[::2] for layer in (0, 1, 2)]
    rows, columns = ([one[axis] for one in places] for axis in (0, 1))
    assert rows[:3] == [rows[0]] * 3 and rows[3:] == [rows[3]] * 3 and rows[0] < rows[3]
    assert columns[:3] == columns[3:] == sorted(set(columns))


def test_a_run_of_several_readings_has_a_row_of_each_and_says_which(tmp_path):
    def draw(cell, prompt):
        image = drawn(prompt, cell.layer)
        image.paste((0, 80 * cell.reading // 3, 0), (55, 55, 64, 64))
        return image

    make_run(tmp_path / "run", PROMPTS, draw, readouts=("native", "final"), seeds=(0,))
    images = RunImages(tmp_path / "run")
    lines = [one for one in images.series() if one.prompt in (0, 2)]
    assert row_labels(lines, [PROMPTS[one.prompt] for one in lines], "run") == [
        *("a red fox, (final)", "a red fox, (native)", "two dogs, (final)", "two dogs, (native)")
    ]
    [path] = draw_examples([tmp_path / "run"], tmp_path / "figures", prompts=2)
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert all(found(pixels, images.read([cell.id])[cell.id].image) for one in lines for cell in one.cells)


def test_a_run_without_images_has_no_sheet(tmp_path):
    make_run(tmp_path / "run", PROMPTS, lambda cell, prompt: None)
    assert draw_examples([tmp_path / "run"], tmp_path / "figures") == []


def test_several_runs_are_analysed_together_with_the_contrasts_they_planned(tmp_path):
    for name in ("one", "other"):
        make_run(tmp_path / name, PROMPTS, lambda cell, prompt: scene(prompt), seeds=(0,))
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        manifest["experiment"] |= {"claim": "all is there", "contrasts": ["kind=object,attribute"]}
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
    for name in ("one", "other"):
        assert run("score", name, "--scorer", "oracle", cwd=tmp_path).returncode == 0
    done = run("analyze", "one", "other", "--out", "out", "--resamples", "100", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "findings.md").read_text()
    assert "**Claim to test:** all is there" in page
    # three prompts prove nothing, and the page says that it leaves them out
    assert "planned: " in page and "rest on fewer than 5 prompts" in page
    assert re.search(r"\| one \| `emoji` \|.*\| 3 \|", page) and re.search(r"\| other \| `emoji` \|", page)
    figures = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    # nor is anything drawn from so few
    assert figures == {"examples-one.png", "examples-other.png"}
