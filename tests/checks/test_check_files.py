"""Checks that people write by hand: what may be left out, what is refused, and how."""

import json
import re
from pathlib import Path

import pytest

from diffusion_lens.checks.assign import ask, read_given
from diffusion_lens.checks.check_files import read_table, write_table
from diffusion_lens.checks.checks import Check, CheckedPrompt
from diffusion_lens.cli.checks import checks as write_checks
from diffusion_lens.errors import CheckError
from diffusion_lens.runs.experiment import Prompt

TABLE = """prompt,question,kind,id,parents
a red fox,Is there a fox?,object,,
a red fox,Is the fox red?,attribute,,object-0
two cats,Are there two cats?,count,,
"""


def given(tmp_path: Path, text: str, name: str = "checks.csv") -> list[CheckedPrompt]:
    (tmp_path / name).write_text(text)
    return read_given(tmp_path / name)


def test_a_table_of_three_columns_is_enough(tmp_path):
    [fox] = given(tmp_path, "prompt,question,kind\na red fox,Is there a fox?,object\n")
    assert fox == CheckedPrompt("a red fox", "a red fox", (Check("object-0", "object", "Is there a fox?"),))


def test_a_number_of_zero_is_an_id_and_a_category_as_any_other(tmp_path):
    check = {"question": "Is there a fox?", "kind": "object"}
    rows = [
        {"prompt": text, "prompt_id": number, "category": number, "checks": [check]}
        for number, text in enumerate(("a red fox", "a fox"))
    ]
    found = given(tmp_path, json.dumps(rows), "checks.json")
    assert [(one.prompt_id, one.category) for one in found] == [("0", "0"), ("1", "1")]


def test_parents_are_named_by_the_ids_that_are_filled_in(tmp_path):
    fox, cats = given(tmp_path, TABLE)
    assert [check.id for check in fox.checks] == ["object-0", "attribute-0"]
    assert fox.checks[1].parents == ("object-0",) and cats.checks[0].answer == "yes"


@pytest.mark.parametrize("name", ["checks.json", "checks.jsonl"])
def test_short_json_has_the_same_defaults(tmp_path, name):
    row = {"prompt": "a red fox", "checks": [{"question": "Is there a fox?", "kind": "object"}]}
    text = json.dumps([row] if name.endswith("json") else row)
    [fox] = given(tmp_path, text, name)
    assert fox.checks == (Check("object-0", "object", "Is there a fox?"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,question\nx,?\n", r"lacks the columns \['kind'\]"),
        ("prompt,question,kind\n", "holds no checks"),
        ("prompt,question,kind,parent\nx,?,object,\n", "no field 'parent'. Did you mean 'parents'"),
        ("prompt,question,kind\nx,?,colour\n", "no known kind: 'colour'"),
        ("prompt,question,kind\nx,,object\n", "'object-0' has no question"),
        ("prompt,question,kind\n,?,object\n", "line 2, has no prompt"),
        ("prompt,question,kind,count\nx,?,count,many\n", "can't be read: invalid literal"),
        (
            "prompt,question,kind,id,parents\nx,?,object,a,b\nx,?,object,b,a\n",
            "depend on each other in a circle: a -> b -> a",
        ),
        ("prompt,question,kind,parents\nx,?,object,fox\n", r"depend on \['fox'\]"),
    ],
)
def test_what_a_table_may_not_say_is_one_message(tmp_path, untyped, text, message):
    with pytest.raises(CheckError, match=message):
        given(tmp_path, text)


@pytest.mark.parametrize("text", ["[" * 100_000, "[{]", "{}", "[5]", '[{"prompt": "x", "checks": []}]'])
def test_json_that_is_none_is_one_message(tmp_path, text):
    with pytest.raises(CheckError, match=r"checks\.json"):
        given(tmp_path, text, "checks.json")


def test_checks_of_absent_prompts_are_said(tmp_path, caplog):
    found = given(tmp_path, TABLE)
    with pytest.raises(
        CheckError, match=r"All checks are of .*nearest prompt that is drawn is 'a red foxes'"
    ):
        ask([Prompt("a red foxes")], found)
    ask([Prompt("two cats")], found)
    assert "1 of 2 prompts with checks are not drawn, such as 'a red fox'" in caplog.text


def test_what_rules_make_can_be_edited_and_read_back(tmp_path):
    (tmp_path / "prompts.txt").write_text("a red fox\nan oil painting of melancholy\n")
    write_checks(tmp_path / "prompts.txt", out=tmp_path / "checks.csv")
    [fox] = read_table(tmp_path / "checks.csv")
    assert fox.checks == ask([Prompt("a red fox")]).prompts[0].checks[:-1]
    write_table(tmp_path / "again.csv", [fox])
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "checks.csv").read_bytes()


PAGE = Path(__file__).parents[2] / "docs" / "checks.md"
EXAMPLES = re.findall(r"```\{code-block\} \w+\n:caption: (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_each_example_of_the_page_is_read(tmp_path, name, text):
    [prompt] = given(tmp_path, text, name)
    assert prompt.checks[0].kind == ("attribute" if name == "tifa.json" else "object")
    # GenEval's, DSG's and one's own colour depends on the thing that has it
    assert all(check.parents for check in prompt.checks[1:])


def test_the_page_shows_every_format():
    assert [name for name, _ in EXAMPLES] == [
        "checks.csv",
        "checks.json",
        "geneval.jsonl",
        "dsg.csv",
        "tifa.json",
    ]
