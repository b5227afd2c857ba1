"""The inversion stage: a network that reads the latents of an image back into text states.

R maps latents x of the shared autoencoder to the conditioning c of the model `emoji`, all positions of
MiniLM's last hidden state, and is trained to minimise ||R(x) - c||^2 on rendered scenes. Many captions
are true of one image, and the best answer to all of them would be their blurred mean, which is no
caption's state. So c is always that of one phrasing, `captions.plain`: all that the scene shows, without
an opening, the object on the left or above first. Pads are states like others: MiniLM fills them from
the words, the denoiser reads them, and R gives them too. Invented names can't be seen and are left out,
as are held-out combinations, so that what R makes of them is measured on images new to it.

With a cycle term R also learns from what the model draws: some captions of each chunk are drawn by the
denoiser, and R is to read them back too. The denoiser stays frozen, since R has no part in `emoji`.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from jaxtyping import Float
from torch import Tensor, nn

from diffusion_lens.errors import InputError
from diffusion_lens.models.int8 import load_denoiser
from diffusion_lens.testbed import captions, scenes
from diffusion_lens.testbed.autoencoder import VALIDATION_SEED
from diffusion_lens.testbed.chunks import Chunk, Chunks
from diffusion_lens.testbed.draw import draw_states
from diffusion_lens.testbed.encoders import CaptionEncoder
from diffusion_lens.testbed.prefetch import Prefetcher, Stream
from diffusion_lens.testbed.scenes import Scene
from diffusion_lens.testbed.trainer import StageSettings

__all__ = ["InversionSettings", "InversionStage", "LatentInverter"]

REFERENCE_SCENES = 512  # whose mean states and variance the network starts from
VALIDATION_SCENES = 512
KINDS = ("single", "pair", "count")
_STEPS, _GUIDANCE, _AT_ONCE = 10, 4.0, 64  # of what the denoiser draws for the cycle term


@dataclass(frozen=True, kw_only=True)
class InversionSettings(StageSettings):
    """What the inverter is and how it is trained."""

    width: int = 128
    depth: int = 4  # blocks
    batch: int = 64
    rate: float = 1.5e-3
    warmup: int = 200
    noise: float = 0.3  # largest standard deviation of the noise on the latents, whose own is 1
    chunk: int = 4096  # scenes drawn and encoded together, a multiple of the batch
    passes: int = 6  # times that a chunk is used
    cycle: float = 0.0  # weight of the same loss on images that the denoiser draws
    drawn: int = 512  # scenes of a chunk whose captions are drawn for it


class _Block(nn.Module):
    """Self-attention and two linear layers, each after a norm."""

    def __init__(self, width: int, head: int) -> None:
        super().__init__()
        self.heads = width // head
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.gather = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, width * 3 // 2), nn.Linear(width * 3 // 2, width)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, `[image, token, width]`."""
        parts = self.project(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        # The fused attention kernel's backward pass is several times slower on a CPU.
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
        x = x + self.gather((weights @ value).transpose(1, 2).flatten(2))
        return x + self.narrow(nn.functional.gelu(self.widen(self.norm2(x))))


class LatentInverter(ModelMixin, ConfigMixin):
    """R: latents of an image to text states.

    A 5 x 5 convolution reads the neighbourhood of each latent cell; a learned query per text position
    attends with the cells to all of them, in a small pre-norm transformer.
    """

    @register_to_config
    def __init__(
        self,
        channels: int = 16,
        side: int = 8,
        tokens: int = 20,
        states: int = 384,
        width: int = 128,
        depth: int = 4,
        head: int = 32,
    ) -> None:
        """Build it untrained.

        Args:
            channels: of the latents.
            side: of the latents, in cells.
            tokens: positions of the text states.
            states: their width.
            width: of the transformer.
            depth: blocks of the transformer.
            head: width of an attention head.
        """
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 5, padding=2)
        self.cells = nn.Parameter(torch.randn(side * side, width) * 0.02)
        self.queries = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width, head) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, states)
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(tokens, states))  # of the states: what R starts from
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, latents: Float[Tensor, "picture channel side side"]
    ) -> Float[Tensor, "picture token states"]:
        """Text states of images, from their latents times the autoencoder's scale factor."""
        cells = nn.functional.gelu(self.stem(latents)).flatten(2).mT + self.cells
        x = torch.cat([self.queries.expand(len(latents), -1, -1), cells], 1)
        for block in self.blocks:
            x = block(x)
        return self.mean + self.out(self.norm(x[:, : len(self.queries)]))


def draw_scene(seed: int, index: int) -> Scene:
    """Scene `index` of the stream `seed`: without names, every other one with flat frequencies."""
    return scenes.sample(seed, index, KINDS, flat=index % 2 == 1)


def caption_plainly(scene: Scene, seed: int, index: int) -> str:
    """Everything that a scene shows, in the one phrasing that R is trained on."""
    del seed, index  # other captions are drawn
    return captions.plain(captions.describe(scene))


def text_plainly(scene: Scene, seed: int, index: int) -> tuple[str, ...]:
    """The only text of a scene, for a `Stream`."""
    return (caption_plainly(scene, seed, index),)


