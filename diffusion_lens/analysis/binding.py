"""Binding: are all parts of a prompt right together as often as they would be if they were independent?

Composition is multiplicative in its parts (Okawa et al. 2023, arXiv 2310.09336): where each atom has its
own rate and nothing ties them, all are right at the product of their rates. A rate below it is a failure
of binding, not of the parts; one above it says that the parts help each other.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from diffusion_lens.analysis.confidence import difference_interval
from diffusion_lens.analysis.curves import why_no_interval
from diffusion_lens.analysis.statistics import DEFAULT, Resampling, jackknife, rates, totals
from diffusion_lens.analysis.trajectories import gather, groups
from diffusion_lens.errors import ScoresError

__all__ = ["binding"]


def binding(
    table: pd.DataFrame,
    by: Sequence[str] = ("run", "scorer", "encoder", "category"),
    *,
    kinds: Sequence[str] = ("object", "attribute", "relation", "order", "count"),
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """All atoms against the product of atoms, layer by layer.

    Prompts with the same set of checks are taken together. Two products answer two questions. The
    `product` of the rates over prompts is the published one; easy prompts, in which everything is right,
    put the rate of all above it though nothing is bound. `within` multiplies atoms of one prompt from
    images of different seeds, and has no such bias: its atoms share the prompt, but not the image. An image
    counts if all its atoms are judged, so that a prompt may have fewer seeds at one layer than at another.

    Args:
        table: validated scores.
        by: groups that are analysed apart.
        kinds: checks of these kinds are atoms.
        resampling: the level of the intervals.

    Returns:
        One row by group, set of atoms and layer: `all`, `product`, `gap` = all - product with `gap_low` and
        `gap_high`; `within`, `within_gap` = all - within with both ends, over prompts with at least as many
        images as atoms, missing where there are none; `prompts`, those that have an image of that layer
        with all atoms judged.

    Raises:
        ScoresError: no prompt has two atoms.
    """
    rows = []
    for key, part in groups(table[table["kind"].isin(list(kinds))], by):
        atoms_of = {name: tuple(sorted(set(ids))) for name, ids in part.groupby("prompt_id")["check"]}
        for atoms in sorted(set(atoms_of.values())):
            if len(atoms) > 1:
                prompts = [name for name, own in atoms_of.items() if own == atoms]
                here = part[part["prompt_id"].isin(prompts)]
                rows.append(_one_set(here, atoms, resampling.level).assign(**key))
    if not rows:
        raise ScoresError(f"No prompt has two checks of the kinds {list(kinds)}: there is nothing to bind.")
    found = pd.concat(rows, ignore_index=True)
    return found[[*by, *(name for name in found if name not in by)]]


def _one_set(part: pd.DataFrame, names: Sequence[str], level: float) -> pd.DataFrame:
    values, depths, layers = _cube(part, names)
    _, count, _, width = values.shape
    complete = np.isfinite(values).all(axis=1)
    number = complete.sum(axis=1)
    values = np.where(complete[:, None], values, 0.0)
    with np.errstate(invalid="ignore"):
        together = np.where(complete, values.prod(axis=1), 0.0).sum(axis=1) / number
        single = values.sum(axis=2) / number[:, None]
    product = _of_different_images(values, complete)
    alike = np.where(np.isfinite(product), together, np.nan)
    parts = [together, *single.transpose(1, 0, 2), product, alike]
    columns = totals(np.concatenate(parts, axis=1))
    used, used_within = (np.isfinite(one).sum(axis=0) for one in (together, product))

    def statistic(sums: Float[np.ndarray, "many columns"]) -> Float[np.ndarray, "many numbers"]:
        means = rates(sums).reshape(len(sums), count + 3, width)
        every, expected = means[:, 0], means[:, 1 : count + 1].prod(axis=1)
        return np.concatenate([every, expected, means[:, -2], means[:, -1]], axis=1)

    result = jackknife(columns, statistic, np.concatenate([used, used, used_within, used_within]))
    low, high = result.shares(level)
    every, expected, apart, alone = (
        [numbers[start : start + width] for numbers in (result.estimate, low, high)]
        for start in range(0, 4 * width, width)
    )
    frame = pd.DataFrame({"atoms": " & ".join(names), "layer": layers, "depth": depths})
    frame["all"], frame["product"], frame["within"] = every[0], expected[0], apart[0]
    # the second gap is of the prompts that have both of its numbers
    for name, one, first, other, second in (
        ("gap", every, 0, expected, width),
        ("within_gap", alone, 3 * width, apart, 2 * width),
    ):
        correlation = [result.correlation(first + layer, second + layer) for layer in range(width)]
        frame[name] = one[0] - other[0]
        frame[f"{name}_low"], frame[f"{name}_high"] = difference_interval(
            (one[0], one[1], one[2]), (other[0], other[1], other[2]), correlation
        )
    frame["prompts"] = used
    frame["note"] = [why_no_interval(int(one)) for one in used]
    return frame


def _of_different_images(
    values: Float[np.ndarray, "prompt atom seed layer"], complete: Bool[np.ndarray, "prompt seed layer"]
) -> Float[np.ndarray, "prompt layer"]:
    """The mean product of atoms, each from another complete image; NaN with fewer images than atoms."""
    count, number = values.shape[1], complete.sum(axis=1)
    first = np.argsort(~complete, axis=1, kind="stable")  # complete images come first
    values = np.take_along_axis(values, first[:, None], axis=2)
    found = np.full(number.shape, np.nan)
    for images in np.unique(number[number >= count]):
        # atom k from the image k places on: every image but never the same one twice
        rolled = [np.roll(values[:, k, :images], k, axis=1) for k in range(count)]
        found = np.where(number == images, np.prod(rolled, axis=0).mean(axis=1), found)
    return found


def _cube(
    part: pd.DataFrame, names: Sequence[str]
) -> tuple[Float[np.ndarray, "prompt atom seed layer"], Float[np.ndarray, " layer"], tuple[int, ...]]:
    """Right or wrong by prompt of a run and encoder, atom, seed and layer; NaN where missing."""
    found = gather(part)
    keys = found.keys
    unit, units = pd.factorize(
        pd.MultiIndex.from_frame(keys[["run", "encoder", "prompt_id"]]),
    )
    # each prompt may have seeds of its own
    seed = keys["seed"].groupby(unit).rank("dense").astype(int).to_numpy() - 1
    atom = keys["check"].map({name: index for index, name in enumerate(names)}).to_numpy()
    cube = np.full((len(units), len(names), seed.max() + 1, len(found.layers)), np.nan)
    cube[unit, atom, seed] = found.values
    return cube, found.depths, found.layers
