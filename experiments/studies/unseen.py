"""Scenes that no training drew: test scenes, checked one by one against the streams of the trainings.

The world of the testbed is small, so that two streams of scenes often draw the same one: an object of a
colour, at a place, on a spot, of a size. A test scene that a training drew as well is skipped.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count

from diffusion_lens.testbed import scenes
from diffusion_lens.testbed.contrastive import draw_twins
from diffusion_lens.testbed.inverter import draw_scene
from diffusion_lens.testbed.scenes import Scene

__all__ = ["DENOISER_SCENES", "INVERTER_SCENES", "TWIN_SCENES", "trained_scenes", "unseen_scenes"]

# no fewer than the longest training of each kind drew of stream 0, by the model card of the weights
DENOISER_SCENES = 700_000
TWIN_SCENES = 40_000
INVERTER_SCENES = 80_000


@lru_cache
def trained_scenes(
    denoiser: int = DENOISER_SCENES, inverter: int = INVERTER_SCENES, twins: int = TWIN_SCENES
) -> frozenset[Scene]:
    """All scenes that the trainings of denoiser and inverter drew, names left aside.

    Args:
        denoiser: how many scenes the plain trainings of the denoiser drew.
        inverter: how many those of the inverter.
        twins: how many those with the contrastive term, whose scenes come in twins.
    """
    drawn = (scenes.sample(0, index) for index in range(denoiser))
    exchanged = (draw_twins(0, index) for index in range(twins))
    read = (draw_scene(0, index) for index in range(inverter))
    return frozenset(Scene(one.place, one.objects) for part in (drawn, exchanged, read) for one in part)


def unseen_scenes(draw: Callable[[int], Scene], trained: frozenset[Scene] | None = None) -> Iterator[Scene]:
    """The scenes of a stream that no training drew, without end.

    Args:
        draw: scene `index` of the stream.
        trained: what the trainings drew; `trained_scenes` if None.
    """
    known = trained_scenes() if trained is None else trained
    for index in count():
        scene = draw(index)
        if Scene(scene.place, scene.objects) not in known:
            yield scene
