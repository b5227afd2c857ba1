"""The scorers that ask questions, on images whose answers are known."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diffusion_lens.analysis.correction import corrected_curves
from diffusion_lens.errors import ScorerError
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.answering import pose
from diffusion_lens.scoring.known_answers import COLOURS, SHAPES, KnownAnswer, accuracy, known_answers
from diffusion_lens.scoring.scorer import ScoreRequest
from tests.scoring.test_endpoint import says, scorer_of, server

__all__ = ["server"]

KNOWN = known_answers(60)


def pixels(image: Image.Image) -> bytes:
    return np.asarray(image.convert("RGB")).tobytes()


def who_knows(known: list[KnownAnswer], errs: Callable[[int], bool]) -> Callable[[dict[str, Any]], Any]:
    """What a model answers that sees the very pixels and words, and errs where it is told to."""
    truth = {}
    for number, one in enumerate(known):
        question = pose(one.check)
        right, *wrong = question.answers
        with Image.open(one.path) as image:
            truth[pixels(image), question.text] = wrong[0] if errs(number) else right

    def answer(body: dict[str, Any]) -> Any:
        shown, asked = body["messages"][0]["content"]
        content = base64.b64decode(shown["image_url"]["url"].partition(",")[2])
        found = truth[pixels(Image.open(io.BytesIO(content))), asked["text"]]
        return says({found.capitalize(): 0.9}, found)

    return answer


def test_the_package_is_what_it_says():
    train = known_answers(split="train")
    assert len(train) + len(known_answers()) == 48_248
    assert len({one.image for one in train}) == 4000
    assert {one.answer for one in train} == {"yes", "no", *COLOURS, *SHAPES}
    assert known_answers(60) == KNOWN != known_answers(60, seed=1)


def test_an_endpoint_that_knows_is_right_everywhere(server):
    server.answer = who_knows(KNOWN, lambda number: False)
    found = accuracy(scorer_of(server), KNOWN)
    assert found == {"missing": 0, "yes or no": 1, "colour": 1, "shape": 1, "all": 1}


def test_one_that_errs_is_right_as_often_as_it_does_not(server):
    server.answer = who_knows(KNOWN, lambda number: number % 4 == 0)
    assert accuracy(scorer_of(server), KNOWN)["all"] == pytest.approx(0.75)
    with pytest.raises(ScorerError, match="no questions"):
        accuracy(scorer_of(server), [])


def test_a_judge_is_corrected_by_answers_that_are_known(server):
    """Yes and no at two "layers": the truth of all is known, and half of it is given to the correction."""
    known = [one for one in known_answers(400) if one.answer in ("yes", "no")][:120]
    asked = [KnownAnswer(one.image, one.path, one.question, "yes") for one in known]
    rng = np.random.default_rng(0)
    # it says yes too often, and more so at the first layer
    wrong = [
        one.answer == "no" and rng.random() < (0.5, 0.1)[number % 2] for number, one in enumerate(known)
    ]
    server.answer = who_knows(known, lambda number: wrong[number])
    requests = []
    for one in asked:
        with Image.open(one.path) as image:
            requests.append(ScoreRequest(image.convert("RGB"), [one.check]))
    judged = scorer_of(server).score(requests)
    rows = []
    for number, (one, [judgement]) in enumerate(zip(known, judged, strict=True)):
        row = {"prompt_id": f"q{number}", "layer": number % 2, "seed": 0, "check": "known"}
        rows.append({**row, "scorer": "endpoint", "label": judgement.label})
        if number % 4 < 2:
            rows.append({**row, "scorer": "human", "label": one.answer == "yes"})
    found = corrected_curves(scores.validate(pd.DataFrame(rows)), "endpoint").set_index(["method", "layer"])
    for layer in (0, 1):
        truth = np.mean([one.answer == "yes" for one in known[layer::2]])
        raw, corrected = (found.loc[(name, layer)] for name in ("raw", "prediction_powered"))
        assert corrected["low"] <= truth <= corrected["high"]
        assert abs(corrected["rate"] - truth) < abs(raw["rate"] - truth)
