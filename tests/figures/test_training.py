"""Logs of training are thinned without leaving anything out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffusion_lens.errors import InputError
from diffusion_lens.figures import training
from diffusion_lens.testbed.training_log import COLUMNS

COMMITTED = Path(__file__).parents[2] / "results" / "testbed" / "training.csv"


def log(rows):
    steps = np.arange(1, rows + 1) * 10
    table = pd.DataFrame(
        {
            "step": steps,
            "seconds": steps * 0.5,
            "samples": steps * 64,
            "loss": np.linspace(1, 0, rows),
            "lr": 1e-3,
            "samples_per_second": 100.0,
            "validation": np.nan,
        }
    )
    assert tuple(table.columns) == COLUMNS
    table.loc[[40, 83], "validation"] = [0.7, 0.6]
    return table


def test_thinned_rows_keep_validations_and_the_mean():
    full = log(120)
    thinned = training.thin(full, 30)
    assert 25 <= len(thinned) <= 33
    validated = thinned.dropna(subset="validation")
    assert validated["step"].tolist() == full.loc[[40, 83], "step"].tolist()
    assert validated["validation"].tolist() == [0.7, 0.6]
    assert thinned["step"].iloc[-1] == 1200
    # each row is the mean of the steps since the row before
    count = thinned["step"].diff().fillna(thinned["step"]) / 10
    assert count.sum() == 120
    assert count.min() >= 4  # none is the mean of a few
    assert (thinned["loss"] * count).sum() / 120 == pytest.approx(full["loss"].mean(), abs=1e-4)


def test_a_short_log_stays_as_it_is():
    full = log(120)
    assert len(training.thin(full, 500)) == 120
    with pytest.raises(InputError, match="one or more"):
        training.thin(full, 0)


def test_logs_are_collected_written_and_read(tmp_path):
    path = tmp_path / "diffusion.csv"
    log(120).to_csv(path, index=False)
    table = training.collect_logs({("a", "diffusion"): path, ("b", "clip"): path}, rows=20)
    assert table.groupby("model", sort=False)["stage"].first().to_dict() == {"a": "diffusion", "b": "clip"}
    table.to_csv(tmp_path / "training.csv", index=False)
    pd.testing.assert_frame_equal(training.read_training(tmp_path / "training.csv"), table)


def test_what_is_no_log_is_said(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        training.read_training(tmp_path / "missing.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="has no column model, stage"):
        training.read_training(tmp_path / "other.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="can't be read"):
        training.read_training(tmp_path / "empty.csv")
    with pytest.raises(InputError, match="no rows"):
        training.draw_training(pd.DataFrame(columns=["model", "stage"]))


def test_the_committed_log_is_small_and_whole():
    table = training.read_training(COMMITTED)
    assert 0 < len(table) < 300
    assert table["loss"].notna().all()
    assert "diffusion" in set(table["stage"])
