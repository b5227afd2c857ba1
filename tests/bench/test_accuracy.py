"""Examination of an embedded model: its captions, its answers, its rates."""

import numpy as np
import pandas as pd
import pytest

from diffusion_lens.bench.accuracy import RARE_OBJECTS, evaluate, questions, rates
from diffusion_lens.errors import LayerError
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.testbed import captions, scenes
from diffusion_lens.testbed.synonyms import SYNONYMS


def test_captions_are_the_same_every_time_and_say_what_they_ask() -> None:
    asked = questions(60)
    assert asked == questions(60)
    groups = [question.group for question in asked]
    assert groups.count("seen") == 36 and sum(group.startswith("synonyms") for group in groups) == len(
        SYNONYMS
    )
    assert {question.stated.entity for question in questions(500) if question.stated.entity} == set(
        scenes.ENTITY_NAMES
    )
    for question in asked:
        if not question.group.startswith("synonyms"):
            assert captions.parse(question.caption) == question.stated.canonical()


def test_held_back_groups_hold_what_training_never_shows() -> None:
    for question in questions(100, synonyms=False):
        colours = [(item.name, item.colour) for item in question.stated.items]
        new = any(scenes.colour_held_out(name, colour) for name, colour in colours)
        assert new == (question.group == "new colour")
        if question.group == "new relation":
            (a, _), (b, _) = colours
            assert scenes.relation_held_out(a, question.stated.where or "", b)


def test_rare_objects_are_the_rarest_tenth() -> None:
    asked = [question for question in questions(200, synonyms=False) if question.group == "rare objects"]
    assert len(asked) == 13 and len(RARE_OBJECTS) == 8
    assert {question.stated.items[0].name for question in asked} <= RARE_OBJECTS


def test_synonyms_use_words_that_no_caption_holds() -> None:
    asked = [question for question in questions(10) if question.group.startswith("synonyms")]
    for question, synonym in zip(asked, SYNONYMS, strict=True):
        assert synonym.phrase in question.caption or captions.plural(synonym.phrase) in question.caption


def test_answers_of_a_real_model(emoji: DiffusionLens) -> None:
    asked = questions(10, synonyms=False)[:2]
    answers = evaluate(emoji, asked, layers=(0, 6), seeds=(0, 1), steps=2)
    assert set(answers["layer"]) == {0, 6} and set(answers["seed"]) == {0, 1}
    per_picture = answers.groupby(["caption", "layer", "seed"]).size()
    assert len(per_picture) == 2 * 2 * 2
    assert answers["right"].dtype == "boolean"
    with pytest.raises(LayerError, match=r"6\.head\.3 is a part of a block, and rates are of whole layers"):
        evaluate(emoji, asked, layers=(6, "6.head.3"), steps=2)


def made(right: np.ndarray, repeats: int) -> pd.DataFrame:
    """A table of answers: each caption's, repeated over seeds."""
    captions_ = np.repeat(np.arange(len(right)), repeats).astype(str)
    values = pd.array(np.repeat(right, repeats).astype(bool), dtype="boolean")
    return pd.DataFrame(
        {"group": "seen", "layer": 0, "check": "object", "caption": captions_, "right": values}
    )


def test_seeds_that_agree_are_no_new_evidence() -> None:
    right = np.arange(100) % 4 > 0
    [once], [often] = (rates(made(right, n)).to_dict("records") for n in (1, 8))
    assert once["rate"] == often["rate"] == 0.75 and often["n"] == 800
    assert often["low"] == pytest.approx(once["low"], abs=0.01)
    assert once["low"] == pytest.approx(0.657, abs=0.01)  # Wilson's, 75 of 100
    [all_right] = rates(made(np.ones(20), 8)).to_dict("records")
    assert all_right["high"] == 1 and all_right["low"] == pytest.approx(0.839, abs=0.001)  # 20 of 20


def test_missing_answers_are_left_out() -> None:
    answers = made(np.ones(4), 1)
    answers.loc[0, "right"] = pd.NA
    [row] = rates(answers).to_dict("records")
    assert (row["rate"], row["n"], row["captions"]) == (1.0, 3, 3)


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        chance = rng.beta(4, 1.5, 80)  # captions differ, seeds of a caption less
        right = rng.random((80, 4)) < chance[:, None]
        table = made(np.repeat(0, 80), 4).assign(right=pd.array(right.ravel(), dtype="boolean"))
        [row] = rates(table).to_dict("records")
        covered.append(row["low"] <= 4 / 5.5 <= row["high"])
    assert 0.92 <= np.mean(covered) <= 0.98
