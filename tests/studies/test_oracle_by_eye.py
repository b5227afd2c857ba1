"""What an observer wrote down answers the oracle's checks."""

import pytest

from diffusion_lens.checks.assign import ask
from diffusion_lens.runs.experiment import Prompt
from experiments.studies.oracle_by_eye import answer, read_seen


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
