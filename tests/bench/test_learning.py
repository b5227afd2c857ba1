"""Learning rows against learning the whole matrix: both are measured, and nothing is left behind."""

import pandas as pd
import pytest
import torch

from diffusion_lens.bench.learning import bench_learning
from diffusion_lens.cli import bench as cli
from diffusion_lens.errors import OutputError, UnsupportedPipelineError

WAYS = ["whole matrix, one by one", "whole matrix", "vectors alone"]


def test_the_pipeline_is_the_same_afterwards(new_lens):
    pipe = new_lens("sd").pipeline
    before = {name: one.clone() for name, one in pipe.text_encoder.state_dict().items()}
    tokens = len(pipe.tokenizer)
    slowest, whole, rows = bench_learning(pipe, batch=2, rounds=1)
    assert [one.way for one in (slowest, whole, rows)] == WAYS
    assert slowest.speedup == 1.0
    assert rows.speedup == pytest.approx(slowest.seconds / rows.seconds)
    assert rows.state_mib < whole.state_mib
    after = pipe.text_encoder.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], one) for name, one in before.items())
    assert len(pipe.tokenizer) == tokens
    with pytest.raises(UnsupportedPipelineError):
        bench_learning(new_lens("sdxl").pipeline, rounds=1)


def test_the_verb_writes_what_it_measured(tmp_path, capsys):
    cli.bench_learning(rounds=1, batch=1, out=tmp_path)
    assert "whole matrix" in capsys.readouterr().out
    assert list(pd.read_csv(tmp_path / "learning.csv")["way"]) == WAYS
    with pytest.raises(OutputError, match="exists"):
        cli.bench_learning(rounds=1, batch=1, out=tmp_path)
