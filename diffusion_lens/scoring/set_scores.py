"""Set-level scores: how far the images of a layer, as a set, are from a set of reference images.

- KID: the squared maximum mean discrepancy with the kernel (x y + 1)^3 (Binkowski et al. 2018, arXiv
  1801.01401, eq. 3), unbiased: 0 on average for two sets of one kind.
- FID: the Frechet distance of two normal distributions (Heusel et al. 2017, arXiv 1706.08500, eq. 6); too
  large for few images.

Vectors are unit vectors of a network that sees what the images are of: on the testbed the vision tower of
its own CLIP, elsewhere a CLIP or DINOv2. Inception's, with which KID and FID are usually computed, know
photographs alone; numbers of different networks do not compare.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from PIL import Image

from diffusion_lens.errors import InputError, ScorerError
from diffusion_lens.files import portable_name
from diffusion_lens.runs.images import RunImages
from diffusion_lens.scoring.measures import VectorMeasure

__all__ = ["frechet_distance", "kernel_distance", "score_sets"]

log = logging.getLogger(__name__)

_LEAST = 10
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
_AT_ONCE = 128
# a kernel of more images does not fit; KID of so many is known to a thousandth
_MOST = 2000
Vectors = Float[np.ndarray, "image width"]
Others = Float[np.ndarray, "other width"]


def kernel_distance(
    one: Vectors,
    other: Others,
    one_unit: Int[np.ndarray, " image"] | None = None,
    other_unit: Int[np.ndarray, " other"] | None = None,
) -> tuple[float, float]:
    """KID of two sets, and its standard error.

    Args:
        one: vectors of a set.
        other: of the other.
        one_unit: the prompt of each image, a number; each is its own, which the other set lacks, if left
            out.
        other_unit: likewise. Images of one prompt are not compared, in one set or between the two, and a
            prompt that both sets have is left out of both at once.

    Returns:
        The unbiased estimate, and the jackknife's standard error over prompts.

    Raises:
        InputError: a set has fewer than two images.
    """
    if min(len(one), len(other)) < 2:
        raise InputError(f"KID needs two images or more a set, and there are {len(one)} and {len(other)}.")
    first = _others_than(other_unit, len(one)) if one_unit is None else one_unit
    second = _others_than(first, len(other)) if other_unit is None else other_unit
    units, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    a, b = np.eye(len(units))[codes[: len(one)]], np.eye(len(units))[codes[len(one) :]]
    # sums of the kernel, and numbers of pairs, by two prompts; images of one prompt are never compared,
    # for they are alike in both sets
    apart = 1 - np.eye(len(units))
    n, m = a.sum(axis=0), b.sum(axis=0)
    sums = (a.T @ _kernel(one, one) @ a, b.T @ _kernel(other, other) @ b, a.T @ _kernel(one, other) @ b)
    tables = [table * apart for table in (*sums, np.outer(n, n), np.outer(m, m), np.outer(n, m))]
    estimate = _estimate([np.array([table.sum()]) for table in tables])[0]
    left = _estimate([_without_each(table) for table in tables])
    left = left[np.isfinite(left)]
    spread = (
        np.sqrt((len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum()) if len(left) else np.nan
    )
    return float(estimate), float(spread)


def frechet_distance(one: Vectors, other: Others) -> float:
    """FID of two sets.

    Raises:
        InputError: a set has fewer than two images.
    """
    if min(len(one), len(other)) < 2:
        raise InputError(f"FID needs two images or more a set, and there are {len(one)} and {len(other)}.")
    shift = one.mean(axis=0) - other.mean(axis=0)
    first, second = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (one, other))
    # the trace of the root of a product is the sum of the roots of its eigenvalues
    roots = np.sqrt(np.clip(np.linalg.eigvals(first @ second).real, 0, None)).sum()
    return float(shift @ shift + np.trace(first) + np.trace(second) - 2 * roots)


def score_sets(
    run: str | os.PathLike[str], measure: VectorMeasure, reference: Path | None = None
) -> pd.DataFrame:
    """Compare the images of each layer of a run with reference images.

    Args:
        run: the run's folder.
        measure: makes the vectors.
        reference: a folder of images; the images of the last layer of the same run if left out.

    Returns:
        One row by run, encoder and layer: `images`, `reference_images`, `kid` with `kid_low` and `kid_high`
        (95 %, over prompts), `fid`, `features` (whose vectors), `reference` (the layer, or the path of the
        folder from the current one), `note`.

    Raises:
        RunError: there is no run, or it is damaged.
        InputError: the folder has too few images, or the run has one layer only and no folder is given.
        ScorerError: the run has too few images.
    """
    images = RunImages(run)
    cells = pd.DataFrame(
        [
            (line.run, line.encoder, cell.layer, line.prompt, cell.id)
            for line in images.series()
            for cell in line.cells
        ],
        columns=["run", "encoder", "layer", "prompt", "cell"],
    )
    if reference is None and cells["layer"].nunique() < 2:
        raise InputError(
            f"{images.name} has one layer, which can't be compared with itself. Give --reference, a folder "
            "of images."
        )
    outside = None if reference is None else _vectors_of_folder(reference, measure)
    rows = []
    for (name, encoder), series in cells.groupby(["run", "encoder"], sort=False):
        vectors = {
            int(layer): _vectors(images, measure, part)
            for layer, part in series.groupby("layer", sort=True)
        }
        last = max(vectors)
        other, units = vectors[last] if outside is None else (outside, None)
        for layer, (found, prompts) in vectors.items():
            if outside is None and layer == last:
                continue
            if min(len(found), len(other)) < _LEAST:
                log.warning(
                    "Layer %d of %s has %d images; a set needs %d.", layer, name, len(found), _LEAST
                )
                continue
            kid, error = kernel_distance(found, other, prompts, units)
            rows.append(
                {
                    "run": name,
                    "encoder": encoder,
                    "layer": layer,
                    "images": len(found),
                    "reference_images": len(other),
                    "kid": kid,
                    "kid_low": kid - 1.96 * error,
                    "kid_high": kid + 1.96 * error,
                    "fid": frechet_distance(found, other),
                    "features": measure.version,
                    "reference": f"layer {last}" if reference is None else portable_name(reference),
                    "note": _note(min(len(found), len(other)), found.shape[1]),
                }
            )
    if not rows:
        raise ScorerError(
            f"{images.name} has fewer than {_LEAST} images of every layer. Draw more prompts."
        )
    return pd.DataFrame(rows)


def _others_than(taken: Int[np.ndarray, " image"] | None, count: int) -> Int[np.ndarray, " other"]:
    """So many numbers, none of which is taken."""
    return np.arange(count) + (0 if taken is None else taken.max() + 1)


def _kernel(one: Vectors, other: Others) -> Float[np.ndarray, "image other"]:
    from sklearn.metrics.pairwise import polynomial_kernel  # more than a second to import

    return np.asarray(polynomial_kernel(one, other, degree=3, gamma=1.0, coef0=1.0), dtype=float)


def _without_each(sums: Float[np.ndarray, "prompt prompt"]) -> Float[np.ndarray, " prompt"]:
    """The sum of a table without the row and the column of each prompt in turn."""
    return np.asarray(sums.sum() - sums.sum(axis=1) - sums.sum(axis=0) + np.diag(sums))


def _estimate(tables: Sequence[Float[np.ndarray, " case"]]) -> Float[np.ndarray, " case"]:
    """Of sums of the kernel within one set, within the other, between both, and the numbers of pairs."""
    within, within_other, between, pairs, pairs_other, pairs_between = tables
    with np.errstate(invalid="ignore", divide="ignore"):
        found = within / pairs + within_other / pairs_other - 2 * between / pairs_between
    return np.asarray(found)


def _vectors(
    images: RunImages, measure: VectorMeasure, part: pd.DataFrame
) -> tuple[Vectors, Int[np.ndarray, " image"]]:
    """The vectors of a layer's images, and their prompts."""
    chosen = part if len(part) <= _MOST else part.sample(_MOST, random_state=0)
    prompt_of = dict(zip(chosen["cell"], chosen["prompt"], strict=True))
    vectors, prompts = [], []
    for start in range(0, len(chosen), _AT_ONCE):
        read = images.read(list(chosen["cell"].iloc[start : start + _AT_ONCE]))
        there = [(name, one.image) for name, one in read.items() if isinstance(one.image, Image.Image)]
        vectors += list(measure.describe([image for _, image in there]))
        prompts += [prompt_of[name] for name, _ in there]
    found = np.asarray(vectors, dtype=float) if vectors else np.empty((0, 0))
    return found, np.asarray(prompts, dtype=int)


def _vectors_of_folder(folder: Path, measure: VectorMeasure) -> Vectors:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    if len(files) > _MOST:
        # at random: the first by name may all be of one class
        chosen = np.random.default_rng(0).choice(len(files), _MOST, replace=False)
        files = [files[place] for place in sorted(chosen)]
    if len(files) < _LEAST:
        raise InputError(
            f"{folder} holds {len(files)} images ({', '.join(_ENDINGS)}); a set needs {_LEAST} or more."
        )
    parts = [files[start : start + _AT_ONCE] for start in range(0, len(files), _AT_ONCE)]
    vectors = [vector for part in parts for vector in measure.describe(list(_open(part)))]
    return np.asarray(vectors, dtype=float)


def _open(files: Sequence[Path]) -> Iterator[Image.Image]:
    for path in files:
        try:
            yield Image.open(path).convert("RGB")
        except OSError as error:
            raise InputError(f"{path} can't be read as an image: {error}.") from error


def _note(images: int, width: int) -> str:
    return f"FID of {images} images in {width} dimensions is too large" if images <= width else ""
