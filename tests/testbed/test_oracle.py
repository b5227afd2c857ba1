"""The oracle reads back what was drawn, and says nothing where there is nothing."""

import numpy as np
import pytest

from diffusion_lens.errors import InputError
from diffusion_lens.testbed import scenes
from diffusion_lens.testbed.captions import Description, Item, describe
from diffusion_lens.testbed.judge import judge, judge_relation_parts
from diffusion_lens.testbed.oracle import LAYOUTS, Reading, read
from diffusion_lens.testbed.scenes import ENTITIES, Placed, Scene
from diffusion_lens.testbed.sprites import GROUNDS, ground


def seen_in(scene: Scene) -> set[tuple[str, str | None, int, int, int]]:
    """A scene's objects without their order."""
    return {(item.name, item.colour, item.x, item.y, item.size) for item in scene.objects}


@pytest.mark.parametrize("kind", ["single", "pair", "count", "entity"])
def test_reads_rendered_scenes(kind: str) -> None:
    drawn = [scenes.sample(31, i, (kind,), flat=i % 2 == 0) for i in range(150)]
    for scene, seen in zip(drawn, read(scenes.render_batch(drawn)), strict=True):
        found = {(item.name, item.colour, item.x, item.y, item.size) for item in seen.objects}
        assert (seen.place, found, seen.unknown) == (scene.place, seen_in(scene), 0)


def test_reads_combinations_held_back_from_training() -> None:
    drawn = [scenes.sample_held_out(32, i, what) for what in ("colour", "relation") for i in range(60)]
    for scene, seen in zip(drawn, read(scenes.render_batch(drawn)), strict=True):
        assert all(answer.right for answer in judge(describe(scene), seen))


def test_survives_noise_and_reads_larger_pictures() -> None:
    drawn = [scenes.sample(33, i, ("single", "pair")) for i in range(60)]
    rng = np.random.default_rng(0)
    noisy = scenes.render_batch(drawn, 128) + rng.normal(0, 25, (60, 128, 128, 3))
    right = [
        {item.name for item in seen.objects} == {item.name for item in scene.objects}
        for scene, seen in zip(drawn, read(noisy.clip(0, 255).astype(np.uint8)), strict=True)
    ]
    assert np.mean(right) > 0.95


def test_sees_nothing_where_there_is_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3)).astype(np.uint8)
    grey = np.stack([np.full((64, 64, 3), value, np.uint8) for value in (0, 128, 255)])
    assert all(seen == Reading(None) for seen in read(np.concatenate([noise, grey])))
    empty = np.stack([ground(place, 64).astype(np.uint8) for place in GROUNDS])
    assert read(empty) == [Reading(place) for place in GROUNDS]


def test_an_unknown_thing_is_no_object() -> None:
    picture = ground("plain", 64).astype(np.uint8)
    rng = np.random.default_rng(0)
    picture[16:48, 16:48] = rng.integers(0, 256, (4, 4, 3)).repeat(8, 0).repeat(8, 1)
    [seen] = read(picture[None])
    assert seen.place == "plain" and not seen.objects and seen.unknown == 1


def test_knows_every_layout_that_scenes_have() -> None:
    for index in range(500):
        scene = scenes.sample(34, index)
        spots = {(item.x, item.y, item.size) for item in scene.objects}
        assert any(spots == set(layout) for layout in LAYOUTS)


def test_refuses_pictures_of_another_size() -> None:
    with pytest.raises(InputError, match="square pictures of 64 px or a multiple, not 48 x 64"):
        read(np.zeros((1, 64, 48, 3), np.uint8))


def answers(
    scene: Scene, *objects: Placed, place: str = "plain", unknown: int = 0
) -> dict[str, bool | None]:
    """What the judge says of a scene's full description when these objects are seen."""
    seen = Reading(place, objects, (1.0,) * len(objects), unknown)
    return {f"{a.check} {a.about}": a.right for a in judge(describe(scene), seen)}


def test_judges_each_thing_stated() -> None:
    fox, cat = Placed("fox", "red", 16, 32, 28), Placed("cat", None, 48, 32, 28)
    scene = Scene("plain", (fox, cat))
    assert answers(scene, fox, cat) == {
        "object fox": True,
        "colour red fox": True,
        "object cat": True,
        "relation fox left cat": True,
    }
    swapped = (Placed("cat", None, 16, 32, 28), Placed("fox", "blue", 48, 32, 28))
    assert answers(scene, *swapped) == {
        "object fox": True,
        "colour red fox": False,
        "object cat": True,
        "relation fox left cat": False,
    }
    # what can't be asked is missing, not wrong
    assert answers(scene, cat) == {
        "object fox": False,
        "colour red fox": None,
        "object cat": True,
        "relation fox left cat": None,
    }


def test_judges_counts_sizes_places_and_names() -> None:
    dogs = tuple(Placed("dog", None, x, y, 24) for x, y in ((16, 16), (48, 16), (16, 48)))
    three = Scene("night", dogs)
    assert answers(three, *dogs, place="night") == {
        "object dog": True,
        "count 3 dog": True,
        "place night": True,
    }
    assert answers(three, *dogs[:2])["count 3 dog"] is False
    assert answers(three, *dogs, unknown=1)["count 3 dog"] is False
    assert answers(three)["count 3 dog"] is None
    small = Scene("plain", (Placed("dog", None, 32, 32, 20),))
    assert answers(small, Placed("dog", None, 32, 32, 52))["size small dog"] is False
    name, (thing, colour, place) = next(iter(ENTITIES.items()))
    known = Scene(place, (Placed(thing, colour, 32, 32, 36),), name)
    assert answers(known, *known.objects, place=place) == {f"name {name}": True}
    other = next(ground for ground in GROUNDS if ground != place)
    assert answers(known, *known.objects, place=other) == {f"name {name}": False}


def test_axis_and_order_of_a_relation_are_judged_apart() -> None:
    stated = Description((Item("fox"), Item("pizza")), where="left")

    def ask(fox: tuple[int, int], pizza: tuple[int, int]) -> list[bool | None]:
        objects = (Placed("fox", None, *fox, 28), Placed("pizza", None, *pizza, 28))
        return [answer.right for answer in judge_relation_parts(stated, Reading("plain", objects))]

    assert ask((16, 32), (48, 32)) == [True, True]
    assert ask((48, 32), (16, 32)) == [True, False]  # side by side, the wrong way round
    assert ask((32, 16), (32, 48)) == [False, None]
    only_one = Reading("plain", (Placed("fox", None, 16, 32, 28),))
    assert [answer.right for answer in judge_relation_parts(stated, only_one)] == [None, None]
    assert judge_relation_parts(Description((Item("fox"),)), only_one) == []
