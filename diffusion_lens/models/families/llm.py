"""Families that read a language model: Sana, Lumina 2, CogView4, HiDream, Qwen-Image, Z-Image, FLUX.2."""

from collections.abc import Mapping

from diffusion_lens.models.families.common import EMBEDS, LAST, MASKED, ONE, PENULTIMATE
from diffusion_lens.models.family import PipelineFamily, Slot, Tap

__all__ = ["FAMILIES"]

FAMILIES: Mapping[str, PipelineFamily] = {
    "SanaPipeline": PipelineFamily(
        "Sana",
        (Slot(ONE, LAST),),
        MASKED,
        example="Efficient-Large-Model/Sana_600M_512px_diffusers",
    ),
    "SanaSprintPipeline": PipelineFamily(
        "Sana Sprint",
        (Slot(ONE, LAST),),
        ("prompt_embeds", "prompt_attention_mask"),
        example="Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers",
    ),
    "LuminaPipeline": PipelineFamily(
        "Lumina-Next",
        (Slot(ONE, PENULTIMATE),),
        MASKED,
        example="Alpha-VLLM/Lumina-Next-SFT-diffusers",
    ),
    "Lumina2Pipeline": PipelineFamily(
        "Lumina Image 2",
        (Slot(ONE, PENULTIMATE),),
        MASKED,
        example="Alpha-VLLM/Lumina-Image-2.0",
    ),
    "CogView4Pipeline": PipelineFamily(
        "CogView4",
        (Slot(ONE, PENULTIMATE),),
        EMBEDS,
        example="zai-org/CogView4-6B",
    ),
    "HiDreamImagePipeline": PipelineFamily(
        "HiDream-I1",
        (
            Slot(ONE, None, "text_embeds"),
            Slot("text_encoder_2", None, "text_embeds", "tokenizer_2"),
            Slot("text_encoder_3", LAST, tokenizer="tokenizer_3"),
            Slot("text_encoder_4", Tap("all", normed=False), tokenizer="tokenizer_4"),
        ),
        (
            "prompt_embeds_t5",
            "negative_prompt_embeds_t5",
            "prompt_embeds_llama3",
            "negative_prompt_embeds_llama3",
            "pooled_prompt_embeds",
            "negative_pooled_prompt_embeds",
        ),
        batch_dims={"prompt_embeds_llama3": 1, "negative_prompt_embeds_llama3": 1},
        example="HiDream-ai/HiDream-I1-Full",
    ),
    "QwenImagePipeline": PipelineFamily(
        "Qwen-Image",
        (Slot(ONE, LAST),),
        ("prompt_embeds", "prompt_embeds_mask"),
        guidance="true_cfg_scale",
        cfg="true_cfg_scale",
        example="Qwen/Qwen-Image",
    ),
    "ZImagePipeline": PipelineFamily(
        "Z-Image",
        (Slot(ONE, PENULTIMATE),),
        EMBEDS,
        cfg_above=0.0,
        example="Tongyi-MAI/Z-Image-Turbo",
    ),
    "Flux2Pipeline": PipelineFamily(
        "FLUX.2",
        (Slot(ONE, Tap("text_encoder_out_layers", normed=False)),),
        ("prompt_embeds", None),
        example="black-forest-labs/FLUX.2-dev",
    ),
    "Flux2KleinPipeline": PipelineFamily(
        "FLUX.2 klein",
        (Slot(ONE, Tap("text_encoder_out_layers", normed=False)),),
        ("prompt_embeds", None),
        example="black-forest-labs/FLUX.2-klein-4B",
    ),
}
