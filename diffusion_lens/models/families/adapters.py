"""What stands for `encode_prompt` or `__call__` in the families in which one call is not enough."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["draw_longcat", "encode_hunyuan_dit", "encoding"]


@contextmanager
def encoding(pipe: Any, encode: Callable[..., Any]) -> Iterator[None]:
    """Let `__call__` get its text arguments from `encode` while the body runs."""
    before = vars(pipe).get("encode_prompt")  # one that was set in the place of the class's own
    pipe.encode_prompt = encode
    try:
        yield
    finally:
        del pipe.encode_prompt
        if before is not None:
            pipe.encode_prompt = before


def encode_hunyuan_dit(pipe: Any, arguments: dict[str, Any]) -> tuple[Any, ...]:
    """One call of `encode_prompt` for each of the two encoders, with the lengths of `__call__`."""
    first = {**arguments, "text_encoder_index": 0, "max_sequence_length": 77}
    second = {**arguments, "text_encoder_index": 1, "max_sequence_length": 256}
    return (*pipe.encode_prompt(**first), *pipe.encode_prompt(**second))


def draw_longcat(pipe: Any, arguments: dict[str, Any]) -> Any:
    """`__call__` with embeddings, whose `encode_prompt` counts prompts even where there are none."""
    own, count = pipe.encode_prompt, len(arguments["prompt_embeds"])

    def encode(prompt: Any, **options: Any) -> Any:
        return own(prompt=[""] * count, **options)

    with encoding(pipe, encode):
        return pipe(**arguments)
