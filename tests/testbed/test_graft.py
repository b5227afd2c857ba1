"""A denoiser that reads another encoder's states by a map between them."""

from pathlib import Path

import torch

from diffusion_lens.testbed import captions, scenes
from diffusion_lens.testbed.diffusion import DiffusionSettings, build
from diffusion_lens.testbed.encoders import CaptionEncoder, untrained
from diffusion_lens.testbed.graft import align, graft, map_states


def test_tokens_are_matched_by_the_characters_that_they_end_with() -> None:
    # "zebra car": start, zeb, ra, car, pad, pad  and  start, zebra, c, ar, end, pad
    new = [(0, 0), (0, 3), (3, 5), (6, 9), (0, 0), (0, 0)]
    old = [(0, 0), (0, 5), (6, 7), (7, 9), (0, 0), (0, 0)]
    assert align(new, old) == [
        (0, 0, "before"),
        (1, 1, "word"),
        (2, 1, "word"),
        (3, 3, "word"),
        (4, 4, "after"),
        (5, 5, "after"),
    ]


def test_what_follows_the_words_ends_at_the_last_position() -> None:
    assert align([(0, 1), (0, 0), (0, 0)], [(0, 0), (0, 1)]) == [
        (0, 1, "word"),
        (1, 1, "after"),
        (2, 1, "after"),
    ]
    assert align([(0, 0), (0, 0)], [(0, 0), (0, 0)]) == [(0, 0, "before"), (1, 0, "before")]


def test_a_linear_map_between_encoders_is_found_and_the_denoiser_does_not_notice(tmp_path: Path) -> None:
    untrained(tmp_path)
    device = torch.device("cpu")
    old, new = (CaptionEncoder("random", tmp_path, device) for _ in range(2))
    # the new encoder's states are the old ones', scaled and with two components exchanged
    norm = new.model.final_layer_norm
    with torch.no_grad():
        norm.weight.mul_(2)
        norm.weight[0] *= -1
    texts = [captions.caption(scenes.sample(1, i), 1, i) for i in range(40)]
    mapped = map_states(new, old, texts)
    found = new(texts).float() @ mapped.T
    error = (found - old(texts).float()).square().mean() / old(texts).float().square().mean()
    assert error < 0.01
    settings = DiffusionSettings(encoder="random", channels=(32, 32))
    torch.manual_seed(0)
    denoiser = build(settings, 4, 4, old.width).eval()
    grafted = graft(denoiser, new, old, 40).eval()
    latents, times = torch.randn(4, 4, 4, 4), torch.tensor([100, 400, 700, 900])
    with torch.no_grad():
        before = denoiser(latents, times, old(texts[:4]).float()).sample
        after = grafted(latents, times, new(texts[:4]).float()).sample
    assert (after - before).abs().max() < 0.02 * before.abs().max()
