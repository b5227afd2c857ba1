"""The CLIP text tower in training: its states with gradients, and what it was before, to be held to.

Its projection, and the vision tower that was trained with it, go on comparing texts with images only
while the state at the end of a text stays near what it was. A stage that trains the tower adds

    hold * |e - e_0|^2 / |e_0|^2

to its loss, with `e` that state and `e_0` the one of the tower before training.
"""

import shutil
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from diffusion_lens.errors import InputError
from diffusion_lens.testbed.encoders import CaptionEncoder

__all__ = ["TextTower"]


class TextTower:
    """The text tower of a training folder.

    Attributes:
        model: in float32, with gradients; that of the encoder which it was made from.
    """

    def __init__(
        self, encoder: CaptionEncoder, folder: Path, stage: str, origin: Path | None = None
    ) -> None:
        """Train the model of an encoder of kind `clip`.

        Args:
            encoder: whose model gets gradients.
            folder: of the training; gets a copy of the tower that it begins with, as a stage's export
                replaces that.
            stage: which names the copy.
            origin: holds the tower to begin with as `text_encoder/`; the folder of the training if None.

        Raises:
            InputError: the folder holds a checkpoint of the stage, and not the tower that it began with.
        """
        self.encoder = encoder
        self.model = encoder.model.requires_grad_(True)
        # the fused attention's backward pass is several times slower on a CPU
        self.model.set_attn_implementation("eager")
        first, checkpoint = folder / f"text_encoder.before-{stage}", folder / f"{stage}.safetensors"
        if not checkpoint.exists():  # a training begins, perhaps where there was another one before
            shutil.rmtree(first, ignore_errors=True)
            shutil.copytree((origin or folder) / "text_encoder", first)
        elif not first.exists():
            raise InputError(
                f"no {first}: the tower that {checkpoint} began with, which the training is held to. "
                "Put it back, or delete the checkpoint to start again."
            )
        self.before = CLIPTextModel.from_pretrained(first, dtype=torch.float32).to(encoder.device)
        self.before.eval().requires_grad_(False)
        self.projecting = CLIPTextModelWithProjection.from_pretrained(first, dtype=torch.float32)

    def tokens(self, texts: list[str]) -> Tensor:
        """Token numbers on the device, `[text, token]`."""
        tokens = self.encoder.tokenizer(
            texts, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        return tokens.to(self.encoder.device)

    def states(self, texts: list[str]) -> Float[Tensor, "text token width"]:
        """States of the last layer after the final norm."""
        return self.model(self.tokens(texts)).last_hidden_state

    def held_states(self, texts: list[str]) -> tuple[Float[Tensor, "text token width"], Float[Tensor, ""]]:
        """The same, and how far the states at the end of the texts are from what they were."""
        tokens = self.tokens(texts)
        output = self.model(tokens)
        with torch.no_grad():
            before = self.before(tokens).pooler_output.float()
        moved = output.pooler_output.float() - before
        return output.last_hidden_state, moved.square().sum(1).mean() / before.square().sum(1).mean()

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write `text_encoder/` with its projection in half precision, and `tokenizer/`."""
        whole = CLIPTextModelWithProjection(self.projecting.config)
        whole.load_state_dict(self.projecting.state_dict())
        whole.text_model.load_state_dict(getattr(self.model, "text_model", self.model).state_dict())
        whole.half().save_pretrained(folder / "text_encoder")
        self.encoder.tokenizer.save_pretrained(folder / "tokenizer")
