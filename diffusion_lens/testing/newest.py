"""Tiny pipelines of families of 2025 and 2026: Kandinsky 5, PRX, LongCat-Image, Sana Sprint and more."""

from diffusers import (
    AutoencoderKLMagvit,
    EasyAnimatePipeline,
    EasyAnimateTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
    Kandinsky5T2IPipeline,
    Kandinsky5Transformer3DModel,
    LongCatImagePipeline,
    LongCatImageTransformer2DModel,
    LuminaNextDiT2DModel,
    LuminaPipeline,
    PRXPipeline,
    PRXTransformer2DModel,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
)
from transformers import (
    CLIPTextModel,
    Gemma2Config,
    Gemma2Model,
    GemmaConfig,
    GemmaModel,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    T5GemmaEncoder,
)
from transformers.models.t5gemma.configuration_t5gemma import T5GemmaModuleConfig

from diffusion_lens.testing.autoencoders import dc_vae, small_vae
from diffusion_lens.testing.llm_tokenizers import (
    TextProcessor,
    gemma_tokenizer,
    qwen_tokenizer,
)
from diffusion_lens.testing.newer import PARTS
from diffusion_lens.testing.parts import (
    LENGTH,
    LONG,
    SIZE,
    TEXT,
    WIDTH,
    Tiny,
    clip_config,
    enlivened,
    qwen_vl,
    token_ids,
)
from diffusion_lens.testing.tokenizers import clip_tokenizer

__all__ = ["FAMILIES"]


@enlivened
def _kandinsky5() -> Kandinsky5T2IPipeline:
    """Build Kandinsky 5 Image, at a size that the shipped one would round up."""
    tokenizer, clip = qwen_tokenizer(), clip_tokenizer()
    pipe = Kandinsky5T2IPipeline(
        text_encoder=qwen_vl(tokenizer),
        tokenizer=TextProcessor(tokenizer),
        text_encoder_2=CLIPTextModel(clip_config(clip, blocks=3, width=16, length=77)),
        tokenizer_2=clip,
        transformer=Kandinsky5Transformer3DModel(
            in_visual_dim=4,
            in_text_dim=WIDTH,
            in_text_dim2=16,
            time_dim=16,
            out_visual_dim=4,
            model_dim=24,
            ff_dim=32,
            num_text_blocks=1,
            num_visual_blocks=1,
            axes_dims=(4, 4, 4),
        ),
        vae=small_vae(channels=4, blocks=4),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    pipe.resolutions = [(32, 32)]
    return pipe


@enlivened
def _prx() -> PRXPipeline:
    """Build PRX."""
    tokenizer = gemma_tokenizer()
    tokenizer.model_max_length = LENGTH
    config = T5GemmaModuleConfig(**TEXT, **token_ids(tokenizer), dropout_rate=0.0)
    return PRXPipeline(
        text_encoder=T5GemmaEncoder(config),
        tokenizer=tokenizer,
        transformer=PRXTransformer2DModel(
            in_channels=4, context_in_dim=WIDTH, hidden_size=16, num_heads=2, depth=1, axes_dim=[4, 4]
        ),
        vae=small_vae(channels=4),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


@enlivened
def _longcat() -> LongCatImagePipeline:
    """Build LongCat-Image, whose prompts are read as they are written."""
    tokenizer = qwen_tokenizer()
    pipe = LongCatImagePipeline(
        text_encoder=qwen_vl(tokenizer),
        tokenizer=tokenizer,
        text_processor=None,
        transformer=LongCatImageTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=[4, 4, 8],
        ),
        vae=small_vae(channels=16),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )
    pipe.tokenizer_max_length = LENGTH
    return pipe


@enlivened
def _easyanimate() -> EasyAnimatePipeline:
    """Build EasyAnimate 5."""
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = PARTS
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}
    config = Qwen2VLConfig(
        text_config={**TEXT, **token_ids(tokenizer), "rope_parameters": rope},
        vision_config={"depth": 1, "embed_dim": 16, "num_heads": 2, "hidden_size": WIDTH, "mlp_ratio": 1},
    )
    return EasyAnimatePipeline(
        text_encoder=Qwen2VLForConditionalGeneration(config),
        tokenizer=tokenizer,
        vae=AutoencoderKLMagvit(
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            norm_num_groups=2,
            spatial_group_norm=False,
        ),
        transformer=EasyAnimateTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            patch_size=2,
            time_embed_dim=2,
            text_embed_dim=WIDTH,
            num_layers=1,
            mmdit_layers=1,
            sample_width=16,
            sample_height=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


@enlivened
def _sana_sprint() -> SanaSprintPipeline:
    """Build Sana Sprint."""
    tokenizer = gemma_tokenizer()
    return SanaSprintPipeline(
        tokenizer=tokenizer,
        text_encoder=Gemma2Model(Gemma2Config(**TEXT, **token_ids(tokenizer))),
        vae=dc_vae(blocks=2),
        transformer=SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=8,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=WIDTH,
            qk_norm="rms_norm_across_heads",
            guidance_embeds=True,
        ),
        scheduler=SCMScheduler(),
    )


@enlivened
def _lumina() -> LuminaPipeline:
    """Build Lumina-Next."""
    tokenizer = gemma_tokenizer()
    return LuminaPipeline(
        tokenizer=tokenizer,
        text_encoder=GemmaModel(GemmaConfig(**TEXT, **token_ids(tokenizer))),
        vae=small_vae(channels=4, blocks=4, shift=None),
        transformer=LuminaNextDiT2DModel(
            sample_size=4,
            hidden_size=16,
            num_layers=1,
            num_attention_heads=2,
            num_kv_heads=1,
            multiple_of=16,
            norm_eps=1e-5,
            cross_attention_dim=WIDTH,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


FAMILIES: dict[str, Tiny] = {
    "kandinsky5": Tiny(_kandinsky5, LONG | {"height": 32, "width": 32}),
    "prx": Tiny(_prx, SIZE | {"use_resolution_binning": False}),
    "longcat": Tiny(_longcat, SIZE | {"enable_prompt_rewrite": False}),
    # without guidance: with it the plain pipeline fails unless it has a negative prompt
    "easyanimate": Tiny(_easyanimate, SIZE | {"num_frames": 4, "guidance_scale": 1.0}),
    "sana-sprint": Tiny(
        _sana_sprint,
        LONG
        | {
            "height": 32,
            "width": 32,
            "use_resolution_binning": False,
            "complex_human_instruction": None,
            "clean_caption": False,
        },
    ),
    "lumina": Tiny(_lumina, SIZE | {"height": 32, "width": 32, "clean_caption": False}),
}
