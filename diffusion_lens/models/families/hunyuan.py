"""Families of Tencent Hunyuan: HunyuanDiT, HunyuanImage 2.1, HunyuanVideo."""

from collections.abc import Mapping

from diffusion_lens.models.families.adapters import encode_hunyuan_dit
from diffusion_lens.models.families.common import LAST, ONE
from diffusion_lens.models.family import PipelineFamily, Slot, Tap

__all__ = ["FAMILIES"]

_THIRD = Tap(-3, normed=False)

FAMILIES: Mapping[str, PipelineFamily] = {
    "HunyuanDiTPipeline": PipelineFamily(
        "HunyuanDiT",
        (Slot(ONE, LAST), Slot("text_encoder_2", LAST, tokenizer="tokenizer_2")),
        (
            "prompt_embeds",
            "negative_prompt_embeds",
            "prompt_attention_mask",
            "negative_prompt_attention_mask",
            "prompt_embeds_2",
            "negative_prompt_embeds_2",
            "prompt_attention_mask_2",
            "negative_prompt_attention_mask_2",
        ),
        half="float16",
        example="Tencent-Hunyuan/HunyuanDiT-v1.2-Diffusers",
        encode=encode_hunyuan_dit,
    ),
    "HunyuanVideoPipeline": PipelineFamily(
        "HunyuanVideo",
        (
            Slot(ONE, _THIRD),
            Slot("text_encoder_2", None, "pooler_output", "tokenizer_2"),
        ),
        ("prompt_embeds", "pooled_prompt_embeds", "prompt_attention_mask"),
        cfg="true_cfg_scale",
        example="hunyuanvideo-community/HunyuanVideo",
    ),
    "HunyuanImagePipeline": PipelineFamily(
        "HunyuanImage 2.1",
        (Slot(ONE, _THIRD),),
        ("prompt_embeds", "prompt_embeds_mask", "prompt_embeds_2", "prompt_embeds_mask_2"),
        guidance="distilled_guidance_scale",
        cfg=None,  # its guider decides
        empty_negative=True,
        example="hunyuanvideo-community/HunyuanImage-2.1-Diffusers",
    ),
}
