"""The command line: one verb per job, one module per kind of job.

torch and diffusers are imported by the verbs that need them, so that help is instant.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

import tyro
from rich.logging import RichHandler

from diffusion_lens.cli.analyze import analyze, labels
from diffusion_lens.cli.bench import bench
from diffusion_lens.cli.console import err
from diffusion_lens.cli.examine import doctor, models
from diffusion_lens.cli.invert import invert
from diffusion_lens.cli.latent import LATENT
from diffusion_lens.cli.lego import LEGO
from diffusion_lens.cli.report import report
from diffusion_lens.cli.score import score
from diffusion_lens.cli.sheet import SHEET
from diffusion_lens.cli.show import show
from diffusion_lens.cli.sweep import export, status, sweep
from diffusion_lens.cli.testbed import TESTBED
from diffusion_lens.cli.words import WORDS
from diffusion_lens.errors import DiffusionLensError

__all__ = ["main"]


def testbed() -> None:
    """Scenes, training and examination of the embedded models: testbed scenes|train|evaluate."""


def sheet() -> None:
    """People as scorers: a blinded labelling page of a run, and its answers: sheet write|read."""


def latent() -> None:
    """Pictures read back into text states: latent caption|edit|personalise|redraw|cycle|study."""


def lego() -> None:
    """Learn adjectives, states and relations from pictures: lego learn|study."""


def words() -> None:
    """A study of learned words on the embedded model: words study."""


VERBS: dict[str, Callable[..., Any]] = {
    "show": show,
    "sweep": sweep,
    "status": status,
    "export": export,
    "score": score,
    "sheet": sheet,
    "analyze": analyze,
    "labels": labels,
    "report": report,
    "invert": invert,
    "bench": bench,
    "models": models,
    "doctor": doctor,
    "latent": latent,
    "lego": lego,
    "testbed": testbed,
    "words": words,
}
# verbs of two words
GROUPS: dict[str, dict[str, Callable[..., Any]]] = {
    "latent": LATENT,
    "lego": LEGO,
    "sheet": SHEET,
    "testbed": TESTBED,
    "words": WORDS,
}


def main() -> None:
    """Run one verb; errors that were raised on purpose are one message and exit code 2."""
    # ours alone: other libraries bring handlers of their own
    logger = logging.getLogger("diffusion_lens")
    logger.addHandler(RichHandler(console=err, show_time=False, show_path=False))
    logger.propagate = False
    verbs, prog, arguments = VERBS, "diffusion-lens", sys.argv[1:]
    if arguments and arguments[0] in GROUPS:
        group, *arguments = arguments
        verbs, prog = GROUPS[group], f"{prog} {group}"
        logger.setLevel(logging.INFO)  # what training says of its progress
    try:
        tyro.extras.subcommand_cli_from_dict(
            verbs,
            prog=prog,
            description="See what a text-to-image model knows at each layer of its text encoder.",
            args=arguments,
        )
    except DiffusionLensError as error:
        err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("stopped", style="yellow")
        sys.exit(130)
