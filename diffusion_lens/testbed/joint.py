"""The joint stage: a text transformer trained together with the denoiser that reads it.

A text tower trained by contrast alone keeps what its end-of-text state needs, and that state needs little
of which object stands where: relations get lost on the way up. Here every token's state gets a gradient
from the denoising loss, as in the text-to-image models of Rombach et al. (2022, arXiv 2112.10752, section
3.3 and appendix E.2.1). The state at the end of the text is held to what it was before (see `text_tower`).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffusion_lens.errors import InputError
from diffusion_lens.testbed.choices import EncoderName
from diffusion_lens.testbed.chunks import Chunk
from diffusion_lens.testbed.diffusion import DiffusionSettings, DiffusionStage
from diffusion_lens.testbed.export import export_pipeline
from diffusion_lens.testbed.text_tower import TextTower

__all__ = ["JointSettings", "JointStage"]


@dataclass(frozen=True, kw_only=True)
class JointSettings(DiffusionSettings):
    """What the denoiser is and how both models are trained."""

    encoder: EncoderName = "clip"
    rate: float = 3e-4
    hold: float = 1.0  # weight of the end-of-text state's distance from what it was


class JointStage(DiffusionStage):
    """Trains the denoiser and the text tower of `folder/text_encoder` on the same loss."""

    name = "joint"

    def __init__(
        self, settings: JointSettings, folder: Path, device: torch.device, start: Path | None = None
    ) -> None:
        """Begin with the exported text tower, and with the denoiser in `start` if one is given."""
        if settings.encoder != "clip":
            raise InputError(f"the joint stage trains the encoder clip, not {settings.encoder!r}")
        super().__init__(settings, folder, device, start)
        self.hold = settings.hold
        self.tower = TextTower(self.encoder, folder, self.name)
        self.model = torch.nn.ModuleDict({"denoiser": self.denoiser, "text_encoder": self.tower.model})
        self.chunks.encoder = None  # its states change with every step
        self._ends = torch.zeros(0)

    def _states(self, chunk: Chunk, chosen: Tensor, text: int) -> Tensor:
        """States of captions with their gradients; those of true captions are held as well."""
        texts = [chunk.texts[i] for i in chunk.captions[chosen, text].tolist()]
        if text == 0:
            states, self._ends = self.tower.held_states(texts)
            return states
        return self.tower.states(texts)

    def _null(self) -> Tensor:
        return self.tower.states([""])[0]

    def _loss(self, chunk: Chunk, chosen: Tensor, drop: float, noise_seed: int, contrast: float) -> Tensor:
        loss = super()._loss(chunk, chosen, drop, noise_seed, contrast)
        # validation counts the denoising error alone
        return loss + self.hold * self._ends if drop else loss

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write the pipeline, and the text tower with its projection in half precision."""
        export_pipeline(folder, self.denoiser, self.vae, self.encoder)
        self.tower.export(folder)
