"""The contrastive term: what two captions change in a prediction is held to what they change in the scene.

A denoiser can lower its loss for long without using what belongs to what: "a red fox and a blue car" and
"a blue fox and a red car" share their words, as do "a fox left of a pizza" and "a pizza left of a fox", and
the average of both scenes is a saddle of the loss. So scenes come in twins, which differ in one such
exchange. The noisy latents of one are denoised from its own caption and from its twin's, and the loss gets

    weight / batch * sum_i relu(margin - <d_i, D_i> / <D_i, D_i>)

with d_i the difference of the two predictions and D_i that of the two true velocities at the same noisy
latents x_t: v = (alpha x_t - x_0) / sigma (Salimans and Ho 2022, arXiv 2202.00512, appendix D), so that
D = (x_0' - x_0) / sigma. The term is zero once a caption makes `margin` of the difference that it states,
and it is taken away before training ends: what ships is a plain diffusion model.

A hinge on the difference of both losses (as in diffusion classifiers, Krojer et al. 2023, arXiv 2305.16397)
asks for the same, but its gradient holds all of the noise that no caption can tell, and is slower by far.

Twins are pairs of coloured objects: among all scenes these are seldom, and a term that is seldom asked for
is lost in the noise of the rest.

Only times t >= `EARLIEST` take part: below, the noisy latents themselves show what the scene holds.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffusion_lens.testbed import captions
from diffusion_lens.testbed.captions import Description
from diffusion_lens.testbed.contradict import differs_in_colour
from diffusion_lens.testbed.scenes import Placed, Scene, colour_held_out, held_out, sample
from diffusion_lens.testbed.sprites import COLOURS

__all__ = ["EARLIEST", "contrastive_term", "draw_scene", "draw_twins", "write_twins"]

EARLIEST = 500  # of 1000 noise times
MARGIN = 0.3  # share of the true difference that a caption should make
KINDS = {"single": 0.30, "pair": 0.50, "count": 0.12, "entity": 0.08}  # shares of the scenes
UNRELATED = 0.5  # share of twins whose captions state no relation, which makes colours harder to bind
COLOURS_EXCHANGED = 0.75  # share of twins, where the positions could be exchanged as well


def draw_scene(seed: int, index: int) -> Scene:
    """Scene `index` of the stream `seed`, half of which are pairs."""
    return sample(seed, index, KINDS)


def exchange(scene: Scene, stated: Description, rng: np.random.Generator) -> Scene | None:
    """The scene with the colours or the positions of its two objects exchanged.

    Args:
        scene: of two objects.
        stated: what its caption says; only what is said is exchanged.
        rng: chooses where both could be.

    Returns:
        None where nothing is said that an exchange would change, and where training must not see the twin.
    """
    a, b = scene.objects
    moved = (replace(a, x=b.x, y=b.y), replace(b, x=a.x, y=a.y))
    tinted = (replace(a, colour=b.colour), replace(b, colour=a.colour))
    possible = [tinted] * differs_in_colour(stated) + [moved] * bool(stated.where)
    twins = [replace(scene, objects=objects) for objects in possible]
    allowed = [twin for twin in twins if twin != scene and not held_out(twin)]
    if not allowed:
        return None
    return allowed[0] if rng.random() < COLOURS_EXCHANGED else allowed[-1]


def _tint(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with a colour for each object that has none."""

    def coloured(item: Placed) -> Placed:
        allowed = [colour for colour in COLOURS if not colour_held_out(item.name, colour)]
        return replace(item, colour=item.colour or allowed[rng.integers(len(allowed))])

    return replace(scene, objects=tuple(coloured(item) for item in scene.objects))


def _pair(seed: int, index: int) -> Scene:
    """Scene `index` of a stream of two coloured objects."""
    return _tint(sample(seed, index, ("pair",)), np.random.default_rng((seed, index, 5)))


def _twins(seed: int, index: int) -> tuple[Scene, Scene | None]:
    """The first scene of the twins that `index` belongs to, and the second one if there is one."""
    first = index - index % 2
    scene = _pair(seed, first)
    stated = captions.leave_out(captions.describe(scene), captions.random_of(seed, first), UNRELATED)
    return scene, exchange(scene, stated, np.random.default_rng((seed, first, 4)))


def draw_twins(seed: int, index: int) -> Scene:
    """Scene `index` of a stream in which each odd scene is the twin of the one before, where it has one."""
    first, second = _twins(seed, index)
    if index % 2 == 0:
        return first
    return second or _pair(seed, index)


def write_twins(scene: Scene, seed: int, index: int) -> tuple[str, str]:
    """The caption of a scene of `draw_twins` and that of its twin, or its own once more if it has none."""
    first, second = _twins(seed, index)
    if second is None:
        text = captions.caption(scene, seed, index, UNRELATED)
        return text, text
    texts = [captions.caption(one, seed, index - index % 2, UNRELATED) for one in (first, second)]
    return texts[index % 2], texts[1 - index % 2]


def contrastive_term(
    predicted: Float[Tensor, "scene channel y x"],
    true: Float[Tensor, "scene channel y x"],
    batch: int,
    margin: float = MARGIN,
) -> Float[Tensor, ""]:
    """The term above, without its weight.

    Args:
        predicted: what the two captions change in the prediction.
        true: what they change in the velocity.
        batch: scenes of the whole batch, those without a twin included.
        margin: share of the true difference.
    """
    made = (predicted * true).sum((1, 2, 3)) / true.square().sum((1, 2, 3))
    return torch.relu(margin - made).sum() / batch
