from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from diffusion_lens.analysis.all_pairs import all_pairs
from diffusion_lens.analysis.binding import binding
from diffusion_lens.analysis.confidence import difference_interval
from diffusion_lens.analysis.contrasts import contrast
from diffusion_lens.analysis.declared import Contrast
from diffusion_lens.analysis.findings import findings
from diffusion_lens.analysis.order import order
from diffusion_lens.analysis.planned import add_contrasts, held_equal
from diffusion_lens.analysis.statistics import Jackknife
from diffusion_lens.analysis.summary import area, summary
from diffusion_lens.errors import ScoresError
from tests.analysis.simulate import FAST, RISING, as_table, images

NA = np.nan


def two_kinds(prompts: int = 40) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Objects come early and relations late, on the same prompts."""
    both = images(np.random.default_rng(0), np.concatenate([RISING, RISING * 0.4]), prompts=prompts)
    early, late = both[..., :6], both[..., 6:]
    table = pd.concat(
        [as_table(early), as_table(late, check="relation-0", kind="relation")], ignore_index=True
    )
    return table, early, late


def test_a_paired_contrast_is_the_difference_of_areas_on_the_same_prompts():
    table, early, late = two_kinds()
    frame = contrast(table, {"kind": "object"}, {"kind": "relation"}, resampling=FAST).set_index("number")
    depths = np.linspace(0, 1, 6)
    expected = [area(values.mean(axis=(0, 1))[None], depths)[0] for values in (early, late)]
    row = frame.loc["area"]
    assert [row["first"], row["second"]] == pytest.approx(expected)
    assert row["difference"] == pytest.approx(expected[0] - expected[1])
    assert row["paired"] and row["prompts"] == 40 and row["others"] == 0
    assert 0 < row["low"] < row["difference"] < row["high"] and row["p"] < 0.01


def test_pairing_makes_the_interval_narrower():
    table, _, _ = two_kinds()
    apart = table.assign(prompt_id=table["prompt_id"] + table["kind"])
    widths = []
    for each, paired in ((table, True), (apart, False)):
        row = contrast(each, {"kind": "object"}, {"kind": "relation"}, resampling=FAST).iloc[0]
        assert row["paired"] == paired
        widths.append(row["high"] - row["low"])
    assert widths[0] < widths[1]


def two_samples(first: int, second: int) -> pd.DataFrame:
    """Two categories of so many prompts of their own."""
    parts = []
    for seed, (name, prompts) in enumerate((("a", first), ("b", second))):
        part = as_table(images(np.random.default_rng(seed), RISING, prompts=prompts), category=name)
        parts.append(part.assign(prompt_id=name + part["prompt_id"]))
    return pd.concat(parts, ignore_index=True)


def of_two_samples(table: pd.DataFrame) -> pd.DataFrame:
    return contrast(table, {"category": "a"}, {"category": "b"}, resampling=FAST).set_index("number")


def test_the_ratio_of_two_samples_has_their_t_interval():
    """The variances of both add up; t has the degrees of freedom of both."""
    table = two_samples(7, 4)
    each = summary(table, ["category"], resampling=FAST).set_index("category")
    half = each["ratio_high"] - each["ratio"]
    error = np.hypot(half["a"] / stats.t.ppf(0.975, 6), half["b"] / stats.t.ppf(0.975, 3))
    row = of_two_samples(table).loc["ratio"]
    assert not row["paired"] and (row["prompts"], row["others"]) == (7, 4)
    assert row["high"] - row["difference"] == pytest.approx(stats.t.ppf(0.975, 9) * error)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(row["difference"]) / error, 9))
    # the standard error times the quantiles of the level and of the power
    assert row["detectable"] == pytest.approx((stats.t.ppf(0.975, 9) + stats.t.ppf(0.8, 9)) * error)


def test_a_sample_of_one_prompt_leaves_no_number_of_the_difference_certain():
    frame = of_two_samples(two_samples(9, 1))
    assert frame["difference"].notna().all() and frame[["low", "high", "p"]].isna().all(axis=None)
    assert frame["note"].str.contains("one prompt: no interval").all()


def test_encoders_of_unequal_depth_compare_by_area():
    table, _, _ = two_kinds()
    objects = table[table["kind"] == "object"]
    short = objects[objects["layer"].isin([0, 2, 5])].assign(encoder="text_encoder_2")
    short["layer"] = short["layer"].map({0: 0, 2: 5, 5: 12})
    both = pd.concat([objects, short], ignore_index=True)
    row = contrast(both, {"encoder": "text_encoder"}, {"encoder": "text_encoder_2"}, resampling=FAST).iloc[
        0
    ]
    assert row["paired"] and np.isfinite(row["difference"])


def test_encoders_of_unequal_depth_rest_on_the_prompts_that_both_judged():
    """Each prompt is left out by hand; of the first encoder, three prompts have no last layer."""
    made = (np.random.default_rng(2).random((2, 10, 1, 3)) < [0.3, 0.5, 0.7]) * 1.0
    made[0, :3, :, 2] = NA
    layers = {"text_encoder": np.array([0, 5, 12]), "text_encoder_2": np.array([0, 12, 24])}
    parts = [as_table(one, of, encoder=name) for one, (name, of) in zip(made, layers.items(), strict=True)]
    depths = [of / of[-1] for of in layers.values()]

    def numbers(values: np.ndarray) -> list[float]:
        means = np.nanmean(values, axis=(1, 2))
        areas = [area(mean[None], depth)[0] for mean, depth in zip(means, depths, strict=True)]
        return [*areas, means[0, -1], means[1, -1]]

    whole = np.array(numbers(made))
    without = np.array([numbers(np.delete(made, prompt, axis=1)) for prompt in range(10)])
    by_hand = Jackknife(whole, without.mean(axis=0) - without, np.array([10, 10, 7, 7]))
    low, high = by_hand.shares(0.95)
    first, second = ({"encoder": name} for name in layers)
    frame = contrast(pd.concat(parts, ignore_index=True), first, second, resampling=FAST)
    for number, at in (("area", 0), ("final", 2)):
        one, two = ((whole[side], low[side], high[side]) for side in (at, at + 1))
        ends = difference_interval(one, two, by_hand.correlation(at, at + 1))
        row = frame.set_index("number").loc[number]
        assert row["paired"] and row["difference"] == pytest.approx(whole[at] - whole[at + 1])
        assert [row["low"], row["high"]] == pytest.approx([float(end) for end in ends]), number


def test_curves_of_half_of_their_prompts_in_common_are_two_samples():
    table = two_samples(4, 4)
    for shared, paired in ((2, False), (3, True)):
        number = table["prompt_id"].str[-1].astype(int)
        same = table.assign(prompt_id=table["prompt_id"].where(number >= shared, "p" + number.astype(str)))
        row = of_two_samples(same).loc["area"]
        assert (row["paired"], row["prompts"], row["others"]) == (paired, *((3, 2) if paired else (4, 4)))


def test_a_side_without_any_answer_has_no_difference():
    table = two_samples(4, 4)
    table["label"] = table["label"].mask(table["category"] == "b")
    frame = of_two_samples(table)
    assert frame["first"].notna().all() and frame[["second", "difference", "low", "p"]].isna().all(
        axis=None
    )


def test_a_grid_of_contrasts_is_adjusted():
    table, _, _ = two_kinds()
    third = table[table["kind"] == "object"].assign(check="attribute-0", kind="attribute")
    frame = all_pairs(pd.concat([table, third], ignore_index=True), "kind", resampling=FAST)
    assert len(frame) == 3 and set(frame["number"]) == {"area"}
    same = frame[(frame["first_group"] == "attribute") & (frame["second_group"] == "object")].iloc[0]
    assert same["difference"] == 0 and same["p"] == 1
    assert (frame["p_bh"] >= frame["p"]).all()


def with_contrasts(
    table: pd.DataFrame, planned: list[Contrast], *by: str
) -> tuple[dict[str, pd.DataFrame | ScoresError], list[str]]:
    """The tables of contrasts, or why there is none, and what was left out."""
    made: dict[str, pd.DataFrame | ScoresError] = {}
    notes: list[str] = []

    def add(name: str, make: Callable[[], pd.DataFrame]) -> None:
        try:
            made[name] = make()
        except ScoresError as error:
            made[name] = error

    columns = ("run", "scorer", "encoder", *by)
    add_contrasts(add, notes, table, table, columns, planned, resampling=FAST)
    return made, notes


def test_what_is_planned_and_the_grid_are_families_of_their_own():
    table, _, _ = two_kinds(12)
    third = images(np.random.default_rng(4), RISING * 0.7, prompts=12)
    table = pd.concat([table, as_table(third, check="attribute-0", kind="attribute")], ignore_index=True)
    length = table["prompt_id"].str[1:].astype(int) % 5
    table = table.assign(length=length, half=np.where(table["prompt_id"] < "p00006", "a", "b"))
    planned = [
        Contrast("kind", "object", "relation"),
        Contrast("kind", "object", "attribute"),
        Contrast("half", "a", "b"),
        Contrast("length"),
    ]
    made, notes = with_contrasts(table, planned, "kind", "half")
    assert notes == []
    # two contrasts of kinds within each half, and the halves within each check
    assert made["planned"].groupby("number").size().to_dict() == {"area": 7, "final": 7, "ratio": 7}
    halves = made["planned"][made["planned"]["compared"] == "half"]
    assert set(halves["kind"]) == set(table["kind"]) and set(halves["check"]) == set(table["check"])
    for _, one in made["planned"].groupby("number"):
        assert one["p_holm"].to_numpy() == pytest.approx(multipletests(one["p"], method="holm")[1])
    # areas are trends that were planned, of each check in each half; layers are not
    main = made["trends"]["number"] == "area"
    assert main.sum() == 6 and made["trends"].loc[~main, "p_holm"].isna().all()
    trends = made["trends"][main]
    assert trends["p_holm"].to_numpy() == pytest.approx(multipletests(trends["p"], method="holm")[1])
    # all other pairs differ in one column, and are adjusted together
    grid = made["contrasts"]
    assert grid["compared"].value_counts().to_dict() == {"kind": 6, "half": 3}
    assert grid["p_bh"].to_numpy() == pytest.approx(multipletests(grid["p"], method="fdr_bh")[1])


def test_scorers_are_no_curves_to_be_compared():
    table = as_table(np.ones((4, 1, 2)), half="a")
    both = pd.concat([table, table.assign(scorer="clip")], ignore_index=True)
    made, notes = with_contrasts(both, [Contrast("half", "a", "b")], "kind")
    assert str(made["contrasts"]) == "there is one curve only"
    assert str(made["planned"]) == "none of the planned contrasts could be made"
    assert "(clip, text_encoder, object, object-0; oracle, text_encoder, object, object-0)" in notes[0]
    # of a column with many values, no two are compared
    many, notes = with_contrasts(as_table(np.ones((13, 1, 2))), [], "prompt_id")
    assert list(many) == ["contrasts"] and isinstance(many["contrasts"], ScoresError)
    assert notes == ["contrasts: prompt_id has 13 values, too many to compare each two"]


def test_questions_that_each_prompt_has_for_itself_are_compared_by_kind():
    table = two_samples(6, 6)
    own = table.assign(check="about " + table["prompt_id"], half=table["category"])
    made, _ = with_contrasts(own, [Contrast("half", "a", "b")], "kind")
    (frame,) = [made["planned"]]
    assert isinstance(frame, pd.DataFrame) and "check" not in frame
    assert frame["prompts"].tolist() == frame["others"].tolist() == [6] * 3


def test_groups_without_rows_are_named():
    table, _, _ = two_kinds(4)
    with pytest.raises(ScoresError, match=r"No rows have count; there are .*'object', 'relation'"):
        contrast(table, {"kind": "object"}, {"kind": "count"})
    with pytest.raises(ScoresError, match="no column 'colour'"):
        contrast(table, {"colour": "red"}, {"kind": "count"})
    with pytest.raises(ScoresError, match="Nothing in"):
        contrast(
            table.assign(label=False), {"kind": "object"}, {"kind": "relation"}, condition="final-correct"
        )
    one = contrast(two_kinds(1)[0], {"kind": "object"}, {"kind": "relation"}).iloc[0]
    assert np.isnan(one["low"]) and "one prompt" in one["note"]


def lines(first: list[float], second: list[float], prompt: int = 0, seed: int = 0) -> pd.DataFrame:
    frames = [
        as_table(np.array([[line]]), check=check, seed=seed)
        for line, check in ((first, "a"), (second, "b"))
    ]
    return pd.concat(frames).assign(prompt_id=f"p{prompt}", seed=seed)


def test_which_of_two_nouns_is_first():
    made = [
        ([0, 1, 1, 1], [0, 0, 1, 1]),  # a first
        ([0, 0, 1, 1], [0, 1, 1, 1]),  # b first
        ([0, 1, 1, 1], [0, 1, 1, 1]),  # tie
        ([0, 0, 0, 0], [1, 1, 0, 0]),  # neither stays
        ([0, 0, 0, 1], [1, 1, 1, 0]),  # b never: a first
        ([0, NA, 1, 1], [0, NA, 1, 1]),  # open, yet a tie as far as is known
        ([0, 1, 1, 1], [NA, NA, NA, NA]),  # unknown
    ]
    table = pd.concat([lines(*pair, prompt=index) for index, pair in enumerate(made)], ignore_index=True)
    row = order(table, "a", "b", resampling=FAST).iloc[0]
    shares = ("first_earlier", "second_earlier", "tie", "only_first", "only_second", "neither")
    assert [row[name] * 6 for name in shares] == pytest.approx([1, 1, 2, 1, 0, 1])
    # what never emerges is neither early nor late
    assert row["lead"] == 0 and row["unknown"] == 1 and row["prompts"] == 6
    first_right = order(table, "a", "b", definition="first right", resampling=FAST).iloc[0]
    # b is there first in the pair in which it goes again, and in the one in which neither stays
    assert first_right["second_earlier"] * 6 == pytest.approx(2)
    mirrored = order(table, "b", "a", resampling=FAST).iloc[0]
    assert mirrored["lead"] == -row["lead"] and mirrored["p"] == row["p"]
    swapped = ("second_earlier", "first_earlier", "tie", "only_second", "only_first", "neither")
    assert [mirrored[name] for name in swapped] == [row[name] for name in shares]
    assert [mirrored["low"], mirrored["high"]] == pytest.approx([-row["high"], -row["low"]])


def test_objects_before_relations_by_kind():
    table, _, _ = two_kinds()
    row = order(table, "object", "relation", column="kind", resampling=FAST).iloc[0]
    assert row["lead"] > 0.1 and row["low"] > 0 and row["p"] < 0.01 and row["pairs"] == 160
    mirrored = order(table, "relation", "object", column="kind", resampling=FAST).iloc[0]
    expected = [-row["lead"], -row["high"], -row["low"], row["p"]]
    assert [mirrored[name] for name in ("lead", "low", "high", "p")] == pytest.approx(expected)
    with pytest.raises(ScoresError, match="No prompt has answers to both 'a' and 'b'"):
        order(table, "a", "b")
    with pytest.raises(ScoresError, match="not by 'run'"):
        order(table, "a", "b", column="run")


def atoms(values: dict[str, np.ndarray]) -> pd.DataFrame:
    return pd.concat([as_table(cells, check=name) for name, cells in values.items()], ignore_index=True)


def test_independent_atoms_show_no_gap_and_bound_ones_do():
    rng = np.random.default_rng(1)
    first = rng.random((4000, 4, 2)) < 0.6
    second = rng.random((4000, 4, 2)) < 0.5
    # at the second layer the two never succeed in one image
    second[..., 1] &= ~first[..., 1]
    frame = binding(atoms({"object-0": first * 1.0, "object-1": second * 1.0}), resampling=FAST)
    assert frame["atoms"].unique().tolist() == ["object-0 & object-1"]
    assert frame["product"].tolist() == pytest.approx([0.3, 0.6 * 0.2], abs=0.02)
    assert frame["gap_low"][0] < 0 < frame["gap_high"][0] and frame["all"][1] == 0
    assert frame["gap_high"][1] < -0.1 and frame["within_gap_high"][1] < -0.1


def test_easy_prompts_fool_the_product_of_rates_but_not_the_one_within_prompts():
    rng = np.random.default_rng(2)
    easy = rng.random((3000, 1, 1)) < 0.5
    rate = np.where(easy, 0.9, 0.1)
    made = [(rng.random((3000, 4, 1)) < rate) * 1.0 for _ in range(2)]
    row = binding(atoms({"a": made[0], "b": made[1]}), resampling=FAST).iloc[0]
    assert row["gap_low"] > 0.1
    assert row["within_gap_low"] < 0 < row["within_gap_high"] and abs(row["within_gap"]) < 0.02


def test_binding_by_hand():
    # one prompt, two seeds: seed 0 has both, seed 1 has a only
    row = binding(atoms({"a": np.array([[[1.0], [1.0]]]), "b": np.array([[[1.0], [0.0]]])})).iloc[0]
    assert (row["all"], row["product"], row["gap"]) == (0.5, 0.5, 0)
    # a of seed 0 with b of seed 1, a of seed 1 with b of seed 0
    assert row["within"] == 0.5 and "one prompt" in row["note"]
    three = atoms({name: np.ones((5, 2, 1)) for name in "abc"})
    assert np.isnan(binding(three).iloc[0]["within"])
    holes = atoms({"a": np.array([[[1.0]], [[NA]]]), "b": np.array([[[1.0]], [[1.0]]])})
    assert binding(holes).iloc[0]["prompts"] == 1
    with pytest.raises(ScoresError, match="nothing to bind"):
        binding(atoms({"a": np.ones((2, 1, 1))}))


def test_findings_say_how_many_seeds_the_gap_within_prompts_needs():
    rng = np.random.default_rng(3)
    for names, seeds in (("ab", 1), ("abc", 2), ("abc", 3)):
        made = {name: rng.integers(0, 2, (8, seeds, 1)) * 1.0 for name in names}
        page = findings({"binding": binding(atoms(made), resampling=FAST)}, "study")
        assert (f"| fewer than {len(names)} seeds |" in page) == (seeds < len(names)), (names, seeds)


def test_binding_counts_the_images_that_a_prompt_has():
    # the second prompt lacks seed 0 of b: seeds 1 and 2 count, of which one has both
    first = np.array([[[1.0], [1.0], [1.0]], [[1.0], [1.0], [0.0]]])
    second = np.array([[[1.0], [1.0], [1.0]], [[NA], [1.0], [0.0]]])
    row = binding(atoms({"a": first, "b": second}), resampling=FAST).iloc[0]
    assert (row["prompts"], row["all"], row["product"]) == (2, 0.75, 0.75**2)
    assert (row["within"], row["within_gap"]) == (0.5, 0.25)
    # what is not judged takes no part: a of seed 1 with b of seed 2, and the other way round
    mixed = np.array([[[NA], [0.0], [1.0]]])
    assert binding(atoms({"a": np.ones((1, 3, 1)), "b": mixed}), resampling=FAST).iloc[0]["within"] == 0.5
    # with one image left it has none to take the other atom from
    second[1, 1] = NA
    row = binding(atoms({"a": first, "b": second}), resampling=FAST).iloc[0]
    assert (row["prompts"], row["all"], row["within"], row["within_gap"]) == (2, 0.5, 1.0, 0.0)


def test_gaps_have_the_intervals_of_two_numbers_jackknifed_together():
    """Each prompt is left out by hand."""
    made = (np.random.default_rng(5).random((2, 9, 3)) < [[[0.9]] * 9, [[0.6]] * 9]) * 1.0

    def numbers(a: np.ndarray, b: np.ndarray) -> list[float]:
        other = [a[:, seed] * b[:, seed - 1] for seed in range(3)]
        return [(a * b).mean(), a.mean() * b.mean(), np.mean(other)]

    whole = np.array(numbers(*made))
    without = np.array([numbers(*np.delete(made, prompt, axis=1)) for prompt in range(9)])
    by_hand = Jackknife(whole, without.mean(axis=0) - without, np.full(3, 9))
    low, high = by_hand.shares(0.95)
    row = binding(atoms({"a": made[0][..., None], "b": made[1][..., None]}), resampling=FAST).iloc[0]
    for name, other in (("gap", 1), ("within_gap", 2)):
        parts = [(whole[index], low[index], high[index]) for index in (0, other)]
        ends = difference_interval(*parts, by_hand.correlation(0, other))
        expected = [whole[0] - whole[other], *map(float, ends)]
        assert [row[name], row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx(expected), name


def test_binding_is_the_same_where_each_prompt_has_seeds_of_its_own():
    made = (np.random.default_rng(3).random((2, 12, 3, 1)) < 0.7) * 1.0
    table = atoms({"a": made[0], "b": made[1]})
    own = table.assign(seed=table["seed"] + 1000 * table["prompt_id"].str[1:].astype(int))
    pd.testing.assert_frame_equal(binding(own, resampling=FAST), binding(table, resampling=FAST))


def test_the_id_of_a_part_may_hold_an_ampersand():
    made = np.ones((3, 2, 2))
    found = binding(atoms({"salt & pepper": made, "bowl": made}), resampling=FAST)
    assert set(found["atoms"]) == {"bowl & salt & pepper"} and (found["all"] == 1).all()


def test_prompts_without_an_answer_make_no_interval_narrower():
    rng = np.random.default_rng(0)
    table = pd.concat(
        [as_table(images(rng, RISING, prompts=9)).assign(category=category) for category in ("a", "b")]
    )
    table["prompt_id"] = table["category"] + table["prompt_id"].astype(str)
    table["label"] = table["category"] == "a"
    more = table.assign(prompt_id=table["prompt_id"] + " again", label=pd.NA, p=np.nan)
    both = pd.concat([table, more], ignore_index=True).astype({"label": "boolean"})
    alone = table.astype({"label": "boolean"})
    for made in (
        lambda one: summary(one, ["category"], resampling=FAST).drop(columns="trajectories"),
        lambda one: contrast(one, {"category": "a"}, {"category": "b"}, resampling=FAST),
    ):
        pd.testing.assert_frame_equal(made(both), made(alone))


def test_rows_of_contrasts_are_named_by_their_run_first():
    found = pd.DataFrame(
        columns=["season", "scorer", "encoder", "kind", "run", "difference", "low", "high"]
    )
    assert held_equal(found) == ["run", "scorer", "encoder", "season", "kind"]
