"""The autoencoder stage: scenes of 64 px to latents of 16 x 8 x 8 and back.

An `AutoencoderKL` with a posterior of nearly fixed width. The usual KL start (variance 1) drowns
the signal for hundreds of steps, so latents are trained as mean plus noise of standard deviation
0.1; the means are pulled lightly towards zero and the log-variance towards that width.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from diffusion_lens.errors import InputError
from diffusion_lens.testbed import scenes
from diffusion_lens.testbed.trainer import StageSettings

NOISE = 0.1  # standard deviation around the latent mean; the means settle near 2
LOG_VARIANCE = -4.6  # of that noise
VALIDATION_SEED = 70_001  # a stream of scenes that training doesn't draw from
VALIDATION_SCENES = 256
SCALE_SCENES = 512  # of the same stream, on which the scale of the latents is measured


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings(StageSettings):
    """What the autoencoder is and how it is trained."""

    channels: tuple[int, ...] = (16, 32, 64, 128)
    latent_channels: int = 16
    side: int = 64  # pixels
    batch: int = 16
    rate: float = 1e-3
    ema: float = 0.998
    decoder_only: bool = False  # leave the latents, and a denoiser trained on them, as they are


def build(settings: AutoencoderSettings) -> AutoencoderKL:
    """An untrained autoencoder; each block after the first halves the side."""
    blocks = len(settings.channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=settings.channels,
        layers_per_block=1,
        latent_channels=settings.latent_channels,
        norm_num_groups=8,
        sample_size=settings.side,
        mid_block_add_attention=False,
    )


def to_tensor(pictures: object) -> Tensor:
    """uint8 `[n, side, side, 3]` to float `[n, 3, side, side]` in -1..1."""
    pixels = torch.as_tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels.contiguous(memory_format=torch.channels_last)


def picture_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 + squared error + L1 of the differences of neighbouring pixels (edges)."""
    error = output - target
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + error.square().mean() + edges


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image, both in -1..1."""
    error = (output.clamp(-1, 1) - target).square().flatten(1).mean(1)
    return 10 * torch.log10(4 / error.clamp_min(1e-10))


class AutoencoderStage:
    """Trains on scenes drawn on the fly: half as captions have them, half with flat frequencies."""

    name = "autoencoder"

    def __init__(
        self,
        settings: AutoencoderSettings,
        folder: Path,
        device: torch.device,
        start: Path | None = None,
    ) -> None:
        """Build the model, or load it from `start`, a folder in diffusers format."""
        del folder  # nothing has to be trained before
        torch.manual_seed(settings.seed)
        model = build(settings) if start is None else AutoencoderKL.from_pretrained(start).float()
        self.settings = settings
        self.device = device
        self.model = model.to(device, memory_format=torch.channels_last)
        if settings.decoder_only:
            if start is None:
                raise InputError("training a decoder alone needs the autoencoder to start from")
            self.model.encoder.requires_grad_(False)
            self.model.quant_conv.requires_grad_(False)

    def _scenes(self, seed: int, first: int, count: int, side: int) -> Tensor:
        drawn = [scenes.sample(seed, i, flat=i % 2 == 1) for i in range(first, first + count)]
        return to_tensor(scenes.render_batch(drawn, side)).to(self.device)

    def loss(self, step: int) -> Tensor:
        """The loss of one batch; the step alone decides scenes and noise."""
        settings = self.settings
        pictures = self._scenes(settings.seed, step * settings.batch, settings.batch, settings.side)
        posterior = self.model.encode(pictures).latent_dist
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        noise = torch.randn(posterior.mean.shape, generator=generator).to(self.device)
        output = self.model.decode(posterior.mean + NOISE * noise).sample.float()
        pull = 1e-4 * posterior.mean.float().square().mean()
        width = 1e-3 * (posterior.logvar.float() - LOG_VARIANCE).square().mean()
        return picture_loss(output, pictures) + pull + width

    @torch.no_grad()
    def validate(self) -> float:
        """Mean PSNR in dB on scenes that training doesn't draw."""
        values = []
        for first in range(0, VALIDATION_SCENES, 32):
            pictures = self._scenes(VALIDATION_SEED, first, 32, self.settings.side)
            output = self.model.decode(self.model.encode(pictures).latent_dist.mean).sample
            values.append(psnr(output.float(), pictures))
        return float(torch.cat(values).mean())

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write `vae/` in half precision, its scale factor measured on fresh scenes."""
        means = [
            self.model.encode(self._scenes(VALIDATION_SEED, first, 32, self.settings.side))
            .latent_dist.mean.float()
            .cpu()
            for first in range(0, SCALE_SCENES, 32)
        ]
        shipped = AutoencoderKL.from_config(self.model.config)
        shipped.load_state_dict(self.model.state_dict())
        if not self.settings.decoder_only:
            shipped.register_to_config(scaling_factor=float(1 / torch.cat(means).std()))
        shipped.half().save_pretrained(folder / "vae")
