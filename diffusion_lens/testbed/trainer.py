"""A stage in training: its optimizer, the running average of its weights, and its checkpoint."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffusion_lens.errors import DiffusionLensError, InputError, OutputError

__all__ = ["Progress", "Stage", "StageSettings", "Trainer", "learning_rate", "read_progress"]

FREE_SETTINGS = ("rate", "ema", "contrast", "workers")  # may differ between runs of one checkpoint


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """How any stage is trained; each stage adds what its model is."""

    batch: int
    rate: float
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 100  # steps
    ema: float = 0.999
    seed: int = 0


@runtime_checkable
class Stage(Protocol):
    """A model in training, and how its batches, its validation and its export are made."""

    name: str
    settings: StageSettings
    model: torch.nn.Module

    def loss(self, step: int) -> Tensor:
        """The loss of one batch; the step alone decides it."""

    def validate(self) -> float:
        """How good the model is on scenes that training doesn't draw."""

    def export(self, folder: Path) -> None:
        """Write the model in diffusers format, in half precision."""


@dataclass(frozen=True)
class Progress:
    """How far a stage has come; saved in the checkpoint's header."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    decay_by: Literal["samples", "seconds"] = "samples"  # what the decay of the rate is counted in
    decay_from: float | None = None  # where it began
    decay_over: float = 0.0

    @property
    def decayed(self) -> float:
        """The share of the decay that is over, from 0 to 1."""
        if self.decay_from is None:
            return 0.0
        now = self.samples if self.decay_by == "samples" else self.seconds
        return min(1.0, (now - self.decay_from) / max(1e-9, self.decay_over))

    @property
    def finished(self) -> bool:
        """Whether the rate has fallen to zero."""
        return self.decayed >= 1


def learning_rate(progress: Progress, settings: StageSettings) -> float:
    """Warm-up by steps, then constant; a cosine to zero once a decay was begun."""
    rate = settings.rate * min(1.0, (progress.step + 1) / settings.warmup)
    return rate * 0.5 * (1 + math.cos(math.pi * progress.decayed))


class Trainer:
    """A stage with its optimizer, the running average of its weights, and its checkpoint."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        """Start at step 0 with the stage's weights; nothing is written yet."""
        self.stage, self.folder = stage, folder
        self.parameters = dict(stage.model.named_parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=stage.settings.rate, betas=stage.settings.betas
        )
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.progress = Progress()

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.folder / f"{self.stage.name}.safetensors"

    def step(self, autocast: bool) -> tuple[float, float]:
        """One optimizer step: the loss before it and its rate."""
        settings, progress = self.stage.settings, self.progress
        rate = learning_rate(progress, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        device = next(iter(self.parameters.values())).device.type
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            loss = self.stage.loss(progress.step)
        value = loss.item()
        if not math.isfinite(value):
            raise DiffusionLensError(
                f"loss is {value} at step {progress.step}; {self.path} is the last good "
                "checkpoint; resume with a lower rate"
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        # A young average forgets its start quickly.
        keep = min(settings.ema, (1 + progress.step) / (10 + progress.step))
        torch._foreach_lerp_(
            list(self.average.values()), [p.data for p in self.parameters.values()], 1 - keep
        )
        samples = progress.samples + settings.batch
        self.progress = replace(progress, step=progress.step + 1, samples=samples)
        return value, rate

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights."""
        trained = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._set(self.average)
        try:
            yield
        finally:
            self._set(trained)

    @torch.no_grad()
    def _set(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(weights[name])

    def save(self) -> None:
        """Write the checkpoint beside the last one, then put it in its place."""
        tensors = {f"weights/{name}": p.detach() for name, p in self.parameters.items()}
        tensors |= {f"average/{name}": value for name, value in self.average.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer/{key}/{name}"] = value
        header = {"settings": _plain(self.stage.settings), "progress": asdict(self.progress)}
        part = self.path.with_suffix(".part")
        try:
            contiguous = {name: value.contiguous() for name, value in tensors.items()}
            save_file(contiguous, part, {"training": json.dumps(header)})
            os.replace(part, self.path)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            raise OutputError(
                f"checkpoint {self.path} can't be written: {error}; the last good one was kept"
            ) from error

    def load(self) -> None:
        """Go on from the checkpoint in the folder."""
        if not self.path.exists():
            raise InputError(f"nothing to resume: no {self.path}; start without --resume")
        header, tensors = _read(self.path)
        wanted = _plain(self.stage.settings)
        different = [
            k
            for k in wanted
            if k not in FREE_SETTINGS and header["settings"].get(k, wanted[k]) != wanted[k]
        ]
        if different:
            raise InputError(
                f"{self.path} was trained with other settings: "
                + ", ".join(f"{k} {header['settings'][k]} (now {wanted[k]})" for k in different)
            )
        self._set({n: tensors[f"weights/{n}"] for n in self.parameters})
        for name, parameter in self.parameters.items():
            self.average[name].copy_(tensors[f"average/{name}"])
            state = {
                key: tensors[f"optimizer/{key}/{name}"].to(parameter.device if place else "cpu")
                for key, place in (("step", False), ("exp_avg", True), ("exp_avg_sq", True))
                if f"optimizer/{key}/{name}" in tensors  # a frozen weight has none
            }
            if state:
                self.optimizer.state[parameter] = state
        self.progress = Progress(**header["progress"])


def read_progress(path: Path) -> Progress:
    """How far the training in a checkpoint has come.

    Raises:
        InputError: the checkpoint is damaged.
    """
    return Progress(**_read(path, weights=False)[0]["progress"])


def _read(path: Path, weights: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a checkpoint."""
    try:
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["training"])
            names = file.keys() if weights else ()
            return header, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is damaged or no checkpoint of this package ({error}); delete it to start again"
        ) from error


def _plain(settings: StageSettings) -> dict[str, Any]:
    """Settings as JSON gives them back."""
    return json.loads(json.dumps(asdict(settings)))
