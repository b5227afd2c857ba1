"""The joint stage: a text transformer trained together with the denoiser that reads it.

A text tower trained by contrast alone keeps what its end-of-text state needs, and that state needs little
of which object stands where: relations get lost on the way up. Here every token's state gets a gradient
from the denoising loss, as in the text-to-image models of Rombach et al. (2022, arXiv 2112.10752, section
3.3 and appendix E.2.1). The state at the end of the text is held to what it was before,

    hold * |e - e_0|^2 / |e_0|^2,

so that the projection and the vision tower that were trained with it go on comparing texts with pictures.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from diffusion_lens.errors import InputError
from diffusion_lens.testbed.chunks import Chunk
from diffusion_lens.testbed.diffusion import DiffusionSettings, DiffusionStage
from diffusion_lens.testbed.export import export_pipeline

__all__ = ["JointSettings", "JointStage"]


@dataclass(frozen=True, kw_only=True)
class JointSettings(DiffusionSettings):
    """What the denoiser is and how both models are trained."""

    encoder: str = "clip"
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
        # the tower that training began with: this folder's own is replaced at every export
        first = folder / "text_encoder.before-joint"
        if not first.exists():
            shutil.copytree(folder / "text_encoder", first)
        self.before = CLIPTextModel.from_pretrained(first, dtype=torch.float32).to(device)
        self.before.eval().requires_grad_(False)
        self.projecting = CLIPTextModelWithProjection.from_pretrained(first, dtype=torch.float32)
        self.tower = self.encoder.model.requires_grad_(True)
        self.model = torch.nn.ModuleDict({"denoiser": self.denoiser, "text_encoder": self.tower})
        self.chunks.encoder = None  # its states change with every step
        self._ends = torch.zeros(0)

    def _tokens(self, texts: list[str]) -> Tensor:
        tokens = self.encoder.tokenizer(
            texts, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        return tokens.to(self.device)

    def _states(self, chunk: Chunk, chosen: Tensor, text: int) -> Tensor:
        """States of captions with their gradients; those of true captions are held as well."""
        tokens = self._tokens([chunk.texts[i] for i in chunk.captions[chosen, text].tolist()])
        output = self.tower(tokens)
        if text == 0:
            with torch.no_grad():
                before = self.before(tokens).pooler_output.float()
            moved = output.pooler_output.float() - before
            self._ends = moved.square().sum(1).mean() / before.square().sum(1).mean()
        return output.last_hidden_state

    def _null(self) -> Tensor:
        return self.tower(self._tokens([""])).last_hidden_state[0]

    def _loss(self, chunk: Chunk, chosen: Tensor, drop: float, noise_seed: int, contrast: float) -> Tensor:
        loss = super()._loss(chunk, chosen, drop, noise_seed, contrast)
        # validation counts the denoising error alone
        return loss + self.hold * self._ends if drop else loss

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write the pipeline, and the text tower with its projection in half precision."""
        export_pipeline(folder, self.denoiser, self.vae, self.encoder)
        whole = CLIPTextModelWithProjection(self.projecting.config)
        whole.load_state_dict(self.projecting.state_dict())
        whole.text_model.load_state_dict(getattr(self.tower, "text_model", self.tower).state_dict())
        whole.half().save_pretrained(folder / "text_encoder")
        self.encoder.tokenizer.save_pretrained(folder / "tokenizer")
