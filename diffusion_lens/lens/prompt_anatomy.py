"""The anatomy of a prompt: what each encoder reads of it, and what of that the denoiser is given."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.text.interventions.tokens import TokenPlaces
from diffusion_lens.text.states import LayerStates

__all__ = ["GivenArgument", "PromptAnatomy", "ReadPrompt", "dissect"]

PadSide = Literal["left", "right", "both sides", ""]


@dataclass(frozen=True)
class ReadPrompt:
    """How one encoder reads a prompt.

    Attributes:
        encoder: the pipeline's name for it.
        tokens: how many tokens it reads.
        own: how many are the prompt's own.
        before: special tokens and words of a template before the prompt's own.
        after: those behind them.
        pads: how many are padding.
        pad_side: where the padding stands.
        masked: how many of the tokens the encoder's attention mask hides.
        cut_off: the words of the prompt that were not read, or not to their end.
    """

    encoder: str
    tokens: int
    own: int
    before: int
    after: int
    pads: int
    pad_side: PadSide
    masked: int
    cut_off: tuple[str, ...]


@dataclass(frozen=True)
class GivenArgument:
    """A text argument that the denoiser gets.

    Attributes:
        name: of the argument.
        shape: of one prompt.
        masked: of a mask, how many tokens it hides from the denoiser; else None.
        left_out: of states of the only encoder, how many of its tokens are not among them; else None.
        which: which ones these are: "template before the prompt", "padding", or "" where neither is so.
    """

    name: str
    shape: tuple[int, ...]
    masked: int | None = None
    left_out: int | None = None
    which: str = ""


@dataclass(frozen=True)
class PromptAnatomy:
    """What becomes of a prompt on its way to the denoiser.

    Attributes:
        prompt: the prompt.
        read: by each encoder.
        given: to the denoiser.
    """

    prompt: str
    read: tuple[ReadPrompt, ...]
    given: tuple[GivenArgument, ...]

    def lines(self) -> Iterator[str]:
        """The anatomy in words: a line for each encoder and argument."""
        for one in self.read:
            side = one.pad_side if one.pad_side == "both sides" else f"the {one.pad_side}"
            pads = f"{one.pads} pads on {side}" if one.pads else "no padding"
            mask = f"its attention mask hides {one.masked}" if one.masked else "no token is masked"
            cut = f"; cut off: {', '.join(one.cut_off)}" if one.cut_off else ""
            yield (
                f"{one.encoder} reads {one.tokens} tokens: {one.before} before the prompt, {one.own} of "
                f"it, {one.after} behind it, {pads}; {mask}{cut}"
            )
        for argument in self.given:
            size = " x ".join(map(str, argument.shape))
            said = [] if argument.masked is None else [f"hides {argument.masked} of them from the denoiser"]
            if argument.left_out:
                named = f" ({argument.which})" if argument.which else ""
                said.append(f"without {argument.left_out} of the tokens read{named}")
            yield f"the denoiser is given {argument.name} [{size}]{': ' if said else ''}{', '.join(said)}"


def dissect(lens: DiffusionLens, prompt: str) -> PromptAnatomy:
    """Read a prompt as the pipeline does, and look at what is left of it for the denoiser.

    Args:
        lens: the model.
        prompt: any prompt, at the guidance and length of the lens's defaults.

    Raises:
        EncoderError: the encoders were released.
        PromptError: it is no prompt.
    """
    reader = lens.reader(lens.settings().sampler.options)
    states = lens.encode(prompt, "native")
    read = tuple(_read(reader.places_of(one), one) for one in states.values())
    given = []
    for name, value in lens.conditioner.native(prompt, reader.options).items():
        one = value[0] if isinstance(value, list) else value
        shape = tuple(one.shape) if isinstance(value, list) else tuple(one.shape[1:])
        if "mask" in name:
            given.append(GivenArgument(name, shape, masked=int((~one.bool()).sum())))
        elif len(read) == 1 and len(shape) == 2 and shape[0] < read[0].tokens:
            left_out = read[0].tokens - shape[0]
            given.append(GivenArgument(name, shape, None, left_out, _which(read[0], left_out)))
        else:
            given.append(GivenArgument(name, shape))
    return PromptAnatomy(prompt, read, tuple(given))


def _read(places: TokenPlaces, states: LayerStates) -> ReadPrompt:
    own, pads = places.prompt.content, set(places.pads)
    rest = [place for place in range(len(places)) if place not in pads and place not in own]
    first = own[0] if own else len(places)
    sides = {"left" if place < first else "right" for place in pads}
    side: PadSide = "both sides" if len(sides) == 2 else "left" if "left" in sides else "right"
    return ReadPrompt(
        states.encoder,
        len(places),
        len(own),
        sum(place < first for place in rest),
        sum(place > first for place in rest),
        len(pads),
        side if pads else "",
        int((~states.mask[0].bool()).sum()),
        tuple(places.prompt.cut_words(places.written, places.expand)),
    )


def _which(read: ReadPrompt, left_out: int) -> str:
    """Which tokens are not given: those before the prompt, or the padding, by their number."""
    if left_out == read.pads:
        return "padding"
    pads_before = read.pads if read.pad_side == "left" else 0
    return "template before the prompt" if left_out <= read.before + pads_before else ""
