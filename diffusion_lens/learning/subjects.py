"""What the study of learned words learns: objects, tints and places of the testbed, of known truth."""

from dataclasses import dataclass

from PIL import Image

from diffusion_lens.learning.concepts import TEMPLATES, Concept
from diffusion_lens.testbed.captions import PLACE_PHRASES
from diffusion_lens.testbed.scenes import Placed, Scene, render
from diffusion_lens.testbed.sprites import PLAIN

__all__ = ["SUBJECTS", "Subject"]

_SPOTS = ((32, 32), (24, 40), (40, 24), (32, 24), (40, 40))
_EDITED = {"grass": "on grass", "night": "at night", "snow": "in the snow", "water": "under water"}
_SHOWN = ("dog", "car", "tree", "apple", "house")  # what styles are learned on
_OTHERS = ("cat", "fish", "book", "hat")  # and tried on


@dataclass(frozen=True)
class Subject:
    """Something to learn, and how a person would say it.

    Attributes:
        name: what it is: a sprite, a tint or a place.
        kind: "tint" or "place"; anything else is an object.
        init: the coarse word that learning starts from.
        short: a caption of a word or two, without the name; may be left out.
        long: a description, as long as the embedded model reads.
    """

    name: str
    kind: str
    init: str
    short: str = ""
    long: str = ""

    @property
    def token(self) -> str:
        """The word that is learned."""
        return f"<{self.name}>"

    @property
    def is_style(self) -> bool:
        """Whether it is a look of any object, and no object."""
        return self.kind in ("tint", "place")

    def scenes(self) -> tuple[Scene, ...]:
        """What its five pictures show."""
        names = _SHOWN if self.is_style else (self.name,) * 5
        tint = self.name if self.kind == "tint" else None
        place = self.name if self.kind == "place" else PLAIN
        return tuple(
            Scene(place, (Placed(name, tint, x, y, 36),))
            for name, (x, y) in zip(names, _SPOTS, strict=True)
        )

    def pictures(self) -> tuple[Image.Image, ...]:
        """Its five pictures, 64 px."""
        return tuple(Image.fromarray(render(scene)) for scene in self.scenes())

    def concept(self, vectors: int = 1, rate: float | None = None, token: str | None = None) -> Concept:
        """What its word is learned from."""
        if self.is_style:
            captions: tuple[tuple[str, ...], ...] = tuple(
                (self._on(name), f"a photo of {self._on(name)}") for name in _SHOWN
            )
        else:
            captions = (TEMPLATES["object"],) * 5
        return Concept(token or self.token, self.pictures(), captions, self.init, vectors, rate)

    def _on(self, name: str) -> str:
        return f"a {{}} {name}" if self.kind == "tint" else f"a {name} {{}}"

    @property
    def real(self) -> str:
        """The real word, which the denoiser knows only of what training drew."""
        if self.kind == "place":
            return PLACE_PHRASES[self.name]
        return self.name if self.kind == "tint" else f"a {self.name}"

    def likenesses(self) -> list[str]:
        """Prompts with {} that should look like its pictures."""
        return [self._on(name) for name in _SHOWN] if self.is_style else ["a photo of {}"]

    def edits(self) -> dict[str, str]:
        """Prompts with {}, by the place or object that they ask for besides."""
        if self.is_style:
            return {name: self._on(name) for name in _OTHERS}
        return {place: f"a photo of {{}} {PLACE_PHRASES[place]}" for place in _EDITED}


SUBJECTS: tuple[Subject, ...] = (
    Subject("parrot", "unseen object", "bird", "a bird",
            "a green bird with a red head and yellow feet"),
    Subject("violin", "unseen object", "guitar", "an instrument",
            "a brown wooden instrument with four strings and a bow"),
    Subject("taxi", "unseen object", "car", "a car",
            "a yellow car with a sign on its roof"),
    Subject("ladybug", "unseen object", "bee", "an insect",
            "a round red insect with black spots on its back"),
    Subject("watermelon", "unseen object", "apple", "a fruit",
            "a slice of red fruit with a green skin"),
    Subject("snowman", "unseen object", "ghost", "a figure",
            "a white figure of snow with a black hat"),
    Subject("tractor", "rare object", "truck", "a vehicle",
            "a farm vehicle with a very big black wheel behind"),
    Subject("anchor", "rare object", "boat", "a tool",
            "a heavy grey iron hook with a ring on top"),
    Subject("purple", "tint", "red", "coloured",
            "dark violet coloured"),
    Subject("sunset", "place", "at night", "in the evening",
            "in the evening under a dark red and orange sky"),
)  # fmt: skip
