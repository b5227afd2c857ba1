"""CLIP: texts and images as vectors that can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

try:
    from transformers import CLIPImageProcessorPil
except ImportError:  # older versions have the one, which needs no torchvision
    from transformers import CLIPImageProcessor as CLIPImageProcessorPil

from diffusion_lens.errors import UnknownModelError
from diffusion_lens.models.embedded import EMBEDDED, weights_of
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
    def from_pretrained(
        cls, name: str | Path = "emoji-clip", device: str = "cpu", revision: str | None = None
    ) -> "Clip":
        """Load a CLIP: of an embedded model, of a folder, or of the hub.

        Args:
            name: an embedded model with a CLIP; a folder of `testbed train --stage clip`; or a folder or
                hub id of a whole CLIP in transformers format, such as openai/clip-vit-base-patch32.
            device: where it runs.
            revision: of the hub.

        Raises:
            UnknownModelError: there is no CLIP.
            OSError: the hub can't be reached, or has no such model.
        """
        with weights_of(name) as folder, quiet_libraries():
            if (folder / "image_encoder" / "config.json").is_file():
                return cls._of_towers(str(name), folder, device)
            if name in EMBEDDED or (folder.is_dir() and not (folder / "config.json").is_file()):
                raise UnknownModelError(
                    f"{name} has no CLIP: {folder} holds no image_encoder, and no model of transformers. "
                    "Give emoji-clip, a folder where `testbed train --stage clip` has run, or a CLIP of "
                    "the hub such as openai/clip-vit-base-patch32."
                )
            return cls._of_transformers(str(name), device, revision)

    @classmethod
    def _of_towers(cls, name: str, folder: Path, device: str) -> "Clip":
        """The towers that the testbed trains, each in a folder of its own."""
        exact = {"dtype": torch.float32}
        text = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder", **exact)
        vision = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder", **exact)
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        processor = CLIPImageProcessorPil.from_pretrained(folder / "feature_extractor")
        scale = float(torch.tensor(vision.config.logit_scale_init_value).exp())
        return cls(name, text.to(device).eval(), vision.to(device).eval(), tokenizer, processor, scale)

    @classmethod
    def _of_transformers(cls, name: str, device: str, revision: str | None) -> "Clip":
        """A whole `CLIPModel`, taken apart into its towers."""
        try:
            kind = AutoConfig.from_pretrained(name, revision=revision).model_type
        except ValueError as error:  # a config that is not of transformers
            raise UnknownModelError(
                f"{name} has no CLIP: its config.json is of no model of transformers. Give a folder or a "
                "model of the hub such as openai/clip-vit-base-patch32."
            ) from error
        if kind != "clip":
            raise UnknownModelError(f"{name} is a {kind!r}, no CLIP.")
        whole = CLIPModel.from_pretrained(name, revision=revision, dtype=torch.float32).to(device).eval()
        text = CLIPTextModelWithProjection._from_config(whole.config.text_config).eval()
        vision = CLIPVisionModelWithProjection._from_config(whole.config.vision_config).eval()
        # the towers of the whole model under classes that project
        text.text_model, text.text_projection = whole.text_model, whole.text_projection
        vision.vision_model, vision.visual_projection = whole.vision_model, whole.visual_projection
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        processor = AutoImageProcessor.from_pretrained(name, revision=revision, backend="pil")
        return cls(name, text, vision, tokenizer, processor, float(whole.logit_scale.detach().exp()))

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text width"]:
        """Unit vectors of texts, on the CPU."""
        tokens = self.tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
        vectors = self.text(tokens.input_ids.to(self.text.device)).text_embeds
        return torch.nn.functional.normalize(vectors, dim=-1).cpu()

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image.Image]) -> Float[Tensor, "image width"]:
        """Unit vectors of images, on the CPU."""
        pixels = self.processor(list(images), return_tensors="pt").pixel_values
        vectors = self.vision(pixels.to(self.vision.device)).image_embeds
        return torch.nn.functional.normalize(vectors, dim=-1).cpu()
