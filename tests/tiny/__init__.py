"""The tiny pipelines are public: `diffusion_lens.testing`."""

from diffusion_lens.testing import FAMILIES, LENSED

__all__ = ["FAMILIES", "LENSED"]
