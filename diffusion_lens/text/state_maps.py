"""`StateMaps`: maps from the layers of an encoder to a later one, from a file, for saying states in words.

A file is one of `diffusion-lens tune` (a tuned or a Jacobian lens), or a published Jacobian lens: a `.pt`
that the package jlens writes, a dict whose "J" has a matrix `[width, width]` by block, counted from 0. It
is read with torch's `weights_only`, which runs no code. Such a file does not say which model it is of, so
that width and depth alone are compared.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float

from diffusion_lens.errors import InputError, LayerError
from diffusion_lens.models.encoders import TextEncoder
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.tuned import TunedFile

__all__ = ["StateMaps"]


@dataclass(frozen=True, eq=False)
class StateMaps:
    """The maps of one encoder to one of its layers.

    Attributes:
        path: the file.
        weight: by layer, `[width, width]`.
        bias: likewise, `[width]`.
    """

    path: str
    weight: Mapping[int, torch.Tensor]
    bias: Mapping[int, torch.Tensor]

    @classmethod
    def load(cls, path: str | os.PathLike[str], encoder: TextEncoder) -> StateMaps:
        """Read the maps of an encoder.

        Raises:
            InputError: the file is missing, damaged, or of another encoder.
        """
        if Path(path).suffix == ".pt":
            weight = _published(str(path), *_stamp(Path(path)))
            width, deepest = next(iter(weight.values())).shape[0], max(weight)
            module: Any = encoder.module
            own = module.get_input_embeddings().weight.shape[-1]
            if width != own or deepest > encoder.depth:
                raise InputError(
                    f"{path} is a lens of a model of width {width} with {deepest} blocks or more, and "
                    f"{encoder.name} has width {own} and {encoder.depth} blocks. Give the lens of this "
                    "encoder, or fit one: diffusion-lens tune --jacobian."
                )
            return cls(str(path), weight, {layer: torch.zeros(width) for layer in weight})
        found = TunedFile.load(path).encoders.get(encoder.name)
        if found is None or found.fingerprint != encoder.fingerprint:
            raise InputError(
                f"{path} has no maps of {encoder.name} of this model. Fit them with this model: "
                "diffusion-lens tune."
            )
        position = max(found.weight)
        rows = dict(enumerate(found.layers))
        return cls(
            str(path),
            {layer: found.weight[position][row] for row, layer in rows.items()},
            {layer: found.bias[position][row] for row, layer in rows.items()},
        )

    def __call__(
        self, state: Float[torch.Tensor, "token width"], site: SiteKey
    ) -> Float[torch.Tensor, "token width"]:
        """States of a layer as the later layer would have them, in float32.

        Raises:
            LayerError: the file has no map from there.
        """
        if site not in self.weight:
            raise LayerError(
                f"{self.path} has no map from {site}; it has layers {sorted(self.weight)}. Leave the file "
                "out there."
            )
        weight, bias = (one[int(site)].float().to(state.device) for one in (self.weight, self.bias))
        return state.float() @ weight.T + bias


def _stamp(path: Path) -> tuple[int, int]:
    """What tells the content of a file from what it was before; zeros where there is none."""
    try:
        found = path.stat()
    except OSError:  # reading it says what is wrong
        return 0, 0
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=2)
def _published(path: str, _changed: int, _size: int) -> dict[int, torch.Tensor]:
    """The matrices of a published file, by layer: the output of block i is layer i + 1."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = {int(block) + 1: matrix for block, matrix in content["J"].items()}
        square = all(one.ndim == 2 and one.shape[0] == one.shape[1] for one in found.values())
        if not found or not square:
            raise ValueError("its matrices are not square")
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise _no_lens(path, error) from error
    except pickle.UnpicklingError as error:
        raise _no_lens(path, "it holds more than tensors and numbers") from error
    return found


def _no_lens(path: str, reason: object) -> InputError:
    return InputError(
        f"{path} is no file of a published Jacobian lens ({reason}). Such a file has a matrix by block "
        'under "J"; a file of this package ends in .safetensors.'
    )
