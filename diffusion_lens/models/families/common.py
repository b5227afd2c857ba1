"""What many families share: where they read, and what their `encode_prompt` returns."""

from diffusion_lens.models.family import Tap

__all__ = ["EMBEDS", "LAST", "MASKED", "ONE", "PENULTIMATE", "POOLED"]

LAST = Tap(-1, normed=True)
PENULTIMATE = Tap(-2, normed=False)
EMBEDS = ("prompt_embeds", "negative_prompt_embeds")
POOLED = (*EMBEDS, "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
MASKED = (
    "prompt_embeds",
    "prompt_attention_mask",
    "negative_prompt_embeds",
    "negative_prompt_attention_mask",
)
ONE = "text_encoder"
