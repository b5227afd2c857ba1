"""The studies behind `results/`: what they compare is what they say, and each runs end to end."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diffusion_lens.analysis.significance import sign_flip_test
from diffusion_lens.learning.latent_inversion import LatentInversion
from diffusion_lens.learning.training import Settings
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.clip import Clip
from diffusion_lens.testbed import captions, scenes
from diffusion_lens.testbed.contrastive import draw_twins
from diffusion_lens.testbed.inverter import draw_scene
from diffusion_lens.testbed.scenes import OBJECTS, Scene
from experiments.studies import cycle_training, latent_inversion, latent_parts, lego, textual_inversion
from experiments.studies.draw_latent_inversion import draw_latent_inversion
from experiments.studies.draw_lego import draw_lego
from experiments.studies.draw_textual_inversion import draw_textual_inversion
from experiments.studies.latent_parts import StudyScenes
from experiments.studies.lego_concepts import TRUTHS, check, read_images
from experiments.studies.subjects import SUBJECTS, Subject
from experiments.studies.tables import means, paired
from experiments.studies.unseen import trained_scenes, unseen_scenes
from experiments.write_embeddings import HERE, LEARNED, write_embeddings
from tests.few_steps import few_steps


@pytest.fixture
def fast(emoji):
    """The embedded model with one denoising step."""
    from diffusion_lens.images.sampler import Sampler

    return DiffusionLens(emoji.pipeline, defaults=Sampler(steps=1, guidance=1.0), name="emoji")


# Statistics: the unit is what was learned, not what was asked


def repeated(gains, repeats):
    """Two ways, which differ by a gain for each concept, asked the same `repeats` times."""
    rows = [
        (f"c{number}", way, value)
        for number, gain in enumerate(gains)
        for way, value in (("LEGO", 0.2 + gain), ("other", 0.2))
        for _ in range(repeats)
    ]
    return pd.DataFrame(rows, columns=["concept", "way", "value"]).assign(check="both")


def test_more_prompts_of_the_same_concepts_are_no_new_evidence():
    gains = [0.19, 0.31, 0.69, 0.50, 0.71, 0.00]
    once, often = (paired(repeated(gains, n), ["check"], "concept", "way", "LEGO") for n in (1, 50))
    pd.testing.assert_frame_equal(once, often)
    (row,) = once.to_dict("records")
    assert row["gain"] == pytest.approx(0.4) and row["units"] == 6
    assert row["p"] == pytest.approx(2 / 2**5) == sign_flip_test(np.array(gains))
    assert row["low"] < 0.2 and row["high"] > 0.55
    table = means(repeated(gains, 50), ["check", "way"], "concept").set_index("way")
    assert table.loc["LEGO", "mean"] == pytest.approx(0.6) and table.loc["LEGO", "units"] == 6


def test_units_that_all_agree_have_no_certain_rate():
    table = pd.DataFrame({"scene": range(4), "way": "a", "right": [True] * 4})
    (row,) = means(table, ["way"], "scene", "right").to_dict("records")
    assert row["mean"] == row["high"] == 1 and row["low"] == pytest.approx(0.398, abs=0.001)


def test_an_interval_ends_where_no_measurement_can_be():
    table = pd.DataFrame({"scene": range(4), "way": "a", "right": [1.0, 1.0, 1.0, 0.9]})
    (free,) = means(table, ["way"], "scene", "right").to_dict("records")
    (row,) = means(table, ["way"], "scene", "right", limits=(0, 1)).to_dict("records")
    assert free["high"] > 1 == row["high"] and row["low"] == free["low"] < row["mean"] == free["mean"]


def test_missing_images_are_left_out_and_few_units_have_no_interval():
    table = repeated([0.1, 0.3], 1)
    table.loc[len(table)] = ["c9", "LEGO", np.nan, "both"]
    found = means(table, ["way"], "concept").set_index("way")
    assert found.loc["LEGO", "units"] == 2 and np.isnan(found.loc["LEGO", "low"])
    assert means(table.iloc[:0], ["way"], "concept").empty


# Truth


def test_subjects_are_what_training_never_drew_or_drew_seldom(emoji):
    for one in SUBJECTS:
        assert (one.kind == "unseen object") == (not one.is_style and one.name not in OBJECTS)
        assert len(one.images()) == len(one.scored_images()) == 5
        for prompt in one.edits().values():  # nothing of a description is cut off
            ids = emoji.pipeline.tokenizer(prompt.replace("{}", one.long)).input_ids
            assert len(ids) <= emoji.pipeline.tokenizer.model_max_length
        assert one.name not in (one.short, one.init)


def test_what_is_scored_was_not_trained_on():
    for one in SUBJECTS:
        assert not set(one.scenes()) & set(one.scenes(scored=True))
        if one.is_style:
            trained, scored = (
                {scene.objects[0].name for scene in one.scenes(flag)} for flag in (False, True)
            )
            assert not trained & scored
    assert max(textual_inversion.Validation.seeds) < textual_inversion.FIRST_SEED


@pytest.mark.parametrize("name", TRUTHS)
def test_the_oracle_sees_the_concept_in_its_images_and_not_in_the_subjects(name):
    truth = TRUTHS[name]
    for images, wanted in ((truth.images(0), True), (truth.subject_images(0), False)):
        found = read_images(truth, np.stack([np.asarray(image) for image in images]))
        answers = [check(truth, "house", *one) for one in found]
        assert sum(one["concept"] == wanted for one in answers) >= 4
        assert sum(one["leak"] for one in answers) >= 4 and not any(one["subject"] for one in answers)
    assert not any(check(truth, truth.subject, *one)["leak"] for one in found)  # it was asked for


def test_no_test_scene_is_a_training_scene():
    trained = trained_scenes(1500, 500, 200)
    drawn = (scenes.sample(0, 3), draw_scene(0, 7), draw_twins(0, 8), draw_twins(0, 9))
    bare = [Scene(one.place, one.objects) for one in drawn]
    assert set(bare) <= trained
    # what a training drew is skipped, and what it did not is kept in order
    stream = [bare[0], scenes.sample(5, 0, ("pair",)), bare[1], scenes.sample(5, 1, ("pair",))]
    found = unseen_scenes(lambda index: stream[index], trained)
    assert [next(found), next(found)] == [stream[1], stream[3]]
    chosen = StudyScenes(trained)
    drawn = chosen.grouped(20)
    assert [group for group, _ in drawn].count("seen") == 12 and len(drawn) == 20
    assert not {scene for _, scene in drawn} & trained
    for group, scene in drawn:
        assert scenes.held_out(scene) == (group != "seen")
    subjects = chosen.subjects(6)
    plain = {Scene("plain", one.objects) for one in subjects}
    assert not (set(subjects) | plain) & trained


def test_an_image_that_overflowed_has_missing_answers():
    stated = captions.parse("a blue car")
    image = Image.fromarray(scenes.render(captions.imagine(stated, 0)))
    table = latent_parts._judged([stated, stated], [None, image])
    assert table[table["scene"] == 0]["right"].isna().all()
    assert table[table["scene"] == 1]["right"].all()


# Each study from end to end, at tiny size


def test_textual_inversion_runs_and_resumes(fast, tmp_path):
    def call():
        return textual_inversion.study(
            fast, Clip.from_pretrained(), tmp_path, textual_inversion.QUICK, progress=False
        )

    tables = call()
    concepts = tables["concepts"]
    assert set(concepts["way"]) >= {"learned", "real word", "start word", "short", "long", "no word"}
    assert set(concepts[concepts["way"] == "learned"]["training_seed"]) == {0, 1}
    assert len(tables["grid"]) == 2 * 3 and set(tables["layers"]["layer"]) == set(range(7))
    summary = means(concepts, ["measure", "way"], "concept")
    assert (summary["units"] == 2).all()
    gains = paired(concepts, ["measure"], "concept", "way", "learned")
    assert set(gains[gains["measure"] == "edit"]["less"]) >= {"real word", "start word"}
    figure = draw_textual_inversion(summary, means(tables["grid"], ["measure", "vectors", "lr"], "concept"))
    left, right = figure.axes
    assert "start word" in [text.get_text() for text in left.texts]
    assert len(right.lines) == 1 and len(right.texts) == 2
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    call()
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}


def test_the_embeddings_of_the_sweep_are_written(fast, tmp_path):
    subjects = [Subject("dog", "object", "some"), Subject("night", "place", "some")]
    settings = Settings(steps=1, batch=1)
    files = write_embeddings(fast, subjects, settings, tmp_path / "words", tmp_path / "training")
    assert [path.name for path in files] == ["dog.safetensors", "night.safetensors"]
    # every embedding that the sweep names is one that is written
    asked = pd.read_csv(HERE / "prompts" / "learned_words.csv")["prompt"].str.extractall(r"<(\w+)>")[0]
    assert set(asked) <= {name for names in LEARNED.values() for name in names}


def test_lego_runs(fast, tmp_path):
    table = lego.study(fast, tmp_path, lego.QUICK, progress=False)
    assert set(table["way"]) == {*lego.TOKENS, "the word itself"}
    assert "the word itself" not in set(table[table["concept"] == "upside down"]["way"])
    tables = lego.summarise(table)
    assert (tables["summary"]["units"] <= 3).all()
    assert set(tables["gains"]["less"]) == {*lego.TOKENS, "the word itself"} - {"LEGO"}
    shown = pd.concat([tables["summary"].assign(concept="all"), tables["concepts"]])
    figure = draw_lego(shown)
    for axis, name in zip(figure.axes, ("both", "leak"), strict=True):
        for line, way in zip(axis.lines, dict.fromkeys(shown["way"]), strict=True):
            rows = shown[(shown["check"] == name) & (shown["way"] == way)]
            assert list(line.get_xdata()) == rows["mean"].tolist()


def test_a_source_of_latent_inversion_looks_the_same_in_every_panel():
    table = Path(latent_inversion.__file__).parents[2] / "results/latent_inversion/summary.csv"
    figure = draw_latent_inversion(pd.read_csv(table).fillna({"group": ""}))
    looks: dict[str, set[object]] = {}
    for axis in figure.axes:
        handles, names = axis.get_legend_handles_labels()
        colours = [handle.get_color() for handle in handles]
        assert len(set(colours)) == len(colours)  # and two of one panel do not
        for name, handle in zip(names, handles, strict=True):
            looks.setdefault(name, set()).add((handle.get_color(), handle.get_marker()))
    assert {"R(image)", "its caption", "mean", "swap, refined"} <= set(looks)
    assert all(len(one) == 1 for one in looks.values()), looks


def test_latent_inversion_runs(fast, inversion, tmp_path):
    quick = LatentInversion(fast, inversion.inverter)
    chosen = StudyScenes(trained_scenes(100, 100, 100), steps=1, beam=1)
    tables = latent_inversion.study(quick, tmp_path, latent_inversion.QUICK_SCENES, chosen)
    summary = latent_inversion.summarise(tables)
    assert set(summary["part"]) == set(latent_parts.PARTS)
    edits = summary[summary["part"] == "edited"]
    assert {"shift, refined", "its caption"} <= set(edits["source"])
    objects = edits[edits["check"] == "object"]
    assert (objects["units"] == 3).all() and (objects["low"] < objects["high"]).all()
    gains = latent_inversion.compare(tables)
    assert {"edited", "personalised", "refined"} <= set(gains["part"])
    assert len(draw_latent_inversion(summary).axes) == 6


def test_a_cycle_term_is_compared_with_rendered_scenes_alone(tmp_path, monkeypatch):
    for name in ("REFERENCE_SCENES", "VALIDATION_SCENES"):
        monkeypatch.setattr(f"diffusion_lens.testbed.inverter.{name}", 16)
    with few_steps(2):
        cycle_training.main(tmp_path / "results", tmp_path / "trained", quick=True)
    rates = pd.read_csv(tmp_path / "results" / "cycle_training.csv")
    assert set(rates["way"]) == {"as shipped", "rendered scenes alone", "with the cycle term"}
    assert set(rates["source"]) == {"rendered", "drawn by the model"} and (rates["units"] == 5).all()
    gains = pd.read_csv(tmp_path / "results" / "cycle_training_gains.csv")
    wide = rates.pivot(index=["source", "measure"], columns="way", values="mean")
    for row in gains.to_dict("records"):
        with_term, other = wide.loc[(row["source"], row["measure"]), ["with the cycle term", row["less"]]]
        assert row["gain"] == pytest.approx(with_term - other, abs=2e-4)
