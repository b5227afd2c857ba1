"""Probes of a run: facts, what they say beside the images, and the command."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diffusion_lens.analysis.probe_run import beside_images, facts_of, probe_checks
from diffusion_lens.checks.assign import ask
from diffusion_lens.errors import InputError
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.scoring import table as scores
from tests.analysis.test_probes import states
from tests.command_line import run
from tests.scoring.made_runs import make_run

COLOURS = ("red", "blue")
PROMPTS = [f"a {colour} {thing}" for thing in ("car", "dog", "cat", "house", "book") for colour in COLOURS]


def test_the_facts_of_a_check_are_what_its_prompts_state():
    asked = ask([Prompt(text) for text in [*PROMPTS, "a green car"]]).prompts
    facts = facts_of(asked, least=4)
    # each thing is of two prompts alone, and green of one
    assert list(facts) == ["attribute-0"]
    kind, by_prompt = facts["attribute-0"]
    assert kind == "attribute" and by_prompt == {text: text.split()[1] for text in PROMPTS}
    assert set(facts_of(asked, least=2)) == {"object-0", "attribute-0"}


def test_states_that_hold_a_colour_are_read_at_their_layer():
    made, colours = states()
    asked = ask([Prompt(f"a {colour} car", {"prompt_id": str(i)}) for i, colour in enumerate(colours)])
    found = probe_checks(made, asked.prompts, run="r")
    rates = found[found["scorer"] == "probe"].groupby("layer")["label"].mean()
    # the mean over three tokens holds a third of what the one does
    assert rates[6] > 0.6 > rates[0] and set(found["check"]) == {"attribute-0"}
    with pytest.raises(InputError, match="No check of these prompts can be probed"):
        probe_checks(made, ask([Prompt("a car")]).prompts)


def _scores(rates: dict[str, float], prompts: int = 40) -> pd.DataFrame:
    """Scores of one check at one layer, by scorer, of which so many prompts are right."""
    rows = [
        {"prompt_id": str(number), "layer": 3, "seed": 0, "check": "attribute-0", "kind": "attribute"}
        | {"scorer": scorer, "label": number < rate * prompts}
        for scorer, rate in rates.items()
        for number in range(prompts)
    ]
    return scores.validate(pd.DataFrame(rows))


@pytest.mark.parametrize(
    ("probe", "drawn", "found"),
    [
        (1.0, 0.2, "decodable, not drawn"),
        (1.0, 1.0, "both"),
        (0.3, 0.9, "drawn, not decodable"),
        (0.7, 1.0, "both"),
        (0.3, 0.3, "neither"),
    ],
)
def test_a_layer_is_decodable_and_not_drawn_where_the_probe_is_right_more_often(probe, drawn, found):
    probed = _scores({"probe": probe, "probe-shuffled": 0.3, "probe-majority": 0.3})
    (row,) = beside_images(probed, _scores({"oracle": drawn})).to_dict("records")
    assert row["found"] == found and row["prompts"] == 40
    assert row["probe"] == pytest.approx(probe) and row["drawn"] == pytest.approx(drawn)
    assert row["difference"] == pytest.approx(probe - drawn)


def test_the_command_compares_probes_with_the_scores_of_a_run(tmp_path):
    folder = tmp_path / "run"
    blank = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    make_run(folder, PROMPTS, lambda cell, prompt: blank, layers=(0, 1, 2), seeds=(0,))
    rows = [
        {"run": "run", "prompt_id": text, "layer": layer, "seed": 0, "check": "attribute-0"}
        | {"kind": "attribute", "scorer": "oracle", "label": False}
        for text in PROMPTS
        for layer in (0, 1, 2)
    ]
    (folder / "scores").mkdir()
    scores.write(scores.validate(pd.DataFrame(rows)), folder / "scores/oracle.parquet")
    done = run("probe", str(folder), "--out", str(tmp_path / "p"))
    assert done.returncode == 0, done.stderr
    # the colour is a word of its own at every layer, and nothing is drawn
    assert "attribute-0: decodable, not drawn at layers" in done.stdout
    found = pd.read_csv(tmp_path / "p/layers.csv")
    assert (found["probe"] > 0.8).any() and (found["drawn"] == 0).all()
    assert (tmp_path / "p/curves.png").exists()
    refused = run("probe", str(folder), "--out", str(tmp_path / "q"), "--scorer", "clip")
    assert refused.returncode == 2 and "It holds those of oracle on run" in refused.stderr
