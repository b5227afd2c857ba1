"""Captions of images without training for it: the captions whose conditioning is nearest to R(x).

Nearness is the reconstruction loss itself, ||R(x) - c||^2. R answers in one phrasing of the testbed's
grammar, so captions in that phrasing (`testbed.captions.plain`) are compared fairly with each other; a
caption in other words is judged by what it states where the grammar reads it, and as it is where not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diffusion_lens.errors import PromptError
from diffusion_lens.learning.latent_inversion import LatentInversion, States, relative_error
from diffusion_lens.testbed.captions import (
    COUNT_WORDS,
    PLACE_PHRASES,
    SIZE_WORDS,
    Description,
    Item,
    parse,
    plain,
)
from diffusion_lens.testbed.scenes import OBJECTS
from diffusion_lens.testbed.sprites import COLOURS

__all__ = ["Caption", "nearest_captions", "rephrase", "write_captions"]


@dataclass(frozen=True)
class Caption:
    """A caption of an image.

    Attributes:
        text: the caption.
        error: ||R(x) - c||^2 over that of the mean conditioning: 0 fits exactly, 1 knows nothing.
    """

    text: str
    error: float


def rephrase(text: str) -> str:
    """A caption in the one phrasing that R knows, where the testbed's grammar reads it."""
    stated = parse(text)
    return text if stated is None else plain(stated)


def nearest_captions(
    inversion: LatentInversion, images: Sequence[Image.Image], candidates: Sequence[str], top: int = 3
) -> list[list[Caption]]:
    """The candidates that fit each image best, the best first.

    Args:
        inversion: a model with its R.
        images: what to caption.
        candidates: captions to choose from.
        top: how many to give of each.

    Raises:
        PromptError: no candidates.
    """
    if not candidates:
        raise PromptError("No caption to choose from was given; give some, or let them be written.")
    states = inversion.encode([rephrase(text) for text in candidates])
    best = []
    for found in inversion.invert(images):
        order = _distances(found, states).argsort()[:top].tolist()
        errors = relative_error(found[None], states[order], inversion.mean).tolist()
        best.append([Caption(candidates[i], error) for i, error in zip(order, errors, strict=True)])
    return best


def write_captions(
    inversion: LatentInversion, images: Sequence[Image.Image], beam: int = 3
) -> list[Caption]:
    """Captions of images of scenes, written rather than chosen.

    Descriptions grow: objects first, alone, in all counts, and in pairs of those that fit best alone;
    then places, colours, objects again and sizes, each time keeping the few that fit best.

    Args:
        inversion: a model with its R.
        images: what to caption.
        beam: descriptions kept from one step to the next.
    """
    captions = []
    for found in inversion.invert(images):
        rank = partial(_rank, inversion, found)
        alone = rank(Description((Item(name),)) for name in OBJECTS)[: 2 * beam]
        likely = [stated.items[0].name for stated in alone]
        several = [replace(stated, count=count) for stated in alone for count in COUNT_WORDS]
        kept = rank([*alone, *several, *_pairs(likely)])[:beam]
        for change in (_places, _colours, _colours, partial(_names, likely), _colours, _sizes):
            kept = rank(other for stated in kept for other in change(stated))[:beam]
        text = plain(kept[0])
        error = relative_error(found[None], inversion.recall([text]), inversion.mean)
        captions.append(Caption(text, float(error)))
    return captions


def _distances(found: Float[Tensor, "token width"], states: States) -> Float[Tensor, " state"]:
    """The reconstruction loss against many, bare: a relative one would favour captions unlike others."""
    return (found - states).square().mean((1, 2))


def _rank(
    inversion: LatentInversion, found: Float[Tensor, "token width"], descriptions: Iterable[Description]
) -> list[Description]:
    """Different descriptions, the nearest first."""
    unique = list(dict.fromkeys(descriptions))
    states = inversion.recall([plain(stated) for stated in unique])
    return [unique[i] for i in _distances(found, states).argsort().tolist()]


def _pairs(names: Sequence[str]) -> list[Description]:
    """Two of these objects in all orders and relations."""
    return [
        Description((Item(a), Item(b)), where=where)
        for a, b in permutations(names, 2)
        for where in ("left", "above")
    ]


def _places(stated: Description) -> list[Description]:
    return [replace(stated, place=place) for place in (None, *PLACE_PHRASES)]


def _items(stated: Description, changes: Iterable[dict[str, str | None]]) -> list[Description]:
    """All changes of one of the objects."""
    return [
        replace(stated, items=(*stated.items[:i], replace(item, **change), *stated.items[i + 1 :]))  # type: ignore[arg-type]
        for change in changes
        for i, item in enumerate(stated.items)
    ]


def _colours(stated: Description) -> list[Description]:
    return _items(stated, ({"colour": colour} for colour in (None, *COLOURS)))


def _names(names: Sequence[str], stated: Description) -> list[Description]:
    others = _items(stated, ({"name": name} for name in names))
    return [stated, *(one for one in others if len({item.name for item in one.items}) == len(one.items))]


def _sizes(stated: Description) -> list[Description]:
    single = len(stated.items) == stated.count == 1
    return _items(stated, ({"size": size} for size in (None, *SIZE_WORDS))) if single else [stated]
