"""The numbers of a study for one prompt, and two results side by side."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diffusion_lens.analysis.compare import compare
from diffusion_lens.analysis.emergence_of import checks_about, emergence_of
from diffusion_lens.checks.assign import ask
from diffusion_lens.errors import CheckError, InputError, ScoresError
from diffusion_lens.runs.experiment import Prompt
from tests.analysis.simulate import as_table

ASKED = ask([Prompt("a purple cat")]).prompts[0]


def scores() -> pd.DataFrame:
    cat = np.array([[[0, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 1]]], dtype=float)
    purple = np.array([[[0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 0, 0]]], dtype=float)
    about = {check: checks_about(ASKED, word)[0] for check, word in (("cat", "cat"), ("purple", "Purple"))}
    parts = [as_table(cat, check=about["cat"]), as_table(purple, check=about["purple"], kind="attribute")]
    return pd.concat(parts, ignore_index=True).assign(prompt_id=ASKED.prompt_id)


def test_a_word_finds_the_check_that_asks_for_it():
    kinds = {check.id: check.kind for check in ASKED.checks}
    assert [kinds[one] for one in checks_about(ASKED, "purple")] == ["attribute"]
    assert [kinds[one] for one in checks_about(ASKED, "cat")] == ["object"]
    assert checks_about(ASKED, "prompt") == ["prompt"]
    with pytest.raises(CheckError, match=r"about 'dog'. What can be asked for: .*purple"):
        checks_about(ASKED, "dog")


def test_it_is_there_from_the_layer_on_at_which_most_seeds_stay_right():
    (found,) = emergence_of(scores(), ASKED, "cat")
    assert found.layer == 2 and "is there from layer 2 on (3 of 3 seeds" in str(found)
    assert found.rates["rate"].tolist() == pytest.approx([1 / 3, 1 / 3, 1, 1])
    assert found.times["first_right"].tolist() == [1, 2, 0]
    (late,) = emergence_of(scores(), ASKED, "purple")
    assert late.layer == 3 and late.times["outcome"].tolist() == ["emerged", "emerged", "never"]
    none = scores().assign(label=False)
    assert emergence_of(none, ASKED, "cat")[0].layer is None
    with pytest.raises(ScoresError, match="no scores of the prompt"):
        emergence_of(scores().assign(prompt_id="other"), ASKED, "cat")


def result(shades: dict[int, int]) -> pd.DataFrame:
    rows = [
        {
            "prompt": "a",
            "seed": 0,
            "layer": layer,
            "native": layer == 2,
            "image": Image.new("RGB", (8, 8), (shade,) * 3),
        }
        for layer, shade in shades.items()
    ]
    return pd.DataFrame(rows)


def test_two_results_differ_by_their_pixels_where_both_have_an_image():
    other = result({1: 255, 2: 51, 3: 0})
    other["image"] = [None, *other["image"][1:]]
    found = compare(result({1: 0, 2: 0, 0: 9}), other)
    assert found["layer"].tolist() == [1, 2]
    assert found["difference"].tolist() == pytest.approx([np.nan, 0.2], nan_ok=True)
    with pytest.raises(InputError, match="no prompt, seed and layer in common"):
        compare(result({0: 0}), result({1: 0}))
