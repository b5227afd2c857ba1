"""A tiny pipeline of GLM-Image."""

from typing import Any

from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    GlmImagePipeline,
    GlmImageTransformer2DModel,
)
from transformers import (
    ByT5Tokenizer,
    GlmImageConfig,
    GlmImageForConditionalGeneration,
    GlmImageProcessor,
    T5Config,
    T5EncoderModel,
)

try:
    from transformers import GlmImageImageProcessorPil
except ImportError:  # older versions have the one, which needs no torchvision
    from transformers import GlmImageImageProcessor as GlmImageImageProcessorPil

from diffusion_lens.testing.llm_tokenizers import glm_image_tokenizer
from diffusion_lens.testing.newer import PARTS
from diffusion_lens.testing.parts import LAYERS, SIZE, TEXT, WIDTH, Tiny, enlivened

__all__ = ["FAMILIES"]

_SKETCH = 16  # tokens that a sketch can be made of


class SketchProcessor(GlmImageProcessor):
    """GLM-Image's processor with a preview of one token before the sketch, and not of 256."""

    def _get_target_shape(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The sides of the sketch and of the preview, in tokens."""
        rows, columns, *_ = super()._get_target_shape(height, width)
        return rows, columns, 1, 1


def _sketcher(tokenizer: Any) -> GlmImageForConditionalGeneration:
    """Return the language model that draws the sketch; nobody runs its vision tower."""
    ids = {
        name: tokenizer.convert_tokens_to_ids(token)
        for name, token in (
            ("image_token_id", "<|image|>"),
            ("image_start_token_id", "<|start|>"),
            ("image_end_token_id", "<|end|>"),
        )
    }
    rope = {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [1, 1, 2],
        "partial_rotary_factor": 1.0,
    }
    config = GlmImageConfig(
        text_config={
            **TEXT,
            "vocab_size": len(tokenizer),
            "vision_vocab_size": _SKETCH,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "rope_parameters": rope,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 8,
            "num_heads": 2,
            "intermediate_size": 8,
            "image_size": 32,
        },
        vq_config={"embed_dim": 8, "num_embeddings": _SKETCH, "latent_channels": 8},
        **ids,
    )
    return GlmImageForConditionalGeneration(config)


@enlivened
def _glm_image() -> GlmImagePipeline:
    """Build GLM-Image."""
    tokenizer = glm_image_tokenizer()
    glyphs = T5Config(vocab_size=384, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=LAYERS, num_heads=2)
    return GlmImagePipeline(
        tokenizer=ByT5Tokenizer(),
        processor=SketchProcessor(GlmImageImageProcessorPil(), tokenizer, chat_template=PARTS),
        text_encoder=T5EncoderModel(glyphs),
        vision_language_encoder=_sketcher(tokenizer),
        vae=AutoencoderKL(
            block_out_channels=(4,) * 4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=1,
            latents_mean=[0.1] * 4,
            latents_std=[0.5] * 4,
        ),
        transformer=GlmImageTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            text_embed_dim=WIDTH,
            time_embed_dim=8,
            condition_dim=4,
            prior_vq_quantizer_codebook_size=_SKETCH,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(
            base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"
        ),
    )


FAMILIES: dict[str, Tiny] = {"glm-image": Tiny(_glm_image, SIZE | {"height": 32, "width": 32})}
