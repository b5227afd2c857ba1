"""Gating by parents, for every road that leads to a table of scores."""

import csv
from collections.abc import Mapping, Sequence

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffusion_lens.checks.assign import read_given
from diffusion_lens.checks.checks import Judgement
from diffusion_lens.errors import ScoresError
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.score_run import Settings, score_run
from diffusion_lens.scoring.scorer import Scorer
from tests.scoring.made_runs import make_run

Label = bool | None
CHAIN = {"dog": (), "red": ("dog",), "left": ("red",)}


def table_of(labels: Mapping[str, Label], parents: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    rows = [
        {
            "prompt_id": "x",
            "layer": 0,
            "seed": 0,
            "scorer": "s",
            "check": name,
            "label": label,
            "p": None if label is None else 0.9 if label else 0.1,
            "parents": ";".join(parents.get(name, ())),
        }
        for name, label in labels.items()
    ]
    return scores.validate(pd.DataFrame(rows)).set_index("check")


def gated(labels: Mapping[str, Label], parents: Mapping[str, Sequence[str]] = CHAIN) -> list[Label]:
    column = table_of(labels, parents)["label"]
    return [None if pd.isna(column[name]) else bool(column[name]) for name in labels]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((True, True, True), [True, True, True]),
        ((False, True, True), [False, False, False]),
        ((True, False, True), [True, False, False]),
        ((None, True, False), [None, None, False]),
        ((True, None, True), [True, None, None]),
        # the root is wrong, whatever is missing in between
        ((False, None, True), [False, False, False]),
    ],
)
def test_a_chain_is_gated_from_its_root(answers, expected):
    labels = dict(zip(CHAIN, answers, strict=True))
    assert gated(labels) == expected
    assert gated(dict(reversed(labels.items()))) == expected[::-1]


def test_what_the_scorer_said_stays_beside_the_gated_answer():
    table = table_of({"dog": False, "red": True, "left": None}, CHAIN)
    assert table["p"].tolist() == [0.1, 0.0, 0.0] and table["p_ungated"].tolist() == [0.1, 0.9, pd.NA]
    assert table["label_ungated"].tolist() == [False, True, pd.NA]
    assert table["reason"].fillna("").tolist() == ["", "dog is wrong", "red is wrong"]


def test_a_parent_that_is_not_there_makes_its_children_missing():
    table = table_of({"red": True}, CHAIN)
    assert table["label"].isna().all() and table["reason"].tolist() == ["dog is missing"]


def test_a_parent_with_a_p_alone_gates_nothing():
    rows = pd.DataFrame(
        {
            "prompt_id": "x",
            "layer": 0,
            "seed": 0,
            "scorer": "s",
            "check": ["dog", "red"],
            "p": [0.2, 0.7],
            "parents": ["", "dog"],
        }
    )
    assert scores.validate(rows)["p"].tolist() == [0.2, 0.7]


def test_images_and_scorers_are_gated_apart():
    rows = pd.DataFrame(
        [
            ("x", layer, seed, scorer, check, not (check == "dog" and (layer, seed, scorer) == (1, 0, "a")))
            for layer in (0, 1)
            for seed in (0, 1)
            for scorer in "ab"
            for check in ("dog", "red")
        ],
        columns=["prompt_id", "layer", "seed", "scorer", "check", "label"],
    )
    table = scores.validate(rows.assign(parents=rows["check"].map({"dog": "", "red": "dog"})))
    wrong = table[~table["label"]]
    assert len(wrong) == 2 and set(wrong["scorer"]) == {"a"} and set(wrong["check"]) == {"dog", "red"}


def test_circles_in_a_table_are_named():
    with pytest.raises(ScoresError, match=r"circle: \w+ -> \w+ -> \w+"):
        table_of({"dog": True, "red": True}, {"dog": ("red",), "red": ("dog",)})


def test_a_part_of_a_gated_table_is_not_gated_again(tmp_path):
    table = scores.validate(table_of({"dog": True, "red": True, "left": False}, CHAIN).reset_index())
    part = scores.validate(table[table["check"] != "dog"])
    assert part["label"].tolist() == [True, False]
    for name in ("t.csv", "t.parquet"):
        scores.write(part, tmp_path / name)
        assert scores.read(tmp_path / name)["label"].tolist() == [True, False]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, Label], dict[str, tuple[str, ...]]]:
    names = [f"c{number}" for number in range(draw(st.integers(1, 7)))]
    labels = {name: draw(st.sampled_from([True, False, None])) for name in names}
    parents = {
        name: tuple(draw(st.lists(st.sampled_from(names[:at]), unique=True, max_size=3)) if at else ())
        for at, name in enumerate(names)
    }
    order = draw(st.permutations(names))
    return {name: labels[name] for name in order}, parents


@given(graphs())
def test_gating_is_the_definition_on_any_graph(graph):
    labels, parents = graph

    def answer(name: str) -> Label:
        above = [answer(parent) for parent in parents[name]]
        if labels[name] is False or False in above:
            return False
        return None if None in above else labels[name]

    assert gated(labels, parents) == [answer(name) for name in labels]


class Says(Scorer):
    """Answers by the words of the question, whatever the image shows."""

    name, kinds, version = "says", frozenset({"object", "attribute"}), "1"

    def __init__(self, **answers: Label) -> None:
        self.answers = answers

    def score(self, requests):
        return [
            [
                Judgement(check.id, None, self.answers[check.question.split()[-1].strip("?")])
                for check in request.checks
            ]
            for request in requests
        ]


def test_a_dsg_file_is_scored_from_end_to_end(tmp_path):
    """No fox: that the fox is red counts as wrong, at each layer, and the model's yes is kept beside it."""
    file = tmp_path / "dsg.csv"
    rows = [
        ("1", "0", "entity", "whole", "entity - whole (fox)", "Is there a fox?"),
        ("2", "1", "attribute", "color", "attribute - color (fox, red)", "Is the fox red?"),
        ("3", "0", "entity", "whole", "entity - whole (hill)", "Is there a hill?"),
    ]
    names = (
        "proposition_id",
        "dependency",
        "category_broad",
        "category_detailed",
        "tuple",
        "question_natural_language",
    )
    with open(file, "w", newline="") as stream:
        writer = csv.DictWriter(stream, ["item_id", "text", *names])
        writer.writeheader()
        for row in rows:
            named = dict(zip(names, row, strict=True))
            writer.writerow({"item_id": "made_1", "text": "a red fox on a hill", **named})
    prompt = "a red fox on a hill"
    make_run(tmp_path / "run", [prompt], lambda cell, text: Image.new("RGB", (64, 64)))
    [found] = score_run(
        tmp_path / "run",
        [Says(fox=False, red=True, hill=True)],
        given=read_given(file),
        settings=Settings(progress=False),
    )
    assert found.failed is None
    table = scores.read(tmp_path / "run")
    table = table[table["baseline"] == ""].set_index("check")
    assert not table.loc[["1", "2"], "label"].any() and table.loc["3", "label"].all()
    assert table.loc["2", "label_ungated"].all() and set(table.loc["2", "reason"]) == {"1 is wrong"}
    assert set(table.loc["2", "parents"]) == {"1"} and len(table.loc["2"]) == 3 * 2


def test_below_a_wrong_parent_no_p_is_left():
    """The one that was wrong by itself would else be likelier than the one that seemed right."""
    answers = {"dog": False, "red": False, "left": True}
    found = table_of(answers, {"red": ("dog",), "left": ("dog",)})
    assert found["p"].tolist() == [0.1, 0.0, 0.0]
    assert found["p_ungated"].tolist() == [0.1, 0.1, 0.9]
