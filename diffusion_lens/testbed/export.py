"""What a training folder exports: the denoiser, its scheduler, and the index of the whole pipeline."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file

from diffusion_lens.errors import InputError
from diffusion_lens.models.int8 import is_quantized, quantize

__all__ = ["NOISE_SCHEDULE", "export_pipeline", "sampler", "store_in_eight_bits"]

NOISE_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}


def sampler() -> DPMSolverMultistepScheduler:
    """The scheduler that is shipped with the model."""
    # trailing spacing ignores the offset; the Stable Diffusion pipeline wants it to be 1 all the same
    return DPMSolverMultistepScheduler(**NOISE_SCHEDULE, timestep_spacing="trailing", steps_offset=1)


@torch.no_grad()
def export_pipeline(folder: Path, denoiser: Any, vae: AutoencoderKL, encoder: Any) -> None:
    """Write `unet/` in half precision, `scheduler/`, and the index of the pipeline to a folder.

    Args:
        folder: `StableDiffusionPipeline.from_pretrained` loads it, given what it does not hold: a
        pretrained
            `text_encoder` with its `tokenizer`, and the autoencoder where several models share one.
        denoiser: a `UNet2DConditionModel`.
        vae: the autoencoder.
        encoder: a `CaptionEncoder`.
    """
    # what begins with "_" says where the weights to start from lay
    config = {name: value for name, value in denoiser.config.items() if not name.startswith("_")}
    shipped = UNet2DConditionModel.from_config(config)
    shipped.load_state_dict(denoiser.state_dict())
    shipped.half().save_pretrained(folder / "unet")
    sampler().save_pretrained(folder / "scheduler")
    pipeline = StableDiffusionPipeline(
        vae=vae,
        unet=shipped,
        scheduler=sampler(),
        text_encoder=encoder.model,
        tokenizer=encoder.tokenizer,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_config(folder)


def store_in_eight_bits(source: Path, target: Path) -> None:
    """Write a copy of a denoiser's folder with its weights in eight bits; see `models.int8`.

    Raises:
        InputError: the source is stored in eight bits already, and would lose precision once more.
    """
    name = "diffusion_pytorch_model.safetensors"
    weights = load_file(source / name)
    if is_quantized(weights):
        raise InputError(f"{source / name} is stored in eight bits already; copy the folder as it is.")
    target.mkdir(parents=True, exist_ok=True)
    save_file(quantize(weights), target / name, {"format": "pt"})
    (target / "config.json").write_bytes((source / "config.json").read_bytes())
