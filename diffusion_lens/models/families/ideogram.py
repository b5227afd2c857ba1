"""Ideogram 4, whose pipeline runs the blocks of its encoder one by one, and joins text and image."""

from collections.abc import Mapping
from typing import Any

from diffusion_lens.errors import PromptError
from diffusion_lens.models.families.adapters import encoding
from diffusion_lens.models.families.common import ONE
from diffusion_lens.models.family import PipelineFamily, Slot, Tap

__all__ = ["FAMILIES"]

_BLOCKS = (0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 35)
"""`QWEN3_VL_ACTIVATION_LAYERS` of diffusers 0.42: the blocks, from 0 on, whose outputs are read."""


def _read_blocks(encoder: Any, token_ids: Any, attention_mask: Any, positions: Any) -> list[Any]:
    """What `_get_text_encoder_hidden_states` of the pipeline returns, from one pass of the whole encoder.

    Block for block the pass is the pipeline's own; as a pass of the encoder it can be read and replaced.
    """
    blocks = encoder.language_model.layers
    seen: dict[int, Any] = {}

    def keep(index: int) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            seen[index] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [blocks[index].register_forward_hook(keep(index)) for index in _BLOCKS]
    try:
        output = encoder(
            input_ids=token_ids,
            attention_mask=attention_mask,
            position_ids=positions[None].expand(4, *positions.shape),
            use_cache=False,
        )
    finally:
        for handle in handles:
            handle.remove()
    states = [seen[index] if index in seen else output.hidden_states[index + 1] for index in _BLOCKS]
    return [state.to(token_ids.device) for state in states]


def _encode(pipe: Any, arguments: dict[str, Any]) -> tuple[Any, Any]:
    """The text of the sequence without its padding, and which of its tokens are text, before any image."""
    pipe._get_text_encoder_hidden_states = _read_blocks
    try:
        embeds, _, _, indicator = pipe.encode_prompt(**arguments | {"grid_h": 0, "grid_w": 0})
    except ValueError as error:  # a prompt of more tokens than it takes
        raise PromptError(f"{type(pipe).__name__} refuses the prompt: {error}.") from error
    finally:
        del pipe._get_text_encoder_hidden_states
    longest = int(indicator.bool().sum(1).max())
    return embeds[:, -longest:], indicator[:, -longest:]


def _draw(pipe: Any, arguments: dict[str, Any]) -> Any:
    """`__call__`, which takes text only, with embeddings: padded and joined with the image as it does."""
    call = dict(arguments)
    embeds, indicator = call.pop("prompt_embeds"), call.pop("indicator")
    if call.get("guidance_scale") is not None:
        call.setdefault("guidance_schedule", None)  # whose default would stand against it

    def encode(grid_h: int, grid_w: int, max_sequence_length: int, device: Any, **_prompt: Any) -> Any:
        from torch.nn.functional import pad  # families are listed without torch

        joined = pad(embeds, (0, 0, max_sequence_length - embeds.shape[1], grid_h * grid_w))
        lengths = indicator.bool().sum(1).tolist()
        return joined, *pipe._prepare_ids(lengths, grid_h, grid_w, max_sequence_length, device)

    with encoding(pipe, encode):
        return pipe(prompt=[""] * len(embeds), **call)


FAMILIES: Mapping[str, PipelineFamily] = {
    "Ideogram4Pipeline": PipelineFamily(
        "Ideogram 4",
        (Slot(ONE, Tap(tuple(block + 1 for block in _BLOCKS), normed=False, raw_last=True)),),
        ("prompt_embeds", "indicator"),
        settings={"prompt_upsampling": False},
        example="ideogram-ai/ideogram-v4",
        encode=_encode,
        draw=_draw,
    ),
}
