"""Scenes: determinism, frequencies, held-out combinations, layout and drawing."""

import time
from collections import Counter
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.testbed import scenes, sprites
from diffusion_lens.testbed.scenes import (
    ENTITIES,
    OBJECTS,
    PLACES,
    Placed,
    Scene,
    held_out,
    relation,
    render,
    sample,
    sample_held_out,
)
from diffusion_lens.testbed.sprites import COLOURS, PLAIN

MANY = [sample(5, index) for index in range(1500)]


def test_the_world_is_as_large_as_promised() -> None:
    assert len(set(OBJECTS)) == 80
    assert len(COLOURS) == 8
    assert len(PLACES) == 7
    assert len(ENTITIES) == len({facts[0] for facts in ENTITIES.values()}) == 48


@given(st.integers(0, 2**31), st.integers(0, 2**31), st.booleans())
@settings(max_examples=100, deadline=None)
def test_scenes_survive_json_and_stay_on_the_canvas(seed: int, index: int, flat: bool) -> None:
    scene = sample(seed, index, flat=flat)
    assert Scene.from_json(scene.to_json()) == scene
    for item in scene.objects:
        half = item.size / 2
        assert half <= item.x <= 64 - half + 6 and half <= item.y <= 64 - half + 6
        assert item.x % 4 == item.y % 4 == 0
    for a in scene.objects:
        for b in scene.objects:
            apart = max(abs(a.x - b.x), abs(a.y - b.y))
            assert a is b or apart >= a.size, "objects lie over one another"


def test_sampling_is_a_function_of_seed_and_index() -> None:
    assert sample(5, 17) == MANY[17]
    assert sample(6, 17) != sample(5, 17)
    # A change of this picture of the stream means that trained models no longer fit their data.
    assert sample(0, 0) == Scene(
        "water", (Placed("dog", None, 16, 40, 28), Placed("strawberry", None, 48, 40, 28))
    )


def test_objects_and_names_follow_zipf() -> None:
    singles = Counter(s.objects[0].name for s in MANY if len(s.objects) == 1 and not s.entity)
    wanted = scenes.object_frequencies()
    assert sum(wanted.values()) == pytest.approx(1)
    assert wanted["dog"] / wanted["tractor"] == pytest.approx(82.7 / 3.7)
    total = sum(singles.values())
    common = sum(singles[name] for name in OBJECTS[:8]) / total
    assert common == pytest.approx(sum(wanted[name] for name in OBJECTS[:8]), abs=0.05)
    names = Counter(s.entity for s in MANY if s.entity)
    assert names.most_common(1)[0][0] == scenes.ENTITY_NAMES[0] == "Zorvak"
    flat = Counter(sample(1, i, flat=True).objects[0].name for i in range(2000))
    assert flat["dog"] / 2000 < 0.05 < singles["dog"] / total


def test_training_never_shows_what_is_held_out() -> None:
    assert not any(held_out(scene) for scene in MANY)
    assert 60 <= len(scenes.held_out_colours()) <= 100
    for name, colour in scenes.held_out_colours():
        assert held_out(Scene(PLAIN, (Placed(name, colour, 32, 32, 36),)))
    for name in OBJECTS:
        assert sum(scenes.colour_held_out(name, colour) for colour in COLOURS) <= 5
    for name, colour, _ in ENTITIES.values():
        assert not scenes.colour_held_out(name, colour)


def test_a_held_out_relation_is_so_told_from_either_side() -> None:
    a, _, b = next(t for t in scenes.held_out_relations() if t[1] == "left")
    assert scenes.relation_held_out(b, "right", a)
    left, right = Placed(a, "red", 16, 32, 28), Placed(b, None, 48, 24, 28)
    assert scenes.relation_held_out(a, relation(left, right), b)
    assert relation(right, left) == "right"
    assert held_out(Scene(PLAIN, (replace(left, colour=None), right)))
    share = len(scenes.held_out_relations()) / (2 * 80 * 79)
    assert share == pytest.approx(1 / 8, abs=0.01)


