"""Scenes drawn and encoded a chunk at a time, for the stages that train on latents and text states."""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, Int
from torch import Tensor

from diffusion_lens.testbed.autoencoder import to_tensor
from diffusion_lens.testbed.encoders import CaptionEncoder
from diffusion_lens.testbed.prefetch import Drawn, Prefetcher

__all__ = ["Chunk", "Chunks"]


@dataclass(frozen=True)
class Chunk:
    """Encoded scenes; each caption is encoded once.

    Attributes:
        latents: the posterior's mean times the autoencoder's scale factor.
        states: of every caption, in half precision.
        captions: which of the states are those of a scene: its caption's, then its twin's if the stream has
            twins.
        texts: the captions themselves.
    """

    latents: Float[Tensor, "scene channel y x"]
    states: Float[Tensor, "caption token width"]
    captions: Int[Tensor, "scene text"]
    texts: list[str]

    def read(self, chosen: Int[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
        """Latents and states of some scenes, float32."""
        return self.latents[chosen], self.read_states(chosen)

    def read_states(
        self, chosen: Int[Tensor, " batch"], text: int = 0
    ) -> Float[Tensor, "batch token width"]:
        """States of the captions of some scenes (`text` 0), or of their twins' (1), float32."""
        return self.states[self.captions[chosen, text]].float()


@dataclass
class Chunks:
    """A stream of scenes: each chunk is used for a few passes and then forgotten.

    Attributes:
        vae: the frozen autoencoder.
        encoder: the frozen text encoder; None for a stage that trains its encoder, whose states are empty.
        source: renders the scenes; its size is a multiple of the batch.
        passes: times that a chunk is used.
        batch: scenes a step.
    """

    vae: AutoencoderKL
    encoder: CaptionEncoder | None
    source: Prefetcher
    passes: int
    batch: int
    _current: tuple[int, Chunk] | None = None

    def encode(self, seed: int, first: int, count: int) -> Chunk:
        """Draw and encode scenes `first` to `first + count` of the stream `seed`."""
        return self._encode(self.source.stream.render(seed, first, count))

    @torch.no_grad()
    def _encode(self, drawn: Drawn) -> Chunk:
        device, latents = self.vae.device, []
        at_once = 64 if device.type == "cpu" else 1024
        for start in range(0, len(drawn.pictures), at_once):
            pictures = to_tensor(drawn.pictures[start : start + at_once])
            mean = self.vae.encode(pictures.to(device)).latent_dist.mean
            latents.append(mean.float().cpu() * self.vae.config.scaling_factor)
        unique = {
            text: i for i, text in enumerate(dict.fromkeys(t for texts in drawn.texts for t in texts))
        }
        states = torch.empty(len(unique), 0, 0)
        if self.encoder is not None:
            # half precision can't be joined under the CPU's autocast
            with torch.autocast(device.type, enabled=False):
                states = self.encoder(list(unique))
        which = torch.tensor([[unique[text] for text in texts] for texts in drawn.texts])
        return Chunk(torch.cat(latents), states, which, list(unique))

    def at(self, seed: int, step: int) -> tuple[Chunk, Tensor]:
        """The chunk of a training step, and which of its scenes are the batch; the step alone decides."""
        size = self.source.size
        per_pass = size // self.batch
        number, within = divmod(step, per_pass * self.passes)
        if self._current is None or self._current[0] != number:
            self._current = None  # frees its memory first
            self._current = (number, self._encode(self.source.get(seed, number)))
        current, batch = divmod(within, per_pass)
        shuffle = torch.Generator().manual_seed(number * self.passes + current)
        order = torch.randperm(size, generator=shuffle)
        return self._current[1], order[batch * self.batch : (batch + 1) * self.batch]
