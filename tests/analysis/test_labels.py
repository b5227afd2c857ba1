"""Made files with every quirk of the published labels; none of the authors' data is here."""

from pathlib import Path

import pandas as pd
import pytest

from diffusion_lens.analysis.agreement import agreement
from diffusion_lens.analysis.curves import curves, published_curves
from diffusion_lens.analysis.label_cells import parse_gpt, parse_human, parse_name
from diffusion_lens.analysis.labels import load, read
from diffusion_lens.errors import ScoresError
from tests.analysis.simulate import FAST

SD = "prompt,3,7,11,15,19,23,seed\n"
DF = "prompt,0,4,8,12,16,20,24,seed\n"


def four(prompt: str, cells: str) -> str:
    return "".join(f"{prompt},{cells},{seed}\n" for seed in ("0", "1.0", "2", "3.0"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A small repository like the authors'."""
    human, gpt, prompts = (tmp_path / name for name in ("human_annotations", "gpt_annotations", "prompts"))
    for folder in (human, gpt, prompts):
        folder.mkdir()
    classes = (
        SD + four("a kite", "0,0,1,1,1,1") + four('"one, two,"', "0,,0,0,0,1") + four("NA", "0,0,0,0,0,0")
    )
    (human / "classes_IsCorrect_sd.csv").write_text(classes)
    (human / "famous_IsHuman_df_famous_1702600000.25.csv").write_text(
        DF + four("Ann Other", "0,0,0,1,1,1,1")
    )
    (human / "famous_IsHuman_df_famous_1702600009.75.csv").write_text(
        DF + four("Ann Other", "0,0,0,1,1,1,1")
    )
    head = "syntax_head_first_IsFirstClass_sd_syntax_head_first_1702600000.5.csv"
    (human / head).write_text(SD + four("A made caption", "0,0,1,1,1,1"))
    (human / ".DS_Store").write_bytes(b"\0\1")
    (human / "classes_IsCorrect_df_famous_1702600000.5.csv").write_text(DF)
    (human / "clowns_IsCorrect_df.csv").write_text(DF)
    (human / "classes_IsClass_df.csv").write_text(SD)
    (human / "classes_IsAnimal_df.csv").write_bytes(b"\xff\xfe")
    (human / "notes.csv").write_text("hello")
    odd = '8,10.0, 3,"7, 10, 0, 1, ",Error,llf'
    refusal = "\"I'm sorry, I can't help with that.\",6,5,0,'',no idea at all"
    gpt_classes = SD + four("a kite", "llf,llf,llf,llf,llf,2") + four("two", odd) + four("three", refusal)
    (gpt / "auto_prompts_classes_IsCorrect_sd.csv").write_text(gpt_classes)
    twice = four("Said twice.", "1,2,3,4,5,6") * 2
    (gpt / "auto_prompts_syntax_compound_IsCorrect_sd.csv").write_text(SD + twice)
    (prompts / "simple_objects - Sheet1.csv").write_text('prompt,class\na kite,toy\n"one, two,",number\n')
    return tmp_path


def test_labels_become_a_table_of_scores(copy):
    table = read(copy)
    kite = table[(table["prompt"] == "a kite") & (table["scorer"] == "human") & (table["seed"] == 1)]
    assert kite["layer"].tolist() == [3, 7, 11, 15, 19, 23]
    assert kite["label"].tolist() == [False, False, True, True, True, True]
    assert kite["depth"].iloc[-1] == 1 and set(kite["run"]) == {"sd"} and set(kite["kind"]) == {"global"}
    assert set(kite["class"]) == {"toy"} and kite["in_prompt_file"].all()
    assert set(table["prompt"]) >= {"NA", "one, two,", "Ann Other"}
    assert table[table["prompt"] == "Ann Other"]["layer"].max() == 24
    assert set(table["experiment"]) == {"classes", "famous", "syntax_head_first", "syntax_compound"}


def test_every_quirk_is_counted(copy):
    report = load(copy).report

    def count(scorer: str, what: str) -> float:
        return report[(report["scorer"] == scorer) & (report["what"] == what)]["count"].sum()

    assert count("human", "file read") == 3 and count("human", "file is a copy") == 1
    assert count("human", "file ignored") == 1 and count("human", "file not read") == 5
    assert count("human", "cells without: blank") == 4 and count("human", "cells") == 72 + 28 + 24
    # a kite: 5 each; of "two" the last; of four images each
    assert count("gpt", "cells without: llf") == 24
    assert count("gpt", "cells without: error") == 4 and count("gpt", "cells without: multi") == 4
    assert count("gpt", "cells without: refusal") == 4
    # '' in quotes of its own, and words
    assert count("gpt", "cells without: other") == 8
    assert count("gpt", "cells with a label") == count("gpt", "cells") - 44
    assert count("gpt", "rows of a prompt are not 4") == 8 and count("gpt", "prompt in a file twice") == 1
    assert count("", "prompts in no prompt file") == 6
    assert count("", "prompt file not read") == 7
    details = " ".join(report["detail"])
    for words in (
        "'clowns'",
        "both 'classes' and 'famous'",
        "its columns are",
        "can't be read as csv",
        "notes.csv",
    ):
        assert words in details


def test_a_prompt_in_a_file_twice_stays_two(copy):
    table = read(copy)
    said = table[table["prompt"] == "Said twice."]
    assert said["prompt_id"].nunique() == 2 and len(said) == 2 * 4 * 6


def test_what_went_in_comes_out(copy):
    """From the tidy table back to the wide file."""
    table = read(copy)
    part = table[(table["scorer"] == "human") & (table["experiment"] == "classes")]
    wide = part.pivot(index=["prompt", "seed"], columns="layer", values="raw")
    assert wide.loc["a kite"].to_numpy().tolist() == [["0", "0", "1", "1", "1", "1"]] * 4
    assert wide.loc["one, two,"].to_numpy().tolist() == [["0", "", "0", "0", "0", "1"]] * 4


def test_analyses_run_on_labels(copy):
    table = read(copy)
    human = table[table["scorer"] == "human"]
    frame = published_curves(human, ["model", "experiment", "question"])
    classes = frame[frame["experiment"] == "classes"]
    assert classes["rate"].tolist() == [0, 0, 0.5, 0.5, 0.5, 1] and classes["cells"].tolist() == [
        8,
        4,
        8,
        8,
        8,
        8,
    ]
    ours = curves(human, ["run", "category", "check"], condition="final-correct", resampling=FAST)
    assert ours[ours["category"] == "classes"]["rate"].tolist() == classes["rate"].tolist()
    shared = agreement(table, "human", "gpt", resampling=FAST)
    assert shared["answers"].tolist() == [4]  # a kite, at the last layer


def test_the_cut_is_a_choice(copy):
    labels = {}
    for cut in (2, 5):
        table = load(copy, cut=cut).table
        labels[cut] = table[table["prompt"] == "Said twice."]["label"].sum()
    assert labels == {2: 4 * 2 * 4, 5: 1 * 2 * 4}


def test_two_answers_to_one_cell_are_an_error(copy):
    clash = copy / "human_annotations" / "famous_IsHuman_df_famous_1702600020.0.csv"
    clash.write_text(DF + four("Ann Other", "1,0,0,1,1,1,1"))
    with pytest.raises(ScoresError, match=r"differ in .*Ann Other.*'1' and '0'"):
        load(copy)


def test_a_second_file_may_add_what_the_first_has_not(copy):
    more = copy / "human_annotations" / "famous_IsHuman_df_famous_1702600020.0.csv"
    more.write_text(
        DF + four("Ann Other", "0,0,0,1,1,1,1") + four("Bob Other", "0,0,0,1,1,1,1") + "C,0,0,0,0,0,0,0,x\n"
    )
    found = load(copy)
    assert (found.table["prompt"] == "Bob Other").sum() == 28
    assert (found.report["what"] == "row not read").sum() == 1


def test_nothing_to_read_is_said(tmp_path):
    with pytest.raises(ScoresError, match="neither human_annotations nor gpt_annotations"):
        load(tmp_path)
    (tmp_path / "human_annotations").mkdir()
    (tmp_path / "human_annotations" / "x.csv").write_text("")
    with pytest.raises(ScoresError, match=r"No label file in .* could be read. x.csv: the name is not"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        ("8", True, None),
        ("10.0", True, None),
        (" 5 ", False, None),
        ("5.5", True, None),
        ("11", None, "other"),
        ("10,0", None, "multi"),
        ("0,", None, "multi"),
        ("7, 10, 0, 1, ", None, "multi"),
        ("LLF", None, "llf"),
        ("Error", None, "error"),
        ("", None, "blank"),
        ("I'm sorry, but I can't assist.", None, "refusal"),
        ("a kite, red", None, "other"),
    ],
)
def test_gpt_cells(text, label, reason):
    cell = parse_gpt(text, 5)
    assert (cell.label, cell.reason) == (label, reason)


def test_human_cells():
    assert [parse_human(text).label for text in ("0", "1", " 1.0", "", "2")] == [
        False,
        True,
        True,
        None,
        None,
    ]
    assert parse_human("").reason == "blank" and parse_human("yes").reason == "other"


def test_one_name_may_begin_another():
    first = parse_name("syntax_head_first_IsCorrect_df_syntax_head_first_17.5.csv", "human")
    assert first.experiment == "syntax_head_first"
    assert parse_name("syntax_head_IsCorrect_df_syntax_head_17.5.csv", "human").experiment == "syntax_head"
    with pytest.raises(ScoresError, match="both"):
        parse_name("syntax_head_IsCorrect_df_syntax_head_first_17.5.csv", "human")
    assert (
        parse_name("auto_prompts_positional_in_FirstThingExists_sd.csv", "gpt").question
        == "FirstThingExists"
    )
    with pytest.raises(ScoresError, match="the name is not"):
        parse_name("auto_prompts_classes_IsCorrect_sd.csv", "human")


def test_labels_keep_their_columns_on_disk(copy, tmp_path):
    from diffusion_lens.scoring import table as scores

    table = read(copy)
    scores.write(table, tmp_path / "labels.parquet")
    back = scores.read(tmp_path / "labels.parquet")
    pd.testing.assert_frame_equal(back, table, check_dtype=False)


def test_a_prompt_file_of_two_experiments_says_what_it_says_of_both(copy):
    for name in ("in", "on"):
        file = copy / "human_annotations" / f"positional_{name}_RelationCorrect_sd.csv"
        file.write_text(SD + four(f"a cup {name} a box", "0,0,1,1,1,1"))
    rows = "prompt,thing\na cup in a box,cup\na cup on a box,cup\n"
    (copy / "prompts" / "relations - Sheet1.csv").write_text(rows)
    table = read(copy)
    found = table[table["experiment"].isin(["positional_in", "positional_on"])]
    assert found["in_prompt_file"].all() and set(found["thing"]) == {"cup"}
