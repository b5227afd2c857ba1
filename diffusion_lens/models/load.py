"""One door to a live pipeline: an embedded name, a folder, or a model on the hub."""

import inspect
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from diffusion_lens.choices import DTYPES, Offload
from diffusion_lens.errors import (
    InputError,
    UnknownModelError,
    UnsafeCheckpointError,
    UnsupportedPipelineError,
)
from diffusion_lens.models.embedded import EMBEDDED, load_embedded
from diffusion_lens.models.memory import explain_memory
from diffusion_lens.models.missing_package import missing_package
from diffusion_lens.models.pipeline_index import family_of, first_line, pipeline_class
from diffusion_lens.models.pipelines import PipelineFamily, resolve_family
from diffusion_lens.models.quiet import quiet_libraries
from diffusion_lens.models.single_file import (
    check_single_file,
    find_config,
    load_single_file,
    missing_config,
)

__all__ = ["choose_device", "load_pipeline"]


def load_pipeline(
    model: str | os.PathLike[str],
    *,
    device: str | None = None,
    dtype: str | None = None,
    offload: Offload = "none",
    revision: str | None = None,
    variant: str | None = None,
    config: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    family: PipelineFamily | str | None = None,
    **options: Any,
) -> Any:
    """A live pipeline, on its device, ready to draw.

    Args:
        model: an embedded name ("emoji"), a folder in diffusers format, a hub id, or one file in the
            layout that it was published in (`x.safetensors`).
        device: "cpu", "cuda", "cuda:1", "mps"; the fastest at hand if None.
        dtype: "float32", "bfloat16" or "float16"; if None, float32 on the CPU and on an accelerator the
            16-bit type that suits the family.
        offload: "model" keeps one part at a time on the accelerator, "sequential" one layer at a time
            (diffusers and accelerate do both).
        revision: branch, tag or commit on the hub.
        variant: a variant of the weights, such as "fp16".
        config: of a model that is one file, the folder in diffusers format or the hub id of a pipeline with
            the same configs; if None, the one that diffusers takes the file for.
        allow_pickle: load weights that are not safetensors. Pickles can run any code.
        trust_remote_code: run code that comes with the model.
        family: how the pipeline takes its text, for one of no known class; a family, the name of a known
            class, or "package.module:NAME".
        options: passed to `from_pretrained` (`from_single_file`): parts of the pipeline by name, and where
            and how to fetch it.

    Raises:
        UnknownModelError: there is no such model.
        UnsafeCheckpointError: pickles or remote code, not allowed.
        UnsupportedPipelineError: a folder or hub model that is no text-to-image pipeline.
        InputError: a device or dtype that is not there.
    """
    import torch

    if options.get("device_map") is not None and (device is not None or offload != "none"):
        raise InputError("device_map places the parts itself: leave out device and offload, or device_map.")
    device = choose_device(device)
    family = resolve_family(family) if isinstance(family, str) else family
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"{dtype!r} is no dtype. Allowed: {', '.join(DTYPES)}.")
    if offload not in ("none", "model", "sequential"):
        raise InputError(f'{offload!r} is no offload. Allowed: "none", "model", "sequential".')
    if offload != "none" and device == "cpu":
        raise InputError("Offloading moves parts to an accelerator, and there is none; leave it out.")
    with quiet_libraries():
        if str(model) in EMBEDDED:
            _refuse_unknown(options, ())
            pipe = load_embedded(str(model), getattr(torch, dtype or "float32"))
        else:
            file = Path(model) if Path(model).is_file() else None
            if file is None and config is not None:
                raise InputError(
                    f"config is for a model that is one file, and {model} is none: leave it out."
                )
            if file is not None:
                check_single_file(file, config, allow_pickle=allow_pickle)
                config = config or find_config(file)
            try:
                kind = pipeline_class(config or model, revision, trust_remote_code)
            except UnknownModelError as error:
                raise error if file is None else missing_config(file, config, error) from None
            family = family or family_of(kind)
            _refuse_unknown(options, _parts_of(kind), () if file else _PLACING)
            chosen = dtype or ("float32" if device == "cpu" or family is None else family.half)
            options |= {_dtype_option(): getattr(torch, chosen), "revision": revision}
            if file is not None:
                pipe = load_single_file(file, kind, str(config), **options)
            else:
                pipe = _from_pretrained(
                    model,
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
    elif getattr(pipe, "hf_device_map", None) is None:
        with explain_memory(f"{model} does not fit on {device}", 'offload="model" or "sequential"'):
            pipe.to(device)
        if str(model) not in EMBEDDED:
            _note_files(pipe, Path(model), config, options, str(variant))
    return pipe


def _note_files(pipe: Any, model: Path, config: str | None, given: Collection[str], variant: str) -> None:
    """Tell the digests which files the parts of a pipeline came from, but for those that were given."""
    from torch import nn

    from diffusion_lens.models.digest_cache import stamp
    from diffusion_lens.models.digest_parts import loaded_from

    for name, part in pipe.components.items():
        if name in given or not isinstance(part, nn.Module):
            continue
        if model.is_file():
            folder, files = Path(config or "") / name, [model]
        else:  # of a model on the hub, its folder in the hub's cache
            folder, files = Path(str(getattr(part.config, "_name_or_path", ""))), []
        if folder.is_dir():
            files += [file for file in folder.iterdir() if file.is_file()]
        loaded_from(part, stamp(files), variant)


def choose_device(device: str | None) -> str:
    """The device that was asked for, or the fastest at hand.

    Raises:
        InputError: it can't be used.
    """
    import torch

    if device is None:
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()  # "meta" makes tensors, which hold nothing
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"Device {device!r} can't be used: {first_line(error).rstrip('.')}. Leave it out to use the "
            "fastest device at hand."
        ) from None
    return device


