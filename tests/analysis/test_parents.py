"""Checks that depend on others: rates of all images, and where they can be asked; no false lateness."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from diffusion_lens.analysis.conditional import chance_of, conditional_curves, constancy
from diffusion_lens.analysis.contrasts import contrast
from diffusion_lens.analysis.curves import curves
from diffusion_lens.analysis.findings_tables import conditional
from diffusion_lens.analysis.order import all_orders, order, roles
from diffusion_lens.analysis.parents import depends, of_all, where_asked
from diffusion_lens.errors import ScoresError
from diffusion_lens.figures.curves import draw_curves
from diffusion_lens.scoring.table import validate
from tests.analysis.simulate import FAST, as_table, images

LAYERS = 7
OBJECTS = np.linspace(0.2, 0.95, LAYERS)


def study(relation: np.ndarray, objects: np.ndarray) -> pd.DataFrame:
    """Objects `[prompt, seed, layer]`, and a relation that can be asked only where they are."""
    answers = np.where(objects == 1, relation, np.nan)
    asked = as_table(answers, check="relation-0", kind="relation")
    absent = asked["label"].isna()
    return pd.concat(
        [
            as_table(objects, check="object-0"),
            asked.assign(reason=np.where(absent, "there is no fox to ask about", None)),
        ],
        ignore_index=True,
    )


def fixed(rng: np.random.Generator, prompts: int = 40, seeds: int = 4) -> pd.DataFrame:
    """The null: a relation that never changes from layer to layer, right for half of the images."""
    objects = images(rng, OBJECTS, prompts=prompts, seeds=seeds)
    relation = np.repeat(rng.random((prompts, seeds, 1)) < 0.5, LAYERS, axis=2).astype(float)
    return study(relation, objects)


def test_a_check_is_wrong_where_its_parent_is():
    objects = np.array([[[0, 1, 1]]], dtype=float)
    table = study(np.array([[[1, 0, 1]]], dtype=float), objects)
    settled = depends(table)
    assert table.loc[settled, ["check", "layer"]].to_numpy().tolist() == [["relation-0", 0]]
    rates = curves(of_all(table), ["check"]).pivot(index="check", columns="layer", values="rate")
    assert rates.loc["relation-0"].tolist() == [0, 0, 1]
    asked = curves(where_asked(table), ["check"])
    assert set(asked["check"]) == {"relation-0"}
    assert asked["rate"].tolist() == pytest.approx([np.nan, 0, 1], nan_ok=True)


def test_parents_that_are_written_down_need_no_reason():
    rows = [
        {
            "prompt_id": "p",
            "layer": layer,
            "seed": 0,
            "check": check,
            "scorer": "vqa",
            "label": label,
            "parents": parents,
        }
        for layer, fox, red in ((0, False, True), (1, False, False), (2, True, False))
        for check, label, parents in (("fox", fox, ""), ("red", red, "fox"))
    ]
    table = validate(pd.DataFrame(rows))
    settled = table[depends(table)]
    # also where the scorer itself said no: nothing can be red there
    assert settled[["check", "layer"]].to_numpy().tolist() == [["red", 0], ["red", 1]]


def test_a_parent_without_an_answer_settles_nothing():
    same = {"prompt_id": "p", "layer": 0, "seed": 0, "scorer": "vqa", "kind": "object"}
    answers = (("fox", None, ""), ("car", False, ""), ("red", True, "fox"), ("by", True, "fox;car"))
    rows = [{**same, "check": check, "label": label, "parents": of} for check, label, of in answers]
    table = validate(pd.DataFrame(rows))
    assert table.loc[depends(table), "check"].tolist() == ["by"]
    counted = of_all(table).set_index("check")["label"]
    assert counted.isna().to_dict() == {"fox": True, "car": False, "red": True, "by": False}
    # a check of the same kind that depends on nothing is none that can be asked or not
    assert where_asked(table)["check"].tolist() == ["red", "by"]


def prompts_of_their_own_checks() -> pd.DataFrame:
    """Five easy prompts, whose things are always there, and five hard ones; each check has its own id."""
    rows = []
    for number in range(10):
        easy = number < 5
        thing, colour = f"thing-{number}", f"colour-{number}"
        for layer in (0, 1):
            for check, kind, label, parents in (
                (thing, "object", easy or layer == 1, ""),
                (colour, "attribute", easy, thing),
            ):
                same = {"prompt_id": f"p{number}", "layer": layer, "seed": 0, "scorer": "vqa"}
                rows.append({**same, "check": check, "kind": kind, "label": label, "parents": parents})
    return validate(pd.DataFrame(rows))


def test_a_check_whose_parents_are_always_right_counts_where_it_can_be_asked():
    found = conditional_curves(prompts_of_their_own_checks())
    assert set(found["kind"]) == {"attribute"}
    here = found[found["prompts_are"] == "those judged at this layer"]
    assert here[["rate", "prompts"]].to_numpy().tolist() == [[1.0, 5], [0.5, 10]]


def test_an_id_that_is_of_another_kind_in_another_prompt_keeps_its_kind():
    """As in DSG, whose ids are the numbers of a prompt's questions."""
    rows = []
    for number in range(10):
        thing, colour = ("1", "2") if number < 5 else ("2", "1")
        for layer in (0, 1, 2):
            for check, kind, since in ((thing, "object", 1), (colour, "attribute", 2)):
                same = {"prompt_id": f"p{number}", "layer": layer, "seed": 0, "scorer": "vqa"}
                rows.append({**same, "check": check, "kind": kind, "label": layer >= since})
    found = all_orders(validate(pd.DataFrame(rows)), resampling=FAST)
    # no prompt has two objects, nor two colours
    assert set(zip(found["first"], found["second"], strict=True)) == {("attribute", "object")}
    assert found[["first_earlier", "second_earlier"]].to_numpy().tolist() == [[0, 1], [0, 1]]


