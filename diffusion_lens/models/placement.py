"""Where a pipeline computes."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

__all__ = ["computing_device"]

_HOOKS = ("_hf_hook", "_diffusers_hook")  # of accelerate and of diffusers: what offloads a module


def computing_device(pipe: Any) -> torch.device:
    """Where a pipeline computes, which with offloading is not where its weights lie.

    A diffusers pipeline knows by itself. It asks each module of each part several times, which takes
    milliseconds of each encoding of a tiny model; where nothing is offloaded and all parts lie on one
    device, that device is the answer.

    Args:
        pipe: a live diffusers pipeline.
    """
    parts = [part for part in getattr(pipe, "components", {}).values() if isinstance(part, nn.Module)]
    devices = {next((weight.device for weight in part.parameters()), None) for part in parts}
    if len(devices) == 1 and not any(map(_is_hooked, parts)):
        (device,) = devices
        if device is not None:
            return device
    computes: torch.device | None = getattr(pipe, "_execution_device", None)
    own: torch.device = pipe.device if computes is None else computes
    return own


def _is_hooked(part: nn.Module) -> bool:
    return any(hook in vars(module) for module in _modules(part) for hook in _HOOKS)


def _modules(part: nn.Module) -> Iterator[nn.Module]:
    """All modules of a part; `modules()` takes several times as long, for their names."""
    waiting = [part]
    while waiting:
        module = waiting.pop()
        yield module
        waiting.extend(one for one in module._modules.values() if one is not None)
