"""Drawing for the explorer: one request becomes calls of the lens, each small enough to wait for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.text.reading import Reading
    from diffusion_lens.text.vocabulary import SaidBy

__all__ = ["Column", "DrawRequest", "Drawn", "columns_of", "draw"]

_IMAGES = ("image", "upscaled", "missing")
_READING = ("encoder", "readout", "pooled", "slots", "interventions")


@dataclass(frozen=True)
class DrawRequest:
    """What a visitor asks for.

    Attributes:
        prompts: one prompt, or two to compare on the same seeds.
        seeds: the seeds.
        layers: layer requests, as for a call of the lens.
        options: further arguments of that call.
        say: "nearest" or "head" to say the states in words too; see `diffusion_lens.text.vocabulary`.
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    layers: tuple[str, ...] = ("all",)
    options: Mapping[str, Any] = field(default_factory=dict)
    say: "SaidBy | None" = None


@dataclass(frozen=True)
class Column:
    """A layer that will be drawn: its label, and how it is read."""

    label: str
    reading: "Reading"


@dataclass(frozen=True)
class Drawn:
    """One image.

    Attributes:
        cell: its id.
        prompt: which of the request's prompts.
        column: which of its columns.
        row: all columns of the table but the images.
        image: the image; None where it is missing.
        missing: why it is.
    """

    cell: str
    prompt: int
    column: int
    row: Mapping[str, Any]
    image: Image.Image | None
    missing: str | None


def columns_of(lens: "DiffusionLens", request: DrawRequest) -> list[Column]:
    """The layers of a request, in the order in which they are drawn.

    Raises:
        LayerError, EncoderError, InputError: there are no such layers, or no such interventions.
    """
    from diffusion_lens.text.interventions import parse_interventions
    from diffusion_lens.text.reading import ALL_ENCODERS, Reading
    from diffusion_lens.text.readouts import parse_readout

    slots = request.options.get("slots", "all")
    how = Reading(
        encoder=request.options.get("encoder", ALL_ENCODERS),
        readout=parse_readout(request.options.get("readout", "native")),
        pooled=request.options.get("pooled", "hold"),
        slots=int(slots) if slots.isdecimal() else slots,
        interventions=parse_interventions(request.options.get("interventions", ()), files=False),
    )
    return [
        Column(f"{one.layer}, native" if one.native else one.reading.site.id, one.reading)
        for one in lens.readings(list(request.layers), how)
    ]


def draw(lens: "DiffusionLens", request: DrawRequest) -> Iterator[list[Drawn]]:
    """The images of a request, layer by layer; each step is one call of the model.

    Prompts are encoded once. The first step draws one image only, so that there is something to see at
    once; later ones draw a layer of all prompts and seeds, so that other visitors have a turn between them.
    """
    from diffusion_lens.models.memory import is_small

    columns, small = columns_of(lens, request), is_small(lens.pipeline)
    sampling = {name: value for name, value in request.options.items() if name not in _READING}
    alone = [
        (request.prompts[:1], request.seeds[:1], 0),
        (request.prompts[:1], request.seeds[1:], 0),
        (request.prompts[1:], request.seeds, 0),
    ]
    states = lens.encode(request.prompts, [one.reading for one in columns])
    together = [(request.prompts, request.seeds, place) for place in range(1, len(columns))]
    for prompts, seeds, place in alone + together:
        if not (prompts and seeds):
            continue
        reading = columns[place].reading
        with _one_thread() if len(prompts) * len(seeds) == 1 and small else nullcontext():
            result = lens(prompts, [reading], seeds, states=states, progress=False, **sampling)
        yield [
            _drawn({str(name): value for name, value in row.items()}, request, place)
            for row in result.table.to_dict("records")
        ]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one core: threads that share one small image wait for each other longer than they work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _drawn(row: Mapping[str, Any], request: DrawRequest, column: int) -> Drawn:
    record = {name: _plain(value) for name, value in row.items() if name not in _IMAGES}
    image = row.get("upscaled") or row.get("image")
    missing = None if image is not None else str(row.get("missing"))
    return Drawn(
        str(record["cell"]), request.prompts.index(record["prompt"]), column, record, image, missing
    )


def _plain(value: Any) -> Any:
    """A value of a table as JSON knows it."""
    value = value.item() if hasattr(value, "item") else value
    return None if value != value else value
