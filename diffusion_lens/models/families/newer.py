"""Families of 2024 to 2026: Krea 2, ERNIE-Image, Nucleus-MoE, Ovis-Image, CogView3+, Kandinsky, PRX."""

from collections.abc import Mapping

from diffusion_lens.models.families.adapters import draw_longcat
from diffusion_lens.models.families.common import EMBEDS, LAST, MASKED, ONE, PENULTIMATE
from diffusion_lens.models.family import PipelineFamily, Slot, Tap

__all__ = ["FAMILIES"]

FAMILIES: Mapping[str, PipelineFamily] = {
    "Krea2Pipeline": PipelineFamily(
        "Krea 2",
        (Slot(ONE, Tap("text_encoder_select_layers", normed=False)),),
        ("prompt_embeds", "prompt_embeds_mask"),
        cfg_above=0.0,
        example="krea/Krea-2",
    ),
    "NucleusMoEImagePipeline": PipelineFamily(
        "Nucleus-MoE Image",
        (Slot(ONE, Tap(-8, normed=False), tokenizer="processor"),),
        ("prompt_embeds", "prompt_embeds_mask"),
        not_options=("return_index",),
        example="NucleusAI/NucleusMoE-Image",
    ),
    "ErnieImagePipeline": PipelineFamily(
        "ERNIE-Image",
        (Slot(ONE, PENULTIMATE),),
        ("prompt_embeds",),
        example="baidu/ERNIE-Image",
    ),
    "OvisImagePipeline": PipelineFamily(
        "Ovis-Image",
        (Slot(ONE, LAST),),
        (*EMBEDS, None, None),
        example="AIDC-AI/Ovis-Image-7B",
    ),
    "CogView3PlusPipeline": PipelineFamily(
        "CogView3+",
        (Slot(ONE, LAST),),
        EMBEDS,
        takes_negative=False,  # zeros take the place of the embeddings (diffusers 0.42)
        example="zai-org/CogView3-Plus-3B",
    ),
    "Kandinsky3Pipeline": PipelineFamily(
        "Kandinsky 3",
        (Slot(ONE, LAST),),
        (*EMBEDS, "attention_mask", "negative_attention_mask"),
        encode_with={"_cut_context": True},
        half="float16",
        example="kandinsky-community/kandinsky-3",
    ),
    "Kandinsky5T2IPipeline": PipelineFamily(
        "Kandinsky 5 Image",
        (Slot(ONE, LAST), Slot("text_encoder_2", None, "pooler_output", "tokenizer_2")),
        ("prompt_embeds_qwen", "prompt_embeds_clip", "prompt_cu_seqlens"),
        batch_dims={"prompt_cu_seqlens": None, "negative_prompt_cu_seqlens": None},
        empty_negative=True,
        example="kandinskylab/Kandinsky-5.0-T2I-Lite-sft-Diffusers",
    ),
    "PRXPipeline": PipelineFamily(
        "PRX",
        (Slot(ONE, LAST),),
        MASKED,
        one_image=True,  # the times of a guided batch are those of one image
        example="Photoroom/prx-512-t2i-sft",
    ),
    "LongCatImagePipeline": PipelineFamily(
        "LongCat-Image",
        (Slot(ONE, LAST),),
        ("prompt_embeds", None),
        empty_negative=True,
        settings={"enable_prompt_rewrite": False},
        draw=draw_longcat,
        example="meituan-longcat/LongCat-Image",
    ),
    "EasyAnimatePipeline": PipelineFamily(
        "EasyAnimate 5",
        (Slot(ONE, PENULTIMATE),),
        (*EMBEDS, "prompt_attention_mask", "negative_prompt_attention_mask"),
        empty_negative=True,
        example="alibaba-pai/EasyAnimateV5.1-7b-zh-diffusers",
    ),
}
