"""Baselines, and checks of the whole prompt: shown beside the answers, never mixed with them."""

import pandas as pd

from diffusion_lens.analysis.analyse import analyse
from diffusion_lens.scoring.table import validate
from tests.analysis.simulate import FAST


def table() -> pd.DataFrame:
    """Six prompts that are right from layer 1 on, at places that are never right; blank ones are never."""
    rows = []
    for prompt in range(6):
        for layer in (0, 1, 2):
            for check, kind, label in (
                ("object-0", "object", layer > 0),
                ("place-0", "global", False),
                ("prompt", "global", layer > 1),
            ):
                row = {"prompt_id": f"p{prompt}", "layer": layer, "seed": 0, "check": check, "kind": kind}
                rows.append({**row, "scorer": "oracle", "label": label, "baseline": ""})
                rows.append({**row, "scorer": "oracle: blank", "label": False, "baseline": "blank"})
            rows.append(
                {
                    "prompt_id": f"p{prompt}",
                    "layer": layer,
                    "seed": 0,
                    "check": "to-final",
                    "kind": "global",
                    "scorer": "similarity-pixel",
                    "p": 0.5 + layer / 4,
                    "baseline": "",
                }
            )
    return validate(pd.DataFrame(rows))


def test_baselines_have_curves_and_nothing_is_tested_on_them():
    found = analyse(table(), resampling=FAST).tables
    curves = found["curves"]
    assert set(curves["scorer"]) >= {"oracle", "oracle: blank"}
    assert (curves[curves["scorer"] == "oracle: blank"]["rate"] == 0).all()
    assert "oracle: blank" in set(found["summary"]["scorer"])
    for name in ("emergence", "times", "order", "contrasts", "missing"):
        if name in found and "scorer" in found[name]:
            assert "oracle: blank" not in set(found[name]["scorer"]), name
    assert "agreement" not in found


def test_the_whole_prompt_has_a_curve_of_its_own():
    curves = analyse(table(), resampling=FAST).tables["curves"]
    real = curves[curves["scorer"] == "oracle"].set_index(["kind", "layer"])["rate"]
    assert real["prompt"].tolist() == [0, 0, 1] and real["global"].tolist() == [0, 0, 0]
    assert real["object"].tolist() == [0, 1, 1]
