"""The captions that a fit reads: those of a file, or of the scenes of an embedded model."""

from pathlib import Path

from diffusion_lens.errors import InputError
from diffusion_lens.files import read_text, why_unreadable

__all__ = ["read_captions"]


def read_captions(model: str, path: Path | None, count: int) -> tuple[str, ...]:
    """The captions of a file, one a line, or those of the testbed; at most `count`.

    Those of the testbed are of a stream of their own, so that what is fitted on them can be measured on the
    captions that an experiment draws.

    Raises:
        InputError: fewer than 1, the file can't be read, or none is given and the model is not embedded.
    """
    if count < 1:
        raise InputError(f"{count} captions were asked for; a fit needs at least 1.")
    from diffusion_lens.models.embedded import EMBEDDED
    from diffusion_lens.runs.experiment import Captions, Prompts
    from diffusion_lens.runs.prompts import read_prompts
    from diffusion_lens.testbed.captions import FITTING_SEED

    if path is None and model not in EMBEDDED:
        raise InputError(
            f"{model} is no embedded model, whose captions are known. Give a file of prompts such as it is "
            "used with: --captions captions.txt."
        )
    if path is None:
        listed = Prompts(captions=Captions(count=count, seed=FITTING_SEED))
        return tuple(one.prompt for one in read_prompts(listed, Path()))
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The captions can't be read from {path} ({why_unreadable(error)}). Give a text file."
        ) from error
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))[:count]
