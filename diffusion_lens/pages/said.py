"""What the states of a request say in words, for the explorer to show under its images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diffusion_lens.pages.drawing import Column, DrawRequest

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens

__all__ = ["say", "ways_to_say"]

_WORDS = 3  # of each state; more do not fit under an image


def ways_to_say(lens: "DiffusionLens") -> tuple[str, ...]:
    """How states of a model can be said: by the nearest words, and by a vocabulary head if all have one.

    Args:
        lens: the lens on the model.
    """
    from diffusion_lens.text.vocabulary import find_head  # torch comes with a model only

    heads = [find_head(encoder) for encoder in lens.conditioner.encoders.values()]
    return ("nearest", "head") if heads and all(head is not None for head in heads) else ("nearest",)


def say(lens: "DiffusionLens", request: DrawRequest, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The words of each prompt at each column of a request.

    Args:
        lens: the lens on the model.
        request: whose prompts are said, and how; it must ask for words.
        columns: its columns.

    Returns:
        For each prompt and column its place in the request, and in `said` a list of the token, the state
        that is said and its words, the most likely first.
    """
    from diffusion_lens.lens.words import say_layers

    readings = [one.reading for one in columns]
    table = say_layers(lens, request.prompts, readings, k=_WORDS, by=request.say)
    names = list(readings[0].columns())
    keys = list(zip(*(table[name] for name in ("prompt", *names)), strict=True))
    rows = list(zip(keys, table.to_dict("records"), strict=True))
    return [
        {
            "prompt": place,
            "column": number,
            "said": [
                {"token": row["token"], "of": row["state_of"].partition(" ")[0], "words": row["said"]}
                for key, row in rows
                if key == (prompt, *one.columns().values())
            ],
        }
        for place, prompt in enumerate(request.prompts)
        for number, one in enumerate(readings)
    ]
