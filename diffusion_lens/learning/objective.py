"""The training loss of a frozen denoiser, as one function for all pipelines.

Stable Diffusion 1, 2 and XL predict noise, the image or v on a discrete schedule (Ho et al. 2020, arXiv
2006.11239; Salimans and Ho 2022, arXiv 2202.00512). Stable Diffusion 3 and FLUX.1 predict the velocity of
a straight path from image to noise (Esser et al. 2024, arXiv 2403.03206). The loss is that which the
model was trained with; gradients go to the text side.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import DDPMScheduler
from diffusers.models.attention_processor import AttnProcessor
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diffusion_lens.errors import InputError, UnsupportedPipelineError
from diffusion_lens.learning.image_files import as_rgb
from diffusion_lens.models.conditioner import Conditioner, Conditioning
from diffusion_lens.models.denoisers import find_denoiser
from diffusion_lens.models.pipelines import known_families

__all__ = ["DenoisingLoss", "Latents", "frozen"]


class Latents(NamedTuple):
    """What an autoencoder encodes images as: a normal distribution each, in the denoiser's units.

    Attributes:
        mean: `[image, channel, y, x]`, float32, on the CPU.
        std: likewise.
    """

    mean: Float[Tensor, "image channel y x"]
    std: Float[Tensor, "image channel y x"]

    def sample(self, chosen: Tensor, generator: torch.Generator) -> Float[Tensor, "sample channel y x"]:
        """One sample for each of the images chosen."""
        mean = self.mean[chosen]
        return mean + self.std[chosen] * torch.randn(mean.shape, generator=generator)


class DenoisingLoss:
    """The training loss of a pipeline's denoiser: its noise, and what it predicts.

    Args:
        pipe: a live pipeline: Stable Diffusion 1, 2, XL or 3, or FLUX.1.

    Raises:
        UnsupportedPipelineError: embeddings can't be learned on its family, or its scheduler is of EDM
            (Karras et al. 2022, arXiv 2206.00364), whose loss is another.
    """

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.conditioner = Conditioner(pipe)
        predict = self.conditioner.family.predict
        if predict is None:
            able = (name for name, family in known_families().items() if family.predict is not None)
            raise UnsupportedPipelineError(
                f"Embeddings can't be learned on {type(pipe).__name__}. They can on: {', '.join(able)}."
            )
        self._predict = predict
        self.flow = not hasattr(pipe, "unet")
        self.module: Any = find_denoiser(pipe)
        self.options = self.conditioner.encode_options({})
        config = pipe.scheduler.config
        if not self.flow and "sigma_data" in config:
            raise UnsupportedPipelineError(
                f"Embeddings can't be learned with {type(pipe.scheduler).__name__}, whose settings hold "
                "sigma_data: the model was trained as EDM (Karras et al. 2022), with another loss. Use a "
                "model with a discrete noise schedule, such as Stable Diffusion XL itself."
            )
        self.noise = None if self.flow else DDPMScheduler.from_config(config)
        self.prediction = "flow" if self.flow else config.get("prediction_type", "epsilon")

    @torch.no_grad()
    def encode(self, images: Sequence[Image.Image], side: int | None = None) -> Latents:
        """The latents of images, cut and scaled to a square.

        Args:
            images: of any size and mode; their middle square is used.
            side: the side of the square in pixels; that of the model's own images if None.
        """
        vae, device = self.pipe.vae, self.conditioner.device
        side = side or self.side
        pixels = np.stack([np.asarray(square(image, side), np.float32) for image in images])
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
        kind = vae.dtype
        try:
            if kind != torch.float32:  # Stable Diffusion XL's overflows in half precision
                vae.to(torch.float32)
            parts = [vae.encode(one.to(device)).latent_dist for one in batch.split(4)]
        finally:
            if kind != torch.float32:
                vae.to(kind)
        shift: Any = (getattr(vae.config, "shift_factor", None) or 0.0) if self.flow else 0.0
        scale: Any = vae.config.scaling_factor
        mean, std = torch.cat([part.mean for part in parts]), torch.cat([part.std for part in parts])
        # some variants of Stable Diffusion XL give these by channel, as diffusers' img2img applies them
        centre, spread = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
        if not self.flow and centre is not None and spread is not None:
            shift, scale = (
                mean.new_tensor(centre)[:, None, None],
                scale / std.new_tensor(spread)[:, None, None],
            )
        mean, std = (mean - shift) * scale, std * scale
        return Latents(mean.float().cpu(), std.float().cpu())

    @property
    def side(self) -> int:
        """The side of the model's own images, in pixels."""
        size = getattr(self.pipe, "default_sample_size", None) or self.module.config.sample_size
        return int(size) * int(self.pipe.vae_scale_factor)

    def losses(
        self,
        latents: Float[Tensor, "sample channel y x"],
        prompts: Sequence[str],
        generator: torch.Generator,
        snr_gamma: float | None = None,
    ) -> Float[Tensor, " sample"]:
        """The squared error of the denoiser on each of some latents, with noise and times drawn anew.

        Args:
            latents: latents of images.
            prompts: one for each.
            generator: a generator on the CPU, from which noise and times are drawn.
            snr_gamma: weigh times by min(SNR, gamma) (Hang et al. 2023, arXiv 2303.09556); None for the
                loss that the model was trained with.

        Raises:
            InputError: `snr_gamma` is given for a flow-matching model, to which it does not apply.
        """
        if snr_gamma is not None and self.noise is None:
            raise InputError(
                f"{type(self.pipe).__name__} is a flow-matching model, to which min-SNR weights do not "
                "apply; leave snr_gamma out."
            )
        return self.errors(latents, self._condition(prompts), generator, snr_gamma)

    def errors(
        self,
        latents: Float[Tensor, "sample channel y x"],
        conditioning: Conditioning,
        generator: torch.Generator,
        snr_gamma: float | None = None,
    ) -> Float[Tensor, " sample"]:
        """As `losses`, for conditioning that was encoded before: one row for each of the latents."""
        noise = torch.randn(latents.shape, generator=generator)
        if self.noise is None:
            sigmas = self._sigmas(len(latents), generator)
            mix = sigmas[:, None, None, None]
            noisy, target = (1 - mix) * latents + mix * noise, noise - latents
            times, weights = sigmas * 1000, torch.ones(len(latents))
        else:
            times = torch.randint(
                self.noise.config.num_train_timesteps, (len(latents),), generator=generator
            )
            noisy = self.noise.add_noise(latents, noise, times)
            target = self._target(latents, noise, times)
            weights = self._weights(times, snr_gamma)
        device = self.conditioner.device
        output = self._predict(self.pipe, noisy.to(device), times.to(device), conditioning)
        error = (output.float() - target.to(device)).square().mean((1, 2, 3))
        return error * weights.to(device)

    def _condition(self, prompts: Sequence[str]) -> Conditioning:
        """The conditioning of prompts; equal prompts are encoded once."""
        unique = list(dict.fromkeys(prompts))
        encoded = self.conditioner.differentiable(unique, self.options)
        rows = torch.tensor([unique.index(prompt) for prompt in prompts], device=self.conditioner.device)
        return encoded.map(lambda value: value[rows])

    def _target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        assert self.noise is not None
        if self.prediction == "epsilon":
            return noise
        return latents if self.prediction == "sample" else self.noise.get_velocity(latents, noise, times)

    def _weights(self, times: Tensor, gamma: float | None) -> Tensor:
        if gamma is None:
            return torch.ones(len(times))
        assert self.noise is not None
        alphas = self.noise.alphas_cumprod[times]
        # at most gamma in terms of the image's error; v and noise are scaled to that
        snr = alphas / (1 - alphas)
        scale = {"epsilon": snr, "sample": torch.ones_like(snr), "v_prediction": snr + 1}[self.prediction]
        return snr.clamp(max=gamma) / scale

    def _sigmas(self, count: int, generator: torch.Generator) -> Tensor:
        """Noise levels: logit-normal as in Stable Diffusion 3's training, shifted as the scheduler is."""
        sigmas = torch.sigmoid(torch.randn(count, generator=generator))
        config = self.pipe.scheduler.config
        shift = 1.0 if config.get("use_dynamic_shifting") else config.get("shift", 1.0)
        return shift * sigmas / (1 + (shift - 1) * sigmas)


