"""Stable Cascade, whose two stages read one encoder of the first: its states, and its pooled output."""

from collections.abc import Mapping
from typing import Any

from diffusion_lens.models.families.adapters import encoding
from diffusion_lens.models.family import PipelineFamily, Slot, Tap

__all__ = ["FAMILIES"]

_TEXT = (
    "prompt_embeds",
    "prompt_embeds_pooled",
    "negative_prompt_embeds",
    "negative_prompt_embeds_pooled",
)


def _encode(pipe: Any, arguments: dict[str, Any]) -> Any:
    """`encode_prompt` of the first stage, which wants the number of prompts."""
    prompt = arguments["prompt"]
    count = 1 if isinstance(prompt, str) else len(prompt)
    return pipe.prior_pipe.encode_prompt(**arguments | {"batch_size": count})


def _draw(pipe: Any, arguments: dict[str, Any]) -> Any:
    """`__call__`, whose first stage asks its encoder for a dtype even where it is given embeddings."""
    text = tuple(arguments.get(name) for name in _TEXT)
    with encoding(pipe.prior_pipe, lambda **_options: text):
        return pipe(**arguments)


FAMILIES: Mapping[str, PipelineFamily] = {
    "StableCascadeCombinedPipeline": PipelineFamily(
        "Stable Cascade",
        (Slot("prior_text_encoder", Tap(-1, normed=False), "text_embeds", "prior_tokenizer"),),
        _TEXT,
        guidance="prior_guidance_scale",
        cfg="prior_guidance_scale",
        encode=_encode,
        draw=_draw,
    ),
}
