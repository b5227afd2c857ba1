"""Textual inversion (Gal et al. 2023, arXiv 2208.01618): learn embeddings from images with a frozen model.

Only the vectors of the embeddings are trained, in float32, those of several concepts side by side: their
losses share no parameter, so each embedding is learned as it would be alone. Images are encoded once.
What a step draws (images, sentences, noise, times) follows from the seed and the number of the step
alone, so that a training that was killed resumes from its last checkpoint and ends with the same bytes.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from diffusion_lens.errors import InputError
from diffusion_lens.learning.concepts import Concept
from diffusion_lens.learning.objective import DenoisingLoss, Latents, frozen
from diffusion_lens.text.embeddings import (
    Embedding,
    check_fit,
    initial_embedding,
    use_embeddings,
    vocabulary_norm,
)

__all__ = ["Learner", "Progress", "Settings"]

log = logging.getLogger(__name__)

Norm = Literal["none", "fixed", "pull"]


@dataclass(frozen=True)
class Settings:
    """How embeddings are learned.

    Attributes:
        steps: the largest number of optimisation steps.
        batch: images of each concept in a step.
        lr: the learning rate of Adam, the same for any batch size.
        norm: "none"; "fixed": each vector keeps the length that it started with; "pull": after each step
            a vector's length moves towards the vocabulary's mean length by the share min(1, 100 lr).
        snr_gamma: min-SNR weights, see `DenoisingLoss.losses`; None for none.
        flip: mirror half of the images.
        bf16: compute in bfloat16; the vectors and their optimiser stay in float32.
        validate_every: steps between two validations.
        patience: stop after this many validations in a row that improve no embedding; None for never.
        seed: the seed of everything that is drawn at random.
    """

    steps: int = 400
    batch: int = 4
    lr: float = 5e-3
    norm: Norm = "none"
    snr_gamma: float | None = None
    flip: bool = False
    bf16: bool = False
    validate_every: int = 100
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"patience is {self.patience}; it must be at least 1, or left out.")
        if not 0 < self.lr < math.inf:
            raise InputError(f"The learning rate lr is {self.lr}; it must be above 0.")
        if self.snr_gamma is not None and not 0 < self.snr_gamma < math.inf:
            raise InputError(f"snr_gamma is {self.snr_gamma}; it must be above 0, or left out.")


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        step: steps made.
        scores: the score of each embedding in the last validation; empty before the first.
        best: the best score of each embedding, and the step at which it was reached.
        since: validations since any embedding improved.
    """

    step: int = 0
    scores: tuple[float, ...] = ()
    best: tuple[tuple[float, int], ...] = ()
    since: int = 0


