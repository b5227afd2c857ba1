"""Let a denoiser draw with approximations; what they are is in `diffusion_lens.images.approximations`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusion_lens.errors import SamplerError
from diffusion_lens.images.approximations import Approximations
from diffusion_lens.images.denoise import Denoiser
from diffusion_lens.models.denoisers import find_denoiser
from diffusion_lens.models.pipelines import known_families

__all__ = ["approximate", "restore_afterwards"]


def approximate(denoiser: Denoiser, approximations: Approximations) -> None:
    """Let a denoiser draw with these approximations from now on, and with no others; not their steps.

    Raises:
        SamplerError: the pipeline can't be approximated so.
    """
    pipe = denoiser.pipe
    network: Any = find_denoiser(pipe)
    if approximations.guided is not None and not denoiser.family.guided_inputs:
        able = (name for name, family in known_families().items() if family.guided_inputs)
        raise SamplerError(
            f"approximations.guided is not possible with {type(pipe).__name__}; leave it out. It is with: "
            f"{', '.join(able)}."
        )
    cached = approximations.first_block is not None or approximations.pyramid is not None
    if cached and not hasattr(network, "enable_cache"):
        raise SamplerError(
            f"{type(network).__name__} has no cache of blocks; leave out approximations.first_block and "
            "approximations.pyramid. Most transformers of diffusers have one."
        )
    if getattr(network, "is_cache_enabled", False):
        network.disable_cache()
    if cached:
        network.enable_cache(_cache_config(pipe, approximations))
    denoiser.approximations = approximations


@contextmanager
def restore_afterwards(denoiser: Denoiser) -> Iterator[None]:
    """A denoiser that the body may change: its batch size and its approximations are its own again then."""
    size, approximations = denoiser.batch_size, denoiser.approximations
    try:
        yield
    finally:
        denoiser.batch_size = size
        approximate(denoiser, approximations)


def _cache_config(pipe: Any, approximations: Approximations) -> Any:
    from diffusers import FirstBlockCacheConfig, PyramidAttentionBroadcastConfig

    if approximations.first_block is not None:
        return FirstBlockCacheConfig(threshold=approximations.first_block)
    return PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=approximations.pyramid,
        current_timestep_callback=lambda: pipe._current_timestep,
    )
