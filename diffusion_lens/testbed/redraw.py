"""Captions drawn by a trained denoiser, for a stage that learns from what the model itself draws."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from jaxtyping import Float
from torch import Tensor

from diffusion_lens.errors import InputError
from diffusion_lens.models.int8 import load_denoiser
from diffusion_lens.testbed.autoencoder import VALIDATION_SEED
from diffusion_lens.testbed.export import sampler

__all__ = ["Redrawer"]

STEPS, GUIDANCE = 10, 4.0
AT_ONCE = 64  # images


class Redrawer:
    """The denoiser of `folder/unet`, frozen, with the shared autoencoder.

    Args:
        folder: of the export of the diffusion stage.
        vae: the autoencoder of the latents.
        empty: the states of the empty caption, `[token, width]`, for guidance.

    Raises:
        InputError: there is no denoiser in the folder.
    """

    def __init__(self, folder: Path, vae: AutoencoderKL, empty: Float[Tensor, "token width"]) -> None:
        if not (folder / "unet" / "config.json").is_file():
            raise InputError(
                f"no denoiser in {folder / 'unet'}: the cycle term draws with one. Train stage diffusion "
                "first, copy its unet there, or leave --cycle out."
            )
        self.vae, self.empty = vae, empty.to(vae.device)
        self.pipeline = StableDiffusionPipeline(
            vae=vae,
            unet=load_denoiser(folder / "unet").eval().requires_grad_(False).to(vae.device),
            scheduler=sampler(),
            text_encoder=None,
            tokenizer=None,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        self.pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def draw(
        self, states: Float[Tensor, "scene token width"], seed: int
    ) -> Float[Tensor, "scene channel y x"]:
        """Latents of the images that are drawn of captions, as the autoencoder reads those images.

        Args:
            states: of the captions, float32.
            seed: of the noise.
        """
        generator = torch.Generator().manual_seed(VALIDATION_SEED + seed)
        latents = []
        for part in states.split(AT_ONCE):
            images = self.pipeline(
                prompt_embeds=part.to(self.vae.device),
                negative_prompt_embeds=self.empty.expand(len(part), -1, -1),
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                generator=generator,
                output_type="pt",
            ).images
            mean = self.vae.encode(2 * images - 1).latent_dist.mean
            latents.append(mean.float().cpu() * self.vae.config.scaling_factor)
        return torch.cat(latents)
