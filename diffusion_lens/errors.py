"""Every exception that the package raises on purpose.

    DiffusionLensError
    ├── InputError                 something the user gave; also a ValueError
    │   ├── UnknownModelError      no embedded model, folder or hub model of this name
    │   ├── UnsafeCheckpointError  pickles or remote code, and nobody allowed them
    │   ├── UnsupportedPipelineError
    │   ├── EncoderError           no such text encoder, or it is not built as its family says
    │   ├── LayerError             layer out of range or not to be read
    │   ├── PromptError
    │   ├── SamplerError           seed, scheduler, guidance, size
    │   ├── CheckError             questions on images that can't be read or don't hang together
    │   ├── ScoresError            a table of scores, labels or answers that can't be read
    │   ├── ScorerError            a scorer without its weights, endpoint or package
    │   ├── ExperimentError        an experiment file, or prompts that it names
    │   ├── RunError               a run folder that is in use, damaged, or of another experiment
    │   └── OutputError            a path that can't be written
    └── OutOfMemoryError           not even one image fits

A message names the thing, what was found, what is allowed and what to do next. The command line
prints it alone and exits with code 2.
"""

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckError",
    "DiffusionLensError",
    "EncoderError",
    "ExperimentError",
    "InputError",
    "LayerError",
    "OutOfMemoryError",
    "OutputError",
    "PromptError",
    "RunError",
    "SamplerError",
    "ScorerError",
    "ScoresError",
    "UnknownModelError",
    "UnsafeCheckpointError",
    "UnsupportedPipelineError",
    "nearest",
]


class DiffusionLensError(Exception):
    """The root of all errors raised on purpose."""


class InputError(DiffusionLensError, ValueError):
    """Something that the user gave can't be used."""


class UnknownModelError(InputError):
    """No embedded model, folder or hub model of this name."""


class UnsafeCheckpointError(InputError):
    """The checkpoint holds pickles or remote code, and nobody allowed them."""


class UnsupportedPipelineError(InputError):
    """The pipeline is of no known family, or of one that can't be lensed."""


class EncoderError(InputError):
    """No such text encoder, or it is not built as its family says."""


class LayerError(InputError):
    """A layer that is out of range or can't be read."""


class PromptError(InputError):
    """No prompt, or something that is not text."""


class SamplerError(InputError):
    """A seed, scheduler, guidance or size that can't be used."""


class CheckError(InputError):
    """Questions on images that can't be read or don't hang together."""


class ScoresError(InputError):
    """A table of scores, labels or answers that can't be read."""


class ScorerError(InputError):
    """A scorer without its weights, its endpoint or a package that it needs."""


class ExperimentError(InputError):
    """An experiment that can't be read, or prompts that it names."""


class RunError(InputError):
    """A run folder that is in use, damaged, or of another experiment."""


class OutputError(InputError):
    """A path that can't be written."""


class OutOfMemoryError(DiffusionLensError):
    """Not even one image fits into memory."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The question "Did you mean ...?" if a name is near one that is allowed, else nothing."""
    found = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""
