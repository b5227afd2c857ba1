"""Values of an experiment and of its prompts that can't be drawn or stored, refused before any work."""

import math
from collections.abc import Sequence
from typing import Any

from diffusion_lens.errors import ExperimentError, SamplerError
from diffusion_lens.images.sampler import check_seeds
from diffusion_lens.runs.experiment_parts import Machine, Prompt, Prompts

__all__ = ["check_prompt", "check_values"]


def check_values(seeds: Sequence[int], prompts: Prompts, machine: Machine) -> None:
    """Refuse numbers of an experiment that nothing can be drawn with.

    Raises:
        ExperimentError: a seed, a count, a limit or a size that is out of its range.
    """
    try:
        check_seeds(seeds)
    except SamplerError as error:
        raise ExperimentError(f"seeds: {error}") from None
    if not (math.isfinite(machine.states) and machine.states >= 0):
        raise ExperimentError(f"machine.states is {machine.states}; it must be gigabytes, 0 or more.")
    least = {
        "machine.batch_size": (machine.batch_size, 1),
        "prompts.limit": (prompts.limit, 1),
    }
    if prompts.captions is not None:
        least["prompts.captions.count"] = prompts.captions.count, 1
        least["prompts.captions.seed"] = prompts.captions.seed, 0
    for name, (value, bound) in least.items():
        if value is not None and not bound <= value < 2**63:
            raise ExperimentError(
                f"{name} is {_shortened(value)}; it must be a whole number of at least {bound} and below "
                "2**63."
            )


def check_prompt(prompt: Prompt) -> None:
    """Refuse a prompt or metadata that a table can't hold.

    Raises:
        ExperimentError: text that is not valid Unicode, or a whole number of more than 64 bits.
    """
    _check_text(prompt.prompt, "A prompt")
    for name, value in prompt.metadata.items():
        where = f"Column {name!r} of the prompt {prompt.prompt[:60]!r}"
        _check_text(name, "The name of a column")
        if isinstance(value, str):
            _check_text(value, where)
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ExperimentError(
                f"{where} is {_shortened(value)}, a whole number of more than 64 bits, which no table "
                "holds. Write it as text, in quotation marks."
            )


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = ascii(text[max(0, error.start - 20) : error.end])
        raise ExperimentError(
            f"{where} is not valid Unicode: {found} holds half of a letter of two parts. Mend the file "
            "that it came from."
        ) from None


def _shortened(value: int) -> Any:
    return value if abs(value) < 10**30 else f"a number of {value.bit_length()} bits"
