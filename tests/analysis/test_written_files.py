"""What an analysis leaves of the one before it in the same folder, and whom it corrects scorers by."""

import json

import pytest

from diffusion_lens.analysis.analyse import analyse
from diffusion_lens.cli.analyze import analyze
from diffusion_lens.errors import ScoresError
from diffusion_lens.scoring import table as scores
from tests.analysis.simulate import FAST
from tests.analysis.test_analyse import study


@pytest.fixture(scope="module")
def table():
    return study()


def test_files_of_the_former_analysis_are_no_part_of_the_next(tmp_path, table, capsys):
    few = table[(table["scorer"] == "vqa") & table["prompt_id"].isin(table["prompt_id"].unique()[:5])]
    source, out = tmp_path / "scores.parquet", tmp_path / "out"
    scores.write(few, source)
    analyze((source,), out=out, contrast=("kind=object,relation",), resamples=100)
    first = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {"tables/planned.csv", "tables/planned.tex", "figures/planned.png", "figures/areas.pdf"} <= first
    mine = [out / "tables/mine.csv", out / "figures/mine.png", tmp_path / "mine.csv"]
    for path in mine:
        path.write_text("mine")
    (out / "tables/planned.tex").write_text("edited by hand")
    record = json.loads((out / "analysis.json").read_text())
    assert set(record["files"]) == first - {"analysis.json"}
    record["files"] |= {"../mine.csv": record["files"]["findings.md"], str(tmp_path / "mine.csv"): "x"}
    (out / "analysis.json").write_text(json.dumps(record))
    capsys.readouterr()
    analyze((source,), out=out, resamples=100, figures=False, overwrite=True)
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    now = set(json.loads((out / "analysis.json").read_text())["files"])
    assert "tables/curves.csv" in now and "tables/planned.csv" not in now
    own = {"analysis.json", "tables/mine.csv", "figures/mine.png", "tables/planned.tex"}
    assert left == now | own and all(path.read_text() == "mine" for path in mine)
    assert "planned.tex, which the former analysis wrote, and which was changed" in capsys.readouterr().out


def test_a_scorer_to_correct_by_that_is_not_there_is_refused(table):
    people = analyse(table, truth="human", resampling=FAST)
    assert "correction" in people.tables
    with pytest.raises(
        ScoresError, match=r"no answers of 'clip' to correct by.* Scorers that label: human, "
    ):
        analyse(table, truth="clip", resampling=FAST)
    alone = table[table["scorer"] == "vqa"]
    with pytest.raises(ScoresError, match=r"'vqa' is the only scorer"):
        analyse(alone, truth="vqa", resampling=FAST)
    assert "correction" not in analyse(alone, resampling=FAST).tables
    unsure = table.assign(label=table["label"].where(table["scorer"] != "human"))
    with pytest.raises(ScoresError, match=r"'human' labels no image right or wrong.* label: vqa"):
        analyse(unsure, truth="human", resampling=FAST)
