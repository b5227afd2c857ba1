"""Which text encoders an embedding was learned with: some numbers of their embedding matrices, in its file.

A learned vector means something among the rows beside which it was learned. Fine-tunes of one encoder keep
these rows nearly, so that embeddings carry over in part; encoders that were trained apart share nothing,
even where their widths agree. The correlation of 64 numbers tells which it is: 1 but for rounding, near 1,
or 0 with a standard deviation of 1/8. A digest could not: it changes with the dtype of the model.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion_lens.errors import InputError

__all__ = ["VocabularySample", "check_origin", "read_origin", "sample_vocabulary", "write_origin"]

log = logging.getLogger(__name__)

_NUMBERS = 64
_ROUNDING = 0.01  # of a number, and of the numbers' typical size; bfloat16 rounds by up to 0.004
_RELATED = 0.5  # the correlation of encoders trained apart is below it by four standard deviations


@dataclass(frozen=True)
class VocabularySample:
    """Some numbers of an encoder's embedding matrix.

    Attributes:
        rows: of the matrix; tokens that were added later are behind them.
        numbers: 64 of them, evenly spaced over rows and columns, in four digits.
    """

    rows: int
    numbers: tuple[float, ...]


def sample_vocabulary(encoder: Any) -> VocabularySample | None:
    """A sample of a text encoder's embedding matrix; None if its numbers are packed or offloaded."""
    matrix = encoder.get_input_embeddings().weight.detach()
    return _sample(matrix, len(matrix)) if _is_plain(matrix) else None


def _is_plain(matrix: Tensor) -> bool:
    return matrix.is_floating_point() and not matrix.is_meta


def _sample(matrix: Tensor, rows: int) -> VocabularySample:
    steps = torch.arange(_NUMBERS, device=matrix.device)
    values = matrix[steps * rows // _NUMBERS, steps * matrix.shape[1] // _NUMBERS].float().tolist()
    return VocabularySample(rows, tuple(float(f"{value:.4g}") for value in values))


def write_origin(token: str, samples: Mapping[str, VocabularySample | None]) -> str:
    """What the metadata of a file say of its word: its token, and the samples by encoder key (`clip_l`)."""
    kept = {key: asdict(sample) for key, sample in samples.items() if sample is not None}
    return json.dumps({"token": token, "encoders": kept})


def read_origin(path: Path, text: str) -> tuple[str, dict[str, VocabularySample]]:
    """What `write_origin` wrote, read from a file that may be damaged or crafted.

    Raises:
        InputError: it is not what `write_origin` writes.
    """
    try:
        said = json.loads(text)
        return str(said["token"]), {key: _read_sample(one) for key, one in said["encoders"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise InputError(f"{path}: its metadata on how it was learned are damaged. Get it again.") from None


def _read_sample(said: Mapping[str, Any]) -> VocabularySample:
    rows, numbers = int(said["rows"]), tuple(float(one) for one in said["numbers"])
    if not 0 < rows < 2**31 or len(numbers) != _NUMBERS or not all(map(math.isfinite, numbers)):
        raise ValueError("no sample of a matrix")
    return VocabularySample(rows, numbers)


def check_origin(
    path: Path, pipe: Any, keys: Mapping[str, str], origin: Mapping[str, VocabularySample]
) -> None:
    """Say so, or refuse, where a pipeline's encoders are not those that an embedding was learned with.

    Args:
        path: its file.
        pipe: the pipeline.
        keys: what the file calls each of its encoders.
        origin: the samples of the file; those of encoders that the pipeline lacks don't count.

    Raises:
        InputError: an encoder was trained apart from the one that the embedding was learned with.
    """
    tuned = []
    for name, key in keys.items():
        encoder = getattr(pipe, name)
        matrix = encoder.get_input_embeddings().weight.detach()
        if key not in origin or not _is_plain(matrix):
            continue
        likeness = _likeness(matrix, origin[key])
        said = f"(correlation of the embedding matrices {likeness:.2f})"
        if likeness < _RELATED:
            raise InputError(
                f"{path} was learned with another text encoder than this {name} ({type(encoder).__name__}) "
                f"and means nothing to it {said}. Use it with the model that it was learned on, or learn "
                "it again on this one: diffusion-lens invert."
            )
        if likeness < 1:
            tuned.append(f"{name} {said}")
    if tuned:
        log.warning(
            "%s was learned with another fine-tune of %s. Embeddings carry over between fine-tunes in "
            "part: look at what it draws, or learn it again on this model.",
            path,
            ", ".join(tuned),
        )


def _likeness(matrix: Tensor, learned: VocabularySample) -> float:
    """The correlation with the sampled matrix: 1 if all numbers are equal but for rounding, else less."""
    if learned.rows * (_NUMBERS - 1) // _NUMBERS >= len(matrix):
        return 0.0  # another vocabulary; a few tokens added to one are not in the sample
    now, then = (np.array(one.numbers) for one in (_sample(matrix, learned.rows), learned))
    typical = math.sqrt(float((then**2).mean()))
    if (abs(now - then) <= _ROUNDING * (abs(then) + typical)).all():
        return 1.0
    if not now.std() or not then.std():
        return 0.0
    return min(float(np.corrcoef(now, then)[0, 1]), 0.9999)
