"""The hash of one part of a pipeline: a module, a tokenizer or processor, or a scheduler.

Weights are hashed by sums of their bytes, taken as 64-bit integers in blocks, over the rows and over the
columns of each block: integers add up alike on every device and in every order, at the speed of memory.
A module's weights are hashed once and again only after one of them has changed.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers import ConfigMixin
from torch import Tensor, nn

from diffusion_lens.errors import UnsupportedPipelineError
from diffusion_lens.models.digest_cache import Stamp, cached, note_source, some_numbers
from diffusion_lens.models.digest_text import (
    DIGITS,
    VOLATILE,
    digest_tokenizer,
    end_of_text,
    is_plain,
    short,
    stable,
    text_of_config,
)

__all__ = [
    "digest_module",
    "digest_part",
    "digest_settings",
    "digest_tensor",
    "loaded_from",
    "read_weight",
    "unwrap",
]

_ROWS, _COLUMNS = 64, 4096
# what a module holds that says how and where it runs, and not what it computes
_HOW = frozenset(
    (
        "device",
        "forward",
        "gradient_checkpointing",
        "hf_device_map",
        "name_or_path",  # where it was loaded from
        "rope_deltas",  # left behind by one text generation, and made anew by the next
        "warnings_issued",
    )
)
_PLAIN = (Tensor, nn.Parameter, nn.Buffer)
_ADAPTERS = ("_active_adapter", "_disable_adapters")  # private names of PEFT's layers


def unwrap(module: Any) -> Any:
    """The module inside of one that `torch.compile` or PEFT's `get_peft_model` returned.

    The layers of an adapter are parts of the module inside.
    """
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and hasattr(module, "peft_config") and hasattr(module, "get_base_model"):
            inner = module.get_base_model()
        if inner is None:
            return module
        module = inner


def digest_part(part: Any) -> str:
    """The hash of any part of a pipeline: 16 hex digits."""
    if isinstance(part, nn.Module):
        return digest_module(part)
    if hasattr(part, "save_pretrained") and not isinstance(part, ConfigMixin):
        return digest_tokenizer(part)
    if isinstance(part, list | tuple):  # several ControlNets
        return short([digest_part(one) for one in part])
    return short([type(part).__name__, text_of_config(part)])  # a scheduler, a guider


def digest_settings(pipe: Any) -> str:
    """The hash of a pipeline's class and of the settings that are no parts, such as `is_distilled`."""
    settings = {
        name: value for name, value in pipe.config.items() if is_plain(value) and name not in VOLATILE
    }
    settings.pop("_class_name", None)  # which saving leaves behind
    return short([type(pipe).__name__, stable(settings)])


# --- modules -------------------------------------------------------------------------------------------

_known: "WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], str]]" = WeakKeyDictionary()


def digest_module(module: nn.Module) -> str:
    """The hash of a module: class, config, held settings, parameters and buffers; 16 hex digits.

    Two modules with one digest are taken to compute the same. It does not depend on the device, on
    offloading, on training mode or on compilation.

    Raises:
        UnsupportedPipelineError: a weight can't be read.
    """
    module = unwrap(module)
    original = getattr(module, "stub_of", None)  # a stub encoder's weights are not there
    if original is not None:
        return str(original)[:DIGITS]
    weights = list(_weights(module))
    return short(
        [type(module).__name__, text_of_config(module), _held(module), _digest_weights(module, weights)]
    )


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name, wherever offloading keeps them."""
    for path, part in module.named_modules():
        own = [*_there(part._parameters), *_there(part._buffers)]
        for name in own:
            yield f"{path}.{name}", read_weight(part, name)
        if not own:
            yield from _packed(path, part)


def _there(weights: Mapping[str, Tensor | None]) -> list[str]:
    return [name for name, weight in weights.items() if weight is not None]


def read_weight(part: nn.Module, name: str) -> Tensor:
    """A parameter or buffer of a module, with its numbers, wherever offloading keeps them.

    Raises:
        UnsupportedPipelineError: it has none.
    """
    weight: Tensor = getattr(part, name)
    if not weight.is_meta:
        return weight
    stored = getattr(getattr(part, "_hf_hook", None), "weights_map", None)  # offloaded by accelerate
    if stored is None:
        raise UnsupportedPipelineError(
            f"{name} of a {type(part).__name__} is on the meta device, without numbers. Load the weights "
            "first."
        )
    found: Tensor = stored[name]
    return found


def _packed(path: str, part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights that a module without parameters saves all the same, as torch's own quantised layers do."""
    if type(part)._save_to_state_dict is nn.Module._save_to_state_dict:
        return
    saved: dict[str, Any] = {}
    part._save_to_state_dict(saved, "", keep_vars=False)
    for name, value in saved.items():
        for place, one in enumerate(value if isinstance(value, tuple | list) else [value]):
            if isinstance(one, Tensor):
                yield f"{path}.{name}.{place}", one


def loaded_from(module: nn.Module, files: Stamp, how: str = "") -> None:
    """Say that a module was just loaded from these files: its hash is then kept in the user's cache."""
    module = unwrap(module)
    if not any(weight.is_meta for weight in (*module.parameters(), *module.buffers())):
        note_source(module, files, how, _signature(list(_weights(module))))


