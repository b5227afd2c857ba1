"""Tiny random text-to-image pipelines of the families whose text encoder is an LLM.

The classes are the shipped ones, the sizes are not: nothing is downloaded, and an image takes
a fraction of a second on one core.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DDIMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    KolorsPipeline,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel, RMSNorm
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GlmConfig,
    GlmModel,
    LlamaConfig,
    LlamaForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from .llm_tokenizers import (
    chatglm_tokenizer,
    gemma_tokenizer,
    glm_tokenizer,
    llama_tokenizer,
    mistral_processor,
    qwen_tokenizer,
)
from .tokenizers import clip_tokenizer, t5_tokenizer

LAYERS = 4
WIDTH = 16  # of every text encoder
TEXT: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}
LENGTH = 64
SIZE = {"height": 16, "width": 16, "num_inference_steps": 2}
LONG = SIZE | {"max_sequence_length": LENGTH}
TAPS = {"text_encoder_out_layers": (1, 2, 3)}


@dataclass(frozen=True)
class Tiny:
    """A tiny pipeline, and the arguments of its call that keep it fast."""

    build: Callable[[], DiffusionPipeline]
    call: Mapping[str, object]


def _seeded(build: Callable[[], DiffusionPipeline]) -> Callable[[], DiffusionPipeline]:
    """Make a builder give the same live weights at every call, in eval mode, and no bars."""

    @wraps(build)
    def built() -> DiffusionPipeline:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            pipe = build()
            for name, part in pipe.components.items():
                if isinstance(part, torch.nn.Module):
                    _enliven(part.eval(), 0.5 if name == "vae" else 1.0)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return built


def _enliven(module: torch.nn.Module, strength: float) -> None:
    """Add noise to all weights: gates and last layers begin at zero, which hides the text."""
    for weight in module.parameters():
        scale = 0.1 if weight.ndim < 2 else weight[0].numel() ** -0.5
        weight.add_(strength * scale * torch.randn_like(weight))


def _ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the part of a text encoder's config that its tokenizer decides."""
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _vae(channels: int, blocks: int = 2, shift: float | None = 0.1) -> AutoencoderKL:
    """Return an image autoencoder that shrinks by two per block after the first."""
    return AutoencoderKL(
        block_out_channels=(4,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=channels,
        norm_num_groups=1,
        sample_size=16,
        scaling_factor=0.5,
        shift_factor=shift,
    )


@_seeded
def _sana() -> SanaPipeline:
    """Build Sana."""
    tokenizer = gemma_tokenizer()
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=Gemma2Model(Gemma2Config(**TEXT, **_ids(tokenizer))),
        vae=AutoencoderDC(
            latent_channels=4,
            attention_head_dim=4,
            encoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            encoder_layers_per_block=(1, 1, 1),
            decoder_layers_per_block=(1, 1, 1),
            encoder_qkv_multiscales=((), (), (5,)),
            decoder_qkv_multiscales=((), (), (5,)),
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            scaling_factor=0.5,
        ),
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


@_seeded
def _lumina2() -> Lumina2Pipeline:
    """Build Lumina2."""
    tokenizer = gemma_tokenizer()
    return Lumina2Pipeline(
        tokenizer=tokenizer,
        text_encoder=Gemma2Model(Gemma2Config(**TEXT, **_ids(tokenizer))),
        vae=_vae(channels=4, blocks=4),
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


@_seeded
def _cogview4() -> CogView4Pipeline:
    """Build CogView4."""
    tokenizer = glm_tokenizer()
    return CogView4Pipeline(
        tokenizer=tokenizer,
        text_encoder=GlmModel(GlmConfig(**TEXT, **_ids(tokenizer))),
        vae=_vae(channels=4, shift=None),
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


@_seeded
def _kolors() -> KolorsPipeline:
    """Build Kolors."""
    tokenizer = chatglm_tokenizer()
    return KolorsPipeline(
        tokenizer=tokenizer,
        text_encoder=_chatglm(tokenizer.vocab_size),
        vae=_vae(channels=4, shift=None),
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
            cross_attention_dim=8,
            encoder_hid_dim=WIDTH,
            encoder_hid_dim_type="text_proj",
            norm_num_groups=4,
        ),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False),
    )


def _chatglm(vocab_size: int) -> ChatGLMModel:
    """Return Kolors' text encoder, whose own code leaves the weights of its norms unset."""
    config = ChatGLMConfig(
        num_layers=LAYERS,
        padded_vocab_size=vocab_size,
        hidden_size=WIDTH,
        ffn_hidden_size=32,
        kv_channels=8,
        num_attention_heads=2,
        seq_length=256,
        add_qkv_bias=True,
        multi_query_attention=True,
        original_rope=True,
    )
    model = ChatGLMModel(config, empty_init=False)
    for module in model.modules():
        if isinstance(module, RMSNorm):
            torch.nn.init.ones_(module.weight)
    return model


@_seeded
def _hidream() -> HiDreamImagePipeline:
    """Build HiDream."""
    clip, clip_2, t5, llama = clip_tokenizer(), clip_tokenizer(), t5_tokenizer(), llama_tokenizer()
    clip.model_max_length = clip_2.model_max_length = LENGTH  # not CLIP's own: the position table
    clip_config = CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=32,
        projection_dim=8,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        **_ids(clip),
    )
    t5_config = T5Config(
        vocab_size=len(t5),
        d_model=WIDTH,
        d_kv=8,
        d_ff=32,
        num_layers=LAYERS,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    # The pipeline asks Llama for its attention maps, which only the eager code gives.
    llama_config = LlamaConfig(**TEXT, **_ids(llama), attn_implementation="eager")
    pipe = HiDreamImagePipeline(
        tokenizer=clip,
        text_encoder=CLIPTextModelWithProjection(clip_config),
        tokenizer_2=clip_2,
        text_encoder_2=CLIPTextModelWithProjection(clip_config),
        tokenizer_3=t5,
        text_encoder_3=T5EncoderModel(t5_config),
        tokenizer_4=llama,
        text_encoder_4=LlamaForCausalLM(llama_config),
        vae=_vae(channels=4),
        transformer=HiDreamImageTransformer2DModel(
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            num_single_layers=3,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_channels=[WIDTH, WIDTH],
            text_emb_dim=16,
            axes_dims_rope=(4, 2, 2),
            max_resolution=(8, 8),
            llama_layers=[0, 1, 2, 3, 3],  # one per block of the denoiser, the last repeated
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    pipe.default_sample_size = 8  # every image is scaled to the area of this size
    return pipe


@_seeded
def _qwen_image() -> QwenImagePipeline:
    """Build Qwen-Image."""
    tokenizer = qwen_tokenizer()
    config = Qwen2_5_VLConfig(
        text_config={
            **TEXT,
            **_ids(tokenizer),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [1, 1, 2],
            },
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
        },
    )
    return QwenImagePipeline(
        tokenizer=tokenizer,
        text_encoder=Qwen2_5_VLForConditionalGeneration(config),
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


@_seeded
def _z_image() -> ZImagePipeline:
    """Build Z-Image."""
    tokenizer = qwen_tokenizer()
    return ZImagePipeline(
        tokenizer=tokenizer,
        text_encoder=Qwen3Model(Qwen3Config(**TEXT, **_ids(tokenizer))),
        vae=_vae(channels=4),
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


def _flux2_parts(guidance: bool) -> dict[str, Any]:
    """Return what FLUX.2 and FLUX.2 klein share: the autoencoder, denoiser and scheduler."""
    return {
        "vae": AutoencoderKLFlux2(
            block_out_channels=(4, 4),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=1,
            sample_size=16,
        ),
        "transformer": Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=len(TAPS["text_encoder_out_layers"]) * WIDTH,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=guidance,
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    }


@_seeded
def _flux2() -> Flux2Pipeline:
    """Build FLUX.2."""
    processor = mistral_processor()
    config = Mistral3Config(
        text_config={"model_type": "mistral", **TEXT, **_ids(processor.tokenizer)},
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        image_token_index=processor.tokenizer.convert_tokens_to_ids("[IMG]"),
    )
    return Flux2Pipeline(
        tokenizer=processor,
        text_encoder=Mistral3ForConditionalGeneration(config),
        **_flux2_parts(guidance=True),
    )


@_seeded
def _flux2_klein() -> Flux2KleinPipeline:
    """Build FLUX.2 klein."""
    tokenizer = qwen_tokenizer()
    return Flux2KleinPipeline(
        tokenizer=tokenizer,
        text_encoder=Qwen3ForCausalLM(Qwen3Config(**TEXT, **_ids(tokenizer))),
        **_flux2_parts(guidance=False),
    )


FAMILIES: dict[str, Tiny] = {
    "sana": Tiny(_sana, LONG | {"height": 32, "width": 32, "use_resolution_binning": False}),
    "lumina2": Tiny(_lumina2, LONG | {"height": 32, "width": 32}),
    "cogview4": Tiny(_cogview4, LONG),
    "kolors": Tiny(_kolors, SIZE),  # its call takes max_sequence_length but encodes to 256
    "hidream": Tiny(_hidream, LONG),
    "qwen-image": Tiny(_qwen_image, LONG),
    "z-image": Tiny(_z_image, LONG),
    "flux2": Tiny(_flux2, LONG | TAPS),
    "flux2-klein": Tiny(_flux2_klein, LONG | TAPS),
}
