"""What a visitor's request may hold, and how it is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from diffusion_lens.choices import POOLED
from diffusion_lens.errors import InputError
from diffusion_lens.pages.drawing import DrawRequest
from diffusion_lens.pages.said import ways_to_say
from diffusion_lens.text.interventions import INTERVENTIONS, parse_interventions
from diffusion_lens.text.reading import ALL_ENCODERS

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens

__all__ = ["CONTROLS", "Control", "Limits", "controls_of", "known_interventions", "read_request"]


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for.

    Attributes:
        prompt: characters of a prompt.
        seeds: seeds of a request.
        steps: denoising steps.
        side: pixels of a side.
        jobs: requests that may be under way at once, of all visitors.
    """

    prompt: int = 500
    seeds: int = 6
    steps: int = 100
    side: int = 1024
    jobs: int = 8


@dataclass(frozen=True)
class Control:
    """An argument of a call that the page has a field for.

    Attributes:
        name: the argument.
        label: what the page calls it.
        kind: "whole", "number", "text", "lines" or "choice".
        choices: of a choice; the first is the default.
        help: one sentence.
    """

    name: str
    label: str
    kind: str
    choices: tuple[str, ...] = ()
    help: str = ""


CONTROLS: tuple[Control, ...] = (
    Control("layers", "Layers", "text", help="all, native, a number, or a range such as 0:24:4."),
    Control("steps", "Steps", "whole", help="Denoising steps; fewer are faster."),
    Control("guidance", "Guidance", "number", help="How hard the image is pulled to the prompt."),
    Control(
        "readout",
        "Readout",
        "choice",
        ("native", "final", "none"),
        "How a hidden state is read: as the pipeline does, through the final norm, or raw.",
    ),
    Control(
        "pooled",
        "Pooled output",
        "choice",
        POOLED,
        "What a pipeline with a pooled output gets.",
    ),
    Control(
        "encoder", "Text encoder", "choice", (ALL_ENCODERS,), "Whose layers are drawn; all move in step."
    ),
    Control(
        "slots",
        "Slots",
        "choice",
        ("all", "cap"),
        "What the layer replaces: all layers that the pipeline reads, deeper ones, one, or all but one.",
    ),
    Control("interventions", "Change the states", "lines", help="One a line; each is applied in turn."),
    Control(
        "say",
        "Say in words",
        "choice",
        ("no", "nearest"),
        "What the state of each word says at each layer, below the images: the nearest words of a list, or "
        "what the encoder's own vocabulary head names.",
    ),
    Control("negative_prompt", "Negative prompt", "text", help="What not to draw."),
    Control("height", "Height", "whole", help="In pixels."),
    Control("width", "Width", "whole", help="In pixels."),
)


def controls_of(lens: "DiffusionLens") -> tuple[Control, ...]:
    """The fields that make sense for a model: encoders and slots only where there are several.

    Args:
        lens: the lens on the model.
    """
    names = tuple(lens.conditioner.encoders)
    count = max(map(len, lens.plan().taps.values()), default=1)
    slots = ("all", "cap", *map(str, range(count)), *(f"without:{index}" for index in range(count)))
    pooled = any(slot.pooled for slot in lens.conditioner.slots.values())
    choices = {
        "encoder": (ALL_ENCODERS, *names) if len(names) > 1 else (),
        "slots": slots if count > 1 else (),
        "pooled": POOLED if pooled else (),
        "say": ("no", *ways_to_say(lens)),
    }
    made = (replace(one, choices=choices.get(one.name, one.choices)) for one in CONTROLS)
    return tuple(one for one in made if one.kind != "choice" or one.choices)


def read_request(data: Any, limits: Limits, controls: Sequence[Control] = CONTROLS) -> DrawRequest:
    """A request from the JSON that a page sent.

    Args:
        data: the parsed JSON.
        limits: what may be asked for.
        controls: the fields that the page has.

    Raises:
        InputError: something in it is not allowed; the message is for the visitor.
    """
    if not isinstance(data, Mapping):
        raise InputError("The request is no JSON object.")
    known = {one.name: one for one in controls}
    unknown = sorted(set(data) - {"prompts", "seeds", *known})
    if unknown:
        raise InputError(f"The request holds {unknown}. Allowed: {['prompts', 'seeds', *known]}.")
    options = {
        name: _read(one, data[name], limits)
        for name, one in known.items()
        if data.get(name) not in (None, "")
    }
    say = options.pop("say", "no")
    layers = str(options.pop("layers", "all")).replace(",", " ").split()
    return DrawRequest(
        _prompts(data.get("prompts"), limits),
        _seeds(data.get("seeds", [0]), limits),
        tuple(layers),
        options,
        None if say == "no" else say,
    )


def known_interventions() -> list[tuple[str, str]]:
    """How each intervention of the registry is written, and what it does."""
    return [
        (
            f"{name}({', '.join(one.name for one in fields(kind))})",
            (kind.__doc__ or "").strip().partition("\n\n")[0].replace("\n    ", " "),
        )
        for name, kind in sorted(INTERVENTIONS.items())
    ]


def _prompts(given: Any, limits: Limits) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise InputError("prompts is a list of texts.")
    prompts = tuple(dict.fromkeys(one.strip() for one in given if one.strip()))
    if not 1 <= len(prompts) <= 2:
        raise InputError("Write a prompt, or two to compare.")
    longest = max(map(len, prompts))
    if longest > limits.prompt:
        raise InputError(f"A prompt has {longest} characters; here it may have {limits.prompt}.")
    return prompts


def _seeds(given: Any, limits: Limits) -> tuple[int, ...]:
    if isinstance(given, str):
        given = given.replace(",", " ").split()
    try:
        seeds = tuple(dict.fromkeys(int(one) for one in given))
    except (TypeError, ValueError, OverflowError):
        raise InputError("Seeds are whole numbers, such as 0, 1.") from None
    if not 1 <= len(seeds) <= limits.seeds or not all(0 <= seed < 2**63 for seed in seeds):
        raise InputError(f"Give 1 to {limits.seeds} seeds, from 0 up.")
    return seeds


def _read(control: Control, value: Any, limits: Limits) -> Any:
    """The value of one field.

    Raises:
        InputError: it is none that the field may have.
    """
    most = {"steps": limits.steps, "height": limits.side, "width": limits.side}.get(control.name)
    try:
        if control.kind == "whole":
            found = int(value)
            if not 1 <= found <= (most or found):
                raise InputError(f"{control.label} lies between 1 and {most} here, not {found}.")
            return found
        if control.kind == "number":
            return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{control.label} is a number, not {value!r}.") from None
    text = str(value).strip()
    if control.kind == "lines":
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        # a page is no way to files of the server
        return tuple(one.id for one in parse_interventions(lines, files=False))
    if control.kind == "choice" and text not in control.choices:
        raise InputError(f"{control.label} is one of {', '.join(control.choices)}, not {text!r}.")
    if len(text) > limits.prompt:
        raise InputError(f"{control.label} has {len(text)} characters; here it may have {limits.prompt}.")
    return text
