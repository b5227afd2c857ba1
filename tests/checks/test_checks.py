import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion_lens.checks.check_files import read_jsonl, write_jsonl
from diffusion_lens.checks.checks import Check, CheckedPrompt, Judgement
from diffusion_lens.checks.label_questions import label_check
from diffusion_lens.checks.question_sets import (
    from_dsg,
    from_geneval,
    from_tifa,
    read_dsg,
    read_geneval,
    read_tifa,
)
from diffusion_lens.checks.scenes import from_description
from diffusion_lens.checks.templates import Template
from diffusion_lens.errors import CheckError
from diffusion_lens.testbed.captions import describe
from diffusion_lens.testbed.scenes import sample

DATA = Path(__file__).parents[1] / "data"
GENEVAL = [
    {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"},
    {
        "tag": "counting",
        "include": [{"class": "clock", "count": 2}],
        "exclude": [{"class": "clock", "count": 3}],
        "prompt": "a photo of two clocks",
    },
    {
        "tag": "position",
        "include": [
            {"class": "teddy bear", "count": 1},
            {"class": "dog", "count": 1, "position": ["right of", 0]},
        ],
        "prompt": "a photo of a dog right of a teddy bear",
    },
    {
        "tag": "color_attr",
        "include": [
            {"class": "wine glass", "count": 1, "color": "purple"},
            {"class": "apple", "count": 1, "color": "black"},
        ],
        "prompt": "a photo of a purple wine glass and a black apple",
    },
]


def back_to_geneval(prompt: CheckedPrompt) -> dict:
    """The metadata rebuilt from the checks alone, to show that they lost nothing."""
    include, exclude = [], []
    index = {check.id: i for i, check in enumerate(c for c in prompt.checks if c.kind == "object")}
    for check in prompt.checks:
        if check.kind == "object":
            include.append({"class": check.subject, "count": 1})
            continue
        if check.id.startswith("exclude"):
            exclude.append({"class": check.subject, "count": check.count})
            continue
        item = include[index[check.parents[0]]]
        if check.kind == "count":
            item["count"] = check.count
            if check.relation == "exactly":
                exclude.append({"class": check.subject, "count": check.count + 1})
        elif check.kind == "attribute":
            item["color"] = check.attribute
        else:
            item["position"] = [check.relation, index[check.parents[1]]]
    rebuilt = {"tag": prompt.category, "include": include, "prompt": prompt.prompt}
    return {**rebuilt, "exclude": exclude} if exclude else rebuilt


@pytest.mark.parametrize("row", GENEVAL, ids=lambda row: row["tag"])
def test_geneval_metadata_can_be_rebuilt_from_its_checks(row):
    assert back_to_geneval(from_geneval(row)) == row


def test_geneval_questions_read_as_english(tmp_path):
    path = tmp_path / "metadata.jsonl"
    path.write_text("\n".join(map(json.dumps, GENEVAL)))
    prompts = read_geneval(path)
    assert [check.question for check in prompts[1].checks] == ["Is there a clock?", "Are there two clocks?"]
    assert [check.question for check in prompts[3].checks][2:] == [
        "Is there an apple?",
        "Is the apple black?",
    ]
    assert prompts[2].checks[2].question == "Is the dog right of the teddy bear?"
    assert prompts[2].checks[2].parents == ("object-1", "object-0")
    assert prompts[1].checks[1].count == 2 and prompts[1].checks[1].relation == "exactly"


def test_a_class_excluded_and_not_included_is_a_check_of_its_own():
    row = {
        "tag": "made",
        "include": [{"class": "cat", "count": 2}],
        "exclude": [{"class": "dog", "count": 1}],
        "prompt": "two cats and no dog",
    }
    prompt = from_geneval(row)
    assert [(c.id, c.relation, c.count) for c in prompt.checks] == [
        ("object-0", None, None),
        ("count-0", "at least", 2),
        ("exclude-0", "fewer than", 1),
    ]
    assert back_to_geneval(prompt) == row


def test_dsg_rows_keep_kinds_parents_and_the_row_itself():
    (prompt,) = read_dsg(DATA / "dsg_made.csv")
    assert prompt.prompt == "Three red kites over a bay, at dusk" and prompt.category == "made"
    assert [check.kind for check in prompt.checks] == [
        "object",
        "object",
        "attribute",
        "count",
        "relation",
        "global",
    ]
    assert [check.parents for check in prompt.checks] == [(), (), ("1",), ("1",), ("1", "2"), ("2",)]
    assert prompt.checks[3].count == 3
    relation = prompt.checks[4]
    assert (relation.subject, relation.relation, relation.target) == ("kites", "over", "bay")
    assert prompt.checks[5].source["dependency"] == "2, bay"


def test_dsg_circles_are_cut_and_named(caplog):
    rows = [
        {
            "item_id": "made_3",
            "text": "x",
            "proposition_id": str(number),
            "dependency": parents,
            "category_broad": "entity",
            "category_detailed": "whole",
            "tuple": "entity - whole (x)",
            "question_natural_language": "?",
        }
        for number, parents in [(1, "3"), (2, "1,2"), (3, "2,9"), (1, "2")]
    ]
    (prompt,) = from_dsg(rows)
    assert [check.parents for check in prompt.checks] == [("3",), ("1",), (), ("2",)]
    assert [check.id for check in prompt.checks] == ["1", "2", "3", "1 (2)"]
    assert (
        "3 impossible dependencies were left out: made_3: 2 on 2, made_3: 3 on 2, made_3: 3 on 9"
        in caplog.text
    )
    assert prompt.checks[2].source["dependency"] == "2,9"


def test_tifa_rows_keep_choices_and_answers(tmp_path):
    rows = [
        {
            "id": "made_2",
            "caption": "three cats on grass",
            "question": question,
            "choices": choices,
            "answer": answer,
            "element_type": kind,
            "element": element,
            "coco_val_id": "7",
        }
        for question, choices, answer, kind, element in [
            ("are there cats?", ["yes", "no"], "yes", "animal/human", "cats"),
            ("how many cats?", ["1", "2", "3", "4"], "3", "counting", "three"),
            ("what is the weather?", ["wet", "dry"], "dry", "weather", "dry"),
        ]
    ]
    path = tmp_path / "tifa.json"
    path.write_text(json.dumps(rows))
    (prompt,) = read_tifa(path)
    assert [check.kind for check in prompt.checks] == ["object", "count", "global"]
    assert prompt.checks[1].count == 3 and prompt.checks[1].choices == ("1", "2", "3", "4")
    assert prompt.checks[0].choices == () and prompt.checks[0].answer == "yes"
    assert [dict(check.source) for check in prompt.checks] == rows


def test_label_questions_are_checks():
    assert label_check("RelationCorrect").kind == "relation"
    assert label_check("IsSecondColorPresent").kind == "attribute"
    assert label_check("IsSomethingNew").kind == "global"


def test_templates_ask_for_each_slot():
    template = Template("a {attribute} {object} {relation} a {attribute2} {object2}", "binding")
    prompt = template.fill(
        attribute="orange", object="owl", relation="left of", attribute2="red", object2="apple"
    )
    assert prompt.prompt == "an orange owl left of a red apple"
    assert [(check.id, check.question) for check in prompt.checks] == [
        ("attribute-0", "Is the owl orange?"),
        ("object-0", "Is there an owl?"),
        ("relation-0", "Is the owl left of the apple?"),
        ("attribute-1", "Is the apple red?"),
        ("object-1", "Is there an apple?"),
    ]
    assert prompt.checks[2].parents == ("object-0", "object-1")
    many = Template("{count} {object} {place}").fill(count=3, object="fox", place="in the snow")
    assert many.prompt == "three foxes in the snow"
    assert [check.question for check in many.checks] == [
        "Are there three foxes?",
        "Is there a fox?",
        "Is this in the snow?",
    ]


def test_all_fillings_leave_out_a_thing_beside_itself():
    prompts = Template("a {object} and a {object2}").fill_all(object=["cat", "owl"], object2=["cat", "owl"])
    assert [prompt.prompt for prompt in prompts] == ["a cat and an owl", "an owl and a cat"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a cat", "has no slots"),
        ("a {thing}", "has the slots \\['thing'\\]"),
        ("a {object} and a {object}", "twice"),
        ("a {object} {relation}", "no object to belong to"),
        ("{attribute} and more", "no object to belong to"),
    ],
)
def test_templates_that_make_no_sense_are_refused(text, message):
    with pytest.raises(CheckError, match=message):
        Template(text)


