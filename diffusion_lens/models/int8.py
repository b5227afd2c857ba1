"""Weights stored in eight bits: int8 rows with a float16 scale each, dequantized when they are loaded.

A matrix or convolution `w` `[out, ...]` is stored as `q = round(w / s)`, with one scale a row (output
channel), `s = max |w| / 127`: the symmetric per-channel quantization of Krishnamoorthi (2018, arXiv
1806.08342, section 3). A row's largest error is `s / 2`. Vectors (biases, norms) stay in float16.

The two parts of a tensor carry names of their own, `NAME.int8` and `NAME.scale`, so that a loader that
does not know this format reports missing weights and never takes the integers for weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["dequantize", "is_quantized", "load_denoiser", "quantize"]

ROWS, SCALE = ".int8", ".scale"


def quantize(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Store matrices and convolutions as int8 rows with a float16 scale, vectors as float16.

    Args:
        weights: floating-point tensors by name; those of two or more dimensions are `[out, ...]`.

    Returns:
        the tensors to store: about half of the bytes of float16.
    """
    stored: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if weight.ndim < 2:
            stored[name] = weight.half().contiguous()
            continue
        rows = weight.float().flatten(1)
        # the scale is rounded first, so that the rows are divided by what they are multiplied with later
        scale = (rows.abs().amax(1) / 127).clamp_min(1e-7).half()
        steps = (rows / scale.float()[:, None]).round().clamp(-127, 127)
        stored[name + ROWS] = steps.to(torch.int8).view(weight.shape).contiguous()
        stored[name + SCALE] = scale
    return stored


def is_quantized(stored: Mapping[str, Tensor]) -> bool:
    """Whether any of the tensors is stored by `quantize`."""
    return any(name.endswith(ROWS) for name in stored)


def dequantize(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in float32, by their own names."""
    weights: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.endswith(ROWS):
            whole = name.removesuffix(ROWS)
            scale = stored[whole + SCALE].float().view(-1, *[1] * (value.ndim - 1))
            weights[whole] = value.float() * scale
        elif not name.endswith(SCALE):
            weights[name] = value.float()
    return weights


def load_denoiser(folder: Path, dtype: torch.dtype | None = None) -> Any:
    """A `UNet2DConditionModel` of a folder in diffusers format, whether or not it is stored in eight bits.

    Args:
        folder: holds `config.json` and `diffusion_pytorch_model.safetensors`.
        dtype: of the loaded weights; float32 if None.
    """
    from diffusers import UNet2DConditionModel
    from safetensors.torch import load_file

    stored = load_file(folder / "diffusion_pytorch_model.safetensors")
    if not is_quantized(stored):
        return UNet2DConditionModel.from_pretrained(folder).to(dtype or torch.float32)
    with torch.device("meta"):  # no random weights, which would be replaced at once
        model = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder))
    model.load_state_dict(dequantize(stored), assign=True)
    return model.to(dtype or torch.float32).eval()
