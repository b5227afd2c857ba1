"""What the studies of embeddings learn: objects, tints and places of the testbed, whose truth is known."""

from dataclasses import dataclass

from PIL import Image

from diffusion_lens.learning.concepts import TEMPLATES, Concept
from diffusion_lens.testbed.captions import PLACE_PHRASES
from diffusion_lens.testbed.scenes import Placed, Scene, render
from diffusion_lens.testbed.sprites import PLAIN

__all__ = ["SUBJECTS", "Subject"]

# centres in pixels: of the training images, and of the images that results are compared with
_TRAINED = ((32, 32), (24, 40), (40, 24), (32, 24), (40, 40))
_SCORED = ((24, 24), (32, 40), (40, 32), (24, 32), (28, 28))
_EDITED = {"grass": "on grass", "night": "at night", "snow": "in the snow", "water": "under water"}
_TRAINED_ON = ("dog", "car", "tree", "apple", "house")  # the objects that show a tint or place in training
_ASKED_ON = ("cat", "fish", "book", "hat")  # the objects that it is then asked for on


@dataclass(frozen=True)
class Subject:
    """Something to learn, and how a person would say it.

    Attributes:
        name: a sprite, a tint or a place.
        kind: "tint" or "place"; anything else is an object.
        init: the coarse word that learning starts from; a baseline as it stands.
        short: a caption of a word or two without the name; "" for none.
        long: a description, as long as the embedded model reads.
    """

    name: str
    kind: str
    init: str
    short: str = ""
    long: str = ""

    @property
    def token(self) -> str:
        """The placeholder token."""
        return f"<{self.name}>"

    @property
    def is_style(self) -> bool:
        """Whether it is how any object looks, and no object itself."""
        return self.kind in ("tint", "place")

    def scenes(self, scored: bool = False) -> tuple[Scene, ...]:
        """The scenes of five images: those of training, or others that results are compared with."""
        names = (self.name,) * 5
        if self.is_style:
            names = (*_ASKED_ON, "star") if scored else _TRAINED_ON
        tint = self.name if self.kind == "tint" else None
        place = self.name if self.kind == "place" else PLAIN
        centres = _SCORED if scored else _TRAINED
        return tuple(
            Scene(place, (Placed(name, tint, x, y, 36),))
            for name, (x, y) in zip(names, centres, strict=True)
        )

    def images(self) -> tuple[Image.Image, ...]:
        """Its five training images, 64 pixels a side."""
        return tuple(Image.fromarray(render(scene)) for scene in self.scenes())

    def scored_images(self) -> tuple[Image.Image, ...]:
        """Five new images of it, which no training and no validation sees."""
        return tuple(Image.fromarray(render(scene)) for scene in self.scenes(scored=True))

    def concept(self, vectors: int = 1, lr: float | None = None, token: str | None = None) -> Concept:
        """What its embedding is learned from."""
        captions: tuple[tuple[str, ...], ...] = (TEMPLATES["object"],) * 5
        if self.is_style:
            captions = tuple((self._on(name), f"a photo of {self._on(name)}") for name in _TRAINED_ON)
        return Concept(token or self.token, self.images(), captions, self.init, vectors, lr)

    def _on(self, name: str) -> str:
        return f"a {{}} {name}" if self.kind == "tint" else f"a {name} {{}}"

    @property
    def real(self) -> str:
        """The real word, which the denoiser knows only of what training drew."""
        if self.kind == "place":
            return PLACE_PHRASES[self.name]
        return self.name if self.kind == "tint" else f"a {self.name}"

    @property
    def start(self) -> str:
        """The words that learning starts from, as a prompt would have them."""
        return self.init if self.is_style else f"a {self.init}"

    def prompts(self) -> list[str]:
        """Prompts with {} whose images should look like the subject."""
        return [self._on(name) for name in _ASKED_ON] if self.is_style else ["a photo of {}"]

    def edits(self) -> dict[str, str]:
        """Prompts with {}, by the place or object that they ask for besides."""
        if self.is_style:
            return {name: self._on(name) for name in _ASKED_ON}
        return {place: f"a photo of {{}} {PLACE_PHRASES[place]}" for place in _EDITED}


SUBJECTS: tuple[Subject, ...] = (
    Subject("parrot", "unseen object", "bird", "a bird", "a green bird with a red head and yellow feet"),
    Subject(
        "violin",
        "unseen object",
        "guitar",
        "an instrument",
        "a brown wooden instrument with four strings and a bow",
    ),
    Subject("taxi", "unseen object", "car", "a car", "a yellow car with a sign on its roof"),
    Subject(
        "ladybug", "unseen object", "bee", "an insect", "a round red insect with black spots on its back"
    ),
    Subject("watermelon", "unseen object", "apple", "a fruit", "a slice of red fruit with a green skin"),
    Subject("snowman", "unseen object", "ghost", "a figure", "a white figure of snow with a black hat"),
    Subject(
        "tractor", "rare object", "truck", "a vehicle", "a farm vehicle with a very big black wheel behind"
    ),
    Subject("anchor", "rare object", "boat", "a tool", "a heavy grey iron hook with a ring on top"),
    Subject("purple", "tint", "red", "coloured", "dark violet coloured"),
    Subject(
        "sunset", "place", "at night", "in the evening", "in the evening under a dark red and orange sky"
    ),
)
