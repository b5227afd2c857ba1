"""Any column of the prompts can be analysed by, and wrong names are refused with the nearest right one."""

import tracemalloc
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from diffusion_lens.analysis.analyse import analyse
from diffusion_lens.analysis.columns import prepare
from diffusion_lens.analysis.declared import Contrast, check_experiment
from diffusion_lens.analysis.statistics import Resampling
from diffusion_lens.analysis.trends import trend
from diffusion_lens.checks.assign import ask
from diffusion_lens.checks.checks import Check, CheckedPrompt
from diffusion_lens.errors import ScoresError
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.scoring.metadata import column_name, with_metadata
from diffusion_lens.scoring.table import read, write
from tests.analysis.simulate import FAST, RISING, as_table, images

PROMPTS = [
    Prompt("a red fox", {"animacy": "animal", "length": 3, "kind": "x", "category": "one"}),
    Prompt("a blue car", {"animacy": "thing", "length": 3}),
]


def table(**columns: object) -> pd.DataFrame:
    values = images(np.random.default_rng(0), RISING, prompts=30)
    return as_table(values).assign(**columns)


def test_contrasts_are_two_values_or_a_column_of_numbers():
    assert Contrast.parse("animacy=animal,thing") == Contrast("animacy", "animal", "thing")
    assert Contrast.parse(" length ") == Contrast("length") and str(Contrast("length")) == "length"
    for text in ("", "kind=", "kind=a", "=a,b", "kind=a,"):
        with pytest.raises(ScoresError, match="is no contrast"):
            Contrast.parse(text)
    with pytest.raises(ScoresError, match="compares a value with itself"):
        Contrast.parse("kind=object, object")


def test_a_column_of_the_users_own_makes_curves_and_contrasts():
    made = table()
    number = made["prompt_id"].str[1:].astype(int)
    made["animacy"] = np.where(number % 2 == 0, "animal", "thing")
    made["length"] = number
    found = analyse(
        made,
        ["animacy"],
        planned=[Contrast("animacy", "animal", "thing"), Contrast("length")],
        resampling=FAST,
    ).tables
    assert set(found["curves"]["animacy"]) == {"animal", "thing"}
    planned = found["planned"]
    assert planned["compared"].tolist() == ["animacy"] * 3 and not planned["paired"].any()
    assert set(found["trends"]["number"]) == {"area", *(f"layer {layer}" for layer in range(6))}


def test_unknown_names_are_refused_with_the_nearest_right_one():
    made = table(animacy="animal")
    with pytest.raises(ScoresError, match=r"no column 'animcy'. Did you mean 'animacy'\?"):
        analyse(made, ["animcy"])
    with pytest.raises(ScoresError, match=r"no column 'animcy'. Did you mean 'animacy'\?"):
        analyse(made, planned=[Contrast("animcy", "a", "b")])
    with pytest.raises(ScoresError, match=r"has 'anmal' in the column 'animacy'. Did you mean 'animal'\?"):
        analyse(made, planned=[Contrast("animacy", "animal", "anmal")])
    with pytest.raises(ScoresError, match="no column of numbers"):
        analyse(made, planned=[Contrast("animacy")])
    with pytest.raises(ScoresError, match="differs from image to image"):
        analyse(made, ["layer"])
    with pytest.raises(ScoresError, match="90 values"):
        analyse(table().assign(word=lambda t: "w" + t["prompt_id"]).pipe(_many), ["word"])


def _many(made: pd.DataFrame) -> pd.DataFrame:
    """More values than curves can show."""
    copies = [
        made.assign(word=made["word"] + f" {i}", prompt_id=made["prompt_id"] + f" {i}") for i in range(3)
    ]
    return pd.concat(copies, ignore_index=True)


def test_contrasts_are_checked_before_anything_is_drawn():
    check_experiment(["animacy=animal,thing", "kind=object,attribute", "length", "run=a,b"], PROMPTS)
    for wrong, message in (
        ("animacy=animal,things", "Did you mean 'thing'"),
        ("animal=a,b", "no column 'animal'. Did you mean 'animacy'"),
        ("kind=x,y", "no prompt or check has 'x'"),
        (
            "kind=object,order",
            r"'kind=object,order'.* attribute, choice, object, prompt. .* checks = \"FILE\"",
        ),
        ("animacy", "no column of numbers"),
    ):
        with pytest.raises(ScoresError, match=message):
            check_experiment([wrong], PROMPTS)
    pairs = [Prompt("a red fox to the left of a pizza")]
    check_experiment(["kind=axis,order", "kind=object,prompt"], pairs)
    given = [CheckedPrompt("0", pairs[0].prompt, (Check("r", "relation", "?"), Check("g", "global", "?")))]
    check_experiment(["kind=relation,global"], pairs, given)
    with pytest.raises(ScoresError, match=r"has 'object'.* choice, global, prompt, relation"):
        check_experiment(["kind=object,relation"], pairs, given)


