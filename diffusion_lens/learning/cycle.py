"""Cycle consistency: text, to an image, and back to the text latent.

The cycle's loss is the reconstruction loss of R on what the model draws: a model that draws what the
prompt says closes it. As a measure it needs neither the oracle nor a CLIP, and it is by layer too. The
loss knows of one phrasing (see `testbed.inverter`): a prompt that the testbed's grammar reads is
compared as `testbed.captions.plain` words it, so that two phrasings of one scene are equally near.
"""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from diffusion_lens.learning.captioning import rephrase
from diffusion_lens.learning.latent_inversion import LatentInversion, States, relative_error
from diffusion_lens.text.layers import LayerRequest

__all__ = ["cycle_by_layer", "measure_cycle", "ranks"]


def ranks(found: States, states: Float[Tensor, "candidate token width"], true: Sequence[int]) -> list[int]:
    """The place of each image's true conditioning among many, by distance to R(x): 1 is the nearest.

    Args:
        found: R(x) by image.
        states: the conditioning of the candidates.
        true: the true candidate of each image.
    """
    distances = torch.cdist(found.flatten(1), states.flatten(1))
    own = distances[torch.arange(len(found)), torch.tensor(true)]
    return ((distances < own[:, None] - 1e-6).sum(1) + 1).tolist()


def measure_cycle(
    inversion: LatentInversion,
    prompts: Sequence[str],
    layers: LayerRequest | Sequence[LayerRequest] = "native",
    seeds: Sequence[int] = (0,),
    *,
    steps: int | None = None,
) -> pd.DataFrame:
    """Draw prompts at layers and read the images back.

    Args:
        inversion: a model with its R.
        prompts: different prompts, which are each other's alternatives.
        layers: as for a lens; the text latent compared with is always that of the native layer.
        seeds: images of each prompt and layer.
        steps: denoising steps.

    Returns:
        A row by image: `prompt`, `layer`, `site` (as in a result), `seed`, `error` (0: the prompt's own
        conditioning; 1: as far off as the mean), `rank` of the prompt among all, and `candidates`, how
        many those are. Missing images have missing values.
    """
    result = inversion.lens(prompts, layers, seeds, steps=steps)
    texts = list(dict.fromkeys(prompts))
    states = inversion.encode([rephrase(text) for text in texts])
    table = result.table[["prompt", "layer", "site", "seed", "image"]]
    drawn = table[table["image"].notna()]
    measured = pd.DataFrame({"error": [], "rank": []}, dtype=float)
    if len(drawn):
        found = inversion.invert(list(drawn["image"]))
        true = [texts.index(prompt) for prompt in drawn["prompt"]]
        errors = relative_error(found, states[true], inversion.mean)
        measured = pd.DataFrame(
            {"error": errors.tolist(), "rank": ranks(found, states, true)}, index=drawn.index
        )
    return table.drop(columns="image").join(measured).assign(candidates=len(texts))


def cycle_by_layer(cycles: pd.DataFrame) -> pd.DataFrame:
    """The means of `measure_cycle`, over the images that are there.

    Returns:
        A row by layer, and by part of its block: `layer`, `site`, `error`, `first` (the share of images
        whose prompt has rank 1) and `candidates`.
    """
    first = cycles["rank"].eq(1).where(cycles["rank"].notna()).astype(float)
    groups = cycles.assign(first=first).groupby(["layer", "site"])
    return groups.agg({"error": "mean", "first": "mean", "candidates": "first"}).reset_index()
