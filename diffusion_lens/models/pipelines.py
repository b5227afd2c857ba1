"""The pipeline families that are known, and the one that a class of pipelines belongs to."""

from collections.abc import Mapping
from functools import cache

from diffusion_lens.errors import UnsupportedPipelineError
from diffusion_lens.models.families import (
    cosmos,
    fibo,
    glm_image,
    hunyuan,
    ideogram,
    llm,
    newer,
    stable_cascade,
    stable_diffusion,
    t5,
    video,
)
from diffusion_lens.models.families.siblings import SIBLINGS
from diffusion_lens.models.families.unsupported import UNSUPPORTED
from diffusion_lens.models.family import PipelineFamily, Slot, Tap
from diffusion_lens.models.registry import load_entry_points, resolve

__all__ = [
    "PIPELINES",
    "PipelineFamily",
    "Slot",
    "Tap",
    "find_family",
    "known_families",
    "resolve_family",
]

PIPELINES: Mapping[str, PipelineFamily] = {
    **stable_diffusion.FAMILIES,
    **t5.FAMILIES,
    **llm.FAMILIES,
    **newer.FAMILIES,
    **fibo.FAMILIES,
    **cosmos.FAMILIES,
    **ideogram.FAMILIES,
    **glm_image.FAMILIES,
    **stable_cascade.FAMILIES,
    **hunyuan.FAMILIES,
    **video.FAMILIES,
}
"""The families of this package, by the name of their class in diffusers."""


@cache
def known_families() -> Mapping[str, PipelineFamily]:
    """All families by class name: those of this package, and those that other packages register.

    A package adds its own with an entry point in its `pyproject.toml`:
    `[project.entry-points."diffusion_lens.families"]`, `MyPipeline = "mypackage.lens:FAMILY"`.

    Raises:
        InputError: an installed package registers something that is no family.
    """
    return {**PIPELINES, **load_entry_points("diffusion_lens.families", PipelineFamily)}


def resolve_family(name: str) -> PipelineFamily:
    """A family by the class that it describes, or by where a user's own is: "mypackage.lens:FAMILY".

    Raises:
        InputError: there is none.
    """
    return resolve(name, known_families(), PipelineFamily)


def find_family(kind: type) -> PipelineFamily:
    """The family of a pipeline class, by its name or that of the nearest base class that is known.

    A class that has the `encode_prompt` of another takes the family of that one.

    Raises:
        UnsupportedPipelineError: no family fits.
    """
    known = known_families()
    names = [base.__name__ for base in kind.__mro__]
    for name in names:
        if name in known:
            return known[name]
        if name in SIBLINGS:
            return known[SIBLINGS[name]]
    reason = next((UNSUPPORTED[name] for name in names if name in UNSUPPORTED), None)
    if reason is not None:
        raise UnsupportedPipelineError(
            f"{kind.__name__} can't be looked into: it {reason}. Supported: {', '.join(known)}, and the "
            "classes for editing, inpainting and control that read their text as these do."
        )
    if not hasattr(kind, "encode_prompt"):
        raise UnsupportedPipelineError(
            f"{kind.__name__} takes no text: it has no `encode_prompt` and no text encoder to look into. "
            f"Known pipelines: {', '.join(known)}."
        )
    raise UnsupportedPipelineError(
        f"{kind.__name__} is of no known family. Known: {', '.join(known)}. Describe it with "
        "DiffusionLens(pipe, family=PipelineFamily('My model', "
        "slots=(Slot('text_encoder', Tap(-1, normed=True)),), "
        "returns=('prompt_embeds', 'negative_prompt_embeds'))), where `slots` says which hidden state "
        "the pipeline reads and `returns` names what its encode_prompt returns; then "
        "diffusion_lens.examine(lens) tells whether the description is right."
    )
