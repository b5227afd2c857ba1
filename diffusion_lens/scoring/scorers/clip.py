"""`ClipScorer`: CLIPScore of the whole prompt, and N-way choice between captions for everything else.

CLIPScore (Hessel et al. 2021, arXiv 2104.08718, eq. 1): w * max(cos(caption, image), 0) with w = 2.5 and
captions that begin with "A photo depicts". It compares pictures of one prompt; of its size nothing follows.
The choice is CLIP's own use (Radford et al. 2021, arXiv 2103.00020): softmax over the captions of scale *
cos, right if the true caption wins; by chance that happens once in as many captions as there are.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

from diffusion_lens.checks.checks import KINDS, WHOLE, Check, CheckedPrompt, Judgement
from diffusion_lens.checks.choices import with_choices
from diffusion_lens.errors import ScorerError
from diffusion_lens.models.clip import Clip
from diffusion_lens.models.digest_parts import digest_module
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.scoring.scorers.weights import load_parts, warn_if_circular

__all__ = ["ClipScorer", "ClipSettings", "load_clip"]

log = logging.getLogger(__name__)

_KEPT_TEXTS = 20_000


@dataclass(frozen=True)
class ClipSettings:
    """How texts are worded and scored.

    Attributes:
        weight: w of CLIPScore.
        prefix: what captions begin with, for CLIPScore.
        choice_prefix: likewise for the choice; empty by default, since prompts may be no photos.
        choices: captions to choose from, the right one among them.
        batch_size: images embedded at once.
    """

    weight: float = 2.5
    prefix: str = "A photo depicts "
    choice_prefix: str = ""
    choices: int = 8
    batch_size: int = 64


def load_clip(model: str | Path, device: str = "cpu", revision: str | None = None) -> Clip:
    """Any CLIP of transformers: an embedded one, a folder of its towers or of a whole model, a hub id.

    Raises:
        ScorerError: it isn't there, or is no CLIP.
    """
    name = str(model)
    if name in EMBEDDED or (Path(model) / "image_encoder").is_dir():
        return load_parts("the scorer clip", name, lambda: Clip.from_pretrained(model, device))

    def load() -> Clip:
        kind = AutoConfig.from_pretrained(name, revision=revision).model_type
        if kind != "clip":
            raise ScorerError(f"it is a {kind!r}, no CLIP.")
        whole = CLIPModel.from_pretrained(name, revision=revision, dtype=torch.float32).to(device).eval()
        text = CLIPTextModelWithProjection._from_config(whole.config.text_config).eval()
        vision = CLIPVisionModelWithProjection._from_config(whole.config.vision_config).eval()
        # the towers of the whole model under classes that project
        text.text_model, text.text_projection = whole.text_model, whole.text_projection
        vision.vision_model, vision.visual_projection = whole.vision_model, whole.visual_projection
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        processor = AutoImageProcessor.from_pretrained(name, revision=revision, backend="pil")
        return Clip(name, text, vision, tokenizer, processor, float(whole.logit_scale.detach().exp()))

    return load_parts("the scorer clip", name, load)


class ClipScorer:
    """Compares pictures with texts.

    The check of the whole prompt gets CLIPScore as its p, cut off at 1, and no label: a threshold would
    be made up. Checks with choices get a softmax over them, and a label.

    Args:
        clip: both towers.
        settings: how texts are worded.
    """

    name = "clip"
    kinds = frozenset(KINDS)

    def __init__(self, clip: Clip, settings: ClipSettings = ClipSettings()) -> None:
        self.clip, self.settings = clip, settings
        marks = f"{digest_module(clip.text)}/{digest_module(clip.vision)}"
        self.version = f"clip 1, {Path(clip.name).name} {marks}, {settings}"
        self._texts: dict[str, np.ndarray] = {}
        self._told = False

    def ask(self, prompts: Sequence[CheckedPrompt]) -> list[CheckedPrompt]:
        """What it is asked of the prompts of a run: checks with captions to choose from."""
        return with_choices(prompts, self.settings.choices)

    def meet(self, model: str, revision: str | None) -> None:
        """Warn if the model that it is to judge reads texts with the same weights."""
        warn_if_circular(self.name, self.clip.text, {model: revision})

    def score(self, images: Sequence[Image], checks: Sequence[Sequence[Check]]) -> list[list[Judgement]]:
        """Answer the checks of each image; see `Scorer.score`."""
        judged = []
        for start in range(0, len(images), self.settings.batch_size):
            here = slice(start, start + self.settings.batch_size)
            vectors = self.clip.embed_images([image.convert("RGB") for image in images[here]]).numpy()
            self._embed(sorted({text for of_image in checks[here] for text in self._needed(of_image)}))
            for vector, of_image in zip(vectors, checks[here], strict=True):
                judged.append([self._judge(vector, check) for check in of_image])
        return judged

    def _needed(self, checks: Sequence[Check]) -> list[str]:
        texts = []
        for check in checks:
            if check.choices:
                texts += [self.settings.choice_prefix + choice for choice in check.choices]
            elif check.id == WHOLE:
                texts.append(self.settings.prefix + (check.subject or check.question))
        return texts

    def _embed(self, texts: Sequence[str]) -> None:
        """Make sure that the vectors of these texts are known."""
        new = [text for text in texts if text not in self._texts]
        if not new:
            return
        if len(self._texts) > _KEPT_TEXTS:
            self._texts.clear()
            new = list(texts)
        self._tell_of_cuts(new)
        for start in range(0, len(new), 256):
            part = new[start : start + 256]
            self._texts |= dict(zip(part, self.clip.embed_texts(part).numpy(), strict=True))

    def _tell_of_cuts(self, texts: Sequence[str]) -> None:
        limit = self.clip.tokenizer.model_max_length
        cut = [text for text in texts if len(self.clip.tokenizer(text).input_ids) > limit]
        if cut and not self._told:
            log.warning("CLIP reads %d tokens; longer texts are cut, such as %r.", limit, cut[0])
            self._told = True

    def _judge(self, image: np.ndarray, check: Check) -> Judgement:
        if check.choices:
            return self._choose(image, check)
        if check.id == WHOLE:
            text = self.settings.prefix + (check.subject or check.question)
            cosine = float(image @ self._texts[text])
            score = self.settings.weight * max(cosine, 0.0)
            raw: dict[str, Any] = {"clipscore": score, "cosine": cosine}
            return Judgement(check.id, min(score, 1.0), None, "CLIPScore, which has no right or wrong", raw)
        return Judgement(
            check.id, reason="CLIP compares captions, and no other prompt of the run has one to choose from"
        )

    def _choose(self, image: np.ndarray, check: Check) -> Judgement:
        texts = np.stack([self._texts[self.settings.choice_prefix + choice] for choice in check.choices])
        cosines = texts @ image
        logits = self.clip.scale * cosines
        weights = np.exp(logits - logits.max())
        shares = weights / weights.sum()
        right, best = check.choices.index(check.answer), int(shares.argmax())
        chance = 1 / len(check.choices)
        raw = {"chance": chance, "chosen": check.choices[best], "cosine": float(cosines[right])}
        reason = f"chose {check.choices[best]!r} of {len(check.choices)}"
        return Judgement(check.id, min(float(shares[right]), 1.0), best == right, reason, raw)
