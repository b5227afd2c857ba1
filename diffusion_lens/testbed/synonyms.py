"""Words that no training caption holds, with the trained words that they stand for."""

import re
from dataclasses import dataclass

from diffusion_lens.errors import InputError
from diffusion_lens.testbed.captions import plural, with_article

__all__ = ["SYNONYMS", "Synonym", "say_differently"]


@dataclass(frozen=True, slots=True)
class Synonym:
    """A phrase that no training caption holds, the trained phrase it stands for, and its kind."""

    phrase: str
    target: str
    kind: str  # "object", "colour", "size", "relation", "count" or "place"


_HELD_BACK = {
    "object": """puppy=dog, hound=dog, canine=dog, kitten=cat, feline=cat, automobile=car,
        sedan=car, pony=horse, stallion=horse, mare=horse, bunny=rabbit, hare=rabbit, piglet=pig,
        hog=pig, lamb=sheep, ewe=sheep, bull=cow, calf=cow, hen=chicken, rooster=chicken,
        duckling=duck, mallard=duck, serpent=snake, viper=snake, cobra=snake, tortoise=turtle,
        toad=frog, grizzly=bear, ape=monkey, chimpanzee=monkey, salmon=fish, trout=fish, vixen=fox,
        bumblebee=bee, orca=whale, moth=butterfly, lorry=truck, pickup=truck, bike=bicycle,
        plane=airplane, aircraft=airplane, locomotive=train, yacht=sailboat, chopper=helicopter,
        spaceship=rocket, cottage=house, mansion=house, fortress=castle, palace=castle,
        present=gift, novel=book, textbook=book, parasol=umbrella, tiara=crown, android=robot,
        phantom=ghost, spirit=ghost, cheeseburger=burger, doughnut=donut, toadstool=mushroom,
        stool=chair, oak=tree, shoe=boot, cupcake=cake""",
    "colour": """scarlet=red, crimson=red, ruby=red, azure=blue, cobalt=blue, sapphire=blue,
        emerald=green, jade=green, violet=purple, lavender=purple, magenta=pink, fuchsia=pink,
        golden=yellow, amber=orange, tangerine=orange, ebony=black""",
    "size": "tiny=small, little=small, large=big, huge=big, enormous=big",
    "relation": "beneath=below, underneath=below, over=above, atop=above",
    "count": "a pair of=two, a couple of=two, a trio of=three, a quartet of=four",
    "place": """on the lawn=on grass, in a meadow=on grass, at midnight=at night, in the ocean=under
        water, in the sea=under water, in the dunes=in the desert, in the blizzard=in the snow,
        at dusk=at sunset, in the woods=in the forest""",
}
SYNONYMS: tuple[Synonym, ...] = tuple(
    Synonym(phrase, target, kind)
    for kind, text in _HELD_BACK.items()
    for phrase, target in (pair.split("=") for pair in " ".join(text.split()).split(", "))
)


def say_differently(text: str, synonym: Synonym) -> str:
    """Put a synonym's phrase in place of the trained phrase, with the right article."""
    ways = [(synonym.target, synonym.phrase)]
    if synonym.kind == "object":
        ways.append((plural(synonym.target), plural(synonym.phrase)))
    for target, phrase in ways:
        match = re.search(rf"\b(?:(an?) )?{re.escape(target)}\b", text)
        if match:
            new = with_article(phrase) if match[1] else phrase
            return text[: match.start()] + new + text[match.end() :]
    raise InputError(f"{text!r} does not hold {synonym.target!r}")
