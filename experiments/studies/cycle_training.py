"""Does an inverter that also learns from what the denoiser draws read images better?

    python -m experiments.studies.cycle_training --out results/latent_inversion

The shipped inverter is trained on twice, over the same scenes for the same steps: once on rendered scenes
alone, and once with the cycle term, the same loss on captions that the denoiser drew. Scenes that no
training drew are then rendered, and drawn from their captions, and all three inverters read both. The unit
is the scene.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

from diffusion_lens.learning.latent_inversion import LatentInversion
from diffusion_lens.models.embedded import weights_of
from diffusion_lens.testbed.inverter import InversionSettings
from diffusion_lens.testbed.train import train
from experiments.studies.latent_parts import StudyScenes, retrieved
from experiments.studies.tables import kept, means, paired, write_table
from experiments.studies.unseen import trained_scenes

__all__ = ["learn", "read_all", "summarise"]

SETTINGS = InversionSettings(rate=3e-4, warmup=20)  # of a network that is trained already
WAYS = {"rendered scenes alone": 0.0, "with the cycle term": 1.0}


def learn(folder: Path, steps: int, settings: InversionSettings = SETTINGS) -> dict[str, Path | None]:
    """Train the shipped inverter on in each way, and give the folders of the inverters; None as shipped.

    Args:
        folder: gets a training by way; one that ended is not repeated.
        steps: of each training.
        settings: of both, but for the cycle term.
    """
    found: dict[str, Path | None] = {"as shipped": None}
    with weights_of("emoji") as weights:
        for way, cycle in WAYS.items():
            where = folder / way.replace(" ", "-")
            found[way] = where / "inverter"
            if (where / "inverter").is_dir():
                continue
            for source in (weights / "unet", weights.parent / "vae"):
                shutil.copytree(source, where / source.name, dirs_exist_ok=True)
            train(
                "inversion",
                where,
                minutes=24 * 60.0,
                resume=(where / "inversion.safetensors").exists(),
                settings=replace(settings, cycle=cycle),
                start=weights / "inverter",
                decay_samples=steps * settings.batch,
            )
    return found


def read_all(inverters: dict[str, Path | None], chosen: StudyScenes, count: int) -> pd.DataFrame:
    """The answers of `latent_parts.retrieved` for each inverter, with its `way`."""
    tables = [
        retrieved(LatentInversion.from_pretrained("emoji", path, batch_size=64), chosen, count).assign(
            way=way
        )
        for way, path in inverters.items()
    ]
    return pd.concat(tables, ignore_index=True)


def summarise(answers: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means by way, and the cycle term less the other ways, scene by scene.

    Returns:
        `source` ("rendered" or "drawn by the model"), `way`, `measure` ("error", where 1 is the mean
        conditioning's, or "retrieved", the share of images whose true caption is the nearest), and as
        `tables.means`; then the differences, as `tables.paired`.
    """
    keys = ["scene", "source", "way"]
    both = [("error", answers["error"]), ("retrieved", answers["right"])]
    table = pd.concat(
        [answers[keys].assign(measure=name, value=value.astype(float)) for name, value in both]
    )
    by = ["source", "way", "measure"]
    rates = [
        means(table[table["measure"] == name], by, "scene", limits=limits)
        for name, limits in (("error", (0, np.inf)), ("retrieved", (0, 1)))
    ]
    return (
        pd.concat(rates, ignore_index=True),
        paired(table, ["source", "measure"], "scene", "way", "with the cycle term"),
    )


def main(
    out: Path = Path("results/latent_inversion"),
    folder: Path = Path("runs/cycle_training"),
    scenes: int = 100,
    steps: int = 200,
    quick: bool = False,
) -> None:
    """Train, read, and write the tables.

    Args:
        out: a folder for the answers and the tables.
        folder: a folder for the trainings.
        scenes: how many scenes are read.
        steps: of each training.
        quick: run everything at tiny size, to try the command; the numbers then mean nothing.
    """
    if quick:
        tiny = replace(SETTINGS, batch=4, chunk=8, passes=1, drawn=4, warmup=1)
        inverters, chosen = learn(folder, 2, tiny), StudyScenes(trained_scenes(100, 100, 100))
    else:
        inverters, chosen = learn(folder, steps), StudyScenes()
    count = 5 if quick else scenes
    answers = kept(out / "cycle_training.parquet", lambda: read_all(inverters, chosen, count))
    rates, gains = summarise(answers)
    write_table(out / "cycle_training.csv", rates)
    write_table(out / "cycle_training_gains.csv", gains)


if __name__ == "__main__":
    tyro.cli(main)
