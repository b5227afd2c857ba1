"""The hash of one part of a pipeline: a module, a tokenizer or processor, or a scheduler.

Weights are hashed by sums of their bytes, taken as 64-bit integers in blocks, over the rows and over the
columns of each block: integers add up alike on every device and in every order, at the speed of memory.
A module's weights are hashed once and again only after one of them has changed.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers import ConfigMixin
from torch import Tensor, nn

from diffusion_lens.errors import UnsupportedPipelineError

__all__ = ["digest_module", "digest_part", "digest_settings", "digest_tensor", "digest_tokenizer", "unwrap"]

_DIGITS = 16
_VOLATILE = frozenset(
    (
        "_commit_hash",
        "_diffusers_version",
        "_name_or_path",
        "_use_default_values",
        "dtype",  # weights say it themselves
        "name_or_path",
        "torch_dtype",
        "transformers_version",
    )
)
_ROWS, _COLUMNS = 64, 4096
# what a module holds that says how and where it runs, and not what it computes
_HOW = frozenset(("device", "forward", "gradient_checkpointing", "hf_device_map", "warnings_issued"))
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
        return _short([digest_part(one) for one in part])
    return _short([type(part).__name__, _config(part)])  # a scheduler, a guider


def digest_settings(pipe: Any) -> str:
    """The hash of a pipeline's class and of the settings that are no parts, such as `is_distilled`."""
    settings = {name: value for name, value in pipe.config.items() if _is_plain(value)}
    return _short([type(pipe).__name__, _stable(settings)])


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
        return str(original)[:_DIGITS]
    weights = list(_weights(module))
    return _short([type(module).__name__, _config(module), _held(module), _digest_weights(module, weights)])


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name, wherever offloading keeps them."""
    for path, part in module.named_modules():
        own: list[tuple[str, Tensor]] = [
            *part.named_parameters(recurse=False),
            *part.named_buffers(recurse=False),
        ]
        for name, weight in own:
            if weight.is_meta:  # offloaded by accelerate, whose hook knows where the numbers are
                stored = getattr(getattr(part, "_hf_hook", None), "weights_map", None)
                if stored is None:
                    raise UnsupportedPipelineError(
                        f"{type(module).__name__}: {path}.{name} is on the meta device, without numbers. "
                        "Load the weights first."
                    )
                weight = stored[name]
            yield f"{path}.{name}", weight


def _digest_weights(module: nn.Module, weights: list[tuple[str, Tensor]]) -> str:
    signature = tuple((name, id(weight), _version(weight)) for name, weight in weights)
    known = _known.get(module)
    countable = all(version is not None for *_, version in signature)
    if known is not None and countable and known[0] == signature:
        return known[1]
    digest = hashlib.sha256()
    for name, weight in weights:
        digest.update(name.encode())
        digest.update(digest_tensor(weight))
    value = digest.hexdigest()
    _known[module] = signature, value
    return value


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
    if kind not in (Tensor, nn.Parameter, nn.Buffer):
        digest.update(kind.__name__.encode())
        for name, inner in _inner(tensor):
            digest.update(name.encode())
            digest.update(digest_tensor(inner) if isinstance(inner, Tensor) else repr(inner).encode())
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
        yield "context", _stable(context) if isinstance(context, Mapping) else str(context)
        for name in names:
            yield name, getattr(tensor, name)
        return
    for name, value in sorted(vars(tensor).items()):
        if isinstance(value, Tensor) or _is_plain(value):
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
        for name, value in vars(part).items():
            wanted = name in _ADAPTERS or not (name.startswith("_") or name in _OWN or name in _HOW)
            if wanted and "cache" not in name and _is_plain(value):
                held[f"{path}.{name}"] = _end_of_text(part, name, value)
    return _stable(held)


_OWN = frozenset(vars(nn.Module()))


def _end_of_text(module: Any, name: str, value: Any) -> Any:
    """CLIP configs that give 2 as the end of text mean the last id, and both pool at the same place."""
    if name != "eos_token_id" or not type(module).__name__.startswith("CLIP"):
        return value
    size = getattr(getattr(module, "config", module), "vocab_size", 0)
    return "end of text" if value in (2, size - 1) else value


# --- configs and tokenizers ----------------------------------------------------------------------------


def _config(part: Any) -> str:
    config = getattr(part, "config", None)
    if config is None:
        return ""
    items = config.items() if isinstance(config, Mapping) else config.to_dict().items()
    fields = {name: _end_of_text(config, name, value) for name, value in items if name not in _VOLATILE}
    return _stable(fields)


_tokenizers: "WeakKeyDictionary[Any, tuple[tuple[Any, ...], str]]" = WeakKeyDictionary()


def digest_tokenizer(tokenizer: Any) -> str:
    """The hash of a tokenizer or processor by all files that it saves; 16 hex digits."""
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    # the files hold these as they were loaded, and not as they are
    names = ("padding_side", "truncation_side", "model_max_length", "chat_template", "special_tokens_map")
    signature = (
        len(inner) if hasattr(inner, "__len__") else 0,
        *(str(getattr(inner, name, None)) for name in names),
    )
    known = _tokenizers.get(tokenizer)
    if known is not None and known[0] == signature:
        return known[1]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        contents = [(path.relative_to(folder).as_posix(), _content(path)) for path in files]
    value = _short([type(tokenizer).__name__, signature, *contents])
    _tokenizers[tokenizer] = signature, value
    return value


def _content(path: Path) -> str:
    """A file's content; of a JSON object, without the fields that say who wrote it."""
    data = path.read_bytes()
    if path.suffix == ".json":
        fields = json.loads(data)
        if isinstance(fields, dict):
            fields.pop("truncation", None)  # the last call's, in tokenizer.json
            fields.pop("padding", None)
            return _stable({name: value for name, value in fields.items() if name not in _VOLATILE})
    return hashlib.sha256(data).hexdigest()


def _is_plain(value: Any) -> bool:
    """Whether a value is made of numbers, text and containers of these alone."""
    if isinstance(value, Mapping):
        return all(_is_plain(one) for one in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return all(_is_plain(one) for one in value)
    return value is None or isinstance(value, bool | int | float | str | torch.dtype)


def _stable(values: Any) -> str:
    return json.dumps(values, sort_keys=True, default=_sorted_text)


def _sorted_text(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)


def _short(parts: Any) -> str:
    return hashlib.sha256(_stable(parts).encode()).hexdigest()[:_DIGITS]
