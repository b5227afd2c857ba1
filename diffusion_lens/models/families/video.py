"""Families of video, of which the first frame is drawn: Wan, LTX, CogVideoX, Mochi, Latte."""

from collections.abc import Mapping

from diffusion_lens.models.families.common import EMBEDS, LAST, MASKED, ONE
from diffusion_lens.models.family import PipelineFamily, Slot, Tap

__all__ = ["FAMILIES"]

FAMILIES: Mapping[str, PipelineFamily] = {
    "WanPipeline": PipelineFamily(
        "Wan 2.1, 2.2",
        (Slot(ONE, LAST),),
        EMBEDS,
        example="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    ),
    "LTXPipeline": PipelineFamily(
        "LTX-Video",
        (Slot(ONE, LAST),),
        MASKED,
        example="Lightricks/LTX-Video",
    ),
    "LTX2Pipeline": PipelineFamily(
        "LTX-2",
        (Slot(ONE, Tap("0:all", normed=False)),),
        MASKED,
        cfg=None,  # the guidance of its sound turns it on too
        not_options=("enable_prompt_enhancement",),
        example="Lightricks/LTX-2",
    ),
    "CogVideoXPipeline": PipelineFamily(
        "CogVideoX",
        (Slot(ONE, LAST),),
        EMBEDS,
        example="zai-org/CogVideoX-5b",
    ),
    "MochiPipeline": PipelineFamily(
        "Mochi 1",
        (Slot(ONE, LAST),),
        MASKED,
        example="genmo/mochi-1-preview",
    ),
    "LattePipeline": PipelineFamily(
        "Latte",
        (Slot(ONE, LAST),),
        EMBEDS,
        beside_text={"mask_feature": False},  # `encode_prompt` has cut the padding off
        half="float16",
        example="maxin-cn/Latte-1",
    ),
}
