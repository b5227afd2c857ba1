"""What an observer wrote down answers the oracle's checks."""

import numpy as np
import pandas as pd
import pytest

from diffusion_lens.analysis.correction import corrected_curves
from diffusion_lens.analysis.parents import of_all
from diffusion_lens.checks.assign import ask
from diffusion_lens.runs.experiment import Prompt
from experiments.studies.oracle_by_eye import HERE, OBSERVER, answer, by_layer, read_answers, read_seen


@pytest.mark.parametrize(
    ("prompt", "seen", "expected"),
    [
        ("a green car", "car green", {"object-0": True, "attribute-0": True}),
        ("a green car", "car - | snow", {"object-0": True, "attribute-0": False}),
        ("a green car", "car unsure", {"object-0": True, "attribute-0": None}),
        ("a green car", "? green", {"object-0": False, "attribute-0": None}),
        ("two cars", "2 car green", {"object-0": True, "count-0": True}),
        ("two cars", "car - 20 50; ? - 70 50", {"object-0": True, "count-0": False}),
        ("a key below a house", "house - 50 25; key - 60 75", {"axis-0": True, "order-0": True}),
        ("a key above a house", "house - 50 25; key - 60 75", {"axis-0": True, "order-0": False}),
        ("a key to the left of a house", "house - 50 25; key - 60 75", {"axis-0": False, "order-0": None}),
    ],
)
def test_what_was_seen_answers_the_checks(prompt, seen, expected):
    [asked] = ask([Prompt(prompt)]).prompts
    checks = {check.id: check for check in asked.checks}
    assert {name: answer(checks[name], read_seen(seen)) for name in expected} == expected


def test_tables_are_those_of_the_kept_answers():
    answers = read_answers(HERE / "answers.csv")
    gated = answers[
        ~answers["label"].astype("boolean").fillna(True) & answers["label_ungated"].fillna(False)
    ]
    assert set(gated["kind"]) <= {"attribute", "count", "axis", "order"}  # what depends on objects
    counted = by_layer(answers).astype({"layer": str})
    kept = pd.read_csv(HERE / "by_layer.csv", dtype={"layer": str})
    pd.testing.assert_frame_equal(counted, kept, check_dtype=False)
    corrected = corrected_curves(of_all(answers), "oracle", OBSERVER, ("kind",))
    rates = pd.read_csv(HERE / "corrected.csv")["rate"]
    np.testing.assert_allclose(corrected["rate"], rates, atol=6e-5)
