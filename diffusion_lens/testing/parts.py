"""What the tiny pipelines share: configs, autoencoders, U-Nets, and builders of equal weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTokenizer,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from diffusion_lens.testing.tokenizers import t5_tokenizer

__all__ = [
    "LAYERS",
    "LENGTH",
    "LONG",
    "SIZE",
    "T5_SIZE",
    "T5_WIDTH",
    "TEXT",
    "WIDTH",
    "Tiny",
    "amplified",
    "clip_config",
    "ddim",
    "enlivened",
    "latent_unet",
    "qwen_vl",
    "t5_parts",
    "t5_sizes",
    "token_ids",
]

T5_WIDTH = 48


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


T5_SIZE = SIZE | {"max_sequence_length": 16}


@dataclass(frozen=True)
class Tiny:
    """A tiny pipeline, and the arguments of its call that keep it fast."""

    build: Callable[[], DiffusionPipeline]
    call: Mapping[str, object]


def amplified(assemble: Callable[[], DiffusionPipeline]) -> Callable[[], DiffusionPipeline]:
    """Return a builder that gives the same weights at every call, ready for inference."""

    def build() -> DiffusionPipeline:
        """Build the pipeline in eval mode, without a progress bar and without global effects."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            pipe = assemble()
        amplify(pipe.components.get("unet") or pipe.components["transformer"])
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval()
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return build


@torch.no_grad()
def amplify(denoiser: torch.nn.Module) -> None:
    """Double the weights: at their default size some denoisers barely see the text."""
    for parameter in denoiser.parameters():
        if parameter.ndim > 1:
            parameter.mul_(2)


def enlivened(build: Callable[[], DiffusionPipeline]) -> Callable[[], DiffusionPipeline]:
    """Make a builder give the same live weights at every call, in eval mode, and no bars."""

    @wraps(build)
    def built() -> DiffusionPipeline:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            pipe = build()
            for name, part in pipe.components.items():
                if isinstance(part, torch.nn.Module):
                    enliven(part.eval(), 0.5 if name == "vae" else 1.0)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return built


def enliven(module: torch.nn.Module, strength: float) -> None:
    """Add noise to all weights: gates and last layers begin at zero, which hides the text."""
    for name, weight in module.named_parameters():
        if not weight.numel():
            continue
        if name == "pad_token":  # of Lumina 2, whose memory diffusers leaves as it finds it
            weight.zero_()
        scale = 0.1 if weight.ndim < 2 else weight[0].numel() ** -0.5
        weight.add_(strength * scale * torch.randn_like(weight))


def token_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the part of a text encoder's config that its tokenizer decides."""
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def clip_config(
    tokenizer: CLIPTokenizer, blocks: int, width: int, length: int | None = None
) -> CLIPTextConfig:
    """Return a CLIP text config that agrees with the tokenizer, and may read longer prompts."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width - 4,
        num_hidden_layers=blocks,
        num_attention_heads=width // 8,
        max_position_embeddings=length or tokenizer.model_max_length,
        initializer_factor=4.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def t5_sizes(tokenizer: T5Tokenizer, blocks: int) -> dict[str, Any]:
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


def t5_parts(blocks: int) -> dict[str, Any]:
    """Return a T5 encoder and its tokenizer."""
    tokenizer = t5_tokenizer()
    encoder = T5EncoderModel(T5Config(**t5_sizes(tokenizer, blocks)))
    return {"text_encoder": encoder, "tokenizer": tokenizer}


def qwen_vl(tokenizer: PreTrainedTokenizerBase) -> Qwen2_5_VLForConditionalGeneration:
    """Return a Qwen2.5-VL whose vision tower nobody runs."""
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, **token_ids(tokenizer), "rope_parameters": rope},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
        },
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def latent_unet(**settings: Any) -> UNet2DConditionModel:
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


def ddim() -> DDIMScheduler:
    """Return a scheduler without noise, with the settings that Stable Diffusion asks for."""
    return DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
