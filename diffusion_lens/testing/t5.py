"""Tiny pipelines of families that read a T5 encoder."""

from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    BriaPipeline,
    BriaTransformer2DModel,
    ChromaPipeline,
    ChromaTransformer2DModel,
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
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextModel,
    UMT5Config,
    UMT5EncoderModel,
)

from diffusion_lens.testing.autoencoders import latent_vae
from diffusion_lens.testing.parts import (
    SIZE,
    T5_SIZE,
    T5_WIDTH,
    Tiny,
    amplified,
    clip_config,
    ddim,
    t5_parts,
    t5_sizes,
)
from diffusion_lens.testing.tokenizers import clip_tokenizer, t5_tokenizer

__all__ = ["FAMILIES"]


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


def _flux() -> DiffusionPipeline:
    """Return a FLUX.1 pipeline: CLIP with 3 blocks for the pooled state, T5 with 5."""
    tokenizer = clip_tokenizer()
    config = clip_config(tokenizer, blocks=3, width=32)
    t5 = t5_parts(blocks=5)
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
        vae=latent_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _if() -> DiffusionPipeline:
    """Return a DeepFloyd IF pipeline of the first stage: T5 with 4 blocks."""
    return IFPipeline(
        **t5_parts(blocks=4),
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
        **t5_parts(blocks=4),
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
        **t5_parts(blocks=4),
        transformer=_pixart(),
        vae=latent_vae(),
        scheduler=ddim(),
    )


def _pixart_sigma() -> DiffusionPipeline:
    """Return a PixArt-sigma pipeline: T5 with 4 blocks."""
    return PixArtSigmaPipeline(
        **t5_parts(blocks=4),
        transformer=_pixart(),
        vae=latent_vae(),
        scheduler=ddim(),
    )


def _chroma() -> DiffusionPipeline:
    """Return a Chroma pipeline: T5 with 4 blocks."""
    return ChromaPipeline(
        **t5_parts(blocks=4),
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
        vae=latent_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _bria() -> DiffusionPipeline:
    """Return a Bria 3.2 pipeline: T5 with 4 blocks."""
    return BriaPipeline(
        **t5_parts(blocks=4),
        transformer=BriaTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            num_attention_heads=2,
            attention_head_dim=16,
            axes_dims_rope=[0, 8, 8],
            joint_attention_dim=T5_WIDTH,
        ),
        vae=latent_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _auraflow() -> DiffusionPipeline:
    """Return an AuraFlow pipeline: UMT5 with 4 blocks."""
    tokenizer = t5_tokenizer()
    return AuraFlowPipeline(
        text_encoder=UMT5EncoderModel(UMT5Config(**t5_sizes(tokenizer, blocks=4))),
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
        vae=latent_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


_PIXART_SIZE = T5_SIZE | {"use_resolution_binning": False}


_SMALL_IMAGE = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)


FAMILIES: dict[str, Tiny] = {
    "flux": Tiny(amplified(_flux), T5_SIZE),
    "if": Tiny(amplified(_if), SIZE),
    # this pipeline wants one image for each prompt: repeat "image" along the batch
    "if-upscaler": Tiny(amplified(_if_upscaler), SIZE | {"image": _SMALL_IMAGE}),
    "pixart-alpha": Tiny(amplified(_pixart_alpha), _PIXART_SIZE),
    "pixart-sigma": Tiny(amplified(_pixart_sigma), _PIXART_SIZE),
    "chroma": Tiny(amplified(_chroma), T5_SIZE),
    "auraflow": Tiny(amplified(_auraflow), T5_SIZE),
    "bria": Tiny(amplified(_bria), T5_SIZE),
}
