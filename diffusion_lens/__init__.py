"""See what a text-to-image model's text encoder knows at each of its layers, by letting it draw.

from diffusion_lens import DiffusionLens

lens = DiffusionLens.from_pretrained("emoji")
lens("a red fox to the left of a pizza", layers="all", seeds=[0, 1]).grid()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diffusion_lens.version import __version__

if TYPE_CHECKING:
    from diffusion_lens.images.sampler import Sampler as Sampler
    from diffusion_lens.lens.doctor import examine as examine
    from diffusion_lens.lens.lens import DiffusionLens as DiffusionLens
    from diffusion_lens.lens.result import Result as Result
    from diffusion_lens.models.encoders import EncoderFamily as EncoderFamily
    from diffusion_lens.models.pipelines import PipelineFamily as PipelineFamily
    from diffusion_lens.models.pipelines import Slot as Slot
    from diffusion_lens.models.pipelines import Tap as Tap
    from diffusion_lens.runs.experiment import Experiment as Experiment
    from diffusion_lens.sweep.open import run_sweep as run_sweep
    from diffusion_lens.text.states import LayerStates as LayerStates

# Names are imported when first used: torch takes seconds, and `diffusion-lens --help` needs none of it.
_HOME = {
    "DiffusionLens": "lens.lens",
    "EncoderFamily": "models.encoders",
    "Experiment": "runs.experiment",
    "LayerStates": "text.states",
    "PipelineFamily": "models.pipelines",
    "Result": "lens.result",
    "Sampler": "images.sampler",
    "Slot": "models.pipelines",
    "Tap": "models.pipelines",
    "examine": "lens.doctor",
    "run_sweep": "sweep.open",
}

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"diffusion_lens.{_HOME[name]}"), name)
    raise AttributeError(f"module 'diffusion_lens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
