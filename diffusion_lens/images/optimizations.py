"""`Optimizations`: what makes a denoiser faster. The mathematics stay the same; the rounding may not."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch

from diffusion_lens.errors import InputError
from diffusion_lens.models.denoisers import find_denoiser

__all__ = ["ATTENTION", "Optimizations", "choose_optimizations", "optimize"]

ATTENTION = ("flash", "cudnn", "efficient", "math")
# A compilation takes about a minute and saves about a quarter of the time; measured on an H200 with
# the SD 2.1 UNet it has paid after some 900 images. Below twice that it is not worth the wait.
WORTH_COMPILING = 2000


@dataclass(frozen=True)
class Optimizations:
    """What is done to a denoiser.

    Attributes:
        compile: a mode of `torch.compile`, of which "reduce-overhead" captures static CUDA graphs;
            "eager" traces and generates no code, which is of use in tests only.
        channels_last: the memory layout that convolutions of compiled denoisers like.
        fuse_qkv: one matrix product for queries, keys and values.
        attention: the kernel of scaled dot product attention; None leaves the choice to torch.
    """

    compile: Literal["default", "reduce-overhead", "max-autotune", "eager"] | None = None
    channels_last: bool = False
    fuse_qkv: bool = False
    attention: Literal["flash", "cudnn", "efficient", "math"] | None = None

    def __str__(self) -> str:
        """Those that are pulled, as recorded in every row."""
        named = {one.name: getattr(self, one.name) for one in fields(self)}
        pulled = [name if value is True else f"{name}={value}" for name, value in named.items() if value]
        return "+".join(pulled)


def choose_optimizations(wanted: str, device: str, images: int) -> Optimizations:
    """The optimizations of a sweep.

    Args:
        wanted: "on", "off", or "auto": compile on CUDA if the whole plan is long enough to win. It is
            the plan that counts, not what is left of it, so that a run that goes on does as before.
        device: where the denoiser computes.
        images: the images of the plan.
    """
    if wanted == "off" or (wanted == "auto" and not (device == "cuda" and images >= WORTH_COMPILING)):
        return Optimizations()
    return Optimizations(compile="default", channels_last=device == "cuda")


def optimize(pipe: Any, optimizations: Optimizations) -> None:
    """Apply optimizations to a live pipeline, for good.

    Raises:
        InputError: the pipeline has no such optimization.
    """
    denoiser: Any = find_denoiser(pipe)
    if optimizations.fuse_qkv:
        fuse = getattr(denoiser, "fuse_qkv_projections", None)
        if fuse is None:
            raise InputError(f"{type(denoiser).__name__} has no projections that can be fused.")
        fuse()
    if optimizations.channels_last:
        denoiser.to(memory_format=torch.channels_last)
    kernels = {
        "flash": torch.backends.cuda.enable_flash_sdp,
        "cudnn": torch.backends.cuda.enable_cudnn_sdp,
        "efficient": torch.backends.cuda.enable_mem_efficient_sdp,
        "math": torch.backends.cuda.enable_math_sdp,
    }
    for name, enable in kernels.items():
        # plain mathematics stay allowed: shapes that the kernel refuses need a way
        enable(optimizations.attention in (None, name) or name == "math")
    if optimizations.compile:
        # compiled code outlives the process, so that going on with a run costs no second compilation
        cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "diffusion_lens/inductor"
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
        how = {"backend": "eager"} if optimizations.compile == "eager" else {"mode": optimizations.compile}
        denoiser.compile(**how, fullgraph=True, dynamic=False)
