"""CLIP: texts and pictures as vectors that can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from diffusion_lens.errors import UnknownModelError
from diffusion_lens.models.embedded import weights_of
from diffusion_lens.models.quiet import quiet_libraries

__all__ = ["Clip"]


@dataclass(frozen=True)
class Clip:
    """Both towers of a CLIP.

    Attributes:
        name: where it was loaded from.
        scale: what cosine similarities are multiplied by to get logits.
    """

    name: str
    text: Any
    vision: Any
    tokenizer: Any
    processor: Any
    scale: float

    @classmethod
    def from_pretrained(cls, name: str | Path = "emoji-clip", device: str = "cpu") -> "Clip":
        """Load the CLIP of an embedded model, or of a folder of `testbed train`.

        Raises:
            UnknownModelError: no towers there.
        """
        with weights_of(name) as folder, quiet_libraries():
            if not (folder / "image_encoder" / "config.json").is_file():
                raise UnknownModelError(
                    f"{name} has no CLIP: {folder} holds no image_encoder. "
                    "Give emoji-clip, or a folder where `testbed train --stage clip` has run."
                )
            parts = {
                "text_encoder": CLIPTextModelWithProjection,
                "image_encoder": CLIPVisionModelWithProjection,
            }
            text, vision = (
                kind.from_pretrained(folder / part, dtype=torch.float32).to(device).eval()
                for part, kind in parts.items()
            )
            tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
            processor = CLIPImageProcessorPil.from_pretrained(folder / "feature_extractor")
        scale = float(torch.tensor(vision.config.logit_scale_init_value).exp())
        return cls(str(name), text, vision, tokenizer, processor, scale)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text width"]:
        """Unit vectors of texts, on the CPU."""
        tokens = self.tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
        vectors = self.text(tokens.input_ids.to(self.text.device)).text_embeds
        return torch.nn.functional.normalize(vectors, dim=-1).cpu()

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image.Image]) -> Float[Tensor, "image width"]:
        """Unit vectors of pictures, on the CPU."""
        pixels = self.processor(list(images), return_tensors="pt").pixel_values
        vectors = self.vision(pixels.to(self.vision.device)).image_embeds
        return torch.nn.functional.normalize(vectors, dim=-1).cpu()