@dataclass
class Learner:
    """Embeddings in training on a live pipeline.

    Steps are made inside `training()`, which freezes the pipeline and lets it use the embeddings.

    Args:
        pipe: Stable Diffusion 1, 2, XL or 3, or FLUX.1.
        concepts: what to learn.
        settings: how to learn it.

    Raises:
        InputError: a token, initialiser or number of vectors that the pipeline can't have.
        UnsupportedPipelineError: the pipeline is of another family.
    """

    pipe: Any
    concepts: Sequence[Concept]
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        seed = self.settings.seed
        started = [
            initial_embedding(self.pipe, one.token, one.init, one.vectors, seed) for one in self.concepts
        ]
        check_fit(self.pipe, started)
        self.embeddings = [
            Embedding(one.token, {name: torch.nn.Parameter(rows) for name, rows in one.vectors.items()})
            for one in started
        ]
        self.best = started
        self.progress = Progress()
        self.denoiser = DenoisingLoss(self.pipe)
        self.latents = [self._encode(one.images) for one in self.concepts]
        self._lengths = self._target_lengths()
        groups = [
            {"params": word.parameters(), "lr": one.lr or self.settings.lr}
            for word, one in zip(self.embeddings, self.concepts, strict=True)
        ]
        self.optimizer = torch.optim.Adam(groups)
        for one in self.concepts:
            if len(one.images) == 1:
                log.warning("%s is learned from one image, and will hold all that it shows.", one.token)

    def _encode(self, images: Sequence[Image.Image]) -> Latents:
        flipped = [ImageOps.mirror(image) for image in images] if self.settings.flip else []
        return self.denoiser.encode([*images, *flipped])

    def _target_lengths(self) -> dict[tuple[str, str], Tensor]:
        """The length that norm control aims at, by token and encoder, `[vector, 1]`."""
        if self.settings.norm == "pull":
            means = {name: vocabulary_norm(self.pipe, name) for name in self.embeddings[0].vectors}
            return {
                (word.token, name): torch.full((len(rows), 1), means[name])
                for word in self.embeddings
                for name, rows in word.vectors.items()
            }
        return {
            (word.token, name): rows.detach().norm(dim=-1, keepdim=True).clone()
            for word in self.embeddings
            for name, rows in word.vectors.items()
        }

    @contextmanager
    def training(self) -> Iterator[None]:
        """The pipeline is frozen and uses the embeddings while the body runs."""
        with frozen(self.pipe), use_embeddings(self.pipe, self.embeddings):
            yield

    @property
    def finished(self) -> bool:
        """Whether all steps are made, or patience has run out."""
        patience = self.settings.patience
        exhausted = patience is not None and self.progress.since >= patience
        return exhausted or self.progress.step >= self.settings.steps

    def describe(self) -> dict[str, Any]:
        """What the outcome follows from, besides model, images and number of steps, as plain values."""
        settings = {name: value for name, value in asdict(self.settings).items() if name != "steps"}
        concepts = [(one.token, one.captions, one.init, one.vectors, one.lr) for one in self.concepts]
        return {"settings": settings, "concepts": concepts}

    def losses(self, step: int) -> Tensor:
        """The mean loss of each concept in a step, `[concept]`, with gradients to the vectors."""
        settings = self.settings
        seed = settings.seed * 1_000_003 + step
        generator = torch.Generator().manual_seed(seed)
        rng = np.random.default_rng(seed)
        latents, prompts = [], []
        for concept, encoded in zip(self.concepts, self.latents, strict=True):
            count = len(concept.images)
            chosen = rng.integers(count, size=settings.batch)
            mirrored = rng.integers(2, size=settings.batch) * count if settings.flip else 0
            latents.append(encoded.sample(torch.from_numpy(chosen + mirrored), generator))
            prompts += [concept.caption(index, rng) for index in chosen.tolist()]
        kind = self.denoiser.conditioner.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=settings.bf16):
            each = self.denoiser.losses(torch.cat(latents), prompts, generator, settings.snr_gamma)
        return each.view(len(self.concepts), settings.batch).mean(1)

    def step(self) -> list[float]:
        """Make one step and give the loss of each concept.

        Raises:
            InputError: a loss is not finite.
        """
        losses = self.losses(self.progress.step)
        if not losses.isfinite().all():
            raise InputError(
                f"The loss of step {self.progress.step} is not finite. Lower the learning rate"
                f"{', or leave bf16 out' if self.settings.bf16 else ''}."
            )
        self.optimizer.zero_grad()
        losses.sum().backward()
        self.optimizer.step()
        self._control_norms()
        self.progress = replace(self.progress, step=self.progress.step + 1)
        return losses.tolist()

    @torch.no_grad()
    def _control_norms(self) -> None:
        if self.settings.norm == "none":
            return
        for word, group in zip(self.embeddings, self.optimizer.param_groups, strict=True):
            share = 1.0 if self.settings.norm == "fixed" else min(1.0, 100 * group["lr"])
            for name, rows in word.vectors.items():
                now = rows.norm(dim=-1, keepdim=True)
                aimed = now + share * (self._lengths[word.token, name].to(now.device) - now)
                rows.mul_(aimed / now.clamp(min=1e-12))

    def validate(self, score: Callable[[int], float]) -> tuple[float, ...]:
        """Score every embedding as it is now, and keep those that are better than before.

        Args:
            score: from the number of a concept to how good its embedding is; higher is better.
        """
        scores = tuple(score(index) for index in range(len(self.embeddings)))
        best, step = list(self.progress.best), self.progress.step
        better = [not best or value > best[index][0] for index, value in enumerate(scores)]
        kept = best or [(0.0, 0)] * len(scores)
        for index, is_better in enumerate(better):
            if is_better:
                kept[index] = (scores[index], step)
                self.best[index] = snapshot(self.embeddings[index])
        since = 0 if any(better) else self.progress.since + 1
        self.progress = Progress(step, scores, tuple(kept), since)
        return scores

    def learned(self) -> list[Embedding]:
        """The embeddings with the best scores; the last ones where nothing was scored."""
        return list(self.best) if self.progress.best else [snapshot(one) for one in self.embeddings]


def snapshot(one: Embedding) -> Embedding:
    """A copy of an embedding as it is now, without gradients."""
    return Embedding(one.token, {name: rows.detach().clone().cpu() for name, rows in one.vectors.items()})
