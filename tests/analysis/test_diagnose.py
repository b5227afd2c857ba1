"""Diagnosis: verdicts, probes and repairs with known answers, and the page."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from diffusion_lens.analysis.decodable import Decodability, pairs_apart, probe_check, read_by_probe
from diffusion_lens.analysis.diagnose import Diagnosis, compare_repairs, diagnose
from diffusion_lens.analysis.verdicts_of_checks import VERDICTS, find_verdict
from diffusion_lens.checks.checks import Check, CheckedPrompt, Judgement
from diffusion_lens.checks.minimal_pairs import minimal_pairs
from diffusion_lens.checks.scenes import from_description, parse_caption
from diffusion_lens.errors import CheckError, InputError, SamplerError, ScorerError
from diffusion_lens.pages.diagnosis import diagnosis_page, summarize
from diffusion_lens.scoring.repairs import propose_repairs, words_of
from diffusion_lens.scoring.scorer import Scorer

PROMPT = "a small red car on grass"


def read(*holding: int) -> Decodability:
    """Probes that read a check at these of three layers."""
    there = np.isin(np.arange(3), holding)
    return Decodability(np.where(there, 0.95, 0.5), there)


@pytest.mark.parametrize(
    ("rates", "native", "probes", "verdict"),
    [
        ([0, 0, 1], 1.0, None, ("drawn", None)),
        ([0, 1, 0], 0.0, read(0, 1, 2), ("drawn and lost", 1)),
        ([1, 1, 0], 0.0, None, ("drawn and lost", 1)),
        ([0, 0, 0], 0.0, read(), ("never decodable", None)),
        ([0, 0, 0], 0.0, read(0, 1), ("lost in the encoder", 1)),
        ([0, 0, 0], 0.0, read(2), ("decodable, not drawn", None)),
        ([0, 0, 0.5], 0.5, read(2), ("lost in the denoiser", None)),
        ([0, 0, 0.5], 0.5, None, ("lost in the denoiser", None)),
        ([0, 0, 0], 0.0, None, ("not drawn", None)),
        ([0, 0, 0], float("nan"), None, ("not judged", None)),
    ],
)
def test_the_verdict_says_where_a_check_is_lost(rates, native, probes, verdict):
    found = find_verdict(dict(enumerate(map(float, rates))), native, probes, 2)
    assert found == verdict and found[0] in VERDICTS


def parts(caption: str) -> dict[tuple[str, int], object]:
    """What a caption states, one thing at a time."""
    stated = asdict(parse_caption(caption))
    items = stated.pop("items")
    whole = {(name, 0): said for name, said in stated.items()}
    return whole | {(name, at): said for at, item in enumerate(items) for name, said in item.items()}


@pytest.mark.parametrize(
    ("prompt", "differing"),
    [
        (PROMPT, {"object": ["name"], "red": ["colour"], "small": ["size"], "global": ["place"]}),
        ("two red cars", {"object": ["name"], "red": ["colour"], "count": ["count"]}),
        ("a red car and a blue dog", {"object": ["name"], "red": ["colour"] * 2, "blue": ["colour"] * 2}),
        ("a small car and a big dog", {"object": ["name"], "small": ["size"], "big": ["size"]}),
        (
            "a car above a dog at night",
            {"object": ["name"], "axis": ["where"], "order": ["where"], "global": ["place"]},
        ),
    ],
)
def test_a_pair_of_captions_states_all_else_alike(prompt, differing):
    stated = parse_caption(prompt)
    checks = from_description("", prompt, stated).checks
    assert {check.attribute if check.kind == "attribute" else check.kind for check in checks} == set(
        differing
    )
    for check in checks:
        expected = differing[check.attribute if check.kind == "attribute" else check.kind]
        said = []
        for texts in minimal_pairs(stated, check, 20):
            one, other = map(parts, texts)
            said.append(one)
            different = [part for part in one if one[part] != other[part]]
            assert one.keys() == other.keys() and [name for name, _ in different] == expected, texts
        # and what is alike varies from pair to pair
        related = len(stated.items) == 2 and check.kind not in ("axis", "order")
        for name in {"colour", "place", *(["where"] if related else [])} - set(expected):
            assert len({row[name, 0] for row in said}) > 2, (check, name)


@pytest.mark.parametrize(
    "prompt",
    [PROMPT, "two red cars", "a red car to the left of a blue dog", "a car above a dog at night"],
)
def test_a_pair_of_captions_differs_in_the_check_alone(prompt):
    stated = parse_caption(prompt)
    for check in from_description("", prompt, stated).checks:
        pairs = minimal_pairs(stated, check, 20)
        assert len(pairs) == 20 and len(set(pairs)) > 10
        for texts in pairs:
            with_it, without = (
                {one.question for one in from_description("", text, parse_caption(text)).checks}
                for text in texts
            )
            # a plural is a question of another form; what the check asks for is what one states
            if check.kind != "count":
                assert check.question not in without, (check.question, texts)
            if check.kind in ("object", "attribute", "global"):
                assert check.question in with_it, (check.question, texts)


def test_two_captions_of_a_bound_colour_hold_the_same_colours():
    stated = parse_caption("a red car and a blue dog")
    checks = from_description("", "", stated).checks
    (red,) = (check for check in checks if check.attribute == "red")
    for pair in minimal_pairs(stated, red, 10):
        told = [{item.colour for item in parse_caption(text).items} for text in pair]
        assert told[0] == told[1] and "red" in told[0] and None not in told[0]


def test_an_invented_name_has_no_pairs():
    stated = parse_caption("Zorvak")
    (identity, *_) = from_description("", "Zorvak", stated).checks
    assert minimal_pairs(stated, identity, 20) == []


def test_a_check_of_a_file_is_paired_by_what_it_asks_whatever_its_id():
    stated = parse_caption("a red car and a blue dog")
    own = from_description("", "", stated).checks
    blue = next(check for check in own if check.attribute == "blue")
    renamed = replace(blue, id="mine", question="Is it blue?", parents=())
    assert minimal_pairs(stated, renamed, 5) == minimal_pairs(stated, blue, 5) != []
    assert minimal_pairs(stated, Check("object-7", "object", "?", subject="tree"), 5) == []
    assert minimal_pairs(stated, Check("c", "object", "Is there a car?"), 5) == []


def test_a_probe_reads_what_states_hold():
    rng = np.random.default_rng(0)
    labels, groups = np.tile([True, False], 30), np.repeat(np.arange(30), 2)
    vectors = rng.standard_normal((2, 60, 12))
    vectors[1, :, 0] += 6 * labels  # layer 1 holds it, layer 0 is noise
    prompt = rng.standard_normal((2, 12))
    prompt[1, 0] += 6
    found = read_by_probe(vectors, labels, groups, prompt)
    assert found.accuracy[0] < 0.75 and found.accuracy[1] > 0.95
    assert found.layers(0.8) == [1]
    assert replace(found, reads_prompt=np.array([True, False])).layers(0.8) == []


@pytest.mark.parametrize(("prompt", "name"), [("a red dog", "attribute-0"), ("a dog at night", "place-0")])
def test_a_probe_learns_no_caption_by_heart(prompt, name):
    """Of a short prompt few captions differ: pairs that share one are held out together."""
    stated = parse_caption(prompt)
    [check] = [one for one in from_description("", prompt, stated).checks if one.id == name]
    pairs = minimal_pairs(stated, check, 40)
    texts = [text for pair in pairs for text in pair]
    assert len(set(texts)) < len(texts)
    rng = np.random.default_rng(0)
    # states that hold which caption it is, and nothing of what it says
    states = {text: rng.standard_normal(200) for text in texts}
    vectors = np.stack([states[text] for text in texts])[None]
    labels = np.tile([True, False], len(pairs))
    assert read_by_probe(vectors, labels, pairs_apart(pairs), vectors[:, 0]).accuracy[0] < 0.65


def test_repairs_are_of_the_words_that_are_lost():
    prompt = "a red car and two blue dogs"
    checks = from_description("", PROMPT, parse_caption(PROMPT)).checks
    assert words_of(PROMPT, checks) == ["small", "red", "car", "grass"]
    lost = [check for check in checks if check.attribute == "red"]
    assert words_of(prompt, lost) == ["red", "car"]
    repairs = propose_repairs(PROMPT, checks, lost, 4)
    assert [one.name for one in repairs] == [
        "conditioning from layer 4",
        "red, car without context",
        "red, car stronger",
        "without a, on",
    ]
    assert repairs[0].layer == 4 and repairs[3].interventions[0].id == "drop(word:a;word:on)"
    assert propose_repairs("anything", [], [], None) == []


class Redness(Scorer):
    """Calls a check of a colour met where an image is more red than blue, and any other one not met."""

    name, kinds, version = "redness", frozenset({"object", "attribute"}), "1"

    def score(self, requests):
        red = [
            np.asarray(one.image)[..., 0].mean() > np.asarray(one.image)[..., 2].mean() for one in requests
        ]
        return [
            [Judgement(check.id, label=bool(is_red) and check.kind == "attribute") for check in one.checks]
            for one, is_red in zip(requests, red, strict=True)
        ]


@pytest.fixture(scope="module")
def found(emoji) -> Diagnosis:
    return diagnose(emoji, "a red car", [0], [100, 101], scorer=Redness(), pairs=10, steps=1, guidance=1.0)


def test_what_is_lost_is_repaired_on_other_seeds_beside_a_control(found):
    there, red = found.atoms.to_dict("records")
    assert there["verdict"] in ("decodable, not drawn", "lost in the encoder", "never decodable")
    assert red["native"] == 0  # its thing is not there
    assert set(found.repairs["repair"]) >= {"none", "red, car stronger", "without a"}
    repaired = found.images[found.images["repair"] != ""]
    assert set(repaired["seed"]) == {100, 101} and (repaired.groupby("repair")["seed"].nunique() == 2).all()
    control = repaired[repaired["repair"] == "none"]
    assert control["identical"].all() and not repaired["identical"].all()
    assert found.rates.groupby("check")["layer"].nunique().tolist() == [7, 7]
    assert found.rates["probe"].between(0, 1).all()


def test_the_page_shows_all_and_escapes_the_prompt(found):
    page = diagnosis_page(replace(found, prompt="<b>a red car</b>"))
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert page.count("<img ") == 7 + len(found.images[found.images["repair"] != ""])
    assert "2 of 2 things that the prompt states are lost" in summarize(found)
    assert page.count("<td>0 of 1</td>") == 2 and "the 2 held-out seeds were not looked at" in page
    control = found.repairs.set_index("repair").loc["none"]
    assert found.atoms["held_out"].tolist() == [control[one] for one in found.atoms["check"]]


def test_repairs_are_compared_seed_by_seed():
    tried = pd.DataFrame(
        [(name, seed, f"{name}{seed}") for name in ("none", "better", "same") for seed in range(8)],
        columns=["repair", "seed", "cell"],
    )
    label = tried["repair"].eq("better") | tried["seed"].lt(4) & tried["seed"].ge(4)
    answers = pd.DataFrame({"run": tried["cell"], "check": "c", "label": label, "p": np.nan})
    table = compare_repairs(tried, answers, ["c"]).set_index("repair")
    assert table.loc["better", ["right", "control", "difference"]].tolist() == [1, 0, 1]
    assert table.loc["better", "p"] == 2 / 256 and table.loc["better", "p_holm"] == 4 / 256
    assert table.loc["same", "difference"] == 0 and table.loc["same", "p_holm"] == 1
    assert np.isnan(table.loc["none", "p"])


def test_a_check_of_a_thing_that_no_image_shows_is_not_judged_and_says_why(emoji):
    red = Check("c", "attribute", "Is the zebra red?", subject="zebra", attribute="red")
    found = diagnose(
        emoji, "a cat", [0], [1], given=[CheckedPrompt("a cat", "a cat", (red,))], pairs=0, steps=4
    )
    assert found.atoms[["verdict", "unjudged"]].to_numpy().tolist() == [
        ["not judged", "there is no zebra to ask about"]
    ]
    assert "none of these images (there is no zebra to ask about)" in summarize(found)


def test_repairs_are_compared_by_the_checks_that_can_be_judged(emoji):
    red = Check("c", "attribute", "Is the zebra red?", subject="zebra", attribute="red")
    dog = Check("d", "object", "Is there a dog?", subject="dog")
    given = [CheckedPrompt("a cat", "a cat", (red, dog))]
    found = diagnose(emoji, "a cat", [0], [1, 2], given=given, pairs=0, steps=2)
    assert found.atoms["verdict"].tolist() == ["not judged", "not drawn"]
    assert found.repairs["seeds"].tolist() == [2] * len(found.repairs) and "c" not in found.repairs
    assert found.atoms["held_out"].isna().tolist() == [True, False]
    assert "No repair that was tried is better" in summarize(
        found
    ) and "Is the zebra red?" in diagnosis_page(found)
    none = replace(found, repairs=found.repairs.assign(seeds=0, difference=np.nan, p_holm=np.nan))
    assert "No repair is compared: no held-out seed is judged" in summarize(none)


def test_seeds_that_are_not_held_out_are_refused(emoji):
    with pytest.raises(InputError, match="Seed 3 is drawn with and held out too"):
        diagnose(emoji, "a red car", [0, 3], [3, 4])


def test_what_can_not_be_diagnosed_is_refused_before_anything_is_drawn(emoji):
    def refused(error, message, prompt="a red car", seeds=(0,), held_out=(1,), steps=0, **options):
        with pytest.raises(error, match=message):
            diagnose(emoji, prompt, seeds, held_out, steps=steps, **options)  # none can be drawn in 0

    refused(InputError, "states nothing", " ")
    refused(InputError, "at least 10", pairs=3)
    refused(InputError, "at least 10", pairs=-1)
    refused(InputError, "a share above 0", enough=float("nan"))
    refused(SamplerError, "No seed was given", held_out=())
    refused(SamplerError, "-1 is no seed", seeds=[-1])
    refused(ScorerError, "There is no scorer 'orakel'. Did you mean 'oracle'", scorer="orakel", steps=1)
    refused(CheckError, r"oracle can judge nothing of 'hello world': .* Give checks that", "hello world")
    fox = CheckedPrompt("a red car", "a red car", (Check("c", "object", "Is there a car?"),))
    refused(CheckError, "goes by the columns subject: 'c' has no subject", given=[fox])
    refused(CheckError, "nothing of 'a red car': it asks questions of its own", scorer="similarity")


@pytest.mark.parametrize(("prompt", "check"), [("a red car and a blue dog", "red"), ("a blue dog", "blue")])
def test_a_probe_of_a_colour_reads_it_off_its_thing(emoji, prompt, check):
    (bound,) = (
        one for one in from_description("", prompt, parse_caption(prompt)).checks if one.attribute == check
    )
    read = probe_check(emoji, prompt, bound, "text_encoder", pairs=20)
    # embeddings have no order, and the two captions of a pair the same words: only context binds a colour
    assert read.accuracy[1:].max() > 0.75
    assert (read.accuracy[0] < 0.65) == ("and" in prompt)


def test_a_repair_is_compared_on_the_seeds_that_are_judged_under_both():
    tried = pd.DataFrame(
        [(name, seed, f"{name}{seed}") for name in ("none", "better") for seed in range(4)],
        columns=["repair", "seed", "cell"],
    )
    label = pd.array([False, False, True, True, True, None, None, True], dtype="boolean")
    answers = pd.DataFrame({"run": tried["cell"], "check": "c", "label": label, "p": np.nan})
    row = compare_repairs(tried, answers, ["c"]).set_index("repair").loc["better"]
    assert row[["right", "control", "difference", "seeds"]].tolist() == [1, 0.5, 0.5, 2]
