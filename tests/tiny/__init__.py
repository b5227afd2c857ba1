"""The tiny pipelines are public: `diffusion_lens.testing`."""

from diffusion_lens.testing import FAMILIES, LENSED

__all__ = ["BY_ENCODER", "FAMILIES", "LENSED"]

_LIKE_OTHERS = (
    "bria",
    "cogvideox",
    "cosmos2",
    "cosmos2.5",
    "fibo",
    "fibo2",
    "glm-image",
    "hunyuan-image",
    "hunyuan-video",
    "ideogram4",
    "kandinsky5",
    "latte",
    "longcat",
    "ltx2",
    "mochi",
    "sana-sprint",
    "stable-cascade",
)
BY_ENCODER = tuple(name for name in LENSED if name not in _LIKE_OTHERS)
"""Without families whose encoders are of the classes of others: for tests of what is done to an encoder."""
