"""The oracle as a scorer: exact answers on scenes of which everything is known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion_lens.checks.assign import ask, whole
from diffusion_lens.checks.checks import Check
from diffusion_lens.checks.scenes import parse_caption
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from diffusion_lens.testbed import captions, oracle
from diffusion_lens.testbed.judge import judge, judge_relation_parts
from diffusion_lens.testbed.scenes import ENTITIES, ENTITY_NAMES, Placed, Scene, render, sample
from tests.scoring.made_runs import requests, scene

SCORER = OracleScorer()


def labels(picture: str, prompt: str) -> dict[str, bool | None]:
    """What the oracle says of the checks of a prompt, on a picture of another caption."""
    [asked] = ask([Prompt(prompt)]).prompts
    [judged] = SCORER.score(requests([scene(picture)], [asked.checks], "emoji"))
    return {one.check_id: one.label for one in judged}


@pytest.mark.parametrize(
    ("picture", "prompt", "expected"),
    [
        ("a red fox", "a red fox", {"object-0": True, "attribute-0": True, "prompt": True}),
        ("a blue fox", "a red fox", {"object-0": True, "attribute-0": False, "prompt": False}),
        ("a red cat", "a red fox", {"object-0": False, "attribute-0": None, "prompt": False}),
        ("a big cat", "a big cat", {"object-0": True, "size-0": True, "prompt": True}),
        ("a small cat", "a big cat", {"object-0": True, "size-0": False, "prompt": False}),
        ("three cats", "two cats", {"object-0": True, "count-0": False, "prompt": False}),
        ("two cats", "two cats", {"object-0": True, "count-0": True, "prompt": True}),
        ("two dogs", "two cats", {"object-0": False, "count-0": None, "prompt": False}),
        (
            "a cat to the left of a dog",
            "a dog to the right of a cat",
            {"object-0": True, "object-1": True, "axis-0": True, "order-0": True, "prompt": True},
        ),
        (
            "a cat to the left of a dog",
            "a cat to the right of a dog",
            {"object-0": True, "object-1": True, "axis-0": True, "order-0": False, "prompt": False},
        ),
        (
            "a cat above a dog",
            "a cat to the right of a dog",
            {"object-0": True, "object-1": True, "axis-0": False, "order-0": None, "prompt": False},
        ),
        (
            "a cat to the left of a fish",
            "a cat to the left of a dog",
            {"object-0": True, "object-1": False, "axis-0": None, "order-0": None, "prompt": False},
        ),
        ("a cat at night", "a cat at night", {"object-0": True, "place-0": True, "prompt": True}),
        ("a cat on grass", "a cat at night", {"object-0": True, "place-0": False, "prompt": False}),
    ],
)
def test_each_kind_of_check_is_right_wrong_or_missing(picture, prompt, expected):
    assert labels(picture, prompt) == expected


@pytest.mark.parametrize(
    ("relation", "count", "right"),
    [("at least", 2, True), ("at least", 3, False), ("fewer than", 3, True), ("fewer than", 2, False)],
)
def test_counts_may_be_bounds(relation, count, right):
    check = Check("n", "count", "", subject="cat", relation=relation, count=count)
    [[judged]] = SCORER.score(requests([scene("two cats")], [[check]], "emoji"))
    assert judged.label is right


def test_of_two_of_a_kind_the_one_of_the_right_colour_is_meant():
    pair = Image.fromarray(render(captions.imagine(captions.parse("a red ball and a blue ball"), 0)))
    [asked] = ask([Prompt("a blue ball")]).prompts
    [judged] = SCORER.score(requests([pair], [asked.checks], "emoji"))
    assert [one.label for one in judged] == [True, True, True]


@pytest.mark.parametrize(
    ("objects", "prompt", "expected"),
    [
        ("red fox, blue fox", "a red fox to the left of a blue fox", "yes yes yes yes"),
        ("red fox, blue fox", "a blue fox to the left of a red fox", "yes yes yes no"),
        ("blue fox, red fox", "a red fox to the left of a blue fox", "yes yes yes no"),
        ("red fox, green fox", "a red fox to the left of a blue fox", "yes no yes yes"),
        # one that is meant twice is not beside itself
        ("red fox", "a red fox to the left of a blue fox", "yes no - -"),
        ("blue fox", "a red fox to the left of a blue fox", "no yes - -"),
        ("red fox, blue fox", "a fox to the right of a red fox", "yes yes yes"),
        ("red fox, blue fox", "a fox to the left of a red fox", "yes yes no"),
        ("blue fox, red fox", "a fox to the left of a red fox", "yes yes yes"),
        # nothing tells which is which
        ("fox, fox", "a fox to the left of a fox", "yes yes"),
        ("fox, fox", "a fox above a fox", "no -"),
    ],
)
def test_two_things_of_one_name_are_told_apart(objects, prompt, expected):
    shown = [tuple(reversed(words.split())) for words in objects.split(", ")]
    placed = [
        Placed(one[0], one[1] if one[1:] else None, x, 32, 28)
        for one, x in zip(shown, (16, 48), strict=False)
    ]
    checks = ask([Prompt(prompt)]).prompts[0].checks
    [judged] = SCORER.score(
        requests([Image.fromarray(render(Scene("plain", tuple(placed))))], [checks], "emoji")
    )
    found = {one.check_id: one.label for one in judged}
    words = {True: "yes", False: "no", None: "-"}
    asked = [name for name in found if name.startswith(("attribute", "axis", "order"))]
    assert found["object-0"] and found["object-1"]
    assert " ".join(words[found[name]] for name in asked) == expected
    assert found["prompt"] is (set(expected.split()) == {"yes"})


def test_an_invented_name_is_who_it_stands_for():
    name = ENTITY_NAMES[0]
    thing, colour, place = ENTITIES[name]
    right = labels(name, name)
    assert right["identity-0"] and right["prompt"] and all(right.values())
    other = "grass" if place != "grass" else "snow"
    wrong = labels(f"a {colour} {thing} {captions.PLACE_PHRASES[other]}", name)
    assert wrong["object-0"] and not wrong["identity-0"] and not wrong["place-0"]


def test_reasons_say_what_is_seen():
    [judged] = SCORER.score(
        requests(
            [scene("a blue fox on grass")],
            [
                [
                    Check("c", "attribute", "Is the fox red?", subject="fox", attribute="red"),
                    whole("a red fox"),
                ]
            ],
            "emoji",
        )
    )
    assert judged[0].reason == "sees blue fox; ground: grass"
    assert judged[1].reason == "not so: red fox; sees blue fox; ground: grass"


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (Check("c", "object", "Is there a violin?", subject="violin"), "no object 'violin'"),
        (
            Check("c", "attribute", "", subject="fox", attribute="wooden"),
            "knows nothing that is 'wooden'",
        ),
        (
            Check("c", "relation", "", subject="fox", relation="riding", target="fox"),
            "no relation 'riding'",
        ),
        (Check("c", "identity", "", subject="Ada Lovelace"), "knows nobody called 'Ada Lovelace'"),
        (Check("c", "global", "", attribute="a dream"), "no place 'a dream'"),
        (Check("c", "object", "Is there a fox?"), "goes by the columns subject: 'c' has no subject"),
        (Check("c", "count", "Two?", subject="fox"), "by the columns subject, count: 'c' has no count"),
        (Check("c", "object", "", answer="fox", choices=("fox", "cat")), "chooses nothing"),
        (whole("an oil painting of melancholy"), "can't parse this prompt"),
    ],
)
def test_what_the_testbed_does_not_know_is_missing_with_the_reason(check, reason):
    [[judged]] = SCORER.score(requests([scene("a fox")], [[check]], "emoji"))
    assert judged.label is None and judged.p is None and reason in judged.reason
    assert SCORER.why_not(check) == judged.reason  # it is known without an image


def test_pictures_of_another_shape_are_missing_and_the_others_are_read():
    asked = [Check("c", "object", "", subject="fox")]
    wide = Image.new("RGB", (128, 64))
    judged = SCORER.score(requests([wide, scene("a fox"), scene("a fox", 128)], [asked] * 3, "emoji"))
    assert [one[0].label for one in judged] == [None, True, True]
    assert "not 128 x 64" in judged[0][0].reason


def test_a_question_to_be_denied_is_right_when_it_is_not_so():
    asked = Check("c", "object", "Is there a cat?", answer="no", subject="cat")
    [[judged]] = SCORER.score(requests([scene("a fox")], [[asked]], "emoji"))
    assert judged.label is True


ROLES = {
    "object": "object",
    "colour": "attribute",
    "size": "size",
    "count": "count",
    "axis": "axis",
    "order": "order",
    "place": "place",
    "name": "identity",
}


@given(st.integers(0, 400), st.integers(0, 400))
@settings(max_examples=15, deadline=None)
def test_it_agrees_with_the_judge_of_the_testbed(shown, told):
    """On any scene and any caption, check by check."""
    drawn = sample(5, shown)
    text = captions.caption(sample(6, told), 6, told)
    picture = render(drawn)
    stated = parse_caption(text)
    expected: dict[str, list[bool | None]] = {}
    seen = oracle.read(picture[None])[0]
    for answer in [*judge(stated, seen), *judge_relation_parts(stated, seen)]:
        if answer.check == "relation":  # asked in its two parts
            continue
        expected.setdefault(ROLES[answer.check], []).append(answer.right)
    [asked] = ask([Prompt(text)]).prompts
    [judged] = SCORER.score(requests([Image.fromarray(picture)], [asked.checks], "emoji"))
    found: dict[str, list[bool | None]] = {}
    for one in judged:
        if one.check_id != "prompt":
            found.setdefault(one.check_id.rsplit("-", 1)[0], []).append(one.label)
    assert {role: found[role] for role in expected} == expected


def test_each_part_of_a_relation_has_its_own_chance():
    whole_relation = Check("c", "relation", "", subject="cat", relation="left", target="dog")
    [asked] = ask([Prompt("a cat to the left of a dog")]).prompts
    [judged] = SCORER.score(
        requests([scene("a cat to the left of a dog")], [[*asked.checks, whole_relation]], "emoji")
    )
    chances = {one.check_id: one.chance for one in judged}
    assert chances == {
        "object-0": None,
        "object-1": None,
        "axis-0": 0.5,
        "order-0": 0.5,
        "prompt": None,
        "c": 0.25,
    }
