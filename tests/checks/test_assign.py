"""Where the checks of a run's prompts come from, and what there is to choose from."""

import json
import logging

import pytest

from diffusion_lens.checks.assign import ask, read_given, whole
from diffusion_lens.checks.check_files import write_jsonl
from diffusion_lens.checks.checks import Check, CheckedPrompt
from diffusion_lens.checks.choices import with_choices
from diffusion_lens.checks.question_sets import from_tifa
from diffusion_lens.checks.scenes import parse_caption
from diffusion_lens.checks.templates import Template
from diffusion_lens.errors import CheckError
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.testbed.captions import caption
from diffusion_lens.testbed.scenes import sample

GENEVAL = {"tag": "color_attr", "include": json.dumps([{"class": "bench", "count": 1, "color": "red"}])}
TIFA = {
    "question": "what animal is it?",
    "choices": ["cat", "dog"],
    "answer": "cat",
    "element_type": "animal/human",
    "element": "cat",
}
DSG = [
    {
        "proposition_id": 1,
        "dependency": 0,
        "category_broad": "entity",
        "category_detailed": "whole",
        "tuple": "entity - whole (bench)",
        "question_natural_language": "Is there a bench?",
    },
    {
        "proposition_id": 2,
        "dependency": 1,
        "category_broad": "attribute",
        "category_detailed": "color",
        "tuple": "attribute - color (bench, red)",
        "question_natural_language": "Is the bench red?",
    },
]


def ids(prompt: CheckedPrompt) -> list[str]:
    return [check.id for check in prompt.checks]


@pytest.mark.parametrize(
    ("metadata", "expected", "source"),
    [
        (GENEVAL, ["object-0", "attribute-0", "prompt"], "their GenEval metadata"),
        ({**GENEVAL, "exclude": ""}, ["object-0", "attribute-0", "prompt"], "their GenEval metadata"),
        (
            {"questions": json.dumps(DSG)},
            ["1", "2", "prompt"],
            "the questions in their metadata",
        ),
        ({"questions": json.dumps([TIFA])}, ["q0", "prompt"], "the questions in their metadata"),
        ({**TIFA, "choices": json.dumps(TIFA["choices"])}, ["q0", "prompt"], "a TIFA row each"),
        (
            {"template": "a {attribute} {object}", "attribute": "red", "object": "bench"},
            ["attribute-0", "object-0", "prompt"],
            "their template, by rule",
        ),
        ({}, ["prompt"], "no rule for their words: only the prompt as a whole can be scored"),
    ],
)
def test_metadata_become_checks(metadata, expected, source):
    asked = ask([Prompt("a red bench", metadata)])
    assert ids(asked.prompts[0]) == expected
    assert asked.sources == {source: 1}
    assert asked.prompts[0].checks[-1] == whole("a red bench")


def test_a_dependency_of_dsg_survives():
    [asked] = ask([Prompt("a red bench", {"questions": json.dumps(DSG)})]).prompts
    assert asked.checks[1].parents == ("1",)


def test_captions_of_the_testbed_are_read_and_what_is_given_goes_first():
    given = CheckedPrompt("x", "a red fox", (Check("mine", "object", "Is it?"),))
    asked = ask([Prompt("a red fox"), Prompt("a red cat")], [given])
    assert [ids(one) for one in asked.prompts] == [
        ["mine", "prompt"],
        ["object-0", "attribute-0", "prompt"],
    ]
    assert [one.prompt_id for one in asked.prompts] == ["a red fox", "a red cat"]


def test_a_number_of_zero_is_an_id_and_a_category_as_any_other():
    numbered = [Prompt(text, {"prompt_id": i, "category": i}) for i, text in enumerate(("a fox", "a cat"))]
    asked = ask([*numbered, Prompt("a dog", {"prompt_id": "", "category": ""})]).prompts
    assert [one.prompt_id for one in asked] == ["0", "1", "a dog"]
    assert [one.category for one in asked] == ["0", "1", "single"]


def test_every_caption_of_the_testbed_is_asked_for():
    prompts = [Prompt(caption(sample(3, i), 3, i), {"scene_index": i}) for i in range(200)]
    unique = list({one.prompt: one for one in prompts}.values())
    asked = ask(unique)
    assert list(asked.sources) == ["their words, by the testbed's grammar"]
    assert all(len(one.checks) > 1 for one in asked.prompts)