def test_a_note_that_something_is_wrong_is_no_wrong_parent():
    rows = [
        {"prompt_id": "p", "layer": 0, "seed": 0, "check": check, "scorer": "human", "parents": parents}
        | {"label": label, "reason": reason}
        for check, parents, label, reason in (
            ("dog", "", True, None),
            ("red", "dog", False, "the colour is wrong"),
        )
    ]
    assert not depends(validate(pd.DataFrame(rows))).any()


def test_gating_is_told_by_its_reason_where_the_parent_is_not_in_the_table():
    rows = [
        {"prompt_id": "p", "layer": layer, "seed": 0, "check": check, "scorer": "vqa", "label": label}
        | {"parents": parents}
        for layer in (0, 1)
        for check, parents, label in (("dog", "", layer == 1), ("red", "dog", True))
    ]
    table = validate(pd.DataFrame(rows))
    assert depends(table[table["check"] == "red"]).tolist() == [True, False]


def test_a_relation_that_never_changes_is_neither_early_nor_late():
    """It would seem to come after its objects, since it can't be seen before them."""
    leads, rejected = [], 0
    for seed in range(12):
        row = order(fixed(np.random.default_rng(seed)), "object-0", "relation-0", resampling=FAST).iloc[0]
        leads.append(row["lead"])
        rejected += row["p"] <= 0.05
    assert leads == pytest.approx([0] * 12) and rejected == 0


def test_a_relation_that_comes_late_is_seen_to():
    rng = np.random.default_rng(1)
    objects = np.ones((40, 4, LAYERS))
    relation = images(rng, np.linspace(0.1, 0.9, LAYERS), prompts=40)
    row = order(study(relation, objects), "object-0", "relation-0", resampling=FAST).iloc[0]
    assert row["lead"] > 0.5 and row["low"] > 0.3 and row["p"] < 0.02


def test_constancy_tells_what_never_changes_from_what_takes_shape():
    rng = np.random.default_rng(2)
    found = constancy(fixed(rng), ["kind"]).set_index(["end", "layer"])["rate"]
    assert found["right", "all"] == 1 and found["wrong", "all"] == 0
    late = study(images(rng, np.linspace(0.1, 0.9, LAYERS), prompts=40), np.ones((40, 4, LAYERS)))
    assert constancy(late, ["kind"]).empty  # always asked: its curve says it all
    objects = images(rng, OBJECTS, prompts=40)
    coin = (rng.random(objects.shape) < 0.5).astype(float)
    rate = constancy(study(coin, objects), ["kind"]).set_index(["end", "layer"]).loc[("right", "all")]
    assert rate["low"] < 0.5 < rate["high"]


