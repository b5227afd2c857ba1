import pandas as pd
import pytest
from PIL import Image

from diffusion_lens.checks.checks import Check, CheckedPrompt, Judgement
from diffusion_lens.errors import OutputError, ScoresError
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.scorer import Scorer, ScoreRequest

ROWS = [
    ("fox", 0, 0, "object-0", "clip", None, None, "blocked"),
    ("fox", 4, 0, "object-0", "clip", 0.9, True, None),
    ("NA", 4, 0, "object-0", "vqa/a:b", 0.1, False, "no fox"),
]
NAMES = ["prompt_id", "layer", "seed", "check", "scorer", "p", "label", "reason"]


def made() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=NAMES)


def test_what_is_left_out_is_filled_in():
    table = scores.validate(made())
    assert tuple(table.columns) == scores.COLUMNS
    assert table["depth"].tolist() == [0, 1, 1]
    assert table["prompt"].tolist() == ["fox", "fox", "NA"]
    assert table["label"].isna().tolist() == [True, False, False]
    assert str(table["label"].dtype) == "boolean" and str(table["p"].dtype) == "Float64"
    pd.testing.assert_frame_equal(scores.validate(table), table)


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet", "run"])
def test_what_is_written_is_read_back(tmp_path, name):
    table = scores.validate(made().assign(raw=["8", " 8", "llf"]))
    files = scores.write(table, tmp_path / name)
    assert all(file.is_file() for file in files)
    back = scores.read(tmp_path / name)
    pd.testing.assert_frame_equal(
        back.sort_values(list(scores.KEY), ignore_index=True),
        table.sort_values(list(scores.KEY), ignore_index=True),
        check_dtype=False,
    )


def test_each_scorer_has_a_file_and_names_are_no_paths(tmp_path):
    scores.write(made(), tmp_path)
    names = sorted(file.name for file in (tmp_path / "scores").iterdir())
    assert names == ["clip.parquet", "vqa%2Fa:b.parquet"]


def test_a_table_is_not_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/scores").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="run/scores is a symbolic link to"):
        scores.write(made(), tmp_path / "run")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_broken_file_is_named_and_the_others_are_read(tmp_path, caplog):
    scores.write(made(), tmp_path)
    (tmp_path / "scores" / "broken.parquet").write_bytes(b"PAR1")
    assert len(scores.read(tmp_path)) == 3
    assert "broken.parquet" in caplog.text and "The others were read" in caplog.text


def test_a_scorers_answers_become_rows():
    class Red(Scorer):
        """Right if the first pixel is red; judges objects alone."""

        name, kinds, version = "red", frozenset({"object"}), "1"

        def score(self, requests):
            return [
                [
                    Judgement(one.id, None, request.image.getpixel((0, 0))[0] > 99)
                    for one in request.checks
                    if one.kind in self.kinds
                ]
                for request in requests
            ]

    scorer = Red()
    asked = CheckedPrompt(
        "p", "a fox", (Check("object-0", "object", "?"), Check("count-0", "count", "?")), "one"
    )
    images = [Image.new("RGB", (2, 2), colour) for colour in ("red", "black")]
    made = []
    for layer, told in enumerate(scorer.score([ScoreRequest(image, asked.checks) for image in images])):
        made += scores.rows(
            asked, told, run="r", scorer=scorer.name, encoder="e", layer=layer, last=2, seed=7
        )
    table = scores.validate(pd.DataFrame(made))
    assert table["label"].tolist() == [True, pd.NA, False, pd.NA]
    assert table["reason"].fillna("").tolist() == ["", "not judged", "", "not judged"]
    assert table["depth"].tolist() == [0, 0, 0.5, 0.5] and set(table["category"]) == {"one"}
    with pytest.raises(ScoresError, match=r"red answered \['b'\], which were not asked of 'p'"):
        scores.rows(asked, [Judgement("b")], run="r", scorer="red", encoder="e", layer=0, last=2, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": ["a", 1, 2]}, "whole numbers, not a"),
        ({"layer": [0.5, 1, 2]}, "whole numbers, not 0.5"),
        ({"layer": [-1, 1, 2]}, "negative layers"),
        ({"p": [2, 0.5, 0.5]}, "between 0 and 1"),
        ({"label": ["maybe", None, None]}, "'maybe'"),
        ({"kind": ["colour"] * 3}, "\\['colour'\\]"),
        ({"prompt_id": ["fox", None, "x"]}, "empty cells"),
        ({"depth": [None, 0.1, 0.2]}, "empty cells"),
        ({"layer": [4, 4, 4]}, "repeat another's key"),
    ],
)
def test_bad_cells_are_named(change, message):
    with pytest.raises(ScoresError, match=message):
        scores.validate(made().assign(**change))


def test_missing_columns_are_named():
    with pytest.raises(ScoresError, match=r"needs the columns \['layer', 'label \(or p\)'\]"):
        scores.validate(made().drop(columns=["layer", "p", "label"]))


def test_nothing_to_read_is_said(tmp_path):
    for path, message in [
        ("nowhere", "no file or folder"),
        ("empty", "holds no scores"),
        ("bad", "can't be read"),
    ]:
        if path == "empty":
            (tmp_path / path).mkdir()
        if path == "bad":
            (tmp_path / "bad").mkdir()
            (tmp_path / "bad" / "x.parquet").write_text("no parquet")
        with pytest.raises(ScoresError, match=message):
            scores.read(tmp_path / path)
    with pytest.raises(ScoresError, match="end it in"):
        scores.write(made(), tmp_path / "scores.xlsx")
