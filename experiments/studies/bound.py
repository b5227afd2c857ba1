"""Prompts of two coloured objects in one form, so that each word stands at the same place of all of them.

"a red fox above a blue car" is read by `emoji` as [CLS], seven tokens of a word each, and [SEP].
"""

from dataclasses import dataclass, replace

import numpy as np

from diffusion_lens.testbed.captions import with_article
from diffusion_lens.testbed.scenes import OBJECTS, OPPOSITE, colour_held_out, relation_held_out
from diffusion_lens.testbed.sprites import COLOURS

__all__ = ["WORDS", "Bound", "bound_prompts"]

# what stands where: the place of each token, as interventions name it
WORDS = {
    "#1": "first article",
    "#2": "first colour",
    "#3": "first object",
    "#4": "relation",
    "#5": "second article",
    "#6": "second colour",
    "#7": "second object",
    "special": "start and end",
    "pads": "padding",
}
_PIECES = ("sailboat",)  # which is read as two tokens


@dataclass(frozen=True)
class Bound:
    """Two objects with a colour each, and how the first stands to the second.

    Attributes:
        names: the objects.
        colours: theirs.
        where: "above" or "below".
    """

    names: tuple[str, str]
    colours: tuple[str, str]
    where: str

    @property
    def prompt(self) -> str:
        """The prompt."""
        first, second = (
            with_article(f"{colour} {name}") for colour, name in zip(self.colours, self.names, strict=True)
        )
        return f"{first} {self.where} {second}"

    def with_colours_swapped(self) -> "Bound":
        """The same words, but each object has the other's colour."""
        return replace(self, colours=(self.colours[1], self.colours[0]))

    def turned_round(self) -> "Bound":
        """The other order: what was above is below."""
        return replace(self, where=OPPOSITE[self.where])


def bound_prompts(count: int, seed: int = 14) -> list[Bound]:
    """Different prompts of common objects, of combinations that training showed, in either order.

    Args:
        count: how many.
        seed: of the choice.
    """
    found: dict[str, Bound] = {}
    rng = np.random.default_rng(seed)
    names = [name for name in OBJECTS[:40] if name not in _PIECES]
    while len(found) < count:
        a, b = (str(name) for name in rng.choice(names, 2, replace=False))
        c, d = (str(colour) for colour in rng.choice(list(COLOURS), 2, replace=False))
        where = str(rng.choice(["above", "below"]))
        known = not colour_held_out(a, c) and not colour_held_out(b, d)
        if known and not any(relation_held_out(a, one, b) for one in (where, OPPOSITE[where])):
            one = Bound((a, b), (c, d), where)
            found.setdefault(one.prompt, one)
    return list(found.values())
