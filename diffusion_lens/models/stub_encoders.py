"""Stub encoders: text encoders without their blocks and embeddings, for prompts whose states are kept.

To draw from kept states a pipeline needs of its encoder the structure, the final norm and the projection
of the pooled output: some kilobytes of T5-XXL's ten gigabytes. Whatever would run a stub is refused.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from diffusion_lens.errors import InputError, RunError
from diffusion_lens.models.digest_parts import read_weight
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.models.encoders import TextEncoder
from diffusion_lens.models.quiet import quiet_libraries

__all__ = ["is_stub", "load_stubs", "make_stub", "stub_bytes"]


def stub_bytes(encoder: TextEncoder) -> bytes:
    """What of an encoder a stub keeps, as the content of a safetensors file."""
    read = [encoder.norm, getattr(encoder.module, "text_projection", None)]
    kept = {id(weight) for part in read if part is not None for weight in part.parameters()}
    weights = {
        f"{path}.{name}": read_weight(part, name).detach().cpu().contiguous()
        for path, part in encoder.module.named_modules()
        for name, weight in part.named_parameters(recurse=False)
        if id(weight) in kept
    }
    # a post-norm encoder keeps no weights at all, and its dtype is still asked for
    weights[_DTYPE] = torch.empty(0, dtype=next(encoder.module.parameters()).dtype)
    saved: bytes = save(weights)
    return saved


_DTYPE = "dtype of the encoder"


def make_stub(encoder: TextEncoder) -> nn.Module:
    """A stub of a live encoder, to stand in its place once every prompt is encoded."""
    module = encoder.module
    weights = load(stub_bytes(encoder))
    return _build(type(module), module.config, weights, encoder.name, encoder.fingerprint)


def is_stub(module: nn.Module) -> bool:
    """Whether a text encoder is a stub."""
    return hasattr(module, "stub_of")


def load_stubs(
    model: str, stubs: Mapping[str, tuple[str, bytes]], revision: str | None = None
) -> dict[str, nn.Module]:
    """Stub encoders of a model's text encoders, to be given to `load_pipeline` in their place.

    Args:
        model: a folder or a hub id.
        stubs: fingerprint and `stub_bytes`, by the pipeline's name for the encoder.
        revision: branch, tag or commit on the hub.

    Raises:
        InputError: the model is embedded, its encoder is no class of transformers, or the bytes are
            damaged.
    """
    if model in EMBEDDED:
        raise InputError(
            f'encoders = "leave" is for models with large text encoders; {model} is embedded, with a '
            "small one. Leave the key out."
        )
    import transformers
    from diffusers import DiffusionPipeline

    made = {}
    with quiet_libraries():
        index = DiffusionPipeline.load_config(model, revision=revision)
        for name, (fingerprint, content) in stubs.items():
            kind = getattr(transformers, index[name][1], None)
            if kind is None:
                raise InputError(
                    f'encoders = "leave" is not possible with {model}: its {name} is a {index[name][1]}, '
                    "which is no class of transformers. Leave the key out."
                )
            config = transformers.AutoConfig.from_pretrained(model, subfolder=name, revision=revision)
            try:
                weights = load(content)
            except SafetensorError as error:
                raise InputError(f"The stub of {name} is damaged ({error}). Draw once with it.") from error
            made[name] = _build(kind, config, weights, name, fingerprint)
    return made


def _build(
    kind: Any, config: Any, weights: Mapping[str, torch.Tensor], name: str, fingerprint: str
) -> nn.Module:
    with torch.device("meta"):
        module: nn.Module = kind(config)
    empty = weights[_DTYPE]
    for path, part in module.named_modules():
        for key, _ in list(part.named_parameters(recurse=False)):
            kept = weights.get(f"{path}.{key}" if path else key, empty)
            setattr(part, key, nn.Parameter(kept, requires_grad=False))
        for key, _ in list(part.named_buffers(recurse=False)):
            setattr(part, key, torch.empty(0))

    def refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise RunError(
            f"{name} was left unloaded, or released, and is needed: a prompt, or a layer of it, is not "
            'among the states that the run keeps. Draw with encoders = "load", or a larger machine.states.'
        )

    module.forward = refuse
    module.stub_of = fingerprint  # type: ignore[assignment]
    return module.eval()