def test_a_template_wants_all_its_slots():
    with pytest.raises(CheckError, match="has the slots"):
        Template("a {object}").fill(place="here")


def test_every_kind_of_scene_becomes_checks():
    kinds = Counter()
    for index in range(200):
        stated = describe(sample(3, index))
        prompt = from_description(str(index), "a caption", stated)
        kinds.update(check.kind for check in prompt.checks)
        if stated.where:
            parts = [check for check in prompt.checks if check.kind in ("axis", "order")]
            for part in parts:
                assert (part.subject, part.target) == tuple(item.name for item in stated.items)
                assert part.relation == stated.where
            assert [part.parents for part in parts] == [("object-0", "object-1"), ("axis-0",)]
        if stated.count > 1:
            assert next(check for check in prompt.checks if check.kind == "count").count == stated.count
    assert set(kinds) == {"object", "attribute", "axis", "order", "count", "identity", "global"}


words = st.text(min_size=1, max_size=8).filter(lambda text: ";" not in text and text == text.strip())


@given(
    st.lists(st.tuples(words, words, st.sampled_from(["object", "global"])), min_size=1, max_size=4), words
)
def test_checks_survive_the_disk(tmp_path_factory, made, text):
    checks = tuple(Check(f"{i}{name}", kind, question) for i, (name, question, kind) in enumerate(made))
    prompts = [
        CheckedPrompt("a", text, checks, source={"row": [1, {"deep": None}]}),
        CheckedPrompt("b", f"not {text}", (Check("x", "global", "?"),)),
    ]
    path = tmp_path_factory.mktemp("checks") / "checks.jsonl"
    write_jsonl(path, prompts)
    assert read_jsonl(path) == prompts


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Check("a", "colour", "?"), "no known kind"),
        (lambda: Check("a", "object", "?", "no", choices=("x", "y")), "not among its choices"),
        (lambda: Judgement("a", p=1.5), "between 0 and 1"),
        (
            lambda: CheckedPrompt("p", "x", (Check("a", "object", "?"), Check("a", "count", "?"))),
            "more than one",
        ),
        (
            lambda: CheckedPrompt("p", "x", (Check("a", "object", "?", parents=("b",)),)),
            "depend on \\['b'\\]",
        ),
        (lambda: CheckedPrompt("p", "x", (Check("a", "object", "?", parents=("a",)),)), "circle: a -> a"),
        (lambda: Check("a;b", "object", "?"), "semicolon"),
        (lambda: from_geneval({"prompt": "x"}), "GenEval row 0"),
        (lambda: from_geneval({"tag": "", "prompt": "x", "include": ["dog"]}), "GenEval row 0"),
        (lambda: from_dsg([{"item_id": "x"}]), "DSG row"),
        (lambda: from_tifa([{"id": "x"}]), "TIFA row"),
        (lambda: read_jsonl("nowhere.jsonl"), "can't be read"),
        (lambda: read_tifa("nowhere.json"), "can't be read"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_bad_checks_are_named(make, message):
    with pytest.raises(CheckError, match=message):
        make()


def test_bad_lines_are_named(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "x"}\n')
    with pytest.raises(CheckError, match="line 1: the prompt 'x' has no list of checks"):
        read_jsonl(path)
    path.write_text("{\n")
    with pytest.raises(CheckError, match="line 1, is no JSON"):
        read_geneval(path)
    with pytest.raises(CheckError, match="is no JSON"):
        read_tifa(path)
    path.write_text("{}")
    with pytest.raises(CheckError, match="no list"):
        read_tifa(path)


def test_a_count_of_a_template_is_a_whole_number():
    template = Template("{count} {object}")
    assert template.fill(count="3.0", object="cup").prompt == "three cups"
    with pytest.raises(CheckError, match=r"'count'.* is a count and can't be 'two'"):
        template.fill(count="two", object="cup")
