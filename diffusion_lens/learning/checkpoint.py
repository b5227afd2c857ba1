"""The state of a training, in one small safetensors file: rows, Adam's moments, the best rows, progress."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from diffusion_lens.errors import RunError
from diffusion_lens.files import write_whole
from diffusion_lens.learning.training import Learner, Progress
from diffusion_lens.models.digest_parts import digest_module
from diffusion_lens.text.embeddings import Embedding

__all__ = ["identity", "load_state", "save_state"]

_MOMENTS = ("exp_avg", "exp_avg_sq")


def identity(learner: Learner, validation: str = "none") -> dict[str, Any]:
    """All that a training's outcome follows from, by name, as plain values: hashes of images and model.

    Args:
        learner: the training.
        validation: what its embeddings are judged by; scores of two kinds can't be compared.
    """
    images = hashlib.sha256()
    for one in learner.concepts:
        for image in one.images:
            images.update(repr((image.mode, image.size)).encode() + image.tobytes())
    encoders = (getattr(learner.pipe, name) for name in learner.embeddings[0].vectors)
    model = [digest_module(part) for part in (learner.denoiser.module, *encoders)]
    described = learner.describe()
    settings = described.pop("settings")
    whole = {**settings, **described, "images": images.hexdigest()[:16], "model": model}
    whole["validation"] = validation
    plain: dict[str, Any] = json.loads(json.dumps(whole))
    return plain


def save_state(path: Path, learner: Learner, validation: str = "none") -> None:
    """Write a training's state, whole or not at all.

    Args:
        path: the file.
        learner: the training.
        validation: see `identity`.

    Raises:
        OutputError: it can't be written.
    """
    tensors = {}
    for word, best in zip(learner.embeddings, learner.best, strict=True):
        for name, rows in word.vectors.items():
            key = f"{word.token}/{name}"
            tensors[f"rows/{key}"] = rows.detach()
            tensors[f"best/{key}"] = best.vectors[name]
            moments = learner.optimizer.state.get(rows, {})
            tensors |= {f"{moment}/{key}": moments[moment] for moment in _MOMENTS if moment in moments}
    described = json.dumps(
        {"progress": asdict(learner.progress), "identity": identity(learner, validation)}
    )
    whole = {key: tensor.cpu().contiguous().clone() for key, tensor in tensors.items()}
    content = save(whole, metadata={"state": described})
    write_whole(path, lambda file: file.write(content))


def load_state(path: Path, learner: Learner, validation: str = "none") -> None:
    """Restore a saved state; for arguments see `save_state`.

    Raises:
        RunError: the file can't be read, or is of another training.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        described = json.loads(metadata["state"])
        plain = described["progress"]
        before = dict(described["identity"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"The state {path} can't be read ({error}). Delete it to start again.") from None
    before.setdefault("validation", validation)  # older states don't say it
    _check_same(path, before, identity(learner, validation))
    with torch.no_grad():
        for index, word in enumerate(learner.embeddings):
            for name, rows in word.vectors.items():
                key = f"{word.token}/{name}"
                rows.copy_(tensors[f"rows/{key}"])
                if f"exp_avg/{key}" in tensors:
                    moments = {moment: tensors[f"{moment}/{key}"].to(rows.device) for moment in _MOMENTS}
                    step = torch.tensor(float(plain["step"]))
                    learner.optimizer.state[rows] = {"step": step, **moments}
            learner.best[index] = Embedding(
                word.token, {name: tensors[f"best/{word.token}/{name}"] for name in word.vectors}
            )
    learner.progress = Progress(
        plain["step"], tuple(plain["scores"]), tuple(map(tuple, plain["best"])), plain["since"]
    )


def _check_same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with a training of anything else, naming what differs."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        opaque = ("images", "model")  # hashes say nothing to a reader
        said = [
            f"the {name} changed"
            if name in opaque
            else f"{name} was {before.get(name)} and is {now.get(name)}"
            for name in names
        ]
        raise RunError(
            f"{path} is of another training: {'; '.join(said)}. Give what it was, delete the file to start "
            "again, or choose another output."
        )
