"""The scorer `clip`: CLIPScore of the whole prompt, and a choice between captions for everything else.

CLIPScore (Hessel et al. 2021, arXiv 2104.08718, eq. 1): w * max(cos(caption, image), 0) with w = 2.5 and
captions that begin with "A photo depicts". It compares images of one prompt; of its size nothing follows.
The choice is CLIP's own use (Radford et al. 2021, arXiv 2103.00020): softmax over the captions of scale *
cos, right if the true caption wins; by chance that happens once in as many captions as there are.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffusion_lens.checks.checks import KINDS, WHOLE, Check, CheckedPrompt, Judgement
from diffusion_lens.checks.choices import with_choices
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.scoring.domain import read_images, why_outside
from diffusion_lens.scoring.registry import register
from diffusion_lens.scoring.scorer import Scorer, ScoreRequest, Source

if TYPE_CHECKING:
    from diffusion_lens.models.clip import Clip

__all__ = ["ClipScorer", "ClipSettings"]

log = logging.getLogger(__name__)

_KEPT_TEXTS = 20_000


@dataclass(frozen=True)
class ClipSettings:
    """Which CLIP, and how texts are worded.

    Attributes:
        model: An embedded model with a CLIP, a folder, or a hub id.
        weight: The weight w of CLIPScore.
        prefix: What captions begin with, for CLIPScore.
        choice_prefix: What captions begin with, for the choice. Empty, since prompts may be no photos.
        choices: How many captions there are to choose from, the right one among them.
        batch_size: How many images are embedded at once.
    """

    model: str = "emoji-clip"
    weight: float = 2.5
    prefix: str = "A photo depicts "
    choice_prefix: str = ""
    choices: int = 8
    batch_size: int = 64


class ClipScorer(Scorer):
    """Compares images with texts.

    The check of the whole prompt gets CLIPScore as its p, cut off at 1, and no label: a threshold would
    be made up. Checks with choices get a softmax over them, and a label. The CLIP of an embedded model
    answers on images of the testbed alone. A CLIP that shares weights with the model's own text encoder
    says so in every reason.

    Args:
        clip: both towers.
        settings: how texts are worded.
    """

    name = "clip"
    kinds = frozenset(KINDS)

    def __init__(self, clip: "Clip", settings: ClipSettings = ClipSettings()) -> None:
        from diffusion_lens.models.digest_parts import digest_module

        self.clip, self.settings = clip, settings
        marks = f"{digest_module(clip.text)}/{digest_module(clip.vision)}"
        wording = replace(settings, model="", batch_size=1)
        self.version = f"clip 2, {Path(clip.name).name} {marks}, {wording}"
        self._texts: dict[str, np.ndarray] = {}
        self._warned_of_cuts = False
        self._shares: dict[Source, bool] = {}

    def prepare(self, prompts: Sequence[CheckedPrompt], source: Source) -> list[CheckedPrompt]:
        """Give checks captions to choose from; warn if the model under study has the same weights."""
        self._shares_weights(source)
        return with_choices(prompts, self.settings.choices)

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Judgement]]:
        """Answer the checks of each image; see `Scorer.score`."""
        outside = self._outside(requests)
        judged: list[list[Judgement]] = []
        for start in range(0, len(requests), self.settings.batch_size):
            here = requests[start : start + self.settings.batch_size]
            vectors = self.clip.embed_images([one.image.convert("RGB") for one in here]).numpy()
            self._embed(sorted({text for request in here for text in self._needed(request.checks)}))
            for vector, request in zip(vectors, here, strict=True):
                why = outside[len(judged)]
                note = "; it shares weights with the text encoder" * self._shares_weights(request.source)
                judged.append(
                    [
                        Judgement(check.id, reason=why) if why else self._judge(vector, check, note)
                        for check in request.checks
                    ]
                )
        return judged

    def _outside(self, requests: Sequence[ScoreRequest]) -> list[str | None]:
        if self.clip.name not in EMBEDDED:
            return [None] * len(requests)
        return why_outside(requests, read_images([request.image for request in requests]))

    def _shares_weights(self, source: Source) -> bool:
        if source.model is None:
            return False
        if source not in self._shares:
            from diffusion_lens.scoring.weights import warn_if_circular

            models = {source.model: source.revision}
            self._shares[source] = bool(warn_if_circular(self.name, self.clip.text, models))
        return self._shares[source]

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
        self._warn_of_cuts(new)
        for start in range(0, len(new), 256):
            part = new[start : start + 256]
            self._texts |= dict(zip(part, self.clip.embed_texts(part).numpy(), strict=True))

    def _warn_of_cuts(self, texts: Sequence[str]) -> None:
        limit = self.clip.tokenizer.model_max_length
        cut = [text for text in texts if len(self.clip.tokenizer(text).input_ids) > limit]
        if cut and not self._warned_of_cuts:
            log.warning("CLIP reads %d tokens; longer texts are cut, such as %r.", limit, cut[0])
            self._warned_of_cuts = True

    def _judge(self, image: np.ndarray, check: Check, note: str) -> Judgement:
        if check.choices:
            return self._choose(image, check, note)
        if check.id == WHOLE:
            text = self.settings.prefix + (check.subject or check.question)
            cosine = float(image @ self._texts[text])
            score = self.settings.weight * max(cosine, 0.0)
            reason = f"CLIPScore, which has no right or wrong{note}"
            raw = {"clipscore": score, "cosine": cosine}
            return Judgement(check.id, min(score, 1.0), None, reason, raw=raw)
        return Judgement(
            check.id, reason="CLIP compares captions, and no other prompt of the run has one to choose from"
        )

    def _choose(self, image: np.ndarray, check: Check, note: str) -> Judgement:
        texts = np.stack([self._texts[self.settings.choice_prefix + choice] for choice in check.choices])
        cosines = texts @ image
        logits = self.clip.scale * cosines
        weights = np.exp(logits - logits.max())
        shares = weights / weights.sum()
        right, best = check.choices.index(check.answer), int(shares.argmax())
        reason = f"chose {check.choices[best]!r} of {len(check.choices)}{note}"
        raw = {"chosen": check.choices[best], "cosine": float(cosines[right])}
        p, chance = min(float(shares[right]), 1.0), 1 / len(check.choices)
        return Judgement(check.id, p, best == right, reason, chance, raw=raw)


@register("clip", "CLIPScore, and a choice between captions", ClipSettings)
def make(settings: ClipSettings, device: str) -> list[Scorer]:
    """CLIP, loaded."""
    from diffusion_lens.models.clip import Clip
    from diffusion_lens.scoring.weights import load_parts

    name = settings.model
    clip = load_parts("the scorer clip", name, lambda: Clip.from_pretrained(name, device))
    return [ClipScorer(clip, settings)]
