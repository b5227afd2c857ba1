"""Models that are one file: a checkpoint in the layout that it was published in, by `from_single_file`.

Such a file has weights and no configs. These come from a pipeline in diffusers format that `config` names;
if none is named, from the one on the hub that diffusers takes the file for, by the names of its tensors.
"""

import re
from pathlib import Path
from typing import Any

from diffusion_lens.errors import UnknownModelError, UnsafeCheckpointError, UnsupportedPipelineError
from diffusion_lens.models.missing_package import missing_package

__all__ = ["check_single_file", "find_config", "load_single_file", "missing_config"]

_PICKLES = (".bin", ".ckpt", ".pt", ".pth")
_FIRST = re.compile(r"model\.diffusion_model\.")
_ABSENT = re.compile(r"(\w+) = (\w+)\.from_pretrained")


def check_single_file(file: Path, config: str | None, *, allow_pickle: bool) -> None:
    """Make sure that a file is of a kind that can be loaded, and that nothing unsafe comes with it.

    Raises:
        UnsafeCheckpointError: a pickle, not allowed.
        UnsupportedPipelineError: GGUF, or no checkpoint at all.
    """
    if file.suffix == ".gguf":
        raise UnsupportedPipelineError(
            f"{file} is GGUF, which holds one part of a pipeline. Load that part with diffusers' "
            "GGUFQuantizationConfig, build a pipeline with it, and give the live one: DiffusionLens(pipe)."
        )
    pickles = [file] if file.suffix in _PICKLES else []
    if config is not None and Path(config).is_dir():  # a part that the file lacks is loaded from there
        pickles += [one for one in Path(config).rglob("*") if one.suffix in _PICKLES]
    if pickles and not allow_pickle:
        raise UnsafeCheckpointError(
            f"{pickles[0]} is a pickle, which can run any code. Get it as .safetensors, or, if you trust "
            "it, allow it with --allow-pickle (allow_pickle=True)."
        )
    if file.suffix not in (".safetensors", *_PICKLES):
        raise UnsupportedPipelineError(
            f"{file} is a file, and no checkpoint: those end in .safetensors, {', '.join(_PICKLES)}. Give "
            "one of these, or a folder in diffusers format."
        )


def find_config(file: Path) -> str:
    """The pipeline on the hub that a file's configs are of, by its tensors' names; nothing is fetched.

    Raises:
        UnsupportedPipelineError: the file is damaged, is an adapter, or is of no known model.
    """
    import torch
    from diffusers.loaders.single_file_utils import fetch_diffusers_config, infer_diffusers_model_type
    from safetensors import SafetensorError, safe_open

    how = 'Name a pipeline in diffusers format of the same model with config="..." (--config).'
    if file.suffix != ".safetensors":
        raise UnsupportedPipelineError(f"{file} does not say which model it is of. {how}")
    try:
        with safe_open(file, "pt") as content:
            shapes = {name: content.get_slice(name).get_shape() for name in content.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UnsupportedPipelineError(
            f"{file} is no whole safetensors file ({error}). Get it again."
        ) from error
    if any("lora" in name for name in shapes):
        raise UnsupportedPipelineError(
            f"{file} is a LoRA, which changes a model and is none. Load it into the pipeline that it was "
            "made for with pipe.load_lora_weights(...), and give the live pipeline: DiffusionLens(pipe)."
        )
    try:
        tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        config = str(fetch_diffusers_config(tensors)["pretrained_model_name_or_path"])
        # what it does not know, diffusers takes for the first of all models
        known = infer_diffusers_model_type(tensors) != "v1" or any(map(_FIRST.match, shapes))
    except (KeyError, RuntimeError, NotImplementedError) as error:
        raise UnsupportedPipelineError(
            f"{file}: diffusers can't tell which model it is of ({type(error).__name__}: {error}). {how}"
        ) from error
    if not known:
        first = ", ".join(sorted(shapes)[:3])
        raise UnsupportedPipelineError(
            f"{file} is of no model that diffusers knows: it holds {first}. {how}"
        )
    return config


def missing_config(file: Path, config: str | None, error: Exception) -> UnknownModelError:
    """Why the configs of a file are not there."""
    return UnknownModelError(
        f"{file} needs the configs of {config}: name a folder in diffusers format of the same model with "
        f'config="..." (--config). {error}'
    )


def load_single_file(file: Path, kind: str, config: str, **options: Any) -> Any:
    """A pipeline of the class `kind` with the weights of a file and the configs of `config`.

    Raises:
        UnsupportedPipelineError: diffusers can't load this class from one file, the file lacks parts, or it
            is of another model than its configs.
    """
    import diffusers
    from diffusers.loaders.single_file_utils import SingleFileComponentError
    from safetensors import SafetensorError

    load = getattr(getattr(diffusers, kind), "from_single_file", None)
    if load is None:
        raise UnsupportedPipelineError(
            f"{file}: diffusers loads no {kind} from one file. "
            "Give a folder in diffusers format or a hub id."
        )
    try:
        return load(str(file), config=config, **options)
    except ImportError as error:
        raise missing_package(file, error) from error
    except SingleFileComponentError as error:
        name, cls = _ABSENT.search(str(error)).groups()  # type: ignore[union-attr]
        raise UnsupportedPipelineError(
            f"{file} has no {name} that fits. Load it apart and give it: "
            f"DiffusionLens.from_pretrained({str(file)!r}, {name}={cls}.from_pretrained(...)), or name "
            "with config a folder in diffusers format that has it."
        ) from error
    except (
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise UnsupportedPipelineError(
            f"{file} can't be loaded as {kind} with the configs of {config}: {type(error).__name__}: {line}"
        ) from error
