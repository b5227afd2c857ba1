"""The closed sets of words that the library, experiments and the command line share. Needs no torch."""

from typing import Literal, get_args

__all__ = ["DTYPES", "POOLED", "Compile", "Dtype", "Offload", "Pooled"]

Dtype = Literal["float32", "bfloat16", "float16"]
"""The type of the weights."""
Offload = Literal["none", "model", "sequential"]
"""What waits in main memory until it is needed: nothing, whole models, or single layers."""
Pooled = Literal["hold", "layer", "empty"]
"""The pooled output: held at full depth, made from the layer drawn, or that of the empty prompt."""
Compile = Literal["auto", "on", "off"]
"""Whether the denoiser is compiled; auto does so on CUDA for plans that are long enough to win."""

DTYPES: tuple[str, ...] = get_args(Dtype)
POOLED: tuple[str, ...] = get_args(Pooled)
