"""The contrastive term: captions made wrong, and the loss that they add."""

import numpy as np
import pytest
import torch

from diffusion_lens.testbed import captions, scenes
from diffusion_lens.testbed.captions import Description, Item
from diffusion_lens.testbed.contradict import swap_colours, swap_items
from diffusion_lens.testbed.contrastive import caption_pair, contrastive_term, negate
from diffusion_lens.testbed.diffusion import draw_scene

PAIR = Description((Item("fox", "red"), Item("pizza")), where="left", place="snow")


def test_swapped_objects_take_their_colours_along() -> None:
    swapped = swap_items(PAIR)
    assert captions.plain(swapped) == "a pizza to the left of a red fox in the snow"
    assert swap_items(swapped) == PAIR


def test_colours_change_places_and_the_objects_stay() -> None:
    swapped = swap_colours(PAIR)
    assert captions.plain(swapped) == "a fox to the left of a red pizza in the snow"
    assert swap_colours(swapped) == PAIR


def test_objects_or_their_colours_are_mostly_exchanged_and_no_negative_is_true() -> None:
    wrongs = [negate(PAIR, np.random.default_rng(seed)) for seed in range(300)]
    assert all(wrong.canonical() != PAIR.canonical() for wrong in wrongs)
    # `contradict` may exchange them as well
    for swap in (swap_items, swap_colours):
        assert 0.2 < np.mean([wrong == swap(PAIR) for wrong in wrongs]) < 0.6
    others = [wrong for wrong in wrongs if wrong not in (swap_items(PAIR), swap_colours(PAIR))]
    assert len({wrong.place for wrong in others}) > 2
    assert any(wrong.items[0].name != "fox" for wrong in others)


def test_what_can_not_be_exchanged_is_contradicted() -> None:
    one = Description((Item("fox", "red"),), place="snow")
    wrongs = [negate(one, np.random.default_rng(seed)) for seed in range(20)]
    assert all(wrong.canonical() != one.canonical() for wrong in wrongs)


def test_caption_pairs_are_one_true_and_one_wrong_in_the_same_words() -> None:
    differences = []
    for index in range(150):
        scene = draw_scene(5, index)
        true, wrong = caption_pair(scene, 5, index)
        assert (true, wrong) == caption_pair(scene, 5, index)
        assert true == captions.caption(scene, 5, index)
        stated, claimed = captions.parse(true), captions.parse(wrong)
        assert stated is not None and claimed is not None and stated != claimed
        differences.append(set(true.split()) ^ set(wrong.split()))
    # the phrasing is the same: mostly one word is another, or none where words change places
    assert np.median([len(words) for words in differences]) <= 2


def test_half_of_the_training_scenes_are_pairs_and_none_is_held_out() -> None:
    drawn = [draw_scene(6, index) for index in range(300)]
    pairs = [len({item.name for item in scene.objects}) == 2 for scene in drawn]
    assert 0.4 < np.mean(pairs) < 0.6
    assert not any(scenes.held_out(scene) for scene in drawn)


def test_term_is_the_margin_that_is_missing() -> None:
    true = torch.tensor([1.0, 1.0, 2.0])
    wrong = torch.tensor([1.1, 1.3, 2.0])
    # of a batch of 10: 0.3 - 0.1, nothing, 0.6
    assert float(contrastive_term(true, wrong, 10)) == pytest.approx((0.2 + 0.0 + 0.6) / 10)
    assert float(contrastive_term(true[:0], wrong[:0], 10)) == 0.0


def test_term_pulls_the_true_loss_down_and_the_wrong_one_up() -> None:
    true = torch.tensor([1.0, 1.0], requires_grad=True)
    wrong = torch.tensor([1.0, 2.0], requires_grad=True)
    contrastive_term(true, wrong, 2).backward()
    # the margin is a constant of the gradient, and a scene beyond it has none
    assert true.grad is not None and wrong.grad is not None
    assert true.grad.tolist() == [0.5, 0.0] and wrong.grad.tolist() == [-0.5, 0.0]
