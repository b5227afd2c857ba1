"""Captions: what they state is true, they can be read back, and held-back words stay out."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_lens.errors import InputError
from diffusion_lens.testbed import captions
from diffusion_lens.testbed.captions import (
    Description,
    Item,
    caption,
    describe,
    imagine,
    leave_out,
    parse,
    phrase,
    plain,
    plural,
    with_article,
)
from diffusion_lens.testbed.contradict import contradict
from diffusion_lens.testbed.judge import judge
from diffusion_lens.testbed.oracle import read
from diffusion_lens.testbed.scenes import COLOURS, ENTITIES, OBJECTS, render, sample, sample_held_out
from diffusion_lens.testbed.synonyms import SYNONYMS, say_differently

SCENES = [sample(9, index) for index in range(1500)]
CAPTIONS = [caption(scene, 9, index) for index, scene in enumerate(SCENES)]
STOP = {"a", "at", "in", "of", "on", "the"}


def true_of(stated: Description, whole: Description) -> bool:
    """Whether everything stated is in the full description."""
    stated, whole = stated.canonical(), whole.canonical()
    if stated.entity or whole.entity:
        return stated.entity == whole.entity
    items = list(whole.items)
    if stated.where is None and len(items) == 2:
        items.sort(key=lambda item: item.name)
    return (
        len(stated.items) == len(items)
        and stated.count == whole.count
        and stated.where in (None, whole.where)
        and stated.place in (None, whole.place)
        and all(  # colours and sizes may be left out
            said.name == item.name and said.colour in (None, item.colour) and said.size in (None, item.size)
            for said, item in zip(stated.items, items, strict=True)
        )
    )


def test_captions_say_only_what_is_true() -> None:
    for scene, text in zip(SCENES, CAPTIONS, strict=True):
        stated = parse(text)
        assert stated is not None, text
        assert true_of(stated, describe(scene)), text


@given(st.integers(0, 2**31), st.integers(0, 2**31))
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_back(index: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stated = leave_out(describe(sample(4, index)), rng)
    assert parse(phrase(stated, rng)) == stated.canonical()
    # and in the one plain way
    assert plain(stated) == plain(stated.canonical())
    assert parse(plain(stated)) == stated.canonical()


@given(st.integers(0, 2**31), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_imagined_scenes_show_what_was_stated(index: int, seed: int) -> None:
    stated = leave_out(describe(sample(4, index)), np.random.default_rng(seed))
    scene = imagine(stated, seed)
    assert scene == imagine(stated, seed)
    assert true_of(stated, describe(scene))


def test_held_out_combinations_can_be_told() -> None:
    for index in range(50):
        for what in ("colour", "relation"):
            stated = describe(sample_held_out(2, index, what))
            assert parse(phrase(stated, np.random.default_rng(index))) == stated.canonical()


def test_there_are_many_phrasings() -> None:
    text = "\n".join(CAPTIONS)
    for pattern in (
        r"^a photo of ",
        r"^a picture of ",
        r" that is (red|blue)",
        r" that are ",
        r" with an? .* (to|on) its (left|right)$",
        r" above it",
        r" is to the left of ",
        r"^at night, ",
        r" next to ",
        r"^two ",
        r"^a group of three ",
        r"^Zorvak$",
        r"^a photo of Zorvak$",
    ):
        assert re.search(pattern, text, re.MULTILINE), pattern


def test_captions_leave_things_out() -> None:
    whole = [describe(scene) for scene in SCENES]
    stated = [parse(text) for text in CAPTIONS]
    pairs = [(w, s) for w, s in zip(whole, stated, strict=True) if s and w.where]
    silent = sum(s.where is None for _, s in pairs) / len(pairs)
    assert silent == pytest.approx(0.25, abs=0.05)
    placed = [(w, s) for w, s in zip(whole, stated, strict=True) if s and w.place]
    assert 0.03 < sum(s.place is None for _, s in placed) / len(placed) < 0.15


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("a fox", Description((Item("fox"),))),
        ("a small fox that is red", Description((Item("fox", "red", "small"),))),
        ("three red foxes on grass", Description((Item("fox", "red"),), 3, place="grass")),
        (
            "a cat with a red dog to its left",
            Description((Item("dog", "red"), Item("cat")), where="left"),
        ),
        ("a cat below a dog", Description((Item("dog"), Item("cat")), where="above")),
        ("under water, a key", Description((Item("key"),), place="water")),
        ("Velka Dorn", Description((), entity="Velka Dorn")),
        ("a dog and a cat", Description((Item("cat"), Item("dog")))),
        ("a puppy", None),
        ("a red fox that is red", None),
        ("two dogs and a cat", None),
        ("", None),
    ],
)
def test_parse_reads(text: str, stated: Description | None) -> None:
    assert parse(text) == stated


def test_articles_and_plurals() -> None:
    assert with_article("owl") == "an owl"
    assert with_article("unicorn") == "a unicorn"
    assert with_article("orange car") == "an orange car"
    assert [plural(n) for n in ("butterfly", "monkey", "bus", "sheep", "fox", "car")] == [
        "butterflies",
        "monkeys",
        "buses",
        "sheep",
        "foxes",
        "cars",
    ]


def test_no_training_caption_holds_a_held_back_word() -> None:
    held = {word for synonym in SYNONYMS for word in synonym.phrase.split()} - STOP
    held |= {plural(word) for word in held}
    said = {word.lower() for text in CAPTIONS for word in re.findall(r"\w+", text)}
    said |= {word.lower() for name in ENTITIES for word in name.split()}
    said |= {*OBJECTS, *COLOURS, *map(plural, OBJECTS), *captions.SIZE_WORDS}
    phrases = [*captions.OPENINGS, *captions.PLACE_PHRASES.values(), *captions.JOINTS]
    for group in (captions.RELATION_PHRASES, captions.PASSIVE_PHRASES):
        phrases += [phrase for options in group.values() for phrase in options]
    said |= {word for phrase in phrases for word in phrase.split()}
    assert not said & held


def test_synonyms_are_many_and_their_targets_are_trained() -> None:
    assert len(SYNONYMS) == len({synonym.phrase for synonym in SYNONYMS}) >= 60
    text = "\n".join(CAPTIONS)
    for synonym in SYNONYMS:
        assert re.search(rf"\b{synonym.target}\b", text), synonym
    assert {s.kind for s in SYNONYMS} == {
        "object",
        "colour",
        "size",
        "relation",
        "count",
        "place",
    }


@pytest.mark.parametrize(
    ("text", "phrase", "said"),
    [
        ("a photo of a dog on grass", "puppy", "a photo of a puppy on grass"),
        ("a car", "automobile", "an automobile"),
        ("three cars", "automobile", "three automobiles"),
        ("an orange car", "tangerine", "a tangerine car"),
        ("a dog below a cat", "beneath", "a dog beneath a cat"),
        ("two dogs", "a pair of", "a pair of dogs"),
        ("a key under water", "in the ocean", "a key in the ocean"),
    ],
)
def test_say_differently(text: str, phrase: str, said: str) -> None:
    synonym = next(s for s in SYNONYMS if s.phrase == phrase)
    assert say_differently(text, synonym) == said
    with pytest.raises(InputError, match="does not hold"):
        say_differently("a robot", synonym)


def test_contradictions_are_never_true() -> None:
    claimed = []
    for index in range(60):
        scene = sample(41, index)
        stated = describe(scene)
        wrong = contradict(stated, np.random.default_rng(index))
        assert wrong.canonical() != stated.canonical()
        if len(stated.items) == 2 and wrong.items != stated.items:
            assert len({item.name for item in wrong.items}) == 2
        if stated.count == 1 < wrong.count:
            continue  # two dogs are also a dog
        claimed.append((stated, render(imagine(wrong, index))))
    seen = read(np.stack([image for _, image in claimed]))
    for (stated, _), one in zip(claimed, seen, strict=True):
        assert not all(answer.right for answer in judge(stated, one))


def test_contradictions_swap_colours_and_sides() -> None:
    stated = Description((Item("fox", "red"), Item("cat", "blue")), where="left")
    drawn = [contradict(stated, np.random.default_rng(i)) for i in range(60)]
    assert replace(stated, items=(Item("fox", "blue"), Item("cat", "red"))) in drawn
    assert replace(stated, where="right") in drawn
    named = Description((), entity="Velka Dorn")
    for index in range(40):
        other = contradict(named, np.random.default_rng(index)).entity
        assert other and other != named.entity and ("Velka" in other or "Dorn" in other)
