"""`diffusion-lens new`: an experiment file to start from."""

import re
import shlex
from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Overwrite
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

__all__ = ["new"]

_EXPERIMENT = """\
# What the study is to answer, in a sentence, and what is to be compared. Both are decided on before
# anything is drawn: `analyze` tests these comparisons apart from all others. Any column of the prompts can
# be named, with two of its values, or a column of numbers alone for a trend over it.
claim = "Colours are right at a later layer than their objects."
contrasts = ["kind=object,attribute", "animacy=animal,thing", "words"]

# An embedded model, a folder in diffusers format, or an id of the Hugging Face hub.
model = "emoji"
layers = ["all"]        # or 3, -1, "native", "0:24:4" (both ends)
# All layers of a seed start from the same noise, and so do all prompts: a study needs several seeds.
seeds = [0, 1, 2, 3]
scorers = ["oracle"]    # who judges the images; `diffusion-lens score --help` lists them

# The columns beside `prompt` are yours, and travel to the scores, tables and figures. These have a
# meaning: prompt_id (a name; the prompt itself by default), category (a curve each), template (what is
# asked, by rule), means (what a prompt with learned words stands for), scene (of the testbed, as JSON).
prompts = [
  { prompt = "a purple cat", animacy = "animal", words = 3 },
  { prompt = "a red fox at night", animacy = "animal", words = 5 },
  { prompt = "a blue car", animacy = "thing", words = 3 },
  { prompt = "a green balloon on grass", animacy = "thing", words = 5 },
]
# For more, a file instead: .txt, .csv, .tsv or .jsonl beside this one. Below 5 prompts nothing is reported,
# below 10 it is marked as rough.
# [prompts]
# file = "prompts.csv"
# where = { animacy = ["animal", "thing"] }

# [sampler]             # what is left out is the model's own
# steps = 20
# guidance = 4.0
"""


@verb("new", Topic.STUDY, examples=["diffusion-lens new colours"])
def new(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="The name of the study.")],
    /,
    overwrite: Overwrite = False,
) -> None:
    """Write NAME.toml, an experiment file with comments to start a study of your own from."""
    from diffusion_lens.files import check_output, write_whole

    path = Path(name if name.endswith(".toml") else f"{name}.toml")
    if not re.fullmatch(r"[\w.~/][\w./ -]{0,199}", name) or path.stem.startswith("."):
        raise InputError(f"{name!r} is no name of a study. Give a word, such as colours.")
    check_output(path, overwrite=overwrite)
    write_whole(path, lambda file: file.write(_EXPERIMENT.encode()))
    run = shlex.quote(str(Path("runs") / path.stem))
    file = shlex.quote(str(path))
    say(
        f"experiment  {path}\n"
        f"see what it would draw   diffusion-lens sweep {file} --out {run} --dry-run\n"
        f"draw and score it        diffusion-lens sweep {file} --out {run}\n"
        f"tables and figures       diffusion-lens analyze {run} --out found"
    )
