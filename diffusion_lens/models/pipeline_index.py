"""What a model's `model_index.json` says before anything large is fetched: its pipeline's class."""

import json
import os
from pathlib import Path

from diffusion_lens.errors import UnknownModelError, UnsafeCheckpointError, UnsupportedPipelineError
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.models.pipelines import PipelineFamily, find_family, known_families

__all__ = ["family_of", "first_line", "pipeline_class"]


def pipeline_class(model: str | os.PathLike[str], revision: str | None, trust_remote_code: bool) -> str:
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
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnsupportedPipelineError(
            f"{index} can't be read as a pipeline's description ({error}). Save or download it again."
        ) from error
    if not isinstance(kind, str):
        if not isinstance(kind, list) or len(kind) != 2:
            raise UnsupportedPipelineError(f"{index} names no pipeline class but {kind!r}.")
        if not trust_remote_code:
            raise UnsafeCheckpointError(
                f"{model} is a pipeline with code of its own ({kind[0]}), which would run on this "
                "machine. If you trust it, allow it with --trust-remote-code (trust_remote_code=True)."
            )
        kind = kind[-1]
    return str(kind)


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
            f"({first_line(error)}). Check the name, the "
            f"network, and for gated models `hf auth login`. {known}"
        ) from error


def family_of(kind: str) -> PipelineFamily | None:
    """The family of a pipeline class, so that nothing large is fetched for one that is unknown.

    None for a class that comes with the model, which is known only once it is loaded.

    Raises:
        UnsupportedPipelineError: it is of no known family, or no class.
    """
    import diffusers

    try:
        found = getattr(diffusers, kind, None)
    except RuntimeError as error:  # of a diffusers that wants a newer transformers
        reason = str(error).strip().splitlines()[-1]
        raise UnsupportedPipelineError(
            f"{kind} can't be imported ({reason}). Install a newer transformers beside this diffusers."
        ) from error
    if found is None:
        return known_families().get(kind)
    if not isinstance(found, type):
        raise UnsupportedPipelineError(f"{kind!r} names no pipeline class of diffusers.")
    return find_family(found)


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
