"""A model that needs a package which is not installed, said in a line."""

import os

from diffusion_lens.errors import UnsupportedPipelineError

__all__ = ["missing_package"]


def missing_package(model: str | os.PathLike[str], error: Exception) -> UnsupportedPipelineError:
    """What it means that a module was not found in loading: that of a tokenizer, or of a safety checker."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].partition(". ")[0].rstrip(".")
    if isinstance(error, ImportError):
        otherwise = (
            "; or, in Python, give the part that needs it, such as a safety_checker: "
            "DiffusionLens.from_pretrained(..., safety_checker=...)"
        )
    else:  # diffusers asks for the package whatever is given
        otherwise = "; in Python, import it before"
    return UnsupportedPipelineError(
        f"{model} needs a package that is not here ({line}). Install it beside diffusion-lens and load the "
        f"model again{otherwise}."
    )
