"""What the paper asks of its labels, on a made copy of their format with made effects."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffusion_lens.analysis.findings_labels import labels
from diffusion_lens.analysis.label_study import are_labels, label_tables
from diffusion_lens.analysis.labels import load
from diffusion_lens.analysis.made_labels import write_made_labels
from diffusion_lens.scoring.table import validate
from tests.analysis.simulate import FAST


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> pd.DataFrame:
    folder = write_made_labels(tmp_path_factory.mktemp("labels"), 0.4)
    found = load(folder)
    assert not (found.report["what"] == "file not read").any()
    return found.table


@pytest.fixture(scope="module")
def tables(table) -> dict[str, pd.DataFrame]:
    wanted = [
        *("positional_common_animals", "positional_uncommon_animals"),
        *("syntax_head", "positional_on"),
    ]
    part = table[table["experiment"].isin(wanted) & (table["run"] == "df")]
    assert are_labels(part) and not are_labels(part.drop(columns="question"))
    return label_tables(part, FAST)


def test_common_animals_come_earlier_than_uncommon_ones(tables):
    areas = tables["label_animals"].query("number == 'area'").set_index("scorer")
    assert set(areas.index) == {"human", "gpt"}
    assert (areas["difference"] > 0.05).all()


def test_both_definitions_of_which_noun_is_first_stand_side_by_side(tables):
    found = tables["label_nouns"].query("category == 'syntax_head' and scorer == 'gpt'")
    lead = found.set_index("definition")["lead"]
    # the second noun is seen earlier, and goes again more often
    assert lead["first right"] < -0.1 < lead["stays right"]


def test_a_relation_is_asked_where_both_things_are(tables):
    found = tables["label_relations"]
    assert set(found["category"]) == {"positional_on"}
    assert found["rate"].dropna().between(0, 1).all() and set(found["end"]) == {"right", "wrong"}


def test_cells_marked_as_not_scored_are_told_apart(table):
    found = label_tables(table[table["reason"].eq("llf") | table["scorer"].eq("gpt")], FAST)
    marked = found["label_not_scored"]
    assert (marked["last_layer_without"] > marked["last_layer"]).all()
    assert (marked["not_scored"] < marked["prompts"]).all()


def test_the_page_says_what_the_files_cannot_give(tables):
    page = "\n".join(labels(tables))
    for words in (
        "Common against uncommon",
        "Which noun comes first",
        "Marked as not scored",
        "can't give",
    ):
        assert words in page
    assert labels({}) == []


def test_the_copy_is_the_same_for_a_seed(tmp_path):
    one, other = (write_made_labels(tmp_path / name, 0.1) for name in "ab")
    files = sorted(path.relative_to(one) for path in one.rglob("*.csv"))
    assert len(files) > 50
    assert all(Path(one / file).read_bytes() == (other / file).read_bytes() for file in files)


def test_where_no_prompt_is_scored_there_is_no_rate_without_those_that_are_not():
    cells = [("df", 0, "llf", None), ("df", 24, None, False), ("sd", 3, None, True), ("sd", 23, None, True)]
    table = pd.DataFrame(cells, columns=["run", "layer", "reason", "label"])
    table = table.assign(scorer="gpt", category="classes", check="IsCorrect", prompt_id="p", seed=0)
    found = label_tables(validate(table.assign(question="IsCorrect")), FAST)["label_not_scored"].iloc[0]
    assert found["last_layer"] == 0 and np.isnan(found["last_layer_without"])
