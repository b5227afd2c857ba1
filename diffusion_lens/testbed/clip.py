"""The clip stage: a text tower and a vision tower, trained to tell which caption belongs to an image.

The loss is CLIP's (Radford et al. 2021, arXiv 2103.00020, figure 3) with one hard negative for each
caption, as in NegCLIP (Yuksekgonul et al. 2023, arXiv 2210.01936): the same caption with its colours
or its objects' places swapped, or with one word wrong. Without them a bag of words is enough.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

from diffusion_lens.errors import InputError
from diffusion_lens.testbed import captions, scenes
from diffusion_lens.testbed.autoencoder import VALIDATION_SEED, to_tensor
from diffusion_lens.testbed.contradict import contradict
from diffusion_lens.testbed.encoders import text_config
from diffusion_lens.testbed.tokenizer import train_tokenizer
from diffusion_lens.testbed.trainer import StageSettings

__all__ = ["ClipSettings", "ClipStage"]

LARGEST_SCALE = math.log(100)  # of the logits, as in CLIP
VALIDATION_SCENES = 512
# what is exported: each tower with its projection, and where its configuration is
PARTS = {
    "text_encoder": (CLIPTextModelWithProjection, "text_config"),
    "image_encoder": (CLIPVisionModelWithProjection, "vision_config"),
}


@dataclass(frozen=True, kw_only=True)
class ClipSettings(StageSettings):
    """What the two towers are and how they are trained."""

    width: int = 128  # of both towers, a multiple of 32, the width of a head
    layers: int = 12  # of the text tower
    vision_layers: int = 4
    patch: int = 8  # pixels
    side: int = 64  # pixels
    batch: int = 128
    rate: float = 1e-3
    warmup: int = 200


class ClipStage:
    """Trains both towers on scenes drawn on the fly."""

    name = "clip"

    def __init__(
        self, settings: ClipSettings, folder: Path, device: torch.device, start: Path | None = None
    ) -> None:
        """Build the towers, or load them from `start`, a folder that an export made."""
        del folder  # nothing has to be trained before
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.tokenizer = train_tokenizer()
        text = text_config(settings.width, settings.layers, self.tokenizer)
        vision = text.to_dict() | {
            "num_hidden_layers": settings.vision_layers,
            "image_size": settings.side,
            "patch_size": settings.patch,
        }
        for key in ("vocab_size", "max_position_embeddings", "model_type", "bos_token_id", "eos_token_id"):
            vision.pop(key)
        config = CLIPConfig(text_config=text.to_dict(), vision_config=vision, projection_dim=settings.width)
        # The fused attention kernel's backward pass is several times slower on a CPU.
        model = CLIPModel._from_config(config, attn_implementation="eager")
        if start is not None:
            for name, (kind, _) in PARTS.items():
                part = kind.from_pretrained(start / name, dtype=torch.float32)
                try:
                    model.load_state_dict(part.state_dict(), strict=False)
                except RuntimeError as error:
                    raise InputError(
                        f"{start / name} is of other sizes than the settings: {error}"
                    ) from error
        self.model = model.to(device)

    def _batch(self, seed: int, first: int, count: int) -> tuple[Tensor, list[str]]:
        """Images, and twice as many captions: the true ones, then each with something wrong."""
        drawn = [scenes.sample(seed, index) for index in range(first, first + count)]
        true, wrong = [], []
        for index, scene in enumerate(drawn, first):
            rng = captions.random_of(seed, index)
            stated = captions.leave_out(captions.describe(scene), rng)
            true.append(captions.phrase(stated, rng))
            wrong.append(captions.phrase(contradict(stated, rng), rng))
        pictures = to_tensor(scenes.render_batch(drawn, self.settings.side)).to(self.device)
        return pictures, true + wrong

    def _logits(self, pictures: Tensor, texts: list[str]) -> Tensor:
        """Similarities times the scale, `[image, text]`; captions worded alike don't compete."""
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        output = self.model(input_ids=tokens.input_ids.to(self.device), pixel_values=pictures)
        count = len(pictures)
        same = torch.tensor([[a == b for b in texts] for a in texts[:count]])
        same[range(count), range(count)] = False
        return output.logits_per_image.float().masked_fill(same.to(self.device), -math.inf)

    def loss(self, step: int) -> Tensor:
        """The loss of one batch; the step alone decides the scenes."""
        settings = self.settings
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=LARGEST_SCALE)
        logits = self._logits(*self._batch(settings.seed, step * settings.batch, settings.batch))
        right = torch.arange(settings.batch, device=self.device)
        of_texts = functional.cross_entropy(logits[:, : settings.batch].T, right)
        return (functional.cross_entropy(logits, right) + of_texts) / 2

    @torch.no_grad()
    def validate(self) -> float:
        """Share of scenes that training doesn't draw whose caption beats the same one made wrong."""
        better = []
        for first in range(0, VALIDATION_SCENES, 128):
            logits = self._logits(*self._batch(VALIDATION_SEED, first, 128))
            true, wrong = logits.diagonal(), logits.diagonal(128)
            better.append(true > wrong)
        return float(torch.cat(better).float().mean())

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write `text_encoder/`, `tokenizer/`, `image_encoder/` and `feature_extractor/`.

        Both towers are in half precision and keep their projections, so that their embeddings
        can be compared; the scale of the logits is in their configurations.
        """
        scale = float(self.model.logit_scale)
        weights = self.model.state_dict()
        for name, (kind, config) in PARTS.items():
            part = kind(getattr(self.model.config, config))
            part.load_state_dict({key: weights[key] for key in part.state_dict()})
            part.config.logit_scale_init_value = scale
            part.half().save_pretrained(folder / name)
        self.tokenizer.save_pretrained(folder / "tokenizer")
        side = self.settings.side
        CLIPImageProcessor(
            size={"height": side, "width": side},
            do_center_crop=False,
            do_convert_rgb=True,
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        ).save_pretrained(folder / "feature_extractor")
