"""Real diffusers pipelines of every family, tiny and with random weights, for tests of your own code.

Nothing is downloaded, and an image takes a fraction of a second on one core:

    from diffusion_lens import DiffusionLens
    from diffusion_lens.testing import FAMILIES

    tiny = FAMILIES["flux"]
    image = tiny.build()("a red fox", **tiny.call).images[0]
"""

import inspect

import diffusers
from transformers import masking_utils

from diffusion_lens.testing import (
    cosmos,
    fibo,
    glm_image,
    hunyuan,
    llm,
    ltx2,
    many_layers,
    newer,
    newest,
    stable_cascade,
    stable_diffusion,
    t5,
    video,
)
from diffusion_lens.testing.parts import Tiny

if hasattr(diffusers, "BriaFibo2Pipeline"):
    from diffusion_lens.testing import fibo2
# diffusers' Ideogram 4 needs more than the oldest versions of transformers have
if "inputs_embeds" in inspect.signature(masking_utils.create_causal_mask).parameters:
    from diffusion_lens.testing import ideogram

__all__ = ["FAMILIES", "LENSED", "Tiny"]

FAMILIES: dict[str, Tiny] = {
    **stable_diffusion.FAMILIES,
    **t5.FAMILIES,
    **llm.FAMILIES,
    **many_layers.FAMILIES,
    **newer.FAMILIES,
    **video.FAMILIES,
    **ltx2.FAMILIES,
    **hunyuan.FAMILIES,
    **newest.FAMILIES,
    **fibo.FAMILIES,
    **cosmos.FAMILIES,
    **glm_image.FAMILIES,
    **stable_cascade.FAMILIES,
}
if hasattr(diffusers, "BriaFibo2Pipeline"):
    FAMILIES |= fibo2.FAMILIES
if "inputs_embeds" in inspect.signature(masking_utils.create_causal_mask).parameters:
    FAMILIES |= ideogram.FAMILIES
"""A tiny pipeline by the short name of its family."""

LENSED = tuple(name for name in FAMILIES if name != "if-upscaler")
"""The names of the pipelines that take text by themselves, which a second stage does not."""
