"""Text encoders put in the place of a pipeline's own, in another pipeline that shares its other parts."""

import copy
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffusion_lens.errors import EncoderError, InputError
from diffusion_lens.models.digest_parts import unwrap
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.models.encoder_variants import ALLOWED, OWN, EncoderVariant
from diffusion_lens.models.int8 import dequantize, quantize
from diffusion_lens.models.quiet import quiet_libraries
from diffusion_lens.models.stages import set_component, text_stage

__all__ = ["build_encoder", "replace_encoders"]


def replace_encoders(pipe: Any, encoders: Mapping[str, str | EncoderVariant | nn.Module]) -> Any:
    """Another pipeline that shares all parts with this one but for some text encoders.

    Args:
        pipe: a live pipeline; it is left as it is.
        encoders: by the pipeline's name for them, what stands in their place: a description, or a module.

    Raises:
        InputError: the pipeline has no such encoder, or one can't be found or does not fit.
        EncoderError: an encoder has no weights in memory to be copied.
    """
    for name in encoders:
        if not isinstance(unwrap(getattr(pipe, name, None)), nn.Module):
            known = [one for one in pipe.components if one.startswith("text_encoder")]
            raise InputError(
                f"This {type(pipe).__name__} has no text encoder {name!r}. It has: {', '.join(known)}."
            )
    other, stage = copy.copy(pipe), text_stage(pipe)
    if stage is not pipe:
        other.prior_pipe = copy.copy(stage)
    for name, given in encoders.items():
        variant = EncoderVariant.parse(given) if isinstance(given, str) else given
        module = build_encoder(variant, pipe, name) if isinstance(variant, EncoderVariant) else variant
        set_component(other, name, module)
    return other


def build_encoder(variant: EncoderVariant, pipe: Any, name: str) -> nn.Module:
    """The encoder that a variant describes, for a pipeline that it fits; the pipeline's own stays as it is.

    Args:
        variant: what it is.
        pipe: a live pipeline.
        name: its name for the encoder that this one is to stand in for.

    Raises:
        InputError: it can't be found or read, or is of another shape than the pipeline's own.
        EncoderError: the pipeline's own has no weights in memory to be copied.
    """
    own = unwrap(getattr(pipe, name))
    if variant.source == OWN:
        module = _copy(own, name) if variant.changes else own
    else:
        module = _load(variant.source, own, name, str(variant))
    for change in variant.changes:
        if change.startswith("lora="):
            path, strength = _parse_lora(change.removeprefix("lora="))
            _add_lora(pipe, name, module, path, strength)
        else:
            _ROUND[change](module)
    return module.eval()


def _copy(own: nn.Module, name: str) -> nn.Module:
    """A copy of an encoder, without the hooks that move its weights about."""
    if any(weight.is_meta for weight in own.parameters()):
        raise EncoderError(
            f"The weights of {name} are offloaded one layer at a time, so that no changed copy of it can "
            "be made. Load the model with offload none or model."
        )
    from accelerate.hooks import remove_hook_from_module

    copied: nn.Module = remove_hook_from_module(copy.deepcopy(own), recurse=True)
    return copied


def _load(source: str, own: Any, name: str, described: str) -> nn.Module:
    """An encoder of the class of the pipeline's own, from a folder or the hub."""
    if Path(source).is_file():
        raise InputError(
            f"{source} is one file; a text encoder is read from a folder of save_pretrained. {ALLOWED}"
        )
    folder = Path(source)
    if source in EMBEDDED and not folder.exists():
        raise InputError(
            f"{source!r} is an embedded model, a whole pipeline in the package: no text encoder is taken "
            f"from it. {ALLOWED} To draw with that model, name it as the model."
        )
    whole = (folder / "model_index.json").is_file() or not folder.is_dir()
    errors = []
    with quiet_libraries():
        for place in [{"subfolder": name}, {}] if whole else [{}]:
            try:
                module = type(own).from_pretrained(source, dtype=own.dtype, use_safetensors=True, **place)
                break
            except (OSError, ValueError, RuntimeError) as error:
                errors.append(str(error).strip().splitlines()[0])
        else:
            raise InputError(f"{source!r} holds no {type(own).__name__} ({errors[0]}). {ALLOWED}")
    found, wanted = _shape(module), _shape(own)
    if found != wanted:
        raise InputError(
            f"{described} is a {type(own).__name__} of {found}, and {name} has {wanted}. Only an encoder "
            "of the same shape can stand in its place."
        )
    moved: nn.Module = module.to(own.device)
    return moved