def test_a_cell_without_a_number_is_named_by_its_prompt(caplog):
    def prompts(cell):
        return [Prompt("a fox", {"words": 2}), Prompt("a red car", {"words": cell}), Prompt("a cat")]

    for empty in ("", " ", float("nan")):
        caplog.clear()
        check_experiment(["words"], prompts(empty))
        assert "2 of 3 prompts, such as 'a red car', have no number in the column 'words'" in caplog.text
    with pytest.raises(
        ScoresError, match=r"'words': the prompt 'a red car' has 'three' in the column 'wor"
    ):
        check_experiment(["words"], prompts("three"))
    with pytest.raises(ScoresError, match=r"no prompt or check has '4' .* Its values: 2\. Compare"):
        check_experiment(["words=2,4"], prompts(""))
    made = table()
    made["words"] = np.where(made["prompt_id"] == made["prompt_id"].iloc[0], "three", "2")
    with pytest.raises(ScoresError, match="the column 'words' has 'three', which is no number"):
        analyse(made, planned=[Contrast("words")])


def test_a_trial_with_few_prompts_leaves_out_the_contrasts_that_it_can_not_make(caplog):
    check_experiment(["animacy=animal,thing", "kind=object,attribute"], PROMPTS, limit=1)
    assert "The first 1 of" in caplog.text and "'animacy=animal,thing'" in caplog.text
    assert "'kind=object,attribute'" not in caplog.text
    with pytest.raises(ScoresError, match="Did you mean 'thing'"):
        check_experiment(["animacy=animal,things"], PROMPTS, limit=1)
    declared = [Contrast("animacy", "animal", "thing"), Contrast("length")]
    few = table(animacy="animal", length=3)
    found = analyse(few, declared=declared, resampling=FAST)
    assert "trends" in found.tables and "planned" not in found.tables
    assert any(one.startswith("planned animacy=animal,thing: no prompt") for one in found.notes)


def test_numbers_are_cut_into_parts_of_as_many_prompts():
    made = table()
    made["length"] = made["prompt_id"].str[1:].astype(int)
    cut = prepare(made, ["length"])
    assert cut.groupby("length")["prompt_id"].nunique().to_dict() == {
        "0 to 9": 10,
        "10 to 19": 10,
        "20 to 29": 10,
    }


def test_a_column_that_is_cut_for_curves_is_compared_as_it_was():
    made = table()
    number = made["prompt_id"].str[1:].astype(int)
    made["length"] = (number % 10).where(number % 7 != 0)  # some have none
    found = analyse(
        made, ["length"], planned=[Contrast("length"), Contrast("length", "3", "5")], resampling=FAST
    )
    assert found.tables["trends"]["prompts"].max() == 25
    planned = found.tables["planned"]
    assert set(planned["first_group"]) == {"3"} and planned["prompts"].tolist() == [3] * 3


def test_trends_are_rank_correlations_over_prompts():
    prompts = 30
    values = (np.arange(prompts)[:, None, None] / prompts > np.array([1.1, 0.5, -0.1])).astype(float)
    made = as_table(values)
    made["length"] = made["prompt_id"].str[1:].astype(float).astype(str)
    found = trend(made, "length", ["kind"], resampling=FAST).set_index("number")
    # no order of a hundred is as far off: only the one that was observed
    assert found.loc["layer 1", "correlation"] > 0.8 and found.loc["layer 1", "p"] == 1 / 101
    assert found.loc["layer 1", "low"] > 0.5
    assert np.isnan(found.loc["layer 0", "correlation"])  # nothing is right there
    with pytest.raises(ScoresError, match="no numbers"):
        trend(made.assign(length="long"), "length")
    with pytest.raises(ScoresError, match="no column 'width'"):
        trend(made, "width")


