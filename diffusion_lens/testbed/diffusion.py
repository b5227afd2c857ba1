"""The diffusion stage: a U-Net that draws latents from the states of a frozen text encoder.

Scenes are drawn anew for every chunk of training, encoded to latents (the posterior mean times the
autoencoder's scale factor) and captions to hidden states; a chunk is used for a few passes, each
with new noise, and then forgotten. The denoiser predicts v on the scaled-linear schedule of Stable
Diffusion. One caption in ten is replaced by "", the null that the pipeline uses for guidance.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from diffusion_lens.errors import InputError
from diffusion_lens.testbed import captions, scenes
from diffusion_lens.testbed.autoencoder import VALIDATION_SEED
from diffusion_lens.testbed.chunks import Chunk, Chunks
from diffusion_lens.testbed.encoders import CaptionEncoder
from diffusion_lens.testbed.trainer import StageSettings

NOISE_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}
VALIDATION_SCENES = 256


@dataclass(frozen=True, kw_only=True)
class DiffusionSettings(StageSettings):
    """What the denoiser is and how it is trained."""

    encoder: str = "minilm"  # one of ENCODERS
    channels: tuple[int, ...] = (128, 192)
    head: int = 32  # heads of an attention: what diffusers makes of `attention_head_dim` in this U-Net
    batch: int = 64
    rate: float = 6e-4
    drop: float = 0.1  # share of captions replaced by ""
    chunk: int = 8192  # scenes drawn and encoded together, a multiple of the batch
    passes: int = 4  # times that a chunk is used


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
        attention_head_dim=settings.head,
        use_linear_projection=True,
    )


def sampler() -> DPMSolverMultistepScheduler:
    """The scheduler that is shipped with the model."""
    # trailing spacing ignores the offset; the Stable Diffusion pipeline wants it to be 1 all the same
    return DPMSolverMultistepScheduler(**NOISE_SCHEDULE, timestep_spacing="trailing", steps_offset=1)


def _read_anew(model: UNet2DConditionModel, width: int) -> UNet2DConditionModel:
    """The same denoiser, but for fresh projections of text states of another width."""
    fresh = UNet2DConditionModel.from_config({**model.config, "cross_attention_dim": width})
    sizes = {name: value.shape for name, value in fresh.state_dict().items()}
    kept = {name: value for name, value in model.state_dict().items() if value.shape == sizes[name]}
    fresh.load_state_dict(kept, strict=False)
    return fresh


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
        if settings.chunk % settings.batch:
            raise InputError(f"chunk {settings.chunk} is no multiple of batch {settings.batch}")
        if not (folder / "vae" / "config.json").exists():
            raise InputError(f"no autoencoder in {folder / 'vae'}: train stage autoencoder first")
        vae = AutoencoderKL.from_pretrained(folder / "vae").float().eval().requires_grad_(False)
        self.vae = vae.to(device, memory_format=torch.channels_last)
        latent_side = int(vae.config.sample_size) // 2 ** (len(vae.config.block_out_channels) - 1)
        self.encoder = CaptionEncoder(settings.encoder, folder, device)
        self.null = self.encoder([""])[0].float()
        torch.manual_seed(settings.seed)
        if start is None:
            model = build(settings, vae.config.latent_channels, latent_side, self.encoder.width)
        else:
            model = UNet2DConditionModel.from_pretrained(start).float()
            if tuple(model.config.block_out_channels) != settings.channels:
                raise InputError(f"the denoiser in {start} has other channels than the settings")
            if model.config.cross_attention_dim != self.encoder.width:
                model = _read_anew(model, self.encoder.width)
        # The fused attention kernel's backward pass is several times slower on a CPU.
        model.set_attn_processor(AttnProcessor())
        self.model = model.to(device, memory_format=torch.channels_last)
        self.settings = settings
        self.device = device
        self.noise = DDPMScheduler(**NOISE_SCHEDULE)
        self.chunks = Chunks(
            self.vae, self.encoder, scenes.sample, captions.caption,
            settings.chunk, settings.passes, settings.batch,
        )  # fmt: skip
        self._validation: Chunk | None = None

    def _loss(self, chunk: Chunk, chosen: Tensor, drop: float, noise_seed: int) -> Tensor:
        """The v-prediction error of some scenes of a chunk."""
        generator = torch.Generator().manual_seed(noise_seed)
        latents, states = chunk.read(chosen)
        dropped = torch.rand(len(chosen), generator=generator) < drop
        states[dropped] = self.null
        noise = torch.randn(latents.shape, generator=generator)
        times = torch.randint(0, 1000, (len(chosen),), generator=generator)
        noisy = self.noise.add_noise(latents, noise, times).to(self.device)
        target = self.noise.get_velocity(latents, noise, times).to(self.device)
        output = self.model(noisy, times.to(self.device), states.to(self.device)).sample
        return (output.float() - target).square().mean()

    def loss(self, step: int) -> Tensor:
        """The loss of one batch; the step alone decides scenes, noise, times and drops."""
        settings = self.settings
        with torch.autocast(self.device.type, enabled=False):  # a denoiser's latents are exact
            chunk, chosen = self.chunks.at(settings.seed, step)
        noise_seed = settings.seed * 1_000_003 + step
        return self._loss(chunk, chosen, settings.drop, noise_seed)

    @torch.no_grad()
    def validate(self) -> float:
        """The loss on scenes that training doesn't draw, always with the same noise and times."""
        if self._validation is None:
            self._validation = self.chunks.encode(VALIDATION_SEED, 0, VALIDATION_SCENES)
        parts = torch.arange(VALIDATION_SCENES).split(64)
        losses = [self._loss(self._validation, part, 0.0, i) for i, part in enumerate(parts)]
        return float(torch.stack(losses).mean())

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write `unet/` in half precision, `scheduler/`, and the index of the whole pipeline.

        `StableDiffusionPipeline.from_pretrained` then loads the training folder; where the encoder is
        MiniLM, which the folder doesn't hold, it is given `text_encoder` and `tokenizer`.
        """
        shipped = UNet2DConditionModel.from_config(self.model.config)
        shipped.load_state_dict(self.model.state_dict())
        shipped.half().save_pretrained(folder / "unet")
        sampler().save_pretrained(folder / "scheduler")
        pipeline = StableDiffusionPipeline(
            vae=self.vae, unet=shipped, scheduler=sampler(),
            text_encoder=self.encoder.model, tokenizer=self.encoder.tokenizer,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        pipeline.save_config(folder)

    @torch.no_grad()
    def draw(self, texts: list[str], seed: int, steps: int = 20, guidance: float = 4.0) -> Tensor:
        """Pictures of captions, uint8 `[caption, side, side, 3]`: a quick look while training."""
        scheduler = sampler()
        scheduler.set_timesteps(steps)
        states = torch.cat([self.encoder([""] * len(texts)), self.encoder(texts)]).float()
        states = states.to(self.device)
        size = (1, self.model.config.in_channels, *[self.model.config.sample_size] * 2)
        noise = torch.randn(size, generator=torch.Generator().manual_seed(seed))
        latents = noise.repeat(len(texts), 1, 1, 1).to(self.device)
        for time in scheduler.timesteps:
            both = self.model(torch.cat([latents, latents]), time, states).sample
            null, told = both.chunk(2)
            latents = scheduler.step(null + guidance * (told - null), time, latents).prev_sample
        pictures = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        pixels = (pictures.clamp(-1, 1) + 1) * 127.5
        return pixels.round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
