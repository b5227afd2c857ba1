"""Tiny pipelines of families that read one layer of a language model."""

from diffusers import (
    AutoencoderKLQwenImage,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    Gemma2Config,
    Gemma2Model,
    GlmConfig,
    GlmModel,
    Qwen3Config,
    Qwen3Model,
)

from diffusion_lens.testing.autoencoders import dc_vae, small_vae
from diffusion_lens.testing.llm_tokenizers import (
    gemma_tokenizer,
    glm_tokenizer,
    qwen_tokenizer,
)
from diffusion_lens.testing.parts import (
    LONG,
    TEXT,
    WIDTH,
    Tiny,
    enlivened,
    qwen_vl,
    token_ids,
)

__all__ = ["FAMILIES"]


@enlivened
def _sana() -> SanaPipeline:
    """Build Sana."""
    tokenizer = gemma_tokenizer()
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=Gemma2Model(Gemma2Config(**TEXT, **token_ids(tokenizer))),
        vae=dc_vae(blocks=3),
        transformer=SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=8,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=WIDTH,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


@enlivened
def _lumina2() -> Lumina2Pipeline:
    """Build Lumina2."""
    tokenizer = gemma_tokenizer()
    return Lumina2Pipeline(
        tokenizer=tokenizer,
        text_encoder=Gemma2Model(Gemma2Config(**TEXT, **token_ids(tokenizer))),
        vae=small_vae(channels=4, blocks=4),
        transformer=Lumina2Transformer2DModel(
            sample_size=4,
            in_channels=4,
            hidden_size=24,
            num_layers=2,
            num_refiner_layers=1,
            num_attention_heads=2,
            num_kv_heads=1,
            multiple_of=16,
            axes_dim_rope=(4, 4, 4),
            cap_feat_dim=WIDTH,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
    )


@enlivened
def _cogview4() -> CogView4Pipeline:
    """Build CogView4."""
    tokenizer = glm_tokenizer()
    return CogView4Pipeline(
        tokenizer=tokenizer,
        text_encoder=GlmModel(GlmConfig(**TEXT, **token_ids(tokenizer))),
        vae=small_vae(channels=4, shift=None),
        transformer=CogView4Transformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            text_embed_dim=WIDTH,
            time_embed_dim=8,
            condition_dim=4,
            sample_size=8,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(
            base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"
        ),
    )


@enlivened
def _qwen_image() -> QwenImagePipeline:
    """Build Qwen-Image."""
    tokenizer = qwen_tokenizer()
    return QwenImagePipeline(
        tokenizer=tokenizer,
        text_encoder=qwen_vl(tokenizer),
        vae=AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        transformer=QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(8, 4, 4),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


@enlivened
def _z_image() -> ZImagePipeline:
    """Build Z-Image."""
    tokenizer = qwen_tokenizer()
    return ZImagePipeline(
        tokenizer=tokenizer,
        text_encoder=Qwen3Model(Qwen3Config(**TEXT, **token_ids(tokenizer))),
        vae=small_vae(channels=4),
        transformer=ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=WIDTH,
            axes_dims=[8, 4, 4],
            axes_lens=[256, 32, 32],
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


FAMILIES: dict[str, Tiny] = {
    "sana": Tiny(_sana, LONG | {"height": 32, "width": 32, "use_resolution_binning": False}),
    "lumina2": Tiny(_lumina2, LONG | {"height": 32, "width": 32}),
    "cogview4": Tiny(_cogview4, LONG),
    "qwen-image": Tiny(_qwen_image, LONG),
    "z-image": Tiny(_z_image, LONG),
}