def square(image: Image.Image, side: int) -> Image.Image:
    """The middle square of an image, at a size."""
    width, height = image.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    cut = as_rgb(image).crop((left, top, left + short, top + short))
    return cut.resize((side, side), Image.Resampling.BICUBIC)


@contextmanager
def frozen(pipe: Any, *, plain: bool = True) -> Iterator[None]:
    """A pipeline in evaluation mode, whose weights take no gradient; everything is restored afterwards.

    On a CPU the denoiser's fused attention gives way to plain attention: its backward pass is several
    times slower there; not so with `plain=False`.
    """
    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    weights = [weight for part in parts for weight in part.parameters()]
    wanted = [weight.requires_grad for weight in weights]
    modes = [part.training for part in parts]
    unet: Any = getattr(pipe, "unet", None)
    processors = (
        dict(unet.attn_processors) if plain and unet is not None and pipe.device.type == "cpu" else None
    )
    for part in parts:
        part.eval().requires_grad_(False)
    if processors:
        unet.set_attn_processor(AttnProcessor())
    try:
        yield
    finally:
        if processors:
            unet.set_attn_processor(processors)
        for weight, want in zip(weights, wanted, strict=True):
            weight.requires_grad_(want)
        for part, mode in zip(parts, modes, strict=True):
            part.train(mode)
