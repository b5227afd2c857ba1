"""Real diffusers pipelines around CLIP and T5 text encoders, tiny and with random weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    IFPipeline,
    IFSuperResolutionPipeline,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

from .tokenizers import clip_tokenizer, t5_tokenizer

T5_WIDTH = 48


@dataclass(frozen=True)
class Tiny:
    """A family's smallest pipeline, and the arguments that make a call of it small."""

    build: Callable[[], DiffusionPipeline]
    call: Mapping[str, object]


def _seeded(assemble: Callable[[], DiffusionPipeline]) -> Callable[[], DiffusionPipeline]:
    """Return a builder that gives the same weights at every call, ready for inference."""

    def build() -> DiffusionPipeline:
        """Build the pipeline in eval mode, without a progress bar and without global effects."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            pipe = assemble()
        _amplify(pipe.components.get("unet") or pipe.components["transformer"])
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval()
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return build


@torch.no_grad()
def _amplify(denoiser: torch.nn.Module) -> None:
    """Double the weights: at their default size some denoisers barely see the text."""
    for parameter in denoiser.parameters():
        if parameter.ndim > 1:
            parameter.mul_(2)


def _clip_config(tokenizer: CLIPTokenizer, blocks: int, width: int) -> CLIPTextConfig:
    """Return a CLIP text config that agrees with the tokenizer."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width - 4,
        num_hidden_layers=blocks,
        num_attention_heads=width // 8,
        max_position_embeddings=tokenizer.model_max_length,
        initializer_factor=4.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _t5_sizes(tokenizer: T5Tokenizer, blocks: int) -> dict[str, Any]:
    """Return the T5 v1.1 settings that agree with the tokenizer."""
    return {
        "vocab_size": len(tokenizer),
        "d_model": T5_WIDTH,
        "d_kv": 8,
        "d_ff": 2 * T5_WIDTH,
        "num_layers": blocks,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _t5(blocks: int) -> dict[str, Any]:
    """Return a T5 encoder and its tokenizer."""
    tokenizer = t5_tokenizer()
    encoder = T5EncoderModel(T5Config(**_t5_sizes(tokenizer, blocks)))
    return {"text_encoder": encoder, "tokenizer": tokenizer}


def _vae() -> AutoencoderKL:
    """Return an autoencoder with 4 latent channels that halves each side."""
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
        shift_factor=0.1,
    )


