"""The diffusion stage: a U-Net that draws latents from the states of a frozen text encoder.

Scenes are drawn anew for every chunk of training, encoded to latents (the posterior mean times the
autoencoder's scale factor) and captions to hidden states; a chunk is used for a few passes, each
with new noise, and then forgotten. The denoiser predicts v on the scaled-linear schedule of Stable
Diffusion. One caption in ten is replaced by "", the null that the pipeline uses for guidance. Half of the
scenes are pairs, since what belongs to which of two objects takes longest to learn. With `contrast`, scenes
come in twins and the term of `contrastive` is added.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from diffusion_lens.errors import InputError
from diffusion_lens.models.int8 import load_denoiser
from diffusion_lens.testbed import captions
from diffusion_lens.testbed.autoencoder import VALIDATION_SEED
from diffusion_lens.testbed.choices import EncoderName
from diffusion_lens.testbed.chunks import Chunk, Chunks
from diffusion_lens.testbed.contrastive import (
    EARLIEST,
    contrastive_term,
    draw_scene,
    draw_twins,
    write_twins,
)
from diffusion_lens.testbed.draw import draw_states
from diffusion_lens.testbed.encoders import CaptionEncoder
from diffusion_lens.testbed.export import NOISE_SCHEDULE, export_pipeline, sampler
from diffusion_lens.testbed.prefetch import Prefetcher, Stream
from diffusion_lens.testbed.scenes import Scene
from diffusion_lens.testbed.trainer import StageSettings

__all__ = ["NOISE_SCHEDULE", "DiffusionSettings", "DiffusionStage", "build", "sampler"]

VALIDATION_SCENES = 256


@dataclass(frozen=True, kw_only=True)
class DiffusionSettings(StageSettings):
    """What the denoiser is and how it is trained."""

    encoder: EncoderName = "minilm"
    channels: tuple[int, ...] = (128, 192)
    heads: int = 4  # of an attention
    batch: int = 64
    rate: float = 6e-4
    drop: float = 0.1  # share of captions replaced by ""
    chunk: int = 8192  # scenes drawn and encoded together, a multiple of the batch
    passes: int = 4  # times that a chunk is used
    contrast: float = 0.0  # weight of the contrastive term
    workers: int = 0  # processes that render scenes ahead

    @classmethod
    def of(cls, encoder: EncoderName, **changes: Any) -> "DiffusionSettings":
        """The settings for an encoder: of a slow one, fewer scenes are encoded, and used more often."""
        settings = cls(encoder=encoder)
        if encoder == "smollm2":  # a caption takes it half as long as the denoiser's step takes
            settings = replace(settings, chunk=4096, passes=8)
        return replace(settings, **changes)


def build(settings: DiffusionSettings, latent_channels: int, side: int, width: int) -> UNet2DConditionModel:
    """An untrained denoiser with cross-attention at every level, to text states of a width."""
    levels = len(settings.channels)
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=settings.channels,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        layers_per_block=1,
        cross_attention_dim=width,
        # diffusers reads this as the number of heads in this U-Net, and refuses `num_attention_heads`
        attention_head_dim=settings.heads,
        use_linear_projection=True,
    )


def _check_start(
    denoiser: UNet2DConditionModel, settings: DiffusionSettings, width: int, where: Path
) -> None:
    """Refuse to start from a denoiser of another shape, or of another text encoder."""
    found = tuple(denoiser.config.block_out_channels)
    if found != settings.channels:
        raise InputError(
            f"the denoiser in {where} has channels {found}, and the settings say {settings.channels}"
        )
    if denoiser.config.cross_attention_dim != width:
        raise InputError(
            f"the denoiser in {where} reads text states of width {denoiser.config.cross_attention_dim}, "
            f"and the encoder {settings.encoder} has width {width}; graft it first (see testbed.graft)"
        )


def write_caption(scene: Scene, seed: int, index: int) -> tuple[str]:
    """What is said of a scene that has no twin."""
    return (captions.caption(scene, seed, index),)


def find_autoencoder(folder: Path) -> Path:
    """The autoencoder's export in a training folder, or beside it, as several models share one.

    Raises:
        InputError: there is none.
    """
    for found in (folder / "vae", folder.parent / "vae"):
        if (found / "config.json").exists():
            return found
    raise InputError(f"no autoencoder in {folder / 'vae'}: train stage autoencoder first")


class DiffusionStage:
    """Trains on the latents of the autoencoder that was exported to `folder/vae`."""

    name = "diffusion"

    def __init__(
        self,
        settings: DiffusionSettings,
        folder: Path,
        device: torch.device,
        start: Path | None = None,
    ) -> None:
        """Build the denoiser, or load it from `start`, a folder in diffusers format."""
        if settings.chunk % settings.batch or settings.chunk % 2:
            raise InputError(f"chunk {settings.chunk} is no even multiple of batch {settings.batch}")
        vae = AutoencoderKL.from_pretrained(find_autoencoder(folder)).float().eval().requires_grad_(False)
        self.vae = vae.to(device, memory_format=torch.channels_last)
        latent_side = int(vae.config.sample_size) // 2 ** (len(vae.config.block_out_channels) - 1)
        self.encoder = CaptionEncoder(settings.encoder, folder, device)
        self.null = self.encoder([""])[0].float()
        torch.manual_seed(settings.seed)
        if start is None:
            denoiser = build(settings, vae.config.latent_channels, latent_side, self.encoder.width)
        else:
            denoiser = load_denoiser(start).float()
            _check_start(denoiser, settings, self.encoder.width, start)
        # The fused attention kernel's backward pass is several times slower on a CPU.
        denoiser.set_attn_processor(AttnProcessor())
        self.denoiser = denoiser.to(device, memory_format=torch.channels_last)
        self.model: torch.nn.Module = self.denoiser
        self.settings = settings
        self.device = device
        self.noise = DDPMScheduler(**NOISE_SCHEDULE)
        draw, write = (draw_twins, write_twins) if settings.contrast else (draw_scene, write_caption)
        stream = Stream(draw, write, int(vae.config.sample_size))
        source = Prefetcher(stream, settings.chunk, settings.workers)
        self.chunks = Chunks(self.vae, self.encoder, source, settings.passes, settings.batch)
        self._validation: Chunk | None = None

    def close(self) -> None:
        """End the processes that render scenes."""
        self.chunks.source.close()

    def _states(self, chunk: Chunk, chosen: Tensor, text: int) -> Tensor:
        """States of captions on the device; a stage that trains its encoder makes them anew."""
        return chunk.read_states(chosen, text).to(self.device)

    def _null(self) -> Tensor:
        """States of "", `[token, width]`, on the device."""
        return self.null.to(self.device)

    def _loss(self, chunk: Chunk, chosen: Tensor, drop: float, noise_seed: int, contrast: float) -> Tensor:
        """The v-prediction error of some scenes of a chunk, and the contrastive term if it has a weight."""
        generator = torch.Generator().manual_seed(noise_seed)
        latents, count = chunk.latents[chosen], len(chosen)
        dropped = torch.rand(count, generator=generator) < drop
        noise = torch.randn(latents.shape, generator=generator)
        times = torch.randint(0, 1000, (count,), generator=generator)
        noisy = self.noise.add_noise(latents, noise, times).to(self.device)
        target = self.noise.get_velocity(latents, noise, times).to(self.device)
        states = self._states(chunk, chosen, 0)
        states = torch.where(dropped[:, None, None].to(self.device), self._null().to(states.dtype), states)
        late = times[:0]
        if contrast:
            has_twin = chunk.captions[chosen, 0] != chunk.captions[chosen, 1]
            late = ((times >= EARLIEST) & ~dropped & has_twin).nonzero()[:, 0]
        if len(late):
            states = torch.cat([states, self._states(chunk, chosen[late], 1)])
        both = torch.cat([torch.arange(count), late])
        output = self.denoiser(noisy[both], times[both].to(self.device), states).sample.float()
        loss = (output[:count] - target).square().mean()
        if not len(late):
            return loss
        sigma = (1 - self.noise.alphas_cumprod[times[late]]).sqrt()
        true = (chunk.latents[chosen[late] ^ 1] - latents[late]) / sigma[:, None, None, None]
        predicted = output[late] - output[count:]
        return loss + contrast * contrastive_term(predicted, true.to(self.device), count)

    def loss(self, step: int) -> Tensor:
        """The loss of one batch; the step alone decides scenes, noise, times and drops."""
        settings = self.settings
        with torch.autocast(self.device.type, enabled=False):  # a denoiser's latents are exact
            chunk, chosen = self.chunks.at(settings.seed, step)
        noise_seed = settings.seed * 1_000_003 + step
        return self._loss(chunk, chosen, settings.drop, noise_seed, settings.contrast)

    @torch.no_grad()
    def validate(self) -> float:
        """The loss on scenes that training doesn't draw, always with the same noise and times."""
        if self._validation is None:
            self._validation = self.chunks.encode(VALIDATION_SEED, 0, VALIDATION_SCENES)
        parts = torch.arange(VALIDATION_SCENES).split(64)
        losses = [self._loss(self._validation, part, 0.0, i, 0.0) for i, part in enumerate(parts)]
        return float(torch.stack(losses).mean())

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write `unet/` in half precision, `scheduler/`, and the index of the whole pipeline.

        `StableDiffusionPipeline.from_pretrained` then loads the training folder; where the encoder is
        MiniLM, which the folder doesn't hold, it is given `text_encoder` and `tokenizer`.
        """
        export_pipeline(folder, self.denoiser, self.vae, self.encoder)

    @torch.no_grad()
    def draw(self, texts: list[str], seed: int, steps: int = 20, guidance: float = 4.0) -> Tensor:
        """Images of captions, uint8 `[caption, side, side, 3]`: a quick look while training."""
        states = self.encoder(texts).float()
        size = (1, self.denoiser.config.in_channels, *[self.denoiser.config.sample_size] * 2)
        noise = torch.randn(size, generator=torch.Generator().manual_seed(seed)).expand(
            len(texts), -1, -1, -1
        )
        empty = self.encoder([""])[0].float()
        pictures = draw_states(self.denoiser, self.vae, states, empty, noise, steps, guidance)
        pixels = (pictures.clamp(-1, 1) + 1) * 127.5
        return pixels.round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
