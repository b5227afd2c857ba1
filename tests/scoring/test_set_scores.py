"""Set-level scores: known values, and what sets of one kind give."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diffusion_lens.errors import InputError, ScorerError, ScoresError
from diffusion_lens.runs.table import DrawnCell
from diffusion_lens.scoring import set_scores
from diffusion_lens.scoring.measures import VectorMeasure
from diffusion_lens.scoring.set_score_files import read_set_scores, write_set_scores
from diffusion_lens.scoring.set_scores import (
    frechet_distance,
    kernel_distance,
    score_sets,
)
from tests.command_line import run as command
from tests.scoring.made_runs import make_run, scene


def test_kid_by_hand():
    one, other = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    # within the first 1, within the other 8, between the two (8 + 8 + 1 + 1) / 4
    assert kernel_distance(one, other)[0] == pytest.approx(1 + 8 - 2 * 4.5)


def test_kid_is_nothing_on_average_for_sets_of_one_kind_and_its_error_is_of_that_size():
    rng = np.random.default_rng(0)
    found = [kernel_distance(*rng.normal(0, 0.3, (2, 40, 6))) for _ in range(60)]
    kid, error = np.array(found).T
    assert abs(kid.mean()) < 3 * kid.std() / np.sqrt(60)
    assert 0.7 < error.mean() / kid.std() < 1.4
    apart, certain = kernel_distance(rng.normal(0, 0.3, (40, 6)), rng.normal(0.3, 0.3, (40, 6)))
    assert apart > 3 * certain


def test_images_of_one_prompt_are_one_unit():
    rng = np.random.default_rng(1)
    prompts = np.repeat(np.arange(10), 4)
    one, other = (rng.normal(0, 0.5, (10, 5))[prompts] for _ in range(2))
    repeated = kernel_distance(one, other, prompts, prompts + 10)
    assert repeated == pytest.approx(kernel_distance(one[::4], other[::4]))


def test_a_prompts_number_makes_no_image_of_a_folder_its_own():
    rng = np.random.default_rng(3)
    one, other = rng.normal(0, 0.5, (2, 10, 5))
    expected = kernel_distance(one, other)
    for first in (0, 5, 13, 1000):  # as where the first prompts have no image
        numbers = np.arange(first, first + 10)
        assert kernel_distance(one, other, numbers) == pytest.approx(expected)
        assert kernel_distance(one, other, None, numbers) == pytest.approx(expected)


def test_sets_of_the_same_prompts_are_no_nearer_than_nothing():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(40):
        prompts = rng.normal(0, 0.5, (30, 6))
        one, other = (prompts + rng.normal(0, 0.05, prompts.shape) for _ in range(2))
        found.append(kernel_distance(one, other, np.arange(30), np.arange(30))[0])
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(40)


def test_fid_of_normal_distributions_has_its_closed_form():
    rng = np.random.default_rng(2)
    one, other = rng.normal(0, 1, (4000, 3)), rng.normal([3.0, 0, 0], 2, (4000, 3))
    # the shift squared, and (2 - 1)^2 in each of three dimensions
    assert frechet_distance(one, other) == pytest.approx(9 + 3, rel=0.06)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-8)
    with pytest.raises(InputError, match="two images or more"):
        frechet_distance(one[:1], other)


def mean_colour(images):
    return np.stack([np.asarray(one).mean((0, 1)) / 441.7 for one in images])


COLOURS = VectorMeasure("colour", "mean colour", mean_colour)
PROMPTS = [f"a {colour} fox" for colour in ("red", "blue", "green", "yellow", "purple", "pink")]


def test_a_layer_like_the_last_is_near_it(tmp_path):
    def draw(cell, prompt):
        return Image.new("RGB", (64, 64), (200, 40 * cell.seed, 0)) if cell.layer == 0 else scene(prompt)

    make_run(tmp_path / "run", PROMPTS, draw)
    found = score_sets(tmp_path / "run", COLOURS).set_index("layer")
    assert list(found.index) == [0, 1] and set(found["reference"]) == {"layer 2"}
    assert found.loc[0, "kid"] > found.loc[0, "kid_low"] > 0.01 > abs(found.loc[1, "kid"])
    assert found.loc[1, "fid"] == pytest.approx(0, abs=1e-8)
    assert write_set_scores(found.reset_index(), tmp_path / "run") == 0
    assert len(read_set_scores([tmp_path / "run", tmp_path])) == 2


def test_comparisons_of_other_vectors_and_references_stand_side_by_side(tmp_path, monkeypatch):
    make_run(tmp_path / "run", PROMPTS, lambda cell, prompt: scene(prompt))
    for folder in ("a/photos", "b/photos"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(10):
            scene(PROMPTS[number % 6]).save(tmp_path / folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    size = VectorMeasure("size", "size of images", lambda images: np.ones((len(images), 2)))
    write_set_scores(score_sets("run", COLOURS), "run")
    write_set_scores(score_sets("run", COLOURS, Path("a/photos")), "run")
    write_set_scores(score_sets("run", COLOURS, tmp_path / "b/photos"), "run")
    assert write_set_scores(score_sets("run", size), "run") == 0
    found = read_set_scores(["run"])
    rows = found.groupby(["features", "reference"], sort=False).size()
    of_colours = ("layer 2", 2), ("a/photos", 3), ("b/photos", 3)
    assert rows.to_dict() == {
        **{("colour, mean colour", name): count for name, count in of_colours},
        ("size, size of images", "layer 2"): 2,
    }
    assert write_set_scores(score_sets("run", COLOURS), "run") == 2 and len(read_set_scores(["run"])) == 10
    Path("run/set_scores.csv").write_text("")
    for act in (lambda: read_set_scores(["run"]), lambda: write_set_scores(found, "run")):
        with pytest.raises(ScoresError, match=r"run/set_scores.csv can't be read .* Move it away"):
            act()


def test_a_run_that_was_renamed_has_one_name_in_its_scores(tmp_path):
    make_run(tmp_path / "former", PROMPTS, lambda cell, prompt: scene(prompt))
    write_set_scores(score_sets(tmp_path / "former", COLOURS), tmp_path / "former")
    (tmp_path / "former").rename(tmp_path / "12")
    assert set(read_set_scores([tmp_path / "12"])["run"]) == {"12"}
    # so that the same comparison is known again
    assert write_set_scores(score_sets(tmp_path / "12", COLOURS), tmp_path / "12") == 2
    assert read_set_scores([tmp_path / "12"])["run"].tolist() == ["12", "12"]


def test_a_former_name_that_no_file_tells_stays_as_it_is(tmp_path):
    names = ["first", "first (keep(fox))", "run", "run at the native tap", "runner"]
    table = pd.DataFrame({"run": names, "encoder": "text_encoder", "layer": 0, "features": "a, b"})
    (tmp_path / "run").mkdir()
    found = table.assign(reference="layer 2", kid=0.1, kid_low=0.0, kid_high=0.2, fid=1.0)
    found.to_csv(tmp_path / "run/set_scores.csv", index=False)  # without the folder, as 0.1 wrote it
    for number, name in enumerate(["run", "second", "third"]):
        (tmp_path / "run").rename(tmp_path / name)
        now = [*names[:2], *(one.replace("run", name, 1) for one in names[2:4]), "runner"]
        assert read_set_scores([tmp_path / name])["run"].tolist() == [*now, *["new"] * number]
        write_set_scores(found.head(1).assign(run="new", layer=number), tmp_path / name)
        (tmp_path / name).rename(tmp_path / "run")


def test_a_folder_of_images_is_what_every_layer_is_compared_with(tmp_path):
    def draw(cell, prompt):
        return scene(prompt) if cell.layer else Image.new("RGB", (64, 64), (200, 40 * cell.seed, 0))

    make_run(tmp_path / "run", PROMPTS, draw)
    folder = tmp_path / "scenes"
    (folder / "more").mkdir(parents=True)
    with pytest.raises(InputError, match=r"scenes holds 0 images .* needs 10 or more"):
        score_sets(tmp_path / "run", COLOURS, folder)
    for number in range(12):
        scene(PROMPTS[number % 6]).save(folder / "more" / f"{number}.png")
    found = score_sets(tmp_path / "run", COLOURS, folder).set_index("layer")
    assert list(found.index) == [0, 1, 2] and set(found["reference"]) == {"scenes"}
    assert set(found["reference_images"]) == {12}
    assert found.loc[2, "fid"] < 0.01 < found.loc[0, "fid"]
    (folder / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken.png can't be read as an image"):
        score_sets(tmp_path / "run", COLOURS, folder)


def test_a_layer_of_few_images_is_left_out_and_a_run_of_few_is_refused(tmp_path, caplog):
    def draw(cell, prompt):
        return scene(prompt) if cell.layer or prompt == PROMPTS[0] else None

    make_run(tmp_path / "run", PROMPTS, draw)
    assert list(score_sets(tmp_path / "run", COLOURS)["layer"]) == [1]
    assert "Layer 0 of run has 2 images; a set needs 10" in caplog.text

    def black(cell, prompt):
        return scene(prompt) if cell.layer else DrawnCell(cell, missing="black")

    make_run(tmp_path / "none", PROMPTS, black)
    assert list(score_sets(tmp_path / "none", COLOURS)["layer"]) == [1]
    assert "Layer 0 of none has 0 images; a set needs 10" in caplog.text
    make_run(tmp_path / "small", PROMPTS[:2], draw)
    with pytest.raises(ScorerError, match="fewer than 10 images of every layer"):
        score_sets(tmp_path / "small", COLOURS)


def test_a_reference_that_is_not_there_is_refused(tmp_path):
    refused = command("sets", "run", "--reference", "none", cwd=tmp_path)
    assert refused.returncode == 2 and "--reference none is no folder" in refused.stderr


def test_of_a_large_folder_images_are_taken_at_random_and_not_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(set_scores, "_MOST", 20)
    for name, level in (("ants", 0), ("bees", 255)):
        (tmp_path / name).mkdir()
        for number in range(20):
            Image.new("L", (1, 1), level).save(tmp_path / name / f"{number:02d}.png")
    measure = VectorMeasure(
        "made", "made", lambda images: np.array([one.getpixel((0, 0)) for one in images])
    )
    found = set_scores._vectors_of_folder(tmp_path, measure)
    assert len(found) == 20 and set(found[:, 0]) == {0, 255}
