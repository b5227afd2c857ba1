"""A tiny pipeline of Ideogram 4."""

from diffusers import FlowMatchEulerDiscreteScheduler, Ideogram4Pipeline, Ideogram4Transformer2DModel
from transformers import Qwen3VLModel

from diffusion_lens.testing.autoencoders import flux2_vae
from diffusion_lens.testing.llm_tokenizers import qwen_tokenizer
from diffusion_lens.testing.newer import PARTS, qwen3_vl_config
from diffusion_lens.testing.parts import LONG, WIDTH, Tiny, enlivened

__all__ = ["FAMILIES"]

_READ = 13  # blocks of the encoder


def _transformer() -> Ideogram4Transformer2DModel:
    """Return one of the two denoisers."""
    return Ideogram4Transformer2DModel(
        in_channels=16,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        intermediate_size=32,
        adaln_dim=8,
        llm_features_dim=_READ * WIDTH,
        mrope_section=(4, 2, 2),
    )


@enlivened
def _ideogram() -> Ideogram4Pipeline:
    """Build Ideogram 4, whose pipeline reads blocks up to the 36th."""
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = PARTS
    return Ideogram4Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=flux2_vae(),
        text_encoder=Qwen3VLModel(qwen3_vl_config(tokenizer, blocks=36)),
        tokenizer=tokenizer,
        transformer=_transformer(),
        unconditional_transformer=_transformer(),
    )


FAMILIES: dict[str, Tiny] = {
    "ideogram4": Tiny(_ideogram, LONG | {"guidance_scale": 3.0, "guidance_schedule": None}),
}