def _unet(**settings: Any) -> UNet2DConditionModel:
    """Return a latent U-Net with two resolutions."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **settings,
    )


def _pixel_unet(**settings: Any) -> UNet2DConditionModel:
    """Return a pixel U-Net with a learned variance, as DeepFloyd IF has."""
    return UNet2DConditionModel(
        sample_size=16,
        out_channels=6,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        attention_head_dim=8,
        cross_attention_dim=32,
        cross_attention_norm="group_norm",
        encoder_hid_dim=T5_WIDTH,
        encoder_hid_dim_type="text_proj",
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        resnet_time_scale_shift="scale_shift",
        act_fn="gelu",
        **settings,
    )


def _ddim() -> DDIMScheduler:
    """Return a scheduler without noise, with the settings that Stable Diffusion asks for."""
    return DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def _ddpm() -> DDPMScheduler:
    """Return the scheduler of DeepFloyd IF: noise at each step, pixels rescaled to the range."""
    return DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        variance_type="learned_range",
        thresholding=True,
        dynamic_thresholding_ratio=0.95,
        sample_max_value=100.0,
    )


def _pixart() -> PixArtTransformer2DModel:
    """Return the transformer of PixArt-alpha and PixArt-sigma."""
    return PixArtTransformer2DModel(
        sample_size=8,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=T5_WIDTH,
    )


def _sd() -> DiffusionPipeline:
    """Return a Stable Diffusion 1.x pipeline: CLIP with 4 blocks."""
    tokenizer = clip_tokenizer()
    return StableDiffusionPipeline(
        text_encoder=CLIPTextModel(_clip_config(tokenizer, blocks=4, width=32)),
        tokenizer=tokenizer,
        unet=_unet(cross_attention_dim=32),
        vae=_vae(),
        scheduler=_ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> DiffusionPipeline:
    """Return an SDXL pipeline: CLIP with 3 blocks, and a wider projected one with 5."""
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer(pad_token="!")
    config = _clip_config(tokenizer, blocks=3, width=16)
    config_2 = _clip_config(tokenizer_2, blocks=5, width=32)
    return StableDiffusionXLPipeline(
        text_encoder=CLIPTextModel(config),
        text_encoder_2=CLIPTextModelWithProjection(config_2),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=_unet(
            cross_attention_dim=config.hidden_size + config_2.hidden_size,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + config_2.projection_dim,
        ),
        vae=_vae(),
        scheduler=_ddim(),
        add_watermarker=False,
    )


def _sd3() -> DiffusionPipeline:
    """Return a Stable Diffusion 3 pipeline: projected CLIPs with 3 and 4 blocks, T5 with 5."""
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer(pad_token="!")
    config = _clip_config(tokenizer, blocks=3, width=16)
    config_2 = _clip_config(tokenizer_2, blocks=4, width=24)
    t5 = _t5(blocks=5)
    return StableDiffusion3Pipeline(
        text_encoder=CLIPTextModelWithProjection(config),
        text_encoder_2=CLIPTextModelWithProjection(config_2),
        text_encoder_3=t5["text_encoder"],
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        tokenizer_3=t5["tokenizer"],
        transformer=SD3Transformer2DModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=8,
            caption_projection_dim=16,
            joint_attention_dim=T5_WIDTH,
            pooled_projection_dim=config.projection_dim + config_2.projection_dim,
        ),
        vae=_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _flux() -> DiffusionPipeline:
    """Return a FLUX.1 pipeline: CLIP with 3 blocks for the pooled state, T5 with 5."""
    tokenizer = clip_tokenizer()
    config = _clip_config(tokenizer, blocks=3, width=32)
    t5 = _t5(blocks=5)
    return FluxPipeline(
        text_encoder=CLIPTextModel(config),
        text_encoder_2=t5["text_encoder"],
        tokenizer=tokenizer,
        tokenizer_2=t5["tokenizer"],
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            num_attention_heads=2,
            attention_head_dim=16,
            axes_dims_rope=(4, 4, 8),
            joint_attention_dim=T5_WIDTH,
            pooled_projection_dim=config.hidden_size,
            guidance_embeds=True,
        ),
        vae=_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _if() -> DiffusionPipeline:
    """Return a DeepFloyd IF pipeline of the first stage: T5 with 4 blocks."""
    return IFPipeline(
        **_t5(blocks=4),
        unet=_pixel_unet(in_channels=3),
        scheduler=_ddpm(),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


def _if_upscaler() -> DiffusionPipeline:
    """Return a DeepFloyd IF pipeline of the second stage, with the encoder of the first."""
    return IFSuperResolutionPipeline(
        **_t5(blocks=4),
        unet=_pixel_unet(in_channels=6, class_embed_type="timestep"),
        scheduler=_ddpm(),
        image_noising_scheduler=DDPMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


def _pixart_alpha() -> DiffusionPipeline:
    """Return a PixArt-alpha pipeline: T5 with 4 blocks."""
    return PixArtAlphaPipeline(
        **_t5(blocks=4),
        transformer=_pixart(),
        vae=_vae(),
        scheduler=_ddim(),
    )


def _pixart_sigma() -> DiffusionPipeline:
    """Return a PixArt-sigma pipeline: T5 with 4 blocks."""
    return PixArtSigmaPipeline(
        **_t5(blocks=4),
        transformer=_pixart(),
        vae=_vae(),
        scheduler=_ddim(),
    )


def _chroma() -> DiffusionPipeline:
    """Return a Chroma pipeline: T5 with 4 blocks."""
    return ChromaPipeline(
        **_t5(blocks=4),
        transformer=ChromaTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            num_attention_heads=2,
            attention_head_dim=16,
            axes_dims_rope=(4, 4, 8),
            joint_attention_dim=T5_WIDTH,
            approximator_num_channels=16,
            approximator_hidden_dim=16,
            approximator_layers=1,
        ),
        vae=_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _auraflow() -> DiffusionPipeline:
    """Return an AuraFlow pipeline: UMT5 with 4 blocks."""
    tokenizer = t5_tokenizer()
    return AuraFlowPipeline(
        text_encoder=UMT5EncoderModel(UMT5Config(**_t5_sizes(tokenizer, blocks=4))),
        tokenizer=tokenizer,
        transformer=AuraFlowTransformer2DModel(
            sample_size=8,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            num_attention_heads=2,
            attention_head_dim=8,
            joint_attention_dim=T5_WIDTH,
            caption_projection_dim=16,
        ),
        vae=_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


_SIZE = {"height": 16, "width": 16, "num_inference_steps": 2}
_T5_SIZE = _SIZE | {"max_sequence_length": 16}
_PIXART_SIZE = _T5_SIZE | {"use_resolution_binning": False}
_SMALL_IMAGE = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)

FAMILIES: dict[str, Tiny] = {
    "sd": Tiny(_seeded(_sd), _SIZE),
    "sdxl": Tiny(_seeded(_sdxl), _SIZE),
    "sd3": Tiny(_seeded(_sd3), _T5_SIZE),
    "flux": Tiny(_seeded(_flux), _T5_SIZE),
    "if": Tiny(_seeded(_if), _SIZE),
    # this pipeline wants one image for each prompt: repeat "image" along the batch
    "if-upscaler": Tiny(_seeded(_if_upscaler), _SIZE | {"image": _SMALL_IMAGE}),
    "pixart-alpha": Tiny(_seeded(_pixart_alpha), _PIXART_SIZE),
    "pixart-sigma": Tiny(_seeded(_pixart_sigma), _PIXART_SIZE),
    "chroma": Tiny(_seeded(_chroma), _T5_SIZE),
    "auraflow": Tiny(_seeded(_auraflow), _T5_SIZE),
}