_FETCHING = ("cache_dir", "force_download", "local_files_only", "mirror", "proxies", "token")
_PLACING = ("device_map", "low_cpu_mem_usage", "max_memory", "offload_folder", "quantization_config")


def _refuse_unknown(options: Iterable[str], parts: Iterable[str], placing: Iterable[str] = ()) -> None:
    """Options that diffusers would drop without a word are likely misspelled."""
    allowed = (*_FETCHING, *placing, *parts) if parts else ()
    unknown = [name for name in options if name not in allowed]
    if unknown:
        ours = (
            "device, dtype, offload, revision, variant, config, allow_pickle, trust_remote_code, batch_size"
        )
        raise InputError(
            f"There is no option {', '.join(map(repr, unknown))} for loading this model. Allowed: {ours}"
            f"{''.join(f', {name}' for name in allowed)}."
        )


def _parts_of(kind: str) -> tuple[str, ...]:
    """The parts of a pipeline class, by name."""
    import diffusers

    found = getattr(diffusers, kind, diffusers.DiffusionPipeline)
    return tuple(inspect.signature(found.__init__).parameters)


def _dtype_option() -> str:
    """What diffusers calls the type of the weights; 0.39 takes no notice of the name of today."""
    import diffusers
    from packaging.version import Version

    return "dtype" if Version(diffusers.__version__) >= Version("0.40") else "torch_dtype"


def _from_pretrained(model: str | os.PathLike[str], **options: Any) -> Any:
    from diffusers import DiffusionPipeline
    from safetensors import SafetensorError

    try:
        return DiffusionPipeline.from_pretrained(str(model), **options)
    except ImportError as error:
        raise missing_package(model, error) from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError, SafetensorError) as error:
        text = str(error)
        if "has not been imported" in text:  # its index names a package that diffusers does not know
            raise missing_package(model, error) from error
        if "trust_remote_code" in text:
            raise UnsafeCheckpointError(
                f"{model} has parts with code of their own, which would run on this machine "
                f"({first_line(error)}). If you trust it, allow it with --trust-remote-code "
                "(trust_remote_code=True)."
            ) from error
        if options["use_safetensors"] and _has_pickles(model, text):
            raise UnsafeCheckpointError(
                f"{model} has weights that are not safetensors ({first_line(error)}). Pickles can run "
                "any code; if you trust them, allow them with --allow-pickle (allow_pickle=True)."
            ) from error
        raise UnsupportedPipelineError(f"{model} can't be loaded: {first_line(error)}") from error


def _has_pickles(model: str | os.PathLike[str], text: str) -> bool:
    """Whether loading failed because the weights are there as pickles only."""
    absent = "no file named" in text or "Could not find the necessary" in text
    folder = Path(model)
    if not absent or not folder.is_dir():
        return absent
    return any(path.suffix in (".bin", ".ckpt", ".pt", ".pth") for path in folder.rglob("*"))
