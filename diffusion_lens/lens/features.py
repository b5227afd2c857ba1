"""`draw_features`: sparse features seen through the lens, taken out of a prompt and put into another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.lens.grid import contact_sheet
from diffusion_lens.text.fit_sparse import CaptionStates, read_captions
from diffusion_lens.text.interventions import Intervention, Steer
from diffusion_lens.text.sparse import SparseFeatures

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens

__all__ = ["DrawnFeatures", "draw_features"]

_COLUMNS = ("its best caption", "taken out", "the other prompt", "put in")
_MOST = 4096  # states that distances are measured to
_FAR = 0.95


@dataclass(frozen=True)
class DrawnFeatures:
    """What some features draw.

    Attributes:
        table: one row by image: `feature`, `what` (one of the columns of the grid), `prompt`, `strength`
            (what was added of the feature, in its typical activations), `distance` (the largest one from a
            state that was steered to the nearest state of the captions, as a share of the distance that
            95 % of held-out states keep), and `image`.
    """

    table: pd.DataFrame

    @property
    def off_distribution(self) -> list[int]:
        """The features that steer a state farther from those of all captions than 95 % of others are."""
        far = self.table[self.table["distance"] > 1]
        return sorted(set(far["feature"].tolist()))

    def grid(self, labels: Sequence[str] = ()) -> Image.Image:
        """One row by feature: its best caption, without it, another prompt, and with it.

        Args:
            labels: of the rows; the numbers of the features if empty.
        """
        features = list(dict.fromkeys(self.table["feature"]))
        images = {(row["feature"], row["what"]): row["image"] for row in self.table.to_dict("records")}
        rows = [[images[feature, what] for what in _COLUMNS] for feature in features]
        return contact_sheet(rows, list(labels) or [f"feature {one}" for one in features], list(_COLUMNS))


def draw_features(
    lens: "DiffusionLens",
    features: SparseFeatures,
    read: CaptionStates,
    chosen: Sequence[int],
    folder: Path,
    *,
    on: str = "a dog",
    strength: float = 1.0,
    seed: int = 0,
    **settings: Any,
) -> DrawnFeatures:
    """Draw features at their layer: taken out of the caption in which each fires most, put into another.

    Taken out is what the feature adds at each token; put in is its typical activation, at every word.
    Steered states may be none that the encoder ever gives, and the denoiser was never trained on such:
    `distance` says how far they are from states of captions.

    Args:
        lens: the model.
        features: the features.
        read: the states that they were fitted on.
        chosen: which features.
        folder: where their directions are written, as `feature-N.safetensors`, for `steer(FILE)`.
        on: the other prompt.
        strength: how many typical activations are put in.
        seed: the seed.
        settings: `steps`, `guidance` and so on, as for a call of the lens.

    Raises:
        InputError: the features are of another encoder, there is no such feature, or one never fires.
        PromptError: the other prompt is none.
    """
    own = lens.conditioner.encoders.get(features.encoder)
    features.check_encoder(read.encoder, "unknown" if own is None else own.fingerprint)
    active = features.activations(read.states)
    near, usual = _references(read)
    how = {"encoder": features.encoder, "progress": False, **settings}
    plain: dict[str, Image.Image | None] = {}

    def draw(prompt: str, changes: Sequence[Intervention] = ()) -> Image.Image | None:
        drawn = lens(prompt, features.layer, seed, interventions=changes, **how)
        image: Image.Image | None = drawn.table["image"].iloc[0]
        return image

    def distance(states: torch.Tensor) -> float:
        return float(torch.cdist(states, near).amin(1).max() / usual)

    others = read_captions(lens.reader(), [on], features.layer, features.encoder).states
    rows = []
    for feature in chosen:
        direction = features.direction(feature)
        top = int(active[:, feature].argmax())
        if not active[top, feature] > 0:
            raise InputError(f"Feature {feature} fires in no caption; choose one of the table.")
        path = folder / f"feature-{feature}.safetensors"
        direction.save(path)
        (vector,) = direction.vectors[features.encoder]
        caption = read.captions[int(read.caption[top])]
        here = (read.caption == read.caption[top]) & (active[:, feature] > 0)
        added = active[here, feature] / features.typical[feature]
        without = [
            Steer(str(path), -amount, tokens=place)
            for amount, place in zip(added.tolist(), read.place[here].tolist(), strict=True)
        ]
        bare = read.states[here] - added[:, None] * vector
        most = float(added.max())
        for prompt in (caption, on):
            if prompt not in plain:
                plain[prompt] = draw(prompt)
        full = others + strength * vector
        rows += [
            (feature, _COLUMNS[0], caption, 0.0, None, plain[caption]),
            (feature, _COLUMNS[1], caption, -most, distance(bare), draw(caption, without)),
            (feature, _COLUMNS[2], on, 0.0, None, plain[on]),
            (feature, _COLUMNS[3], on, strength, distance(full), draw(on, [Steer(str(path), strength)])),
        ]
    return DrawnFeatures(
        pd.DataFrame(rows, columns=["feature", "what", "prompt", "strength", "distance", "image"])
    )


def _references(read: CaptionStates) -> tuple[torch.Tensor, float]:
    """States of captions, and the distance from them that 95 % of the states held out keep."""
    apart = read.held_out[read.caption]
    known, others = (_some(read.states[rows]) for rows in (~apart, apart))
    return known, float(torch.cdist(others, known).amin(1).quantile(_FAR))


def _some(states: torch.Tensor) -> torch.Tensor:
    """Not too many states, spread evenly."""
    return states[:: -(-len(states) // _MOST)]
