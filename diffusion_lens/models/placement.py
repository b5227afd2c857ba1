"""Where a pipeline computes."""

from itertools import islice
from typing import Any

import torch
from torch import nn

__all__ = ["computing_device", "modules_of"]


def computing_device(pipe: Any) -> torch.device:
    """Where a pipeline computes, which with offloading is not where its weights lie.

    A diffusers pipeline knows by itself. It asks each module of each part several times, which takes
    milliseconds of each encoding of a tiny model; where nothing is offloaded and all parts lie on one
    device, that device is the answer.

    Args:
        pipe: a live diffusers pipeline.
    """
    parts = [part for part in getattr(pipe, "components", {}).values() if isinstance(part, nn.Module)]
    devices = {weight.device for part in parts for weight in islice(part.parameters(), 1)}
    if len(devices) == 1 and not any(map(_is_hooked, parts)):
        return devices.pop()
    computes: torch.device | None = getattr(pipe, "_execution_device", None)
    own: torch.device = pipe.device if computes is None else computes
    return own


def _is_hooked(part: nn.Module) -> bool:
    """Whether accelerate or diffusers offloads a module of a part.

    A transformer that has been called keeps an empty registry of hooks, for caches that it could use.
    """
    for own in map(vars, modules_of(part)):
        registry = own.get("_diffusers_hook")
        if "_hf_hook" in own or (registry is not None and registry.hooks):
            return True
    return False


def modules_of(part: nn.Module) -> list[nn.Module]:
    """All modules of a part; `modules()` takes several times as long, for their names."""
    found = [part]
    for module in found:  # which grows on the way
        inner = module._modules
        if inner:
            found += [one for one in inner.values() if one is not None]
    return found