def _load_denoiser(folder: Path) -> nn.Module:
    """The denoiser of `folder/unet`, frozen.

    Raises:
        InputError: there is none.
    """
    if not (folder / "unet" / "config.json").is_file():
        raise InputError(
            f"no denoiser in {folder / 'unet'}: the cycle term draws with one. Train stage diffusion "
            "first, copy its unet there, or leave --cycle out."
        )
    found: nn.Module = load_denoiser(folder / "unet").eval().requires_grad_(False)
    return found


class InversionStage:
    """Trains on the latents of the autoencoder that was exported to `folder/vae`, and on MiniLM."""

    name = "inversion"

    def __init__(
        self,
        settings: InversionSettings,
        folder: Path,
        device: torch.device,
        start: Path | None = None,
    ) -> None:
        """Build the inverter, or load it from `start`, a folder in diffusers format."""
        if settings.chunk % settings.batch:
            raise InputError(f"chunk {settings.chunk} is no multiple of batch {settings.batch}")
        if not (folder / "vae" / "config.json").exists():
            raise InputError(f"no autoencoder in {folder / 'vae'}: train stage autoencoder first")
        vae = AutoencoderKL.from_pretrained(folder / "vae").float().eval().requires_grad_(False)
        vae.to(device, memory_format=torch.channels_last)
        encoder = CaptionEncoder("minilm", folder, device)
        self.settings, self.device = settings, device
        stream = Stream(draw_scene, text_plainly, int(vae.config.sample_size))
        source = Prefetcher(stream, settings.chunk)
        self.chunks = Chunks(vae, encoder, source, settings.passes, settings.batch)
        texts = [
            caption_plainly(draw_scene(settings.seed, i), settings.seed, i) for i in range(REFERENCE_SCENES)
        ]
        states = encoder(texts).float()
        self.variance = float((states - states.mean(0)).square().mean())
        torch.manual_seed(settings.seed)
        if start is None:
            side = int(vae.config.sample_size) // 2 ** (len(vae.config.block_out_channels) - 1)
            # by name: diffusers takes those given by place for defaults, and forgets them
            model = LatentInverter(
                channels=vae.config.latent_channels,
                side=side,
                tokens=states.shape[1],
                states=states.shape[2],
                width=settings.width,
                depth=settings.depth,
            )
            model.mean.copy_(states.mean(0))
        else:
            model = LatentInverter.from_pretrained(start, use_safetensors=True).float()
        self.model = model.to(device)
        self.denoiser = _load_denoiser(folder).to(device) if settings.cycle else None
        self._empty = encoder([""])[0].float()
        self._drawn: tuple[Chunk, Tensor] | None = None
        self._validation: Chunk | None = None

    def _error(self, latents: Tensor, states: Tensor) -> Tensor:
        """||R(x) - c||^2 over that of the mean state: 0 is perfect, 1 knows nothing of the image."""
        output = self.model(latents.to(self.device)).float()
        return (output - states.to(self.device)).square().mean() / self.variance

    def loss(self, step: int) -> Tensor:
        """The loss of one batch; the step alone decides the scenes and the noise on their latents."""
        settings = self.settings
        with torch.autocast(self.device.type, enabled=False):  # R reads exact latents, as when it is used
            chunk, chosen = self.chunks.at(settings.seed, step)
        latents, states = chunk.read(chosen)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        scale = settings.noise * torch.rand((len(latents), 1, 1, 1), generator=generator)
        error = self._error(latents + scale * torch.randn(latents.shape, generator=generator), states)
        return error + settings.cycle * self._cycle_error(chunk, step) if settings.cycle else error

    def _cycle_error(self, chunk: Chunk, step: int) -> Tensor:
        """The error on captions of a chunk that the denoiser drew; each chunk's are drawn once."""
        settings = self.settings
        count = min(settings.drawn, len(chunk.latents))
        if self._drawn is None or self._drawn[0] is not chunk:
            first = step // (settings.chunk // settings.batch * settings.passes)
            with torch.autocast(self.device.type, enabled=False):
                drawn = self._draw(chunk.read_states(torch.arange(count)), first)
            self._drawn = (chunk, drawn)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        chosen = torch.randint(count, (settings.batch,), generator=generator)
        return self._error(self._drawn[1][chosen], chunk.read_states(chosen))

    @torch.no_grad()
    def _draw(self, states: Tensor, number: int) -> Tensor:
        """Latents of what the denoiser draws of states, as the autoencoder reads those images."""
        generator = torch.Generator().manual_seed(VALIDATION_SEED + number)
        config, vae, latents = self.model.config, self.chunks.vae, []
        for part in states.split(_AT_ONCE):
            noise = torch.randn(len(part), config.channels, config.side, config.side, generator=generator)
            images = draw_states(self.denoiser, vae, part, self._empty, noise, _STEPS, _GUIDANCE)
            mean = vae.encode(images.clamp(-1, 1)).latent_dist.mean
            latents.append(mean.float().cpu() * vae.config.scaling_factor)
        return torch.cat(latents)

    @torch.no_grad()
    def validate(self) -> float:
        """The error on scenes that training doesn't draw, without noise."""
        if self._validation is None:
            self._validation = self.chunks.encode(VALIDATION_SEED, 0, VALIDATION_SCENES)
        return float(self._error(*self._validation.read(torch.arange(VALIDATION_SCENES))))

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write `inverter/` in half precision."""
        shipped = LatentInverter.from_config(self.model.config)
        shipped.load_state_dict(self.model.state_dict())
        shipped.half().save_pretrained(folder / "inverter")
