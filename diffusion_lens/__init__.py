"""See what a text-to-image model's text encoder knows at each of its layers, by letting it draw.

from diffusion_lens import DiffusionLens

lens = DiffusionLens.from_pretrained("emoji")
lens("a red fox to the left of a pizza", layers="all", seeds=[0, 1]).grid()
"""

import lazy_loader

from diffusion_lens.version import __version__

# Names are imported when first used: torch takes seconds, and `diffusion-lens --help` needs none of it.
__getattr__, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["__version__", *_names]


def __dir__() -> list[str]:
    return list(__all__)
