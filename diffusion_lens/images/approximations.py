"""`Approximations`: what a denoiser may give up for speed. Nothing by default.

A lens compares images of nearby conditionings, and these savings were validated for the last layer's
only. `diffusion-lens bench lens --approximations` shows what each does to the images of every layer.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal

from diffusion_lens.errors import SamplerError
from diffusion_lens.models.pipelines import PipelineFamily

__all__ = ["Approximations", "drop_guidance"]


@dataclass(frozen=True)
class Approximations:
    """What is given up.

    Attributes:
        steps: denoising steps in place of the sampler's.
        guided: the part of the steps, from the first, that classifier-free guidance is used in, 0 to 1;
            at least one step. Guidance in an interval: Kynkäänniemi et al., NeurIPS 2024.
        first_block: threshold of diffusers' first-block cache: while the first block's output changes
            less than this, relatively, the others are not run. It looks at a batch as a whole, so that
            an image depends a little on its neighbours.
        pyramid: attention of middle steps is computed in every so many of them (diffusers' pyramid
            attention broadcast: Zhao et al., ICLR 2025).
        precision: products of matrices in this type (autocast).
    """

    steps: int | None = None
    guided: float | None = None
    first_block: float | None = None
    pyramid: int | None = None
    precision: Literal["bfloat16", "float16"] | None = None

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float, str]] = {
            "steps": (1, float("inf"), "a whole number of at least 1"),
            "guided": (0, 1, "a part of the steps, 0 to 1"),
            "first_block": (0, 1, "a threshold, 0 to 1"),
            "pyramid": (2, float("inf"), "a whole number of at least 2"),
        }
        for name, (low, high, allowed) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise SamplerError(f"approximations.{name} is {value!r}; it must be {allowed}.")
        if self.first_block is not None and self.pyramid is not None:
            raise SamplerError("approximations first_block and pyramid exclude each other; choose one.")

    def __str__(self) -> str:
        """Those that are on, as recorded in every row; empty without any."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return "+".join(f"{name}={value}" for name, value in given.items() if value is not None)


def drop_guidance(pipe: Any, family: PipelineFamily, tensors: dict[str, Any]) -> None:
    """In a callback at the end of a step: go on without guidance, as diffusers' documentation does it.

    Args:
        pipe: the pipeline that is drawing.
        family: its family.
        tensors: the family's `guided_inputs`, negative half first; they are cut in place.
    """
    pipe._guidance_scale = 0.0
    for name in family.guided_inputs:
        tensors[name] = tensors[name].chunk(2)[-1]
