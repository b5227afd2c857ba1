"""The numbers of a study for one prompt."""

import numpy as np
import pandas as pd
import pytest

from diffusion_lens.analysis.emergence_of import checks_about, emergence_of, judges_of
from diffusion_lens.checks.assign import ask
from diffusion_lens.errors import CheckError, ScorerError, ScoresError
from diffusion_lens.lens.result import Result
from diffusion_lens.runs.experiment import Prompt
from tests.analysis.simulate import as_table
from tests.scoring.made_runs import scene

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
    with pytest.raises(CheckError, match=r"is blank. What can be asked for: cat, purple\."):
        checks_about(ASKED, " ")


def test_a_number_finds_the_check_of_how_many_there_are():
    cars = ask([Prompt("three red cars")]).prompts[0]
    assert [checks_about(cars, word) for word in ("three", "3", "exactly")] == [["count-0"]] * 3
    assert checks_about(cars, "Cars") == checks_about(cars, "car") == ["object-0"]
    with pytest.raises(CheckError, match=r"about 'two'. What can be asked for: car, red, three\."):
        checks_about(cars, "two")


def test_a_scorer_that_answers_no_such_question_is_refused_without_an_image():
    assert [one.name for one in judges_of(ASKED, "purple", "oracle")] == ["oracle"]
    with pytest.raises(ScorerError, match="similarity can't tell whether 'purple' is there: it asks"):
        judges_of(ASKED, "purple", "similarity")
    with pytest.raises(ScorerError, match="no scorer 'orakel'"):
        judges_of(ASKED, "purple", "orakel")
    violin = ask([Prompt("a", {"template": "a {object}", "object": "violin"})]).prompts[0]
    with pytest.raises(ScorerError, match=r"the testbed has no object 'violin'\. Give another scorer"):
        judges_of(violin, "violin", "oracle")


def test_it_is_there_from_the_layer_on_at_which_most_seeds_stay_right():
    (found,) = emergence_of(scores(), ASKED, "cat")
    assert (
        found.layer == 2
        and "is there from layer 2 on in more than half of the seeds; it emerges at some layer in 3 of 3 ("
        in str(found)
    )
    assert found.rates["rate"].tolist() == pytest.approx([1 / 3, 1 / 3, 1, 1])
    assert found.times["first_right"].tolist() == [1, 2, 0]
    (late,) = emergence_of(scores(), ASKED, "purple")
    assert late.layer == 3 and late.times["outcome"].tolist() == ["emerged", "emerged", "never"]
    none = scores().assign(label=False)
    assert emergence_of(none, ASKED, "cat")[0].layer is None
    with pytest.raises(ScoresError, match="no scores of the prompt"):
        emergence_of(scores().assign(prompt_id="other"), ASKED, "cat")


def drawn(layers: int = 3) -> Result:
    """Layer by layer a blue cat, then a purple one; where the pipeline reads, a blue one again."""
    captions = [*["a blue cat"] * (layers - 1), "a purple cat", "a blue cat"]
    rows = [
        {
            "prompt": "a purple cat",
            "encoder": "all",
            "layer": min(place, layers - 1),
            "native": place == layers,
            "readout": "native",
            "seed": 0,
            "model": "emoji",
            "missing": None,
            "image": scene(caption),
        }
        for place, caption in enumerate(captions)
    ]
    return Result(pd.DataFrame(rows), {})


def test_a_result_is_scored_and_asked_when_in_one_line():
    result = drawn()
    scored = result.score("oracle")
    assert scored[(scored["check"] == "object-0")]["label"].all()
    [found] = result.emergence("purple")
    assert found.layer == 2 and found.rates["rate"].tolist() == [0, 0, 1]
    assert (
        "'purple' is there from layer 2 on in more than half of the seeds; it emerges at some layer in 1 "
        in repr([found])
    )
    with pytest.raises(CheckError, match="What can be asked for"):
        result.emergence("dog")


def test_the_native_layer_counts_where_it_is_the_only_image_of_its_layer():
    table = drawn().table
    last = table[table["layer"] < 2].assign(native=lambda rows: rows["layer"] == 1)
    assert Result(last, {}).emergence("cat")[0].rates["layer"].tolist() == [0, 1]
    # what a part of its block adds is another reading of that layer
    part = last[last["layer"] == 1].assign(site="1.attn", native=False)
    both = pd.concat([last.assign(site=last["layer"].astype(str)), part], ignore_index=True)
    whole, added = Result(both, {}).emergence("cat")
    assert (whole.rates["layer"].tolist(), added.rates["layer"].tolist()) == ([0, 1], [1])


def test_a_scorer_that_cannot_tell_says_why():
    result = drawn()
    photographs = Result(result.table.assign(model="made/model"), {})
    with pytest.raises(ScorerError, match="can't tell whether 'purple' is there"):
        photographs.emergence("purple")


def test_a_part_of_the_last_block_takes_the_last_layer_from_no_series():
    table = drawn().table.iloc[:3].assign(site=["0", "1", "2"])
    table["native"] = table["layer"] == 2  # drawn once: where the pipeline reads
    part = table.iloc[2:].assign(native=False, site="2.head.3", image=[scene("a blue cat")])
    whole, of_head = Result(pd.concat([table, part]), {}).emergence("purple")
    assert whole.layer == 2 and whole.rates["layer"].tolist() == [0, 1, 2]
    assert of_head.layer is None and of_head.rates["layer"].tolist() == [2]
    assert str(whole).startswith("emoji native: 'purple' is there from layer 2 on")
    assert str(of_head).startswith("emoji head.3 native: 'purple' is there for good at no layer")
    (alone,) = Result(table, {}).emergence("purple")
    assert alone.layer == 2 and str(alone).startswith("'purple' is there from layer 2 on")
