"""One door to a live pipeline: an embedded name, a folder, or a model on the hub."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from diffusion_lens.errors import (
    InputError,
    UnknownModelError,
    UnsafeCheckpointError,
    UnsupportedPipelineError,
)
from diffusion_lens.models.embedded import EMBEDDED, load_embedded
from diffusion_lens.models.pipelines import PIPELINES

__all__ = ["DTYPES", "Offload", "load_pipeline", "quiet_libraries"]

log = logging.getLogger(__name__)

Offload = Literal["none", "model", "sequential"]
DTYPES = ("float32", "bfloat16", "float16")


def load_pipeline(
    model: str | os.PathLike[str],
    *,
    device: str | None = None,
    dtype: str | None = None,
    offload: Offload = "none",
    revision: str | None = None,
    variant: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    **options: Any,
) -> Any:
    """A live pipeline, on its device, ready to draw.

    Args:
        model: an embedded name ("emoji"), a folder in diffusers format, or a hub id.
        device: "cpu", "cuda", "cuda:1", "mps"; the fastest at hand if None.
        dtype: "float32", "bfloat16" or "float16"; if None, float32 on the CPU and on an accelerator the
            16-bit type that suits the family.
        offload: "model" keeps one part at a time on the accelerator, "sequential" one layer at a time
            (diffusers and accelerate do both).
        revision: branch, tag or commit on the hub.
        variant: a variant of the weights, such as "fp16".
        allow_pickle: load weights that are not safetensors. Pickles can run any code.
        trust_remote_code: run code that comes with the model.
        options: passed to `DiffusionPipeline.from_pretrained`.

    Raises:
        UnknownModelError: there is no such model.
        UnsafeCheckpointError: pickles or remote code, not allowed.
        UnsupportedPipelineError: a folder or hub model that is no text-to-image pipeline.
        InputError: a device or dtype that is not there.
    """
    import torch

    device = _choose_device(device)
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"{dtype!r} is no dtype. Allowed: {', '.join(DTYPES)}.")
    if offload not in ("none", "model", "sequential"):
        raise InputError(f'{offload!r} is no offload. Allowed: "none", "model", "sequential".')
    if offload != "none" and device == "cpu":
        raise InputError("Offloading moves parts to an accelerator, and there is none; leave it out.")
    with quiet_libraries():
        if str(model) in EMBEDDED:
            pipe = load_embedded(str(model), dtype=getattr(torch, dtype or "float32"))
        else:
            kind = _pipeline_class(model, revision, trust_remote_code)
            chosen = dtype or _default_dtype(kind, device)
            pipe = _from_pretrained(
                model,
                dtype=getattr(torch, chosen),
                revision=revision,
                variant=variant,
                # None lets diffusers fall back on pickles; True refuses them
                use_safetensors=None if allow_pickle else True,
                trust_remote_code=trust_remote_code,
                **options,
            )
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)
    return pipe


def _choose_device(device: str | None) -> str:
    import torch

    if device is None:
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"Device {device!r} can't be used: {str(error).splitlines()[0]} Leave it out to use the "
            "fastest device at hand."
        ) from None
    return device


def _default_dtype(kind: str, device: str) -> str:
    if device == "cpu":
        return "float32"
    family = PIPELINES.get(kind)
    return family.half if family else "bfloat16"


def _pipeline_class(model: str | os.PathLike[str], revision: str | None, trust_remote_code: bool) -> str:
    """The pipeline's class name, read before anything large is fetched.

    Raises:
        UnknownModelError: neither a folder nor on the hub.
        UnsupportedPipelineError: no pipeline, or one of no known family.
        UnsafeCheckpointError: the pipeline is code of its own.
    """
    folder = Path(model)
    if folder.is_dir():
        index = folder / "model_index.json"
        if not index.is_file():
            raise UnsupportedPipelineError(
                f"{folder} is a folder without model_index.json, so no diffusers pipeline. Give a folder "
                "written by pipe.save_pretrained(...)."
            )
    else:
        index = _hub_index(str(model), revision)
    try:
        kind = json.loads(index.read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnsupportedPipelineError(
            f"{index} can't be read as a pipeline's description ({error}). Save or download it again."
        ) from error
    if not isinstance(kind, str):
        if not trust_remote_code:
            raise UnsafeCheckpointError(
                f"{model} is a pipeline with code of its own ({kind[0]}), which would run on this "
                "machine. If you trust it, allow it with trust_remote_code=True."
            )
        kind = kind[-1]
    return kind


def _hub_index(model: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    known = f"Embedded models: {', '.join(EMBEDDED)}."
    if model.count("/") != 1:
        raise UnknownModelError(
            f"There is no model {model!r}: it is no embedded model, no folder here, and no hub id "
            f"(owner/name). {known}"
        )
    try:
        return Path(hf_hub_download(model, "model_index.json", revision=revision))
    except Exception as error:  # the hub client raises many kinds; its first line tells them apart
        raise UnknownModelError(
            f"There is no pipeline {model!r} in this machine's cache or within reach on the hub "
            f"({type(error).__name__}: {str(error).strip().splitlines()[0]}). Check the name, the "
            f"network, and for gated models `hf auth login`. {known}"
        ) from error


def _from_pretrained(model: str | os.PathLike[str], **options: Any) -> Any:
    from diffusers import DiffusionPipeline

    try:
        return DiffusionPipeline.from_pretrained(str(model), **options)
    except Exception as error:
        text = str(error)
        absent = "no file named" in text or "Could not find the necessary" in text
        if options["use_safetensors"] and absent:
            raise UnsafeCheckpointError(
                f"{model} has weights that are not safetensors ({text.strip().splitlines()[0]}). Pickles "
                "can run any code; if you trust them, allow them with allow_pickle=True."
            ) from error
        if isinstance(error, (OSError, ValueError, KeyError, AttributeError, TypeError)):
            raise UnsupportedPipelineError(
                f"{model} can't be loaded as a pipeline: {type(error).__name__}: {text.strip()}"
            ) from error
        raise


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without the libraries' loading bars and their notes about optional packages.

    diffusers imports image processors that prefer torchvision, which nothing here uses, and
    transformers notes that at every import; bars of a second's loading only clutter.
    """
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity(), diffusers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    bars_too = diffusers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    diffusers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before[0])
        diffusers_logging.set_verbosity(before[1])
        if bars:
            transformers_logging.enable_progress_bar()
        if bars_too:
            diffusers_logging.enable_progress_bar()
