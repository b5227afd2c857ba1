"""Families that read a T5 encoder: FLUX.1, DeepFloyd IF, PixArt, AuraFlow, Bria, Chroma."""

from collections.abc import Mapping

from diffusion_lens.models.denoisers import predict_flux
from diffusion_lens.models.families.common import EMBEDS, LAST, MASKED, ONE
from diffusion_lens.models.family import PipelineFamily, Slot

__all__ = ["FAMILIES"]

FAMILIES: Mapping[str, PipelineFamily] = {
    "FluxPipeline": PipelineFamily(
        "FLUX.1",
        (Slot(ONE, None, "pooler_output"), Slot("text_encoder_2", LAST, tokenizer="tokenizer_2")),
        ("prompt_embeds", "pooled_prompt_embeds", None),
        cfg="true_cfg_scale",
        example="black-forest-labs/FLUX.1-schnell",
        predict=predict_flux,
    ),
    "IFPipeline": PipelineFamily(
        "DeepFloyd IF",
        (Slot(ONE, LAST),),
        EMBEDS,
        half="float16",
        example="DeepFloyd/IF-I-XL-v1.0",
    ),
    "PixArtAlphaPipeline": PipelineFamily(
        "PixArt-alpha",
        (Slot(ONE, LAST),),
        MASKED,
        half="float16",
        example="PixArt-alpha/PixArt-XL-2-512x512",
    ),
    "PixArtSigmaPipeline": PipelineFamily(
        "PixArt-sigma",
        (Slot(ONE, LAST),),
        MASKED,
        half="float16",
        example="PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    ),
    "AuraFlowPipeline": PipelineFamily(
        "AuraFlow",
        (Slot(ONE, LAST),),
        MASKED,
        half="float16",
        example="fal/AuraFlow-v0.3",
    ),
    "BriaPipeline": PipelineFamily(
        "Bria 3.2",
        (Slot(ONE, LAST),),
        (*EMBEDS, None),
        example="briaai/BRIA-3.2",
    ),
    "ChromaPipeline": PipelineFamily(
        "Chroma",
        (Slot(ONE, LAST),),
        (*MASKED[:1], None, *MASKED[1:3], None, *MASKED[3:]),
        example="lodestones/Chroma1-HD",
    ),
}
