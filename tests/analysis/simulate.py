"""Made scores of known truth, clustered as real ones are."""

import numpy as np
import pandas as pd
from scipy import stats

from diffusion_lens.analysis.statistics import Resampling
from diffusion_lens.scoring import table as scores

FAST = Resampling(resamples=100)
RISING = np.array([0.08, 0.12, 0.3, 0.55, 0.7, 0.72])


def images(
    rng: np.random.Generator,
    rates: np.ndarray,
    *,
    prompts: int = 60,
    seeds: int = 4,
    within: float = 0.4,
    along: float = 0.3,
) -> np.ndarray:
    """Right or wrong `[prompt, seed, layer]`, each layer with exactly its rate over all prompts.

    `within` is the correlation of the hidden scores of one prompt's images, `along` what layers of one
    image share besides.
    """
    shape = (prompts, seeds, len(rates))
    hidden = (
        np.sqrt(within) * rng.standard_normal((prompts, 1, 1))
        + np.sqrt(along) * rng.standard_normal((prompts, seeds, 1))
        + np.sqrt(1 - within - along) * rng.standard_normal(shape)
    )
    return (hidden < stats.norm.ppf(rates)).astype(float)


def as_table(values: np.ndarray, layers: np.ndarray | None = None, **columns: object) -> pd.DataFrame:
    """A table of scores from right or wrong `[prompt, seed, layer]`; NaN is missing."""
    layers = np.arange(values.shape[2]) if layers is None else layers
    prompt, seed, layer = (grid.ravel() for grid in np.indices(values.shape))
    flat = values.ravel()
    frame = pd.DataFrame(
        {
            "prompt_id": [f"p{number:05d}" for number in prompt],
            "layer": layers[layer],
            "seed": seed,
            "check": "object-0",
            "kind": "object",
            "scorer": "oracle",
            "label": pd.array([None if np.isnan(cell) else bool(cell) for cell in flat], dtype="boolean"),
        }
    )
    return scores.validate(frame.assign(**columns))
