"""The contrastive term: a denoiser is asked to do worse with a caption made wrong than with the true one.

A denoiser can lower its loss for long without using the order of two nouns: "a fox left of a pizza" and
"a pizza left of a fox" share their words, and the average of both scenes is a saddle of the loss. For a
scene whose caption can be made wrong, the noisy latents are therefore denoised from both captions, with
the same noise and time, and the loss gets

    weight / batch * sum_i relu(margin * L_i - (L'_i - L_i))

with L_i the squared error of scene i with its caption, L'_i that with the wrong one, and L_i in the margin
held constant. The term is zero once a wrong caption costs `margin` of the loss itself, so it vanishes as
the denoiser learns, and it is taken away before training ends: what ships is a plain diffusion model.

Only times t >= `EARLIEST` take part: below, the noisy latents themselves show what the scene holds. The
wrong captions are hard negatives as in NegCLIP (Yuksekgonul et al. 2023, arXiv 2210.01936); a hinge on the
difference of two denoising losses is that of diffusion classifiers (Krojer et al. 2023, arXiv 2305.16397).
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffusion_lens.testbed import captions
from diffusion_lens.testbed.captions import Description
from diffusion_lens.testbed.contradict import contradict, differs_in_colour, swap_colours, swap_items
from diffusion_lens.testbed.scenes import Scene

__all__ = ["EARLIEST", "caption_pair", "contrastive_term", "negate"]

EARLIEST = 400  # of 1000 noise times
MARGIN = 0.3  # share of the loss by which a wrong caption should do worse
SWAPPED = 0.7  # share of captions of two objects in which they or their colours are exchanged


def negate(stated: Description, rng: np.random.Generator) -> Description:
    """State something wrong: two objects or their colours exchanged, or one thing replaced.

    The exchanges are what a denoiser that reads words without their order can't tell from the truth.
    """
    swaps = [swap_items] if stated.where else []
    if differs_in_colour(stated):
        swaps.append(swap_colours)
    if swaps and rng.random() < SWAPPED:
        return swaps[rng.integers(len(swaps))](stated)
    return contradict(stated, rng)


def caption_pair(scene: Scene, seed: int, index: int) -> tuple[str, str]:
    """The training caption of a scene, and one that is wrong of it, put into words in the same way."""
    rng = captions.random_of(seed, index)
    stated = captions.leave_out(captions.describe(scene), rng)
    wrong = negate(stated, np.random.default_rng((seed, index, 4)))
    state = rng.bit_generator.state
    true = captions.phrase(stated, rng)
    rng.bit_generator.state = state
    return true, captions.phrase(wrong, rng)


def contrastive_term(
    true: Float[Tensor, " scene"], wrong: Float[Tensor, " scene"], batch: int, margin: float = MARGIN
) -> Float[Tensor, ""]:
    """The term above, without its weight.

    Args:
        true: squared error of each scene with its own caption.
        wrong: squared error of the same noisy latents with the caption made wrong.
        batch: scenes of the whole batch, those without a wrong caption included.
        margin: share of the true error by which the wrong one should be larger.
    """
    return torch.relu(margin * true.detach() - (wrong - true)).sum() / batch
