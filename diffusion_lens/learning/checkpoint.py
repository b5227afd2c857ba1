"""The state of a training, in one small safetensors file: rows, Adam's moments, the best rows, progress."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

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


def identity(learner: Learner) -> str:
    """A hash of all that a training's outcome follows from: model, images, sentences and settings."""
    digest = hashlib.sha256(json.dumps(learner.describe(), sort_keys=True).encode())
    for one in learner.concepts:
        for image in one.images:
            digest.update(repr((image.mode, image.size)).encode() + image.tobytes())
    encoders = (getattr(learner.pipe, name) for name in learner.embeddings[0].vectors)
    for part in (learner.denoiser.module, *encoders):
        digest.update(digest_module(part).encode())
    return digest.hexdigest()[:16]


def save_state(path: Path, learner: Learner) -> None:
    """Write a training's state, whole or not at all.

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
    described = json.dumps({"progress": asdict(learner.progress), "identity": identity(learner)})
    whole = {key: tensor.cpu().contiguous().clone() for key, tensor in tensors.items()}
    content = save(whole, metadata={"state": described})
    write_whole(path, lambda file: file.write(content))


def load_state(path: Path, learner: Learner) -> None:
    """Restore a saved state.

    Raises:
        RunError: the file can't be read, or is of another training.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        described = json.loads(metadata["state"])
        plain, found = described["progress"], described["identity"]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RunError(f"The state {path} can't be read ({error}). Delete it to start again.") from None
    if found != identity(learner):
        raise RunError(
            f"{path} is of another training: the model, the images, the sentences or a setting other than "
            "the number of steps has changed. Give the same ones, delete the file to start again, or "
            "choose another output."
        )
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
