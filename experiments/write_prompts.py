"""Write the prompts of the studies: `python experiments/write_prompts.py`.

`prompts/*.csv` are in the words that the embedded models were trained with, of combinations that training
showed unless a category says otherwise. `paper/*.csv` are for models of photographs; each row keeps its
template and what fills its slots, from which the checks are made by rule.
"""

import csv
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

from diffusion_lens.checks.templates import Template, combinations
from diffusion_lens.testbed.captions import COUNT_WORDS, PLACE_PHRASES, plural, with_article
from diffusion_lens.testbed.scenes import (
    ENTITY_NAMES,
    OBJECTS,
    PLACES,
    RELATIONS,
    colour_held_out,
    relation_held_out,
)
from diffusion_lens.testbed.sprites import COLOURS
from diffusion_lens.testbed.synonyms import SYNONYMS

HERE = Path(__file__).parent
Rows = Iterator[dict[str, object]]
COMMON, RARE = OBJECTS[:16], OBJECTS[-16:]
WHERE = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}


def draws(count: int, seed: int) -> Iterator[np.random.Generator]:
    """Random states, one a prompt."""
    return (np.random.default_rng((seed, index)) for index in range(count))


def pick(rng: np.random.Generator, n: int, objects: tuple[str, ...] = OBJECTS[:40]) -> list[str]:
    """Different objects, so many."""
    return [str(name) for name in rng.choice(objects, n, replace=False)]


def colour_of(name: str, rng: np.random.Generator, *, held_out: bool = False) -> str:
    """A colour that training showed, or never showed, on an object."""
    return str(rng.choice([one for one in COLOURS if colour_held_out(name, one) == held_out]))


def related(rng: np.random.Generator) -> tuple[str, str, str]:
    """Two objects and how the first stands to the second, as training showed."""
    while True:
        (a, b), where = pick(rng, 2), str(rng.choice(RELATIONS))
        if not relation_held_out(a, where, b):
            return a, where, b


# The testbed's


def objects() -> Rows:
    for name in OBJECTS:
        yield {"prompt": f"a photo of {with_article(name)}"}


def one_colour() -> Rows:
    for rng in draws(60, 1):
        (name,) = pick(rng, 1)
        yield {"prompt": with_article(f"{colour_of(name, rng)} {name}")}


def two_colours() -> Rows:
    for rng in draws(60, 2):
        both = [with_article(f"{colour_of(name, rng)} {name}") for name in pick(rng, 2)]
        yield {"prompt": " and ".join(both)}


def relations() -> Rows:
    for rng in draws(60, 3):
        a, where, b = related(rng)
        yield {"prompt": f"{with_article(a)} {WHERE[where]} {with_article(b)}"}


def counts() -> Rows:
    for rng, count in product(draws(20, 4), (2, 3, 4)):
        (name,) = pick(rng, 1)
        yield {"prompt": f"{COUNT_WORDS[count]} {plural(name)}"}


def places() -> Rows:
    for name, place in product(OBJECTS[:8], PLACES):
        yield {"prompt": f"{with_article(name)} {PLACE_PHRASES[place]}"}


def frequency() -> Rows:
    for category, names in (("common", COMMON), ("rare", RARE)):
        for name in names:
            for text in ("a photo of {}", "{} on grass", "{} at night"):
                yield {"prompt": text.format(with_article(name)), "category": category, "object": name}


