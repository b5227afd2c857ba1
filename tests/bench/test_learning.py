"""Learning rows against learning the whole matrix: both are measured, and nothing is left behind."""

import pandas as pd
import pytest
import torch

from diffusion_lens.bench.learning import bench_inversion
from diffusion_lens.cli.bench import bench
from diffusion_lens.errors import OutputError, UnsupportedPipelineError
from diffusion_lens.learning.subjects import SUBJECTS

PICTURES = SUBJECTS[0].pictures()
WAYS = ["whole matrix, one by one", "whole matrix", "rows"]


def test_the_pipeline_is_the_same_afterwards(new_lens):
    pipe = new_lens("sd").pipeline
    before = {name: one.clone() for name, one in pipe.text_encoder.state_dict().items()}
    tokens = len(pipe.tokenizer)
    slowest, whole, rows = bench_inversion(pipe, PICTURES, batch=2, rounds=1)
    assert [one.way for one in (slowest, whole, rows)] == WAYS
    assert slowest.speedup == 1.0
    assert rows.speedup == pytest.approx(slowest.seconds / rows.seconds)
    assert rows.state_mib < whole.state_mib
    after = pipe.text_encoder.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], one) for name, one in before.items())
    assert len(pipe.tokenizer) == tokens
    with pytest.raises(UnsupportedPipelineError):
        bench_inversion(new_lens("sdxl").pipeline, PICTURES, rounds=1)


def test_the_verb_writes_what_it_measured(tmp_path, capsys):
    bench(inversion=True, rounds=1, batch_size=1, out=tmp_path)
    assert "whole matrix" in capsys.readouterr().out
    assert list(pd.read_csv(tmp_path / "inversion.csv")["way"]) == WAYS
    with pytest.raises(OutputError, match="exists"):
        bench(inversion=True, rounds=1, batch_size=1, out=tmp_path)
