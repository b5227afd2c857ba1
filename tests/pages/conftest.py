"""Runs of known images for pages to show, and a browser to show them in."""

from pathlib import Path

import pytest
from PIL import Image

from diffusion_lens.runs.plan import Cell
from diffusion_lens.scoring.score_run import score_run
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from tests.scoring.made_runs import make_run, scene

PROMPTS = [
    ("a red fox", {"animacy": "alive"}),
    ("a blue car", {"animacy": "thing"}),
    ("a green dog", {"animacy": "alive"}),
    ("<img src=x onerror=alert(1)><script>alert(2)</script>", {"animacy": "<b>bold</b>"}),
]


def draw(cell: Cell, prompt: str) -> Image.Image:
    """The prompt's own scene from layer 1 on, a pizza before; the fox of seed 1 is lost at layer 2."""
    if (
        cell.layer == 0
        or prompt.startswith("<")
        or (prompt == "a red fox" and (cell.layer, cell.seed) == (2, 1))
    ):
        return scene("a pizza")
    return scene(prompt)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored run of four prompts, three layers and two seeds."""
    folder = tmp_path_factory.mktemp("runs") / "made"
    make_run(folder, PROMPTS, draw)
    score_run(folder, [OracleScorer()])
    return folder