def by_hand() -> pd.DataFrame:
    """Three prompts of one image each; the object of the first is absent at the second layer."""
    relation = np.array([[[1, 0, 1]], [[0, 1, 1]], [[1, 1, 0]]], dtype=float)
    return study(relation, np.array([[[1, 0, 1]], [[1, 1, 1]], [[1, 1, 1]]], dtype=float))


def test_constancy_by_hand():
    found = constancy(by_hand(), ["kind"]).set_index(["end", "layer"])
    # of those that end right, the second layer can be asked of the second prompt alone
    assert found.loc["right", "rate"].to_dict() == {"0": 0.5, "1": 1, "all": 0.75}
    assert found.loc["right", "images"].to_dict() == {"0": 2, "1": 1, "all": 3}
    assert found.loc["right", "prompts"].to_dict() == {"0": 2, "1": 1, "all": 2}
    assert found.loc["wrong", "rate"].tolist() == [1, 1, 1]
    assert found.loc["wrong", "images"].tolist() == [1, 1, 2]
    one = found[found["prompts"] == 1]
    assert one[["low", "high"]].isna().all(axis=None) and one["note"].str.contains("one prompt").all()
    two = found[found["prompts"] == 2]
    assert ((two["low"] < two["rate"]) & (two["rate"] < two["high"])).all()


def test_constancy_is_of_the_ends_that_there_are_and_of_earlier_layers():
    table = by_hand()
    right = table[table["prompt_id"] != "p00002"]
    assert set(constancy(right, ["kind"])["end"]) == {"right"}
    assert set(constancy(table[table["layer"] < 2], ["kind"])["layer"]) == {"0", "all"}
    assert constancy(table[table["layer"] == 1], ["kind"]).empty


def test_conditional_rates_by_hand():
    found = conditional_curves(by_hand(), ["kind"], least=2)
    changing = found[found["prompts_are"] == "those judged at this layer"]
    assert changing["rate"].tolist() == pytest.approx([2 / 3, 1, 2 / 3])
    assert changing["prompts"].tolist() == [3, 2, 3]
    # two prompts are judged at every layer
    same = found[found["prompts_are"] == "the same at all layers"]
    assert same["rate"].tolist() == [0.5, 1, 0.5] and same["prompts"].tolist() == [2, 2, 2]
    # and three from the last layer on only
    last = conditional_curves(by_hand(), ["kind"], least=3).iloc[3:]
    assert last[["layer", "depth", "prompts"]].to_numpy().tolist() == [[2, 1, 3]]
    assert last["rate"].tolist() == pytest.approx([2 / 3])
    # where so many are judged at no layer, it is the last one too
    none = conditional_curves(by_hand(), ["kind"], least=4).iloc[3:]
    pd.testing.assert_frame_equal(none, last)


def test_conditional_rates_come_with_a_fixed_set_of_prompts():
    found = conditional_curves(fixed(np.random.default_rng(3)), ["kind"], least=10)
    changing = found[found["prompts_are"] == "those judged at this layer"]
    same = found[found["prompts_are"] == "the same at all layers"]
    assert changing["prompts"].nunique() > 1 and same["prompts"].nunique() == 1
    assert same["prompts"].iloc[0] >= 10
    # what never changes has a flat curve there
    assert same["rate"].nunique() == 1


def test_a_relation_that_can_be_asked_has_a_chance_of_its_own():
    table = fixed(np.random.default_rng(3))
    for kind, chance in (("axis", 0.5), ("order", 0.5), ("relation", np.nan)):
        renamed = table.assign(kind=table["kind"].replace("relation", kind))
        found = conditional_curves(renamed, ["kind"])
        assert found["chance"].unique() == pytest.approx([chance], nan_ok=True)
        page = "\n".join(conditional({"conditional_curves": found}))
        assert ("| 0.50 |" in page) == (chance == 0.5)
        levels = [line.get_ydata() for line in draw_curves(found, line="prompts_are").axes[0].lines]
        assert ([0.5, 0.5] in map(list, levels)) == (chance == 0.5)
    # a scorer's own word comes first
    said = conditional_curves(table.assign(chance=0.25), ["kind"])
    assert said["chance"].unique() == [0.25]


