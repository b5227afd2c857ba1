"""Small experiments, and runs as tables."""

from pathlib import Path
from typing import Any

import pandas as pd

from diffusion_lens.sweep.experiment import Experiment

VARYING = ["seconds"]


def make(**changes: Any) -> Experiment:
    """A small experiment on the tiny pipeline."""
    data = {
        "model": "tiny",
        "prompts": ["a red fox", "a blue car"],
        "layers": [0, 2, "native"],
        "seeds": [0, 1, 2],
        "sampler": {"steps": 2, "guidance": 2.0, "height": 16, "width": 16},
        "machine": {"batch_size": 4},
    }
    return Experiment.from_dict({**data, **changes})


def read(folder: Path | str) -> pd.DataFrame:
    """All that a run holds, in one order, without what varies from run to run."""
    table = pd.read_parquet(f"{folder}/images")
    return table.drop(columns=VARYING).sort_values("cell", ignore_index=True)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Assert that two runs hold the same rows and the same bytes."""
    pd.testing.assert_frame_equal(one.drop(columns="image"), other.drop(columns="image"))
    assert [image["bytes"] for image in one["image"]] == [image["bytes"] for image in other["image"]]
