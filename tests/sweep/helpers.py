"""Small experiments, and runs as tables."""

import os
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.sweep.open import run_sweep
from diffusion_lens.text.embedding_files import write_embedding
from diffusion_lens.text.embeddings import initial_embedding

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


def assert_a_lost_worker_loses_nothing(
    lens: DiffusionLens, folder: Path, find_workers: Callable[[], Iterable[int]], engine: str
) -> None:
    """Draw with two workers of an engine, kill one of them, and compare with the local engine."""
    write_embedding(folder / "it.safetensors", initial_embedding(lens.pipeline, "<it>"), lens.pipeline)
    experiment = make(
        model="emoji",
        prompts=["a red fox", "a <it> at night", "two dogs"],
        embeddings=[str(folder / "it.safetensors")],
        layers=[0, 3, "native"],
        interventions=[[], ["drop(last, place=encoder, layers=1)"]],
        seeds=[0],
        sampler={"steps": 4},
        machine={"batch_size": 2},
    )
    killed: list[int] = []
    ended = threading.Event()

    def kill_one() -> None:
        while not killed and not ended.wait(0.02):
            if (folder / "run/images").exists():  # something is drawn and written
                for pid in list(find_workers())[:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        summary = run_sweep(
            experiment, folder / "run", lens=lens, progress=False, engine=engine, workers=2, part_rows=2
        )
    finally:
        ended.set()
        killer.join()
    assert killed
    assert (summary.drawn, summary.failed, summary.left) == (18, {}, 0)
    run_sweep(experiment, folder / "local", lens=lens, progress=False)
    same(read(folder / "run"), read(folder / "local"))
