"""Scenes drawn and encoded a chunk at a time, for the stages that train on latents and text states."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from diffusion_lens.testbed import scenes
from diffusion_lens.testbed.autoencoder import to_tensor
from diffusion_lens.testbed.encoders import CaptionEncoder

__all__ = ["Chunk", "Chunks"]


@dataclass(frozen=True)
class Chunk:
    """Encoded scenes: latents `[scene, channel, y, x]`, and each caption once."""

    latents: Tensor
    states: Tensor  # [caption, token, width], half precision
    caption: Tensor  # [scene], which of the states

    def read(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Latents and states of some scenes, float32."""
        return self.latents[chosen], self.states[self.caption[chosen]].float()


@dataclass
class Chunks:
    """A stream of scenes: each chunk is used for a few passes and then forgotten.

    Attributes:
        vae: the frozen autoencoder.
        encoder: the frozen text encoder.
        draw: scene `index` of the stream `seed`.
        caption: what is said of that scene.
        size: scenes in a chunk, a multiple of the batch.
        passes: times that a chunk is used.
        batch: scenes a step.
    """

    vae: AutoencoderKL
    encoder: CaptionEncoder
    draw: Callable[[int, int], scenes.Scene]
    caption: Callable[[scenes.Scene, int, int], str]
    size: int
    passes: int
    batch: int
    _current: tuple[int, Chunk] | None = None

    def encode(self, seed: int, first: int, count: int) -> Chunk:
        """Draw and encode scenes `first` to `first + count` of the stream `seed`.

        Latents are the posterior's mean times the autoencoder's scale factor.
        """
        device, side = self.vae.device, int(self.vae.config.sample_size)
        drawn = [self.draw(seed, index) for index in range(first, first + count)]
        latents = []
        with torch.no_grad():
            for start in range(0, count, 64):
                pictures = scenes.render_batch(drawn[start : start + 64], side)
                mean = self.vae.encode(to_tensor(pictures).to(device)).latent_dist.mean
                latents.append(mean.float().cpu() * self.vae.config.scaling_factor)
        texts = [self.caption(scene, seed, first + i) for i, scene in enumerate(drawn)]
        unique = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        # half precision can't be joined under the CPU's autocast
        with torch.autocast(device.type, enabled=False):
            states = self.encoder(list(unique))
        return Chunk(torch.cat(latents), states, torch.tensor([unique[text] for text in texts]))

    def at(self, seed: int, step: int) -> tuple[Chunk, Tensor]:
        """The chunk of a training step, and which of its scenes are the batch; the step alone decides."""
        per_pass = self.size // self.batch
        number, within = divmod(step, per_pass * self.passes)
        if self._current is None or self._current[0] != number:
            self._current = None  # frees its memory first
            self._current = (number, self.encode(seed, number * self.size, self.size))
        current, batch = divmod(within, per_pass)
        shuffle = torch.Generator().manual_seed(number * self.passes + current)
        order = torch.randperm(self.size, generator=shuffle)
        return self._current[1], order[batch * self.batch : (batch + 1) * self.batch]
