"""Scores of several runs as one table: runs are told apart, or the message says what is of one name."""

import pandas as pd
import pytest

from diffusion_lens.errors import ScoresError
from diffusion_lens.pages.report import build_report
from diffusion_lens.scoring.read_several import read_all
from diffusion_lens.scoring.score_run import Settings, score_run
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from diffusion_lens.scoring.table import read, write
from tests.scoring.made_runs import make_run, scene


def test_runs_of_one_name_are_told_apart_or_refused(tmp_path):
    for name in ("a/run", "b/run"):
        make_run(tmp_path / name, ["a red fox", "two apples"], lambda cell, prompt: scene(prompt))
        score_run(tmp_path / name, [OracleScorer()], settings=Settings(progress=False))
    a, b = tmp_path / "a/run", tmp_path / "b/run"
    for act in (lambda: read_all([a, b]), lambda: build_report([a, b])):
        with pytest.raises(
            ScoresError, match=r"a/run and .*b/run are two runs of one name, 'run'.* Rename"
        ):
            act()
    with pytest.raises(ScoresError, match="a/run is named twice"):
        read_all([a, tmp_path / "a" / "run"])
    b.rename(tmp_path / "b/other")
    b = tmp_path / "b/other"
    assert set(read_all([a, b])["run"]) == {"run", "other"}
    # where nothing says which images the answers are of, a folder's former name stays
    write(pd.read_parquet(b / "scores/oracle.parquet").drop(columns="cell"), b / "scores/oracle.parquet")
    with pytest.raises(ScoresError, match=r"call both runs 'run', the name .* when it was scored"):
        read_all([a, b])
    write(read(a), tmp_path / "copy.parquet")
    with pytest.raises(ScoresError, match=r"copy.parquet hold \d+ answers to the same questions"):
        read_all([a, tmp_path / "copy.parquet"])
    people = read(a).query("baseline == ''").assign(scorer="human")
    write(people, tmp_path / "people.parquet")
    assert {"human", "oracle"} <= set(read_all([a, tmp_path / "people.parquet"])["scorer"])
