"""Well-known architectures with random weights, at full or tiny size: what speed is measured on.

Speed does not depend on what weights have learned, so that no checkpoint is needed. Sizes are those of the
public configs; all prompts are read by the tokenizer of the embedded model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    BertTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from diffusion_lens.errors import InputError
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.embedded import find_minilm
from diffusion_lens.models.pipelines import find_family

__all__ = ["ARCHITECTURES", "build_architecture"]

Size = Literal["full", "tiny"]


@dataclass(frozen=True)
class Architecture:
    """A pipeline class, and what builds it with random weights.

    Attributes:
        pipeline: the class of diffusers.
        build: makes the pipeline and its usual settings; at tiny size if True is given.
    """

    pipeline: type
    build: Callable[[bool], tuple[Any, Sampler]]


def build_architecture(
    name: str,
    *,
    device: str,
    dtype: torch.dtype | None = None,
    size: Size = "full",
    batch_size: int | None = None,
) -> DiffusionLens:
    """A lens on a pipeline of random weights.

    Args:
        name: one of `ARCHITECTURES`.
        device: where the weights are made; those of FLUX take 34 GB in 16 bits.
        dtype: the type of the weights; float32 on the CPU and the family's 16-bit type elsewhere if None.
        size: "tiny" is the same wiring, small enough for a test.
        batch_size: images denoised together.

    Raises:
        InputError: no such architecture.
    """
    if name not in ARCHITECTURES:
        raise InputError(f"{name!r} is no architecture. Allowed: {', '.join(ARCHITECTURES)}.")
    architecture = ARCHITECTURES[name]
    if dtype is None:
        half: torch.dtype = getattr(torch, find_family(architecture.pipeline).half)
        dtype = torch.float32 if device == "cpu" else half
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(), torch.device(device):
            torch.manual_seed(0)
            pipe, sampler = architecture.build(size == "tiny")
    finally:
        torch.set_default_dtype(before)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipe.to(device, dtype)
    return DiffusionLens(pipe, defaults=sampler, batch_size=batch_size, name=f"{name} ({size}, random)")


def _tokenizer(length: int) -> BertTokenizer:
    return BertTokenizer.from_pretrained(find_minilm(), model_max_length=length)


def _clip(width: int, blocks: int, heads: int, act: str, projection: int, tiny: bool) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=32 if tiny else width,
        intermediate_size=64 if tiny else 4 * width,
        num_hidden_layers=3 if tiny else blocks,
        num_attention_heads=4 if tiny else heads,
        projection_dim=16 if tiny else projection,
        hidden_act=act,
    )


def _vae(tiny: bool, **config: Any) -> AutoencoderKL:
    channels = (16, 32) if tiny else (128, 256, 512, 512)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1 if tiny else 2,
        norm_num_groups=8 if tiny else 32,
        **config,
    )


def _solver() -> DPMSolverMultistepScheduler:
    with torch.device("cpu"):  # where schedulers keep their numbers, whatever the weights lie on
        return DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        )


def _flow() -> FlowMatchEulerDiscreteScheduler:
    with torch.device("cpu"):
        return FlowMatchEulerDiscreteScheduler()


def _sd21(tiny: bool) -> tuple[Any, Sampler]:
    encoder = _clip(1024, 24, 16, "gelu", 512, tiny)
    unet = UNet2DConditionModel(
        sample_size=8 if tiny else 64,
        block_out_channels=(16, 32) if tiny else (320, 640, 1280, 1280),
        down_block_types=("CrossAttnDownBlock2D",) * (1 if tiny else 3) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (1 if tiny else 3),
        layers_per_block=1 if tiny else 2,
        attention_head_dim=4 if tiny else (5, 10, 20, 20),
        norm_num_groups=8 if tiny else 32,
        cross_attention_dim=encoder.hidden_size,
        use_linear_projection=True,
    )
    pipe = StableDiffusionPipeline(
        vae=_vae(tiny, scaling_factor=0.18215),
        text_encoder=CLIPTextModel(encoder),
        tokenizer=_tokenizer(77),
        unet=unet,
        scheduler=_solver(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return pipe, Sampler(steps=2 if tiny else 50, guidance=7.5)


def _sdxl(tiny: bool) -> tuple[Any, Sampler]:
    small = _clip(768, 12, 12, "quick_gelu", 768, tiny)
    large = _clip(1280, 32, 20, "gelu", 1280, tiny)
    unet = UNet2DConditionModel(
        sample_size=8 if tiny else 128,
        block_out_channels=(16, 32) if tiny else (320, 640, 1280),
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * (1 if tiny else 2),
        up_block_types=("CrossAttnUpBlock2D",) * (1 if tiny else 2) + ("UpBlock2D",),
        layers_per_block=1 if tiny else 2,
        transformer_layers_per_block=1 if tiny else (1, 2, 10),
        attention_head_dim=4 if tiny else (5, 10, 20),
        norm_num_groups=8 if tiny else 32,
        cross_attention_dim=small.hidden_size + large.hidden_size,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8 if tiny else 256,
        projection_class_embeddings_input_dim=6 * (8 if tiny else 256) + large.projection_dim,
    )
    pipe = StableDiffusionXLPipeline(
        vae=_vae(tiny, scaling_factor=0.13025),
        text_encoder=CLIPTextModel(small),
        text_encoder_2=CLIPTextModelWithProjection(large),
        tokenizer=_tokenizer(77),
        tokenizer_2=_tokenizer(77),
        unet=unet,
        scheduler=_solver(),
        add_watermarker=False,
    )
    return pipe, Sampler(steps=2 if tiny else 30, guidance=5.0)


def _flux(tiny: bool) -> tuple[Any, Sampler]:
    clip = _clip(768, 12, 12, "quick_gelu", 768, tiny)
    t5 = T5Config(
        vocab_size=32128,
        d_model=32 if tiny else 4096,
        d_kv=8 if tiny else 64,
        d_ff=64 if tiny else 10240,
        num_layers=3 if tiny else 24,
        num_heads=4 if tiny else 64,
        feed_forward_proj="gated-gelu",
    )
    latent = 4 if tiny else 16
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * latent,
        num_layers=1 if tiny else 19,
        num_single_layers=1 if tiny else 38,
        attention_head_dim=16 if tiny else 128,
        num_attention_heads=2 if tiny else 24,
        joint_attention_dim=t5.d_model,
        pooled_projection_dim=clip.hidden_size,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6) if tiny else (16, 56, 56),
    )
    vae = _vae(
        tiny,
        latent_channels=latent,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    pipe = FluxPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(clip),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer=_tokenizer(77),
        tokenizer_2=_tokenizer(512),
        transformer=transformer,
        scheduler=_flow(),
    )
    side = 16 if tiny else 1024
    return pipe, Sampler(steps=2 if tiny else 28, guidance=3.5, height=side, width=side)


ARCHITECTURES: Mapping[str, Architecture] = {
    "sd21": Architecture(StableDiffusionPipeline, _sd21),
    "sdxl": Architecture(StableDiffusionXLPipeline, _sdxl),
    "flux": Architecture(FluxPipeline, _flux),
}