def test_a_side_that_is_rarely_judged_proves_nothing():
    """Objects and relation both right in a quarter: few relations are judged, and none differs."""
    rejected = 0
    for seed in range(20):
        rng = np.random.default_rng((5, seed))
        objects = (rng.random((60, 1, 2)) < 0.25).astype(float)
        relation = (rng.random((60, 1, 2)) < 0.25).astype(float)
        relation[rng.random(relation.shape) < 0.93] = np.nan
        table = pd.concat(
            [as_table(objects), as_table(relation, check="relation-0", kind="relation")], ignore_index=True
        )
        found = contrast(table, {"kind": "object"}, {"kind": "relation"}, resampling=FAST)
        rejected += float(found.set_index("number").loc["final", "p"]) <= 0.05
    assert rejected <= 3


def test_layers_that_count_do_not_depend_on_the_seed():
    """A check judged for 3, 2, 2, 6, 9, 12, 15 prompts."""
    rng = np.random.default_rng(0)
    values = np.full((16, 1, 7), np.nan)
    for layer, count in enumerate((3, 2, 2, 6, 9, 12, 15)):
        values[rng.permutation(16)[:count], 0, layer] = rng.random(count) < 0.5
    from diffusion_lens.analysis.statistics import Resampling
    from diffusion_lens.analysis.summary import summary

    rows = [summary(as_table(values), resampling=Resampling(seed=seed)).iloc[0] for seed in range(3)]
    assert len({row["area"] for row in rows}) == len({row["area_low"] for row in rows}) == 1
    assert rows[0]["area_low"] < rows[0]["area"] < rows[0]["area_high"]


def test_all_orders_stand_side_by_side_by_both_definitions():
    found = all_orders(fixed(np.random.default_rng(0)), resampling=FAST)
    assert set(found["definition"]) == {"stays right", "first right"}
    assert (found["not_asked"] > 0).all()


def test_all_orders_are_adjusted_for_the_pairs_of_their_definition():
    rng = np.random.default_rng(0)
    rates = {"object-0": OBJECTS, "object-1": OBJECTS**2, "object-2": OBJECTS**3}
    parts = [as_table(images(rng, rate, prompts=12), check=check) for check, rate in rates.items()]
    late = as_table(images(rng, OBJECTS**4, prompts=12), check="relation-0", kind="relation")
    found = all_orders(pd.concat([*parts, late], ignore_index=True), resampling=FAST)
    pairs = [("object", "relation"), *combinations(rates, 2)]
    for _, one in found.groupby("definition"):
        assert list(zip(one["first"], one["second"], strict=True)) == pairs
        assert one["p_holm"].to_numpy() == pytest.approx(multipletests(one["p"], method="holm")[1])
        assert (one["p_holm"] > one["p"]).any()


def test_a_check_of_few_prompts_stands_for_no_role():
    table = as_table(np.ones((8, 1, 2)))
    few = table[table["prompt_id"] <= "p00003"].assign(check="hat")
    assert roles(pd.concat([table, few])) == ["object-0"]
    more = table[table["prompt_id"] <= "p00004"].assign(check="hat")
    assert roles(pd.concat([table, more])) == ["hat", "object-0"]
    # of a study that has no more prompts, all count
    assert roles(few) == ["hat"]


def test_one_layer_alone_has_no_order():
    table = fixed(np.random.default_rng(0))
    with pytest.raises(ScoresError, match="one layer alone"):
        all_orders(table[table["layer"] == 0], resampling=FAST)


def test_the_chance_of_a_kind_stands_in_where_the_scorer_says_none():
    table = as_table(np.ones((2, 1, 2)), kind="axis")
    assert chance_of(table.assign(chance=np.nan)) == chance_of(table) == 0.5
    assert np.isnan(chance_of(table.assign(chance=[0.25, np.nan] * 2)))
    assert np.isnan(chance_of(table.assign(kind="object", chance=[0.25, np.nan] * 2)))
    # probabilities are answers
    assert chance_of(table.assign(label=pd.NA, p=0.7)) == 0.5
    assert np.isnan(chance_of(table.assign(label=pd.NA, p=np.nan)))


def test_a_missing_answer_hides_no_chance():
    table = prompts_of_their_own_checks()
    table = table[table["kind"] == "attribute"].assign(chance=0.1)
    table.loc[table.index[0], ["label", "p", "chance"]] = [pd.NA, pd.NA, np.nan]
    assert chance_of(table) == 0.1
