"""The autoencoder and the forward process: images, their latents, and the noise added to them.

A latent diffusion model (Rombach et al. 2022, arXiv 2112.10752) works on `z = s E(x)`: the mean of the
encoder's posterior times the factor that gives latents unit variance. Noise is added to it as in DDPM
(Ho et al. 2020, arXiv 2006.11239, equation 4): `z_t = alpha_t z + sigma_t eps` with
`alpha_t^2 = prod_{s<=t} (1 - beta_s)` and `sigma_t^2 = 1 - alpha_t^2`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diffusion_lens.errors import InputError, UnsupportedPipelineError
from diffusion_lens.figures.panels import Picture

__all__ = [
    "Noised",
    "Reconstruction",
    "Reference",
    "add_noise",
    "from_latents",
    "latent_colours",
    "levels",
    "prediction_errors",
    "reconstruct",
    "schedule",
    "split",
    "to_latents",
]

Pixels = UInt8[np.ndarray, "image height width 3"]
Latents = Float[Tensor, "image channel y x"]
Reference = Float[Tensor, "known channel rows columns"]


@dataclass(frozen=True)
class Reconstruction:
    """Images through the autoencoder and back.

    Attributes:
        images: what went in.
        latents: what the denoiser would see of them.
        decoded: what came back.
    """

    images: Pixels
    latents: Latents
    decoded: Pixels

    @property
    def compression(self) -> float:
        """How many numbers of an image come to one of its latent."""
        return self.images[0].size / self.latents[0].numel()

    @property
    def psnr(self) -> Float[np.ndarray, " image"]:
        """Peak signal-to-noise ratio of each image in dB."""
        error = self.decoded.astype(np.float64) - self.images
        return 10 * np.log10(255**2 / np.maximum(np.square(error).mean((1, 2, 3)), 1e-10))


@dataclass(frozen=True)
class Noised:
    """One latent at several times of the forward process, with the same noise.

    Attributes:
        times: steps of the schedule, 0 the first.
        latents: `z_t` by time.
        noise: `eps`, standard normal.
    """

    times: tuple[int, ...]
    latents: Float[Tensor, "time channel y x"]
    noise: Float[Tensor, "channel y x"]


def reconstruct(pipe: Any, images: Sequence[Picture]) -> Reconstruction:
    """Encode images and decode them again.

    Raises:
        InputError: no images, or images of different sizes.
    """
    latents = to_latents(pipe, images)
    return Reconstruction(_pixels(images), latents, from_latents(pipe, latents))


@torch.no_grad()
def to_latents(pipe: Any, images: Sequence[Picture]) -> Latents:
    """The scaled means of the autoencoder's posterior, on the CPU.

    Args:
        pipe: a pipeline with an `AutoencoderKL` as `vae`.
        images: RGB, all of one size.

    Raises:
        InputError: no images, or images of different sizes.
    """
    pixels = torch.from_numpy(_pixels(images)).permute(0, 3, 1, 2)
    values = pixels.to(pipe.vae.device, pipe.vae.dtype) / 127.5 - 1
    mean = pipe.vae.encode(values).latent_dist.mean
    return (mean.float() * pipe.vae.config.scaling_factor).cpu()


@torch.no_grad()
def from_latents(pipe: Any, latents: Latents) -> Pixels:
    """The images that the autoencoder makes of scaled latents."""
    values = latents.to(pipe.vae.device, pipe.vae.dtype) / pipe.vae.config.scaling_factor
    decoded = pipe.vae.decode(values).sample.float().clamp(-1, 1)
    pixels = ((decoded + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def _pixels(images: Sequence[Picture]) -> Pixels:
    arrays = [np.array(image, dtype=np.uint8) for image in images]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][2] != 3:
        raise InputError(f"Images must be RGB and of one size, at least one; found shapes {shapes}.")
    return np.stack(arrays)


def latent_colours(latents: Latents, reference: Reference | None = None) -> Pixels:
    """Latents as colours: three principal components of `reference` are red, green and blue.

    A component's mean is mid-grey; three standard deviations of the reference reach full and no colour.

    Args:
        latents: what to show.
        reference: clean latents that the components are taken from; `latents` itself if None.
    """
    known = latents if reference is None else reference
    points = known.movedim(1, -1).flatten(0, -2).double()
    mean = points.mean(0)
    _, _, directions = torch.linalg.svd(points - mean, full_matrices=False)
    axes = directions[:3]
    # a principal direction has no sign of its own: its largest entry is made positive
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    axes = axes * largest.sign()
    spread = ((points - mean) @ axes.T).std(0).clamp_min(1e-12)
    values = ((latents.movedim(1, -1).double() - mean) @ axes.T) / spread
    return ((values / 6 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def schedule(pipe: Any) -> pd.DataFrame:
    """The noise schedule that a pipeline was trained with.

    Returns:
        columns `time`, `alpha` (what remains of the latent), `sigma` (standard deviation of the noise)
        and `log_snr` (natural logarithm of `alpha^2 / sigma^2`).

    Raises:
        UnsupportedPipelineError: its scheduler has no DDPM schedule.
    """
    kept = getattr(pipe.scheduler, "alphas_cumprod", None)
    if kept is None:
        raise UnsupportedPipelineError(
            f"{type(pipe.scheduler).__name__} has no alphas_cumprod: these figures are of models with a "
            "DDPM schedule (Stable Diffusion and the embedded ones), not of flow matching."
        )
    squared = kept.double().cpu().numpy()
    return pd.DataFrame(
        {
            "time": np.arange(len(squared)),
            "alpha": np.sqrt(squared),
            "sigma": np.sqrt(1 - squared),
            "log_snr": np.log(squared) - np.log1p(-squared),
        }
    )


def levels(
    pipe: Any, times: Sequence[int] | Tensor
) -> tuple[Float[Tensor, "time 1 1 1"], Float[Tensor, "time 1 1 1"]]:
    """`alpha_t` and `sigma_t` of some times, shaped to multiply latents.

    Raises:
        UnsupportedPipelineError: the scheduler has no DDPM schedule.
        InputError: a time outside the schedule.
    """
    table = schedule(pipe)
    chosen = np.asarray(times).astype(int)
    if ((chosen < 0) | (chosen >= len(table))).any():
        raise InputError(f"Times are within 0..{len(table) - 1}; found {chosen.tolist()}.")
    rows = table[["alpha", "sigma"]].to_numpy(np.float32)[chosen]
    alpha, sigma = torch.from_numpy(rows).T.reshape(2, -1, 1, 1, 1)
    return alpha, sigma


def add_noise(
    pipe: Any, latent: Float[Tensor, "channel y x"], times: Sequence[int], seed: int = 0
) -> Noised:
    """Noise one latent up to several times, always with the same draw of noise.

    Args:
        pipe: whose schedule to follow.
        latent: a clean, scaled latent.
        times: steps of the schedule.
        seed: of the noise.

    Raises:
        UnsupportedPipelineError: the scheduler has no DDPM schedule.
        InputError: a time outside the schedule.
    """
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
    alpha, sigma = levels(pipe, times)
    return Noised(tuple(times), alpha * latent + sigma * noise, noise)


def split(pipe: Any, latents: Latents, outputs: Latents, times: Sequence[int]) -> tuple[Latents, Latents]:
    """Read a denoiser's outputs as its estimates of the clean latent and of the noise.

    With `v = alpha eps - sigma z` (Salimans and Ho 2022, arXiv 2202.00512, appendix D), the estimates
    are `z = alpha z_t - sigma v` and `eps = sigma z_t + alpha v`.

    Args:
        pipe: whose schedule and kind of prediction are meant.
        latents: `z_t` by row.
        outputs: what the denoiser answered.
        times: the time of each row.

    Raises:
        UnsupportedPipelineError: the denoiser predicts neither v nor the noise.
        InputError: a time outside the schedule.
    """
    alpha, sigma = levels(pipe, times)
    if _predicts_v(pipe):
        return alpha * latents - sigma * outputs, sigma * latents + alpha * outputs
    return (latents - sigma * outputs) / alpha, outputs


def _predicts_v(pipe: Any) -> bool:
    kind = pipe.scheduler.config.prediction_type
    if kind not in ("v_prediction", "epsilon"):
        raise UnsupportedPipelineError(
            f"The denoiser predicts {kind!r}; known are v_prediction and epsilon."
        )
    return kind == "v_prediction"


@torch.no_grad()
def prediction_errors(
    pipe: Any,
    images: Sequence[Picture],
    captions: Sequence[str],
    times: Sequence[int],
    seed: int = 0,
) -> pd.DataFrame:
    """How far the denoiser is from the truth at each time, given the caption, and given the empty one.

    The error is the training loss: the mean squared error of v (or of the noise, for a denoiser that
    predicts it). Both conditions of an image and time see the same noise.

    Returns:
        columns `image` (its index), `time`, `given` ("caption" or "nothing"), `error`.

    Raises:
        InputError: not one caption by image, or a time outside the schedule.
        UnsupportedPipelineError: no DDPM schedule, or a denoiser that predicts something else.
    """
    if len(captions) != len(images):
        raise InputError(f"{len(captions)} captions were given for {len(images)} images.")
    clean = to_latents(pipe, images)
    texts = {"caption": list(captions), "nothing": [""] * len(captions)}
    device = pipe.unet.device
    states = {name: pipe.encode_prompt(text, device, 1, False)[0] for name, text in texts.items()}
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for time in times:
        noise = torch.randn(clean.shape, generator=generator)
        alpha, sigma = levels(pipe, [time])
        target = alpha * noise - sigma * clean if _predicts_v(pipe) else noise
        noised = (alpha * clean + sigma * noise).to(device, pipe.unet.dtype)
        for given, state in states.items():
            output = pipe.unet(noised, time, encoder_hidden_states=state).sample.float().cpu()
            error = (output - target).square().mean((1, 2, 3)).tolist()
            parts.append(
                pd.DataFrame({"image": range(len(error)), "time": time, "given": given, "error": error})
            )
    return pd.concat(parts, ignore_index=True)
