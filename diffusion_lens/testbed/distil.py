"""The distil stage: the CLIP text tower learns to hold what MiniLM's states hold.

A tower trained by contrast alone loses on the way up which of two objects is where, and the gradient of a
denoising loss is too noisy to give it back soon. Here the states of its last layer are asked for those of a
frozen MiniLM at the same words, through one linear map `A` that is learned with them and then thrown away:

    sum_t w_t |A s_t - m_t|^2 / sum_t w_t |m_t - m|^2

with `s_t` the tower's state of a token, `m_t` MiniLM's at the same word (aligned and weighted as in
`graft`) and `m` their mean. Learning the hidden states of a larger encoder is the distillation of TinyBERT
(Jiao et al. 2020, arXiv 1909.10351, equation 8). Half of the captions are of twins (see
`contrastive`), so that order counts.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from diffusion_lens.testbed import captions
from diffusion_lens.testbed.autoencoder import VALIDATION_SEED
from diffusion_lens.testbed.contrastive import draw_scene, draw_twins, write_twins
from diffusion_lens.testbed.encoders import CaptionEncoder
from diffusion_lens.testbed.graft import map_states, match_states
from diffusion_lens.testbed.text_tower import TextTower
from diffusion_lens.testbed.trainer import StageSettings

__all__ = ["DistilSettings", "DistilStage"]

VALIDATION_SCENES = 256
FIRST_MAP = 512  # captions that the map begins with


@dataclass(frozen=True, kw_only=True)
class DistilSettings(StageSettings):
    """How the tower is trained on MiniLM's states."""

    batch: int = 128  # captions
    rate: float = 1e-3
    hold: float = 0.3  # weight of the end-of-text state's distance from what it was
    chunk: int = 8192  # captions that MiniLM encodes together, a multiple of the batch
    passes: int = 3  # times that a chunk is used


@dataclass(frozen=True)
class Lesson:
    """Captions and what the tower's states are asked for: at each token a target, and its weight.

    Attributes:
        variance: of a target's component, on average.
    """

    texts: list[str]
    targets: Float[Tensor, "caption token wide"]
    weights: Float[Tensor, "caption token"]
    variance: float


class DistilStage:
    """Trains the text tower of `folder/text_encoder`."""

    name = "distil"

    def __init__(
        self, settings: DistilSettings, folder: Path, device: torch.device, start: Path | None = None
    ) -> None:
        """Begin with the exported tower of `start`, or of the folder."""
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        student = CaptionEncoder("clip", start or folder, device)
        self.teacher = CaptionEncoder("minilm", folder, device)
        first = map_states(student, self.teacher, self._texts(settings.seed, 0, FIRST_MAP // 2))
        self.tower = TextTower(student, folder, self.name, start)
        self.map = torch.nn.Linear(student.width, self.teacher.width, bias=False)
        self.map.weight.data.copy_(first)
        self.model = torch.nn.ModuleDict({"text_encoder": self.tower.model, "map": self.map.to(device)})
        self._lesson: tuple[int, Lesson] | None = None

    @staticmethod
    def _texts(seed: int, first: int, count: int) -> list[str]:
        """The captions of some scenes, and as many of twins."""
        indices = range(first, first + count)
        told = [captions.caption(draw_scene(seed, index), seed, index) for index in indices]
        return told + [write_twins(draw_twins(seed, index), seed, index)[0] for index in indices]

    def _teach(self, texts: list[str]) -> Lesson:
        targets, weights = match_states(self.tower.encoder, self.teacher, texts)
        words = targets[weights > 0].float()
        return Lesson(texts, targets, weights, float(words.var(0).mean()))

    def _loss(self, lesson: Lesson, chosen: Tensor, hold: float) -> Tensor:
        states, moved = self.tower.held_states([lesson.texts[i] for i in chosen.tolist()])
        weights = lesson.weights[chosen].to(self.device)
        targets = lesson.targets[chosen].to(self.device).float()
        errors = (self.map(states).float() - targets).square().mean(-1) * weights
        return errors.sum() / weights.sum() / lesson.variance + hold * moved

    def loss(self, step: int) -> Tensor:
        """The loss of one batch; the step alone decides the captions."""
        settings = self.settings
        per_pass = settings.chunk // settings.batch
        number, within = divmod(step, per_pass * settings.passes)
        if self._lesson is None or self._lesson[0] != number:
            with torch.autocast(self.device.type, enabled=False):
                half = settings.chunk // 2
                self._lesson = (number, self._teach(self._texts(settings.seed, number * half, half)))
        current, batch = divmod(within, per_pass)
        shuffle = torch.Generator().manual_seed(number * settings.passes + current)
        order = torch.randperm(settings.chunk, generator=shuffle)
        chosen = order[batch * settings.batch : (batch + 1) * settings.batch]
        return self._loss(self._lesson[1], chosen, settings.hold)

    @torch.no_grad()
    def validate(self) -> float:
        """The share of MiniLM's variance that is missed, on captions that training doesn't see."""
        lesson = self._teach(self._texts(VALIDATION_SEED, 0, VALIDATION_SCENES))
        parts = torch.arange(len(lesson.texts)).split(self.settings.batch)
        return float(torch.stack([self._loss(lesson, part, 0.0) for part in parts]).mean())

    def export(self, folder: Path) -> None:
        """Write the text tower with its projection in half precision, and its tokenizer."""
        self.tower.export(folder)
