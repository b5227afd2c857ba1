"""Learning the vectors of an embedding alone, or the whole matrix: time and memory in one run.

The baseline does what diffusers' example script does: it grows the matrix by the new token, hands all of
it to AdamW, encodes the images at every step, copies the old rows back by a mask after each, and
leaves the denoiser's attention as it is. Its documented command takes the images of a step one by one
and accumulates gradients ("one by one"); it can take them together as well ("whole matrix"). All train
the same word on the same images, as many a step; steps are taken in turn, and the best of each counts.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from diffusion_lens.errors import UnsupportedPipelineError
from diffusion_lens.learning.concepts import TEMPLATES, Concept
from diffusion_lens.learning.objective import DenoisingLoss, frozen
from diffusion_lens.learning.training import Learner, Settings
from diffusion_lens.models.hooks import replace_forward
from diffusion_lens.testbed.scenes import render, sample
from diffusion_lens.text.embeddings import initial_embedding, use_embeddings

__all__ = ["LearningTiming", "bench_learning"]


@dataclass(frozen=True)
class LearningTiming:
    """One way to learn a word, measured.

    Attributes:
        way: "whole matrix, one by one", "whole matrix" or "vectors alone".
        batch: images of a step.
        seconds: of the best step.
        state_mib: what training keeps beside the model, in MiB: trained weights, gradients, Adam's moments
            and copies.
        speedup: how many times as fast as the first of these.
    """

    way: str
    batch: int
    seconds: float
    state_mib: float
    speedup: float = 1.0


def bench_learning(
    pipe: Any, batch: int = 4, rounds: int = 5, images: Sequence[Image.Image] | None = None
) -> list[LearningTiming]:
    """Measure all ways on a Stable Diffusion pipeline of one text encoder.

    Args:
        pipe: a live pipeline; it is the same afterwards.
        batch: images of a step.
        rounds: steps of each way that count, after one that doesn't.
        images: the training images; five scenes of the testbed if None.

    Raises:
        UnsupportedPipelineError: the pipeline has another form.
    """
    if not hasattr(pipe, "unet") or getattr(pipe, "text_encoder_2", None) is not None:
        raise UnsupportedPipelineError(
            f"{type(pipe).__name__} can't be measured: the script compared with is for Stable "
            "Diffusion 1 and 2."
        )
    images = images or [Image.fromarray(render(sample(0, index))) for index in range(5)]
    templates = (TEMPLATES["object"],) * len(images)
    concept = Concept("<measured>", tuple(images), templates, init="object")
    learner = Learner(pipe, [concept], Settings(batch=batch, steps=rounds + 1))
    whole = _WholeMatrix(pipe, concept, batch)
    best: dict[str, float] = {}
    for turn in range(rounds + 1):
        with learner.training():
            taken = {"vectors alone": _timed(learner.step)}
        with whole.training():
            taken["whole matrix, one by one"] = _timed(lambda: whole.step(1))
            taken["whole matrix"] = _timed(lambda: whole.step(batch))
        if turn:
            best = {way: min(best.get(way, seconds), seconds) for way, seconds in taken.items()}
    vectors = sum(one.numel() * one.element_size() for one in learner.embeddings[0].parameters())
    latents = sum(one.numel() * 4 for one in learner.latents[0])
    kept = dict.fromkeys(best, whole.state_bytes()) | {"vectors alone": 4 * vectors + latents}
    first, *_ = ways = ("whole matrix, one by one", "whole matrix", "vectors alone")
    return [
        LearningTiming(way, batch, best[way], kept[way] / 2**20, best[first] / best[way]) for way in ways
    ]


class _WholeMatrix:
    """A word as a row of a matrix that is trained whole and put back."""

    def __init__(self, pipe: Any, concept: Concept, batch: int) -> None:
        self.pipe, self.concept, self.batch = pipe, concept, batch
        self.learned = initial_embedding(pipe, concept.token, concept.init)
        self.embedding = pipe.text_encoder.get_input_embeddings()
        start = torch.cat([self.embedding.weight.detach(), self.learned.vectors["text_encoder"]]).float()
        self.matrix = torch.nn.Parameter(start)
        self.original = start.clone()
        self.others = torch.arange(len(start)) < len(start) - 1
        self.denoiser = DenoisingLoss(pipe)
        self.optimizer = torch.optim.AdamW([self.matrix], lr=5e-3)
        self.generator = torch.Generator().manual_seed(0)

    @contextmanager
    def training(self) -> Iterator[None]:
        with frozen(self.pipe, plain=False), use_embeddings(self.pipe, [self.learned]):
            with replace_forward(self.embedding, lambda ids: functional.embedding(ids, self.matrix)):
                yield

    def step(self, together: int) -> None:
        """One step, with so many images at a time."""
        chosen = torch.randint(len(self.concept.images), (self.batch,), generator=self.generator)
        rng = np.random.default_rng(0)
        parts = chosen.split(together)
        for number, part in enumerate(parts, 1):
            encoded = self.denoiser.encode([self.concept.images[index] for index in part.tolist()])
            latents = encoded.sample(torch.arange(len(part)), self.generator)
            prompts = [self.concept.caption(index, rng) for index in part.tolist()]
            losses = self.denoiser.losses(latents, prompts, self.generator)
            (losses.sum() / self.batch).backward()
            if number == len(parts):
                self.optimizer.step()
                self.optimizer.zero_grad()
            with torch.no_grad():  # after each part, changed or not
                self.matrix[self.others] = self.original[self.others]

    def state_bytes(self) -> int:
        # gradient, two moments, and the copy of the rows
        return 4 * self.matrix.numel() * self.matrix.element_size()


def _timed(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