def test_columns_of_prompts_travel_beside_their_scores():
    asked = ask(PROMPTS).prompts
    scores = pd.DataFrame({"prompt_id": [one.prompt_id for one in asked] * 2})
    found = with_metadata(scores, PROMPTS, asked)
    assert found["animacy"].tolist() == ["animal", "thing"] * 2 and found["length"].tolist() == [3, 3] * 2
    # a name that scores use has a name of its own
    assert column_name("kind") == "prompt_kind" and column_name("category") == "category"
    assert found["prompt_kind"].tolist()[0] == "x" and found["prompt_kind"].isna().tolist()[1]
    assert column_name("area") == "prompt_area"  # and one that tables of an analysis use


def test_a_column_of_numbers_and_texts_is_of_text(tmp_path):
    prompts = [Prompt("a red fox", {"words": 3}), Prompt("a blue car", {"words": "many"})]
    asked = ask(prompts).prompts
    made = pd.DataFrame({"prompt_id": [one.prompt_id for one in asked]}).assign(
        layer=0, seed=0, check="object-0", scorer="oracle", label=True
    )
    written = write(with_metadata(made, prompts, asked), tmp_path / "scores.parquet")
    assert read(written[0])["words"].tolist() == ["3", "many"]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_trend_has_the_interval_and_p_of_its_rank_correlation(sign):
    """Seven prompts of ten images: right, in tenths, at the first and at the last layer."""
    length = np.array([3, 4, 5, 6, 8, 9, 12])
    tenths = np.array([[1, 3, 2, 5, 4, 4, 7], [2, 2, 2, 9, 9, 4, 10]])
    values = (np.arange(10)[None, :, None] < tenths.T[:, None, :]).astype(float)
    made = as_table(values)
    made["length"] = sign * length[made["prompt_id"].str[1:].astype(int)]
    found = trend(made, "length", ["kind"]).set_index("number")
    rates = {"area": tenths.mean(axis=0), "layer 0": tenths[0], "layer 1": tenths[1]}
    for name, rate in rates.items():
        r = stats.spearmanr(sign * length, rate).statistic
        # Bonett & Wright (2000): the variance of Fisher's z of a rank correlation
        half = stats.norm.ppf(0.975) * np.sqrt((1 + r**2 / 2) / (7 - 3))
        row = found.loc[name]
        expected = (r, np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half))
        assert [row["correlation"], row["low"], row["high"]] == pytest.approx(expected), name
        # of all 5040 orders
        orders = np.array(list(permutations(stats.rankdata(length)))) @ (stats.rankdata(rate) - 4)
        shift = stats.rankdata(length) @ (stats.rankdata(rate) - 4)
        exact = (abs(orders) >= abs(shift) - 1e-9).mean()
        assert row["p"] == pytest.approx(exact, abs=0.01) and row["prompts"] == 7


def test_a_trend_over_many_prompts_is_shuffled_in_parts():
    rng = np.random.default_rng(0)
    made = as_table((rng.random((2000, 1, 1)) < 0.5).astype(float))
    made["length"] = made["prompt_id"].str[1:].astype(int)
    tracemalloc.start()
    found = trend(made, "length", ["kind"], resampling=Resampling(resamples=5000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # all at once are 80 MB, and as much again while they are shuffled
    assert found["prompts"].max() == 2000 and peak < 120e6


@pytest.mark.parametrize("sign", [1, -1])
def test_a_trend_of_one_order_of_all_prompts_has_no_interval(sign):
    right = np.arange(5)[None, :, None] < np.arange(1, 6)[:, None, None]  # in 1 to 5 of five images
    made = as_table(right.astype(float))
    made["length"] = sign * made["prompt_id"].str[1:].astype(int)
    (row,) = (
        trend(made, "length", ["kind"], resampling=FAST).query("number == 'layer 0'").to_dict("records")
    )
    assert row["correlation"] == pytest.approx(sign) and np.isnan([row["low"], row["high"]]).all()
    assert row["p"] < 0.05 and "in one order" in row["note"]


def test_a_trend_needs_five_prompts_and_two_layers_for_an_area():
    made = as_table(np.array([[[0.0]], [[0.0]], [[1.0]], [[0.0]], [[1.0]]]))
    made["length"] = made["prompt_id"].str[1:].astype(int)
    found = trend(made, "length", ["kind"], resampling=FAST).set_index("number")
    assert np.isnan(found.loc["area", "correlation"]) and found.loc["layer 0", "correlation"] > 0
    four = trend(made[made["prompt_id"] != "p00000"], "length", ["kind"], resampling=FAST)
    assert four["correlation"].isna().all() and four["p"].isna().all()