def _shape(module: Any) -> str:
    vocabulary, width = module.get_input_embeddings().weight.shape
    blocks = getattr(module.config, "num_hidden_layers", getattr(module.config, "num_layers", "?"))
    return f"{blocks} blocks, width {width} and {vocabulary} tokens"


def _parse_lora(text: str) -> tuple[str, float]:
    path, star, strength = text.rpartition("*")
    if not star:
        return text, 1.0
    try:
        return path, float(strength)
    except ValueError:
        raise InputError(f"{strength!r} is no strength of a LoRA; write lora=PATH*0.5.") from None


def _add_lora(pipe: Any, name: str, module: Any, path: str, strength: float) -> None:
    """Add an adapter of the text encoder alone: the denoiser stays as it is."""
    from diffusers.utils.peft_utils import scale_lora_layers

    if not Path(path).exists():
        raise InputError(f"There is no LoRA {path}. Give a file of diffusers or a folder of PEFT.")
    before = sum(1 for _ in module.parameters())
    try:
        with quiet_libraries():
            if Path(path).is_dir():
                module.load_adapter(path)
            else:
                _add_lora_of_diffusers(pipe, name, module, path)
    except (AttributeError, ImportError, KeyError, OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{path} can't be added to {name} as a LoRA ({type(error).__name__}: {error})."
        ) from error
    if Path(path).is_dir():
        _check_loaded(path, name, module)
    if sum(1 for _ in module.parameters()) == before:
        raise InputError(f"{path} changes nothing of {name}: it holds no weights for it.")
    module.to(module.device)
    scale_lora_layers(module, weight=strength)


def _add_lora_of_diffusers(pipe: Any, name: str, module: Any, path: str) -> None:
    alphas = {"return_alphas": True} if "return_alphas" in _parameters(pipe.lora_state_dict) else {}
    file = Path(path)
    # diffusers before 0.40 finds a file by its own name alone where the hub can't be reached
    source = (str(file.parent), {"weight_name": file.name}) if file.is_file() else (path, {})
    weights, *scales, metadata = pipe.lora_state_dict(
        source[0], return_lora_metadata=True, **source[1], **alphas
    )
    pipe.load_lora_into_text_encoder(
        weights, scales[0] if scales else None, module, prefix=name, metadata=metadata
    )


def _check_loaded(path: str, name: str, module: Any) -> None:
    """Refuse an adapter whose weights are not those of its folder: transformers 5.0 says nothing then."""
    from peft import get_peft_model_state_dict
    from peft.utils import load_peft_weights

    def part(key: str) -> str:
        return key.removeprefix("base_model.model.").removeprefix("text_model.")

    held = {part(key): value for key, value in get_peft_model_state_dict(module).items()}
    stored = {part(key): value for key, value in load_peft_weights(path, device="cpu").items()}
    lost = [
        key
        for key, value in stored.items()
        if key not in held or not torch.equal(held[key].cpu(), value.to(held[key].dtype))
    ]
    if lost:
        raise InputError(
            f"{len(lost)} of the {len(stored)} weights of {path} did not reach {name}, such as {lost[0]}. "
            f"transformers {version('transformers')} loaded it: take a newer one, or the LoRA as a file of "
            "diffusers."
        )


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


@torch.no_grad()
def _round_to_int8(module: nn.Module) -> None:
    for weight in module.parameters():
        if weight.ndim > 1:
            weight.copy_(dequantize(quantize({"weight": weight}))["weight"])


def _round_to(dtype: torch.dtype) -> Callable[[nn.Module], None]:
    @torch.no_grad()
    def rounded(module: nn.Module) -> None:
        for weight in module.parameters():
            weight.copy_(weight.to(dtype))

    return rounded


_ROUND: Mapping[str, Callable[[nn.Module], None]] = {
    "int8": _round_to_int8,
    "bfloat16": _round_to(torch.bfloat16),
    "float16": _round_to(torch.float16),
}
