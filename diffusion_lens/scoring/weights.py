"""Loading of scorers' models; and whether a scorer shares weights with the encoder that it judges."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from diffusion_lens.errors import DiffusionLensError, ScorerError
from diffusion_lens.models.embedded import EMBEDDED, find_minilm, weights_of
from diffusion_lens.models.quiet import quiet_libraries

__all__ = ["find_encoders", "load_parts", "share_of_weights", "warn_if_circular"]

log = logging.getLogger(__name__)

T = TypeVar("T")
Sample = tuple[tuple[int, ...], np.ndarray]  # shape of a matrix, and its first numbers
_TAKEN = 16
_CLOSE = 0.01  # relative; half precision rounds by less
_SUSPECT = 0.5


def load_parts(what: str, model: str, load: Callable[[], T]) -> T:
    """Load a scorer's model, quietly.

    Args:
        what: what it is for, as in "the scorer vqa".
        model: a folder or a hub id.
        load: loads it.

    Raises:
        ScorerError: it isn't there, or is of another kind; how to get it is said.
    """
    try:
        with quiet_libraries():
            return load()
    except DiffusionLensError as error:
        raise ScorerError(f"{what} can't load {model}: {error}") from error
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ScorerError(
            f"{what} can't load {model}: {reason.rstrip('.')}. Give a folder that holds the model, or "
            f"download it once where there is a network: hf download {model}"
        ) from error


def find_encoders(model: str, revision: str | None = None) -> list[Path] | None:
    """The weights of a pipeline's text encoders on this machine; nothing is downloaded.

    Returns:
        Files of safetensors; None if the model is not here.
    """
    if model in EMBEDDED and EMBEDDED[model].encoder == "minilm":
        try:
            return [find_minilm() / "model.safetensors"]
        except DiffusionLensError:
            return None
    with weights_of(model) as folder:
        root = folder if folder.is_dir() else _cached(model, revision)
        if root is None:
            return None
        return sorted(root.glob("text_encoder*/*.safetensors")) or None


def _cached(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        patterns = ["text_encoder*/*"]
        found = snapshot_download(model, revision=revision, allow_patterns=patterns, local_files_only=True)
    except Exception:  # the hub client raises many kinds; all mean that it is not here
        return None
    return Path(found)


def _of_files(files: Iterable[str | os.PathLike[str]]) -> Iterator[Sample]:
    from safetensors import safe_open

    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (not a dict)
                shape = tuple(file.get_slice(name).get_shape())
                if len(shape) == 2:
                    part = file.get_slice(name)[:1, :_TAKEN].float()
                    yield shape, part.flatten().numpy()


def _of_module(module: Any) -> Iterator[Sample]:
    for weight in module.parameters():
        if weight.ndim == 2:
            part = weight.detach()[:1, :_TAKEN].float().cpu()
            yield tuple(weight.shape), part.flatten().numpy()


def share_of_weights(module: Any, files: Sequence[str | os.PathLike[str]]) -> float:
    """How many of a model's matrices are also among those of some files, 0 to 1.

    Matrices are told by their shape and the first numbers of their first row, within the rounding of half
    precision; names, classes and configurations play no part.
    """
    known: dict[tuple[int, ...], list[np.ndarray]] = {}
    for shape, numbers in _of_files(files):
        known.setdefault(shape, []).append(numbers)
    found = [_is_known(numbers, known.get(shape, ())) for shape, numbers in _of_module(module)]
    return sum(found) / len(found) if found else 0.0


def _is_known(numbers: np.ndarray, among: Sequence[np.ndarray]) -> bool:
    size = float(np.abs(numbers).max(initial=0.0))
    return size > 0 and any(np.allclose(numbers, one, rtol=_CLOSE, atol=_CLOSE * size) for one in among)


def warn_if_circular(scorer: str, module: Any, models: Mapping[str, str | None]) -> list[str]:
    """Warn of each model under study whose text encoder is the scorer's own.

    Such a scorer measures agreement of an encoder with itself (SD 1 reads CLIP ViT-L/14).

    Args:
        scorer: the scorer, for the message.
        module: its text encoder.
        models: name and revision of each model whose images are scored.

    Returns:
        The models that share weights with it.
    """
    shared = []
    for model, revision in models.items():
        files = find_encoders(model, revision)
        if files is None:
            log.info("%s was not compared with the encoder of %s, which is not here.", scorer, model)
            continue
        share = share_of_weights(module, files)
        if share >= _SUSPECT:
            shared.append(model)
            log.warning(
                "%s shares %.0f %% of its text encoder's weights with the encoder of %s, which it is to "
                "judge: the two agree by construction. Choose another CLIP, or trust another scorer.",
                scorer,
                100 * share,
                model,
            )
    return shared
