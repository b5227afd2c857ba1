"""Pipelines of several stages, which are pipelines too and hold the same parts under other names."""

from typing import Any

__all__ = ["holders", "set_component", "text_stage"]

_FIRST = "prior_pipe"  # what the combined pipelines of diffusers name their first stage


def text_stage(pipe: Any) -> Any:
    """What has the `encode_prompt`: the pipeline itself, or its first stage."""
    return pipe if hasattr(pipe, "encode_prompt") else getattr(pipe, _FIRST, pipe)


def holders(pipe: Any, name: str) -> list[tuple[Any, str]]:
    """Where a part of a pipeline is held: in it and in its first stage, each with its name for the part."""
    stage, part = text_stage(pipe), getattr(pipe, name)
    own = [] if stage is pipe else [key for key, held in stage.components.items() if held is part]
    return [(pipe, name), *((stage, key) for key in own)]


def set_component(pipe: Any, name: str, part: Any) -> None:
    """Put another part in the place of one, wherever a pipeline holds it."""
    for holder, own in holders(pipe, name):
        setattr(holder, own, part)
