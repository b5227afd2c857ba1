"""Families of video models, of which the first frame is drawn: Wan, LTX-Video."""

from collections.abc import Mapping

from diffusion_lens.models.families.common import EMBEDS, LAST, MASKED, ONE
from diffusion_lens.models.family import PipelineFamily, Slot

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
}