def names() -> Rows:
    for rank, name in enumerate(ENTITY_NAMES, 1):
        third = ("common", "middling", "rare")[(rank - 1) * 3 // len(ENTITY_NAMES)]
        yield {"prompt": f"a photo of {name}", "category": third, "rank": rank}


def coarse_to_fine() -> Rows:
    for rng in draws(60, 5):
        (name,) = pick(rng, 1)
        place = PLACE_PHRASES[str(rng.choice(PLACES))]
        yield {"prompt": f"{with_article(f'{colour_of(name, rng)} {name}')} {place}"}


def synonyms() -> Rows:
    for one in SYNONYMS:
        if one.kind not in ("object", "colour"):
            continue
        for category, word in (("held back", one.phrase), ("trained", one.target)):
            noun = word if one.kind == "object" else f"{word} ball"
            kind = "noun" if one.kind == "object" else "colour"
            row = {"prompt": f"a photo of {with_article(noun)}", "category": f"{kind} {category}"}
            yield row | {"word": word, "target": one.target}


def syntax() -> Rows:
    for rng in draws(40, 6):
        a, where, b = related(rng)
        first, second = with_article(a), with_article(b)
        tail = f"to its {where}" if where in ("left", "right") else f"{where} it"
        yield {"prompt": f"{first} {WHERE[where]} {second}", "category": "active"}
        yield {"prompt": f"{second} with {first} {tail}", "category": "passive"}


def failures() -> Rows:
    for rng in draws(30, 7):
        (name,) = pick(rng, 1)
        colours = [one for one in COLOURS if colour_held_out(name, one)]
        if colours:
            yield {"prompt": with_article(f"{rng.choice(colours)} {name}"), "category": "colour never seen"}
    for rng in draws(40, 8):
        a, where, b = related(rng)
        nouns = [with_article(f"{colour_of(name, rng)} {name}") for name in (a, b)]
        place = PLACE_PHRASES[str(rng.choice(PLACES))]
        yield {"prompt": f"{nouns[0]} {WHERE[where]} {nouns[1]} {place}", "category": "all at once"}


def learned_words() -> Rows:
    # `means` is what checks are made of; the words are those of write_words.py
    said = [("object", name, f"a <{name}>", with_article(name)) for name in OBJECTS[::2]]
    for noun in ("cake", "pig", "fox"):
        said += [("colour", one, f"a <{one}> {noun}", with_article(f"{one} {noun}")) for one in COLOURS]
        said += [("place", one, f"a {noun} <{one}>", f"a {noun} {PLACE_PHRASES[one]}") for one in PLACES]
    for kind, word, learned, real in said:
        for way, text in (("learned", learned), ("real", real)):
            row = {"prompt": f"a photo of {text}", "category": f"{way} {kind}"}
            yield row | {"means": f"a photo of {real}", "word": word}


# For models of photographs


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


THINGS = words("""dog cat horse cow sheep elephant bear zebra giraffe bird car bus train truck bicycle boat
    airplane bench chair couch bed table clock vase book umbrella backpack suitcase ball kite guitar piano
    banana apple orange pizza cake sandwich cup bottle""")
COLOUR_WORDS = ["red", "blue", "green", "yellow", "purple", "orange", "black", "white"]
NATURAL = {
    "banana": "yellow",
    "apple": "red",
    "frog": "green",
    "elephant": "gray",
    "swan": "white",
    "carrot": "orange",
    "lemon": "yellow",
    "crow": "black",
    "strawberry": "red",
    "fox": "orange",
    "flamingo": "pink",
    "fire truck": "red",
}
COMMON_ANIMALS = words("""lion tiger elephant giraffe wolf panda gorilla kangaroo crocodile penguin dolphin
    owl rabbit squirrel hedgehog camel""")
UNCOMMON_ANIMALS = words("""okapi saiga tapir pangolin aardvark axolotl quokka fossa gharial shoebill
    hoatzin dugong markhor tarsier kakapo binturong""")
SIGHTS = """the Eiffel Tower,the Colosseum,the Taj Mahal,Big Ben,the Sydney Opera House,
    the Golden Gate Bridge,Machu Picchu,the Leaning Tower of Pisa,the Atomium,Neuschwanstein Castle,
    Angkor Wat,the Treasury of Petra,Borobudur,the Hagia Sophia,Mont-Saint-Michel,Himeji Castle"""
SCENES = [
    "on a beach",
    "in a forest",
    "in the snow",
    "in a desert",
    "in a city at night",
    "under water",
    "in a kitchen",
    "on a mountain",
]
PAPER_SYNONYMS = {
    "puppy": "dog",
    "kitten": "cat",
    "automobile": "car",
    "lorry": "truck",
    "bunny": "rabbit",
    "pony": "horse",
    "aircraft": "airplane",
    "cottage": "house",
    "couch": "sofa",
    "locomotive": "train",
    "serpent": "snake",
    "stallion": "horse",
}


def filled(text: str, category: str = "", limit: int | None = None, **fillings: list) -> Rows:
    """All fillings of a template, or so many of them drawn at random, with what fills each slot."""
    possible = combinations(**fillings)
    if limit is not None:
        chosen = np.random.default_rng(0).choice(len(possible), min(limit, len(possible)), replace=False)
        possible = [possible[index] for index in sorted(chosen)]
    template = Template(text)
    for filling in possible:
        one = template.fill(**filling)
        yield {"prompt": one.prompt, "category": category, "template": text, **one.source}


def paper_objects() -> Rows:
    yield from filled("a photo of a {object}", object=THINGS)


def paper_one_colour() -> Rows:
    for name, colour in NATURAL.items():
        yield from filled("a {attribute} {object}", "natural", attribute=[colour], object=[name])
        others = [one for one in COLOUR_WORDS if one != colour]
        yield from filled("a {attribute} {object}", "unnatural", 2, attribute=others, object=[name])


def paper_two_colours() -> Rows:
    yield from filled(
        "a {attribute} {object} and a {attribute2} {object2}",
        "",
        40,
        attribute=COLOUR_WORDS,
        object=THINGS[:20],
        attribute2=COLOUR_WORDS,
        object2=THINGS[20:],
    )


def paper_relations() -> Rows:
    small, carriers = ["cat", "dog", "apple", "book", "cup", "ball"], ["table", "chair", "car", "bed"]
    holders = ["box", "basket", "bathtub", "suitcase"]
    for word, others in (("on", carriers), ("in", holders)):
        yield from filled(
            "a {object} {relation} a {object2}", word, 20, object=small, relation=[word], object2=others
        )


def paper_counts() -> Rows:
    yield from filled("{count} {object}", "", 40, count=[2, 3, 4], object=THINGS)


def paper_places() -> Rows:
    yield from filled("a {object} {place}", "", 40, object=THINGS[:10], place=SCENES)


def paper_frequency() -> Rows:
    yield from filled("a photo of a {object}", "common", object=COMMON_ANIMALS)
    yield from filled("a photo of a {object}", "uncommon", object=UNCOMMON_ANIMALS)


def paper_names() -> Rows:
    sights = [" ".join(name.split()) for name in SIGHTS.split(",")]
    for third, part in (("common", sights[:8]), ("uncommon", sights[8:])):
        yield from filled("a photo of {identity}", third, identity=part)


def paper_coarse_to_fine() -> Rows:
    yield from filled(
        "a {attribute} {object} {place}", "", 40, attribute=COLOUR_WORDS, object=THINGS[:20], place=SCENES
    )


def paper_synonyms() -> Rows:
    # the questions ask for what the word stands for, whichever word the prompt holds
    for word, target in PAPER_SYNONYMS.items():
        for category, said in (("synonym", word), ("plain", target)):
            question = [
                {
                    "question_natural_language": f"Is there {with_article(target)}?",
                    "proposition_id": "1",
                    "dependency": "0",
                    "category_broad": "entity",
                    "category_detailed": "whole",
                    "tuple": f"entity - whole ({target})",
                }
            ]
            yield {
                "prompt": f"a photo of {with_article(said)}",
                "category": category,
                "questions": question,
            }


def paper_syntax() -> Rows:
    for a, b in (
        ("dog", "ball"),
        ("man", "horse"),
        ("cat", "mouse"),
        ("woman", "bicycle"),
        ("boy", "kite"),
        ("girl", "guitar"),
        ("bear", "fish"),
        ("bird", "worm"),
        ("monkey", "banana"),
        ("child", "book"),
    ):
        yield from filled("a {object} with a {object2}", "active", object=[a], object2=[b])
        yield from filled("a {object} that is held by a {object2}", "passive", object=[b], object2=[a])


def paper_failures() -> Rows:
    yield from filled(
        "a {attribute} {object} {relation} a {attribute2} {object2}",
        "all at once",
        40,
        attribute=COLOUR_WORDS,
        object=THINGS[:10],
        relation=["to the left of", "on top of", "under"],
        attribute2=COLOUR_WORDS,
        object2=THINGS[10:30],
    )


STUDIES = (
    objects,
    one_colour,
    two_colours,
    relations,
    counts,
    places,
    frequency,
    names,
    coarse_to_fine,
    synonyms,
    syntax,
    failures,
    learned_words,
)


def tables() -> Iterator[tuple[Path, list[dict[str, object]]]]:
    """Where the prompts of each study go, and the prompts, each once."""
    for study in STUDIES:
        twin = globals().get(f"paper_{study.__name__}")  # learned words are of one model
        for folder, source in (("prompts", study), ("paper", twin)):
            if source is not None:
                rows = {row["prompt"]: row for row in source()}
                yield HERE / folder / f"{study.__name__}.csv", list(rows.values())


def main() -> None:
    """Write them all."""
    import json

    for path, rows in tables():
        with open(path, "w", encoding="utf-8", newline="") as file:
            sheet = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            sheet.writeheader()
            for row in rows:
                sheet.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
