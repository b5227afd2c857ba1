"""Where an image was drawn, and by which versions."""

import platform
from typing import Any

import diffusers
import torch

from diffusion_lens.runs.provenance import find_commit
from diffusion_lens.version import __version__

__all__ = ["where_drawn"]


def where_drawn(device: torch.device) -> dict[str, Any]:
    """The device and the versions, as columns of a table."""
    # on the CPU the last bit of an image depends on the number of threads
    name = f"{platform.machine()}, {torch.get_num_threads()} threads"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {
        "device": f"{device.type} ({name})",
        "version": __version__,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "commit": find_commit(),
    }
