"""Real diffusers pipelines of every family at tiny random configs."""

from tests.tiny import clip_t5, llm

FAMILIES = {**clip_t5.FAMILIES, **llm.FAMILIES}
LENSED = [name for name in FAMILIES if name != "if-upscaler"]