def test_held_out_samplers_show_it_every_time() -> None:
    for index in range(50):
        colour = sample_held_out(1, index, "colour")
        assert scenes.colour_held_out(colour.objects[0].name, colour.objects[0].colour)
        pair = sample_held_out(1, index, "relation")
        assert len(pair.objects) == 2 and held_out(pair)
        assert all(item.colour is None for item in pair.objects)
    with pytest.raises(InputError, match="'colour' or 'relation'"):
        sample_held_out(0, 0, "size")


def test_kinds_can_be_asked_for() -> None:
    for index in range(30):
        drawn = sample(3, index, ("count",))
        assert 2 <= len(drawn.objects) <= 4
        assert len({(item.name, item.colour) for item in drawn.objects}) == 1
        assert sample(3, index, ("entity",)).entity in ENTITIES


def test_a_name_always_means_the_same() -> None:
    for scene in MANY:
        if scene.entity:
            item = scene.objects[0]
            assert (item.name, item.colour, scene.place) == ENTITIES[scene.entity]


def test_every_sprite_is_there_and_seen_on_the_plain_ground() -> None:
    empty = sprites.ground(PLAIN, 64)
    for name in OBJECTS:
        for colour in (None, *COLOURS):
            picture = render(Scene(PLAIN, (Placed(name, colour, 32, 32, 36),))).astype(float)
            alpha = sprites.stamp(name, colour, 36)[..., 3] > 0.9
            away = np.linalg.norm(picture - empty, axis=-1)[14:50, 14:50][alpha]
            assert np.median(away) > 60, (name, colour)


def test_tints_show_their_colour() -> None:
    for colour, target in COLOURS.items():
        picture = render(Scene(PLAIN, (Placed("ball", colour, 32, 32, 52),)))
        middle = np.median(picture[20:44, 20:44].reshape(-1, 3), axis=0)
        distances = {name: np.linalg.norm(middle - other) for name, other in COLOURS.items()}
        assert min(distances, key=lambda name: distances[name]) == colour, target


def test_position_and_resolution_move_the_same_picture() -> None:
    at = render(Scene(PLAIN, (Placed("fox", None, 24, 32, 36),)))
    moved = render(Scene(PLAIN, (Placed("fox", None, 32, 40, 36),)))
    assert np.array_equal(at[6:50, 4:44], moved[14:58, 12:52])
    large = render(Scene("night", (Placed("fox", None, 24, 32, 36),)), 128)
    small = Image.fromarray(large).resize((64, 64), Image.Resampling.BOX)
    near = render(Scene("night", (Placed("fox", None, 24, 32, 36),)))
    assert np.abs(np.asarray(small, float) - near).mean() < 4


def test_drawing_is_no_bottleneck() -> None:
    scenes.render_batch(MANY[:500])  # fills the caches
    began = time.process_time()
    pictures = scenes.render_batch([sample(5, index) for index in range(500)])
    assert 500 / (time.process_time() - began) > 500
    assert pictures.shape == (500, 64, 64, 3) and pictures.dtype == np.uint8
    assert np.array_equal(pictures[17], render(MANY[17]))


def test_sheet_holds_the_pictures_in_rows() -> None:
    pictures = scenes.render_batch(MANY[:5])
    page = np.asarray(sprites.sheet(pictures, 2))
    assert page.shape == (192, 128, 3)
    assert np.array_equal(page[64:128, 64:], pictures[3])


def test_licence_and_attribution_lie_beside_the_sprites() -> None:
    folder = files("diffusion_lens.testbed.sprites")
    assert "Apache License" in folder.joinpath("LICENSE").read_text()
    assert "Noto" in folder.joinpath("ATTRIBUTION.md").read_text()


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (Scene("mars", ()), "no place named 'mars'.*grass"),
        (Scene(PLAIN, (Placed("gnu", None, 32, 32, 20),)), "no object named 'gnu'.*dog"),
        (Scene(PLAIN, (Placed("dog", "teal", 32, 32, 20),)), "no colour named 'teal'.*red"),
    ],
)
def test_unknown_words_are_named(scene: Scene, message: str) -> None:
    with pytest.raises(InputError, match=message):
        render(scene)
    with pytest.raises(InputError, match="not a scene"):
        Scene.from_json('{"place": "night"}')


def test_missing_sprite_file_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file")

    sprites._sprites.cache_clear()
    monkeypatch.setattr(np, "load", missing)
    with pytest.raises(InputError, match=r"sprite file .* missing or damaged"):
        sprites._sprites()
