"""Embedded models: whole pipelines whose weights are in the package, with a pretrained encoder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from diffusion_lens.models.embedded_encoders import find_minilm, load_minilm, load_smollm2

__all__ = ["EMBEDDED", "EmbeddedModel", "find_minilm", "load_embedded", "weights_of"]


@dataclass(frozen=True)
class EmbeddedModel:
    """A pipeline in the package.

    Attributes:
        title: what it is, in a line.
        encoder: "minilm" or "smollm2", a pretrained encoder of `embedded_encoders`; or "clip", in the
            model's own folder.
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
    "emoji-llm": EmbeddedModel(
        title="the same scenes, read from a frozen SmolLM2-135M (decoder language model, 15 blocks)",
        encoder="smollm2",
        tokens=24,
        steps=20,
        guidance=4.0,
    ),
}

# one folder per model, and the autoencoder that they share
_WEIGHTS = resources.files("diffusion_lens").joinpath("testbed/weights")


def load_embedded(name: str, dtype: Any = None) -> Any:
    """A live `StableDiffusionPipeline` of an embedded model.

    Args:
        name: one of `EMBEDDED`.
        dtype: torch dtype of the weights; float32 if None.

    Raises:
        UnknownModelError: the pretrained encoder can't be found, or is not the one it was trained with.
    """
    import torch
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline
    from transformers import CLIPTextModel, CLIPTokenizer

    from diffusion_lens.models.int8 import load_denoiser

    model = EMBEDDED[name]
    with weights_of(name) as folder:
        unet = load_denoiser(folder / "unet", dtype)
        vae = AutoencoderKL.from_pretrained(folder.parent / "vae").to(dtype or torch.float32)
        scheduler = DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler")
        tokenizer: Any
        encoder: Any
        if model.encoder == "minilm":
            tokenizer, encoder = load_minilm(model.tokens, dtype)
        elif model.encoder == "smollm2":
            tokenizer, encoder = load_smollm2(model.tokens, dtype)
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
