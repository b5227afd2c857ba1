"""FIBO (Bria), whose denoiser reads every layer of its encoder, in a block of its own; and FIBO 2."""

import json
from collections.abc import Mapping
from typing import Any

from diffusion_lens.errors import PromptError
from diffusion_lens.models.families.adapters import encoding
from diffusion_lens.models.families.common import ONE
from diffusion_lens.models.family import PipelineFamily, Slot, Tap

__all__ = ["FAMILIES"]

_TEXT = ("prompt_embeds", "text_ids", "prompt_attention_mask", "prompt_layers")
_NEGATIVE = tuple(f"negative_{name}" for name in _TEXT)
_ANY = '{"edit_instruction": ""}'  # a prompt that FIBO Edit accepts; it is only counted


def _encode(pipe: Any, arguments: dict[str, Any]) -> tuple[Any, ...]:
    """Encode a prompt, or the negative one, alone: `encode_prompt` pads each to the length of the other."""
    import torch  # families are listed without it

    given = {**arguments, "guidance_scale": 1.0}  # above 1 it encodes a negative prompt too
    negative = given.pop("negative_prompt", None)
    if negative is not None:
        given["prompt"] = negative
    embeds, _, ids, mask, _, layers, _ = pipe.encode_prompt(**given)
    encoded = (embeds, ids, mask, torch.stack(layers))
    absent = (None,) * len(_TEXT)
    return (*encoded, *absent) if negative is None else (*absent, *encoded)


def _draw(pipe: Any, arguments: dict[str, Any]) -> Any:
    """`__call__`, which takes text only, with embeddings: padded to one length, as it pads them."""
    call = dict(arguments)
    text = {name: call.pop(name, None) for name in (*_TEXT, *_NEGATIVE)}
    parts = [text[name] for name in ("prompt_embeds", "negative_prompt_embeds") if text[name] is not None]
    longest = max(part.shape[1] for part in parts)

    def padded(side: str) -> tuple[Any, ...]:
        embeds, ids, mask, layers = (text[f"{side}{name}"] for name in _TEXT)
        if embeds is None:
            return (None,) * len(_TEXT)
        embeds, mask = pipe.pad_embedding(embeds, longest, attention_mask=mask)
        ids, _ = pipe.pad_embedding(ids, longest)
        return embeds, ids, mask, [pipe.pad_embedding(layer, longest)[0] for layer in layers]

    def encode(**_options: Any) -> tuple[Any, ...]:
        embeds, ids, mask, layers = padded("")
        negative, _, negative_mask, negative_layers = padded("negative_")
        return embeds, negative, ids, mask, negative_mask, layers, negative_layers

    if call.get("joint_attention_kwargs") is not None:
        # `__call__` writes the mask of its batch into them, and reads it again where it has none
        call["joint_attention_kwargs"] = dict(call["joint_attention_kwargs"])
    with encoding(pipe, encode):
        return pipe(prompt=[_ANY] * len(text["prompt_embeds"]), **call)


_ABSENT = (
    '{"short_description":"","objects":[],"background_setting":"","lighting":{},'
    '"aesthetics":{},"photographic_characteristics":{},"style_medium":"",'
    '"context":"","artistic_style":""}'
)
"""`DEFAULT_NEGATIVE_PROMPT` of FIBO 2 in diffusers 0.42, which is read as it is written."""


def _encode_2(pipe: Any, arguments: dict[str, Any]) -> Any:
    """`encode_prompt` of a caption as it is read: `__call__` writes captions in JSON anew before."""
    given = arguments["prompt"]
    for prompt in [given] if isinstance(given, str) else given:
        caption, _ = pipe._parse_prompt(prompt)
        if isinstance(caption, str) or prompt == _ABSENT:
            continue
        read = json.dumps(caption or {}, separators=(",", ":"), ensure_ascii=False)
        if read != prompt:
            raise PromptError(
                f"{type(pipe).__name__} leaves empty values and scores out of a caption, and writes it "
                f"without spaces: give {read!r} in place of {prompt!r}."
            )
    return pipe.encode_prompt(**arguments)


FAMILIES: Mapping[str, PipelineFamily] = {
    "BriaFiboPipeline": PipelineFamily(
        "FIBO",
        (Slot(ONE, Tap("0:all", normed=False)),),
        (*_TEXT, *_NEGATIVE),
        batch_dims={"prompt_layers": 1, "negative_prompt_layers": 1},
        empty_negative=True,
        example="briaai/FIBO",
        encode=_encode,
        draw=_draw,
    ),
    "BriaFibo2Pipeline": PipelineFamily(
        "FIBO 2",
        (Slot(ONE, Tap("text_encoder_out_layers", normed=False), tokenizer="processor"),),
        ("prompt_embeds", None),
        not_options=("image", "mask", "text_images", "fonts"),  # which are read with the prompt
        settings={"render_text_images": False},
        empty_negative=True,
        absent_negative=_ABSENT,
        example="briaai/Fibo-2.0-dev",
        encode=_encode_2,
    ),
}