@pytest.mark.parametrize(
    ("text", "names", "where"),
    [
        ("a cat to the right of a dog", ("cat", "dog"), "right"),
        ("a dog to the left of a cat", ("dog", "cat"), "left"),
        ("a dog with a cat to its right", ("dog", "cat"), "left"),
        ("a cat below an airplane", ("cat", "airplane"), "below"),
        ("a star and a bear", ("star", "bear"), None),
        ("a carrot and a car", ("carrot", "car"), None),
    ],
)
def test_the_first_object_is_the_one_named_first(text, names, where):
    stated = parse_caption(text)
    assert (tuple(item.name for item in stated.items), stated.where) == (names, where)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a puppy", "a dog"),
        ("two puppies at midnight", "two dogs at night"),
        ("a scarlet automobile", "a red car"),
        ("a cat beneath a lorry", "a cat below a truck"),
        ("a trio of kittens", "three cats"),
    ],
)
def test_words_held_back_from_training_mean_what_they_stand_for(text, plain):
    assert parse_caption(text) == parse_caption(plain) is not None


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([Prompt("x", {"tag": "t", "include": "[{"})], "column include of prompt 'x' is no JSON"),
        ([Prompt("x", {"template": "a {object}"})], r"no column fills: \['object'\]"),
        ([Prompt("x", {"questions": "3"})], "is no list of rows"),
        ([Prompt(t, {"prompt_id": "1"}) for t in "ab"], "Several prompts have the prompt_id '1'"),
    ],
)
def test_metadata_that_can_not_be_read_are_named(prompts, message):
    with pytest.raises(CheckError, match=message):
        ask(prompts)


def test_files_of_checks_are_told_apart(tmp_path):
    ours = CheckedPrompt("x", "a fox", (Check("c", "object", "Is there a fox?"),))
    write_jsonl(tmp_path / "ours.jsonl", [ours])
    row = {"tag": "t", "include": [{"class": "fox", "count": 1}], "prompt": "a fox"}
    (tmp_path / "geneval.jsonl").write_text(json.dumps(row))
    (tmp_path / "tifa.json").write_text(json.dumps([{**TIFA, "id": "a_1", "caption": "a cat"}]))
    assert read_given(tmp_path / "ours.jsonl") == [ours]
    assert ids(read_given(tmp_path / "geneval.jsonl")[0]) == ["object-0"]
    assert ids(read_given(tmp_path / "tifa.json")[0]) == ["q0"]
    for name, message in [("x.txt", "is no file of checks"), ("x.jsonl", "can't be read")]:
        with pytest.raises(CheckError, match=message):
            read_given(tmp_path / name)


def test_alternatives_say_the_same_with_another_value():
    asked = ask([Prompt("a red fox to the left of a car"), Prompt("two cats at night")]).prompts
    first, second = with_choices(asked, most=4)
    by_id = {check.id: check for one in (first, second) for check in one.checks}
    assert by_id["attribute-0"].answer == "a red fox"
    assert all(choice.endswith(" fox") for choice in by_id["attribute-0"].choices)
    assert by_id["order-0"].choices == ("a fox to the left of a car", "a fox to the right of a car")
    assert by_id["axis-0"].choices == ()
    assert set(by_id["count-0"].choices) == {"one cat", "two cats", "three cats", "four cats"}
    assert by_id["place-0"].answer == "at night" and len(by_id["place-0"].choices) == 4
    assert by_id["prompt"].choices == ()
    choice = next(check for check in first.checks if check.id == "choice")
    assert set(choice.choices) == {one.prompt for one in asked} and choice.answer == first.prompt
    for check in by_id.values():
        assert not check.choices or (len(set(check.choices)) == len(check.choices) <= 4)


def test_what_a_prompt_states_of_another_thing_is_no_alternative():
    asked = ask([Prompt("a cat above a dog"), Prompt("a dog above a cat")]).prompts
    shiny = Template("a {attribute} {attribute2} {object}")
    both = [shiny.fill(attribute="shiny", attribute2="old", object=thing) for thing in ("harp", "violin")]
    for prompt in (*with_choices(asked, most=99), *with_choices(both)):
        right = {check.answer for check in prompt.checks if check.choices}
        for check in prompt.checks:
            if check.choices and check.id != "choice":
                assert right & set(check.choices) == {check.answer}


def test_words_of_other_worlds_are_set_against_those_that_the_run_asks_for():
    asked = [
        CheckedPrompt(name, name, (Check("object-0", "object", "?", subject=name),))
        for name in ("violin", "harp")
    ]
    made = with_choices(asked)
    assert made[0].checks[0].choices == ("a violin", "a harp")
    [alone] = with_choices(asked[:1])
    assert alone.checks == asked[0].checks


def test_a_prompt_that_is_given_twice_is_named(caplog):
    rows = [{**TIFA, "id": f"coco_{number}", "caption": "a dog"} for number in range(2)]
    with caplog.at_level(logging.WARNING):
        ask([Prompt("a dog")], from_tifa(rows))
    assert "1 of the prompts with checks stand there more than once, such as 'a dog'" in caplog.text