def _signature(weights: list[tuple[str, Tensor]]) -> tuple[Any, ...]:
    """What changes with a module's weights; a None in it means that torch does not say.

    torch counts no changes that are made through `weight.data`, as averages of weights and merged adapters
    are written: these change a weight as a whole, so that a few of its numbers tell.
    """
    counted = [(name, id(weight), _version(weight)) for name, weight in weights]
    if any(version is None for *_, version in counted):
        return (None,)
    plain = [weight for _, weight in weights if type(weight) in _PLAIN]
    return *counted, hashlib.sha256(some_numbers(plain)).digest()


def _digest_weights(module: nn.Module, weights: list[tuple[str, Tensor]]) -> str:
    def compute() -> str:
        digest = hashlib.sha256()
        for name, weight in weights:
            digest.update(name.encode())
            digest.update(digest_tensor(weight))
        return digest.hexdigest()

    signature = _signature(weights)
    known = _known.get(module)
    if None in signature:
        return compute()
    if known is None or known[0] != signature:
        known = _known[module] = signature, cached(module, weights, signature, compute)
    return known[1]


def _version(weight: Tensor) -> tuple[int, int] | None:
    """What changes with a tensor's numbers or place; None where torch does not count changes."""
    try:
        return weight._version, weight.data_ptr()
    except (RuntimeError, NotImplementedError):  # inference tensors count nothing; wrappers have no memory
        return None


def digest_tensor(tensor: Tensor) -> bytes:
    """The hash of a tensor's dtype, shape and numbers; of a tensor subclass, of the tensors inside.

    Raises:
        UnsupportedPipelineError: a subclass that hides its numbers.
    """
    tensor = tensor.detach()
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    kind = type(tensor)
    if kind not in _PLAIN:
        digest.update(kind.__name__.encode())
        for name, inner in _inner(tensor):
            digest.update(name.encode())
            digest.update(digest_tensor(inner) if isinstance(inner, Tensor) else repr(inner).encode())
        return digest.digest()
    if tensor.is_quantized:  # torch's own: integers, and what scales them
        per_row = tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
        scaled = (
            (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points())
            if per_row
            else (torch.tensor(tensor.q_scale()), torch.tensor(tensor.q_zero_point()))
        )
        for inner in (tensor.int_repr(), *scaled):
            digest.update(digest_tensor(inner))
        return digest.digest()
    values = tensor.contiguous().reshape(-1)
    if values.numel():
        for piece in _sums(values.view(torch.uint8)):
            digest.update(piece.cpu().numpy().tobytes())
    return digest.digest()


def _sums(data: Tensor) -> Iterator[Tensor]:
    """Sums of bytes by rows and columns of blocks, and the bytes of what is left over."""
    word = 8 * _COLUMNS
    whole = data.numel() // word * word
    if whole:
        head = data[:whole]
        if head.storage_offset() % 8 or head.data_ptr() % 8:
            head = head.clone()
        rows = head.view(torch.int64).view(-1, _COLUMNS)
        across, along = [], []
        for block in torch.split(rows, _ROWS):
            across.append(block.sum(1))
            along.append(block.sum(0))
        yield torch.cat(across)
        yield torch.stack(along)
    yield data[whole:]


def _inner(tensor: Tensor) -> Iterator[tuple[str, Any]]:
    """What a tensor subclass holds: its inner tensors, and plain values such as a quantisation type."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, context = tensor.__tensor_flatten__()
        yield "context", stable(context) if isinstance(context, Mapping) else str(context)
        for name in names:
            yield name, getattr(tensor, name)
        return
    for name, value in sorted(vars(tensor).items()):
        if isinstance(value, Tensor) or is_plain(value):
            yield name, value
        elif hasattr(value, "as_dict"):  # the quantisation state of bitsandbytes
            yield from ((f"{name}.{key}", one) for key, one in sorted(value.as_dict().items()))
    with torch._C.DisableTorchFunctionSubclass():
        plain = tensor.as_subclass(Tensor)
        try:
            plain.data_ptr()
        except RuntimeError:  # a wrapper without memory of its own
            plain = None  # type: ignore[assignment]
    if plain is None:
        try:
            plain = tensor.dequantize()
        except (RuntimeError, NotImplementedError) as error:
            raise UnsupportedPipelineError(
                f"A weight is a {type(tensor).__name__}, which neither lists the tensors inside "
                f"(__tensor_flatten__) nor can be dequantised ({type(error).__name__}: {error}), so that "
                "this model can't be told from others. Load it unquantised, or quantised by torchao."
            ) from error
    yield "values", plain


def _held(module: nn.Module) -> str:
    """Numbers and names that the modules inside hold and a forward pass may read, such as LoRA's scales."""
    held: dict[str, Any] = {}
    for path, part in module.named_modules():
        values = vars(part)
        for name in values.keys() - _UNREAD:
            wanted = name in _ADAPTERS or not (name.startswith("_") or "cache" in name)
            if wanted and is_plain(values[name]):
                held[f"{path}.{name}"] = end_of_text(part, name, values[name])
    return stable(held)


_UNREAD = _HOW.union(vars(nn.Module()))
