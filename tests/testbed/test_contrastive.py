"""The contrastive term: twins of scenes, and the loss that they add."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from diffusion_lens.testbed import captions, scenes
from diffusion_lens.testbed.contrastive import (
    UNRELATED,
    contrastive_term,
    draw_scene,
    draw_twins,
    write_twins,
)
from diffusion_lens.testbed.export import NOISE_SCHEDULE
from diffusion_lens.testbed.scenes import Placed, Scene


def _twins(count: int) -> list[tuple[Scene, Scene, tuple[str, str]]]:
    """The first twins of stream 5, and what is said of the first scene of each."""
    found = []
    for index in range(0, 8 * count, 2):
        first, second = draw_twins(5, index), draw_twins(5, index + 1)
        texts = write_twins(first, 5, index)
        if texts[0] != texts[1]:
            assert write_twins(second, 5, index + 1) == texts[::-1]
            found.append((first, second, texts))
    assert len(found) >= count
    return found


def _are_exchanged(first: Scene, second: Scene, *, colours: bool) -> bool:
    """Whether two objects have one another's colours, or positions, and all else is equal."""
    a, b = first.objects

    def with_part(of: Placed, other: Placed) -> Placed:
        return Placed(of.name, other.colour, of.x, of.y, of.size) if colours else moved(of, other)

    def moved(of: Placed, other: Placed) -> Placed:
        return Placed(of.name, of.colour, other.x, other.y, of.size)

    return second == Scene(first.place, (with_part(a, b), with_part(b, a)))


def test_twins_differ_in_who_has_which_colour_or_who_is_where() -> None:
    colours, places = 0, 0
    for first, second, _ in _twins(100):
        tinted, moved = (_are_exchanged(first, second, colours=which) for which in (True, False))
        assert tinted or moved
        assert not scenes.held_out(first) and not scenes.held_out(second)
        assert all(item.colour for item in (*first.objects, *second.objects))
        colours, places = colours + tinted, places + moved
    assert colours > 2 * places > 20


def test_captions_of_twins_are_true_of_one_and_wrong_of_the_other_in_the_same_words() -> None:
    differences = []
    for first, second, texts in _twins(100):
        stated = [captions.parse(text) for text in texts]
        assert stated[0] != stated[1]
        for one, scene in zip(stated, (first, second), strict=True):
            assert one is not None
            truth = captions.describe(scene).canonical()
            said = {item.name: item.colour for item in one.items if item.colour}
            assert said.items() <= {item.name: item.colour for item in truth.items}.items()
            assert one.where is None or [i.name for i in one.items] == [i.name for i in truth.items]
        differences.append(set(texts[0].split()) ^ set(texts[1].split()))
    # the phrasing is the same: no word is another, but for articles and the few colours that are left out
    assert np.median([len(words) for words in differences]) <= 2


def test_where_an_exchange_would_change_nothing_there_is_no_twin_and_the_caption_twice() -> None:
    alone = [i for i in range(0, 400, 2) if len(set(write_twins(draw_twins(5, i), 5, i))) == 1]
    assert 0 < len(alone) < 60
    for index in alone:
        scene, next_one = draw_twins(5, index), draw_twins(5, index + 1)
        assert write_twins(scene, 5, index) == (captions.caption(scene, 5, index, UNRELATED),) * 2
        assert not any(_are_exchanged(scene, next_one, colours=which) for which in (True, False))


def test_half_of_the_training_scenes_are_pairs_and_none_is_held_out() -> None:
    drawn = [draw_scene(6, index) for index in range(300)]
    pairs = [len({item.name for item in scene.objects}) == 2 for scene in drawn]
    assert 0.4 < np.mean(pairs) < 0.6
    assert not any(scenes.held_out(scene) for scene in drawn)


def test_term_is_the_share_that_is_missing() -> None:
    true = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    made = torch.tensor([0.0, 0.1, 0.7])[:, None, None, None] * true
    across = torch.zeros_like(true)
    across[0, 0, 0, :2] = torch.stack(
        [-true[0, 0, 0, 1], true[0, 0, 0, 0]]
    )  # changes what is not asked for
    # of a batch of 10: 0.3, 0.3 - 0.1, nothing
    assert float(contrastive_term(made + across, true, 10)) == pytest.approx(0.5 / 10, abs=1e-6)
    assert float(contrastive_term(made[:0], true[:0], 10)) == 0.0


def test_velocities_of_two_scenes_at_the_same_noisy_latents_differ_by_the_scenes_over_sigma() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second, noise = torch.randn(3, 2, 4, 8, 8, generator=generator)
    times = torch.tensor([500, 950])
    scheduler = DDPMScheduler(**NOISE_SCHEDULE)
    noisy = scheduler.add_noise(first, noise, times)
    alpha = scheduler.alphas_cumprod[times].sqrt()[:, None, None, None]
    sigma = (1 - alpha.square()).sqrt()
    other = (noisy - alpha * second) / sigma  # the noise that makes the same latents of the second scene
    difference = scheduler.get_velocity(first, noise, times) - scheduler.get_velocity(second, other, times)
    assert torch.allclose(difference, (second - first) / sigma, atol=1e-5)
