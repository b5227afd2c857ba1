"""What the studies share: tables that are kept, and means over units with intervals."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from diffusion_lens.analysis.significance import sign_flip_test
from diffusion_lens.analysis.statistics import mean_interval, of_means
from diffusion_lens.files import write_whole

__all__ = ["changes", "in_order", "kept", "means", "paired", "shares", "write_table"]


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all."""
    content = table.to_csv(index=False, lineterminator="\n", float_format="%.4f").encode()
    write_whole(path, lambda file: file.write(content))


def kept(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table that an earlier call wrote, or a new one, written as parquet; so that a study resumes."""
    if not path.is_file():
        table = make()
        write_whole(path, lambda file: table.to_parquet(file, index=False))
    return pd.read_parquet(path)


def means(
    table: pd.DataFrame,
    by: Sequence[str],
    unit: str,
    value: str = "value",
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> pd.DataFrame:
    """Means over units with 95 % t intervals; what was repeated within a unit is averaged first.

    Args:
        table: one row for each measurement; missing values are left out.
        by: the columns that tell apart what is compared.
        unit: the column of the unit, such as the concept: the interval is over other units.
        value: the column of the measurement.
        limits: what no measurement passes, and so no end of an interval.

    Returns:
        The columns `by`, then `mean`, `low`, `high` and `units`. Fewer than three units have no interval.
    """
    rows = []
    known = table.dropna(subset=[value]).assign(**{value: lambda part: part[value].astype(float)})
    for key, part in known.groupby(list(by), sort=False):
        of_units = part.groupby(unit)[value].mean().to_numpy()
        mean, low, high = _share_interval(of_units)
        rows.append((*key, mean, *np.clip([low, high], *limits), len(of_units)))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "units"])


def shares(
    table: pd.DataFrame, by: Sequence[str], unit: str = "prompt_id", value: str = "right"
) -> pd.DataFrame:
    """Rates over units with Wilson's intervals at the effective number of units.

    Args:
        table: one row for each answer, 0 or 1; missing ones are left out.
        by: the columns that tell apart what is compared.
        unit: the column of the unit; its answers are averaged first.
        value: the column of the answer.

    Returns:
        The columns `by`, then `rate`, `low`, `high`, `units` and `answers`.
    """
    rows = []
    for key, part in table.dropna(subset=[value]).groupby(list(by), sort=False):
        found = of_means(part.groupby(unit)[value].mean().to_numpy(dtype=float)[:, None])
        low, high = found.shares(0.95)
        rows.append((*key, found.estimate[0], low[0], high[0], found.counts[0], len(part)))
    return pd.DataFrame(rows, columns=[*by, "rate", "low", "high", "units", "answers"])


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """A mean and its interval, which fewer than three units do not have."""
    return mean_interval(values) if len(values) > 2 else (float(values.mean()), np.nan, np.nan)


def _share_interval(values: np.ndarray) -> tuple[float, float, float]:
    """As `_interval`, but exact for units that are all 0 or all 1, which have no spread."""
    mean, low, high = _interval(values)
    if len(values) > 2 and mean in (0.0, 1.0):
        exact = binomtest(round(mean * len(values)), len(values)).proportion_ci()
        return mean, float(exact.low), float(exact.high)
    return mean, low, high


def paired(
    table: pd.DataFrame,
    by: Sequence[str],
    unit: str,
    way: str,
    first: str,
    value: str = "value",
    limit: float = np.inf,
) -> pd.DataFrame:
    """One way less each other way, over the units that have both.

    Args:
        table: one row for each measurement.
        by: the columns within which ways are compared, such as the measure.
        unit: the column of the unit.
        way: the column of the way.
        first: the way that the others are subtracted from.
        value: the column of the measurement.
        limit: the largest difference that there can be, at which intervals end: 1 of shares.

    Returns:
        The columns `by`, then `less` (the other way), `gain`, `low`, `high`, `p` (exact sign flips of
        whole units, two-sided) and `units`.
    """
    rows = []
    known = table.dropna(subset=[value]).assign(**{value: lambda part: part[value].astype(float)})
    for key, part in known.groupby(list(by), sort=False):
        wide = part.pivot_table(index=unit, columns=way, values=value)
        if first not in wide:
            continue
        for other in (one for one in wide.columns if one != first):
            gains = (wide[first] - wide[other]).dropna().to_numpy()
            if len(gains) == 0:
                continue
            gain, *ends = _interval(gains)
            p = sign_flip_test(gains)
            rows.append((*key, other, gain, *np.clip(ends, -limit, limit), p, len(gains)))
    return pd.DataFrame(rows, columns=[*by, "less", "gain", "low", "high", "p", "units"])


def changes(
    table: pd.DataFrame,
    by: Sequence[str],
    way: str,
    control: str,
    unit: str = "prompt_id",
    value: str = "right",
) -> pd.DataFrame:
    """Rates of each way less a control's, over units that have both: `by`, `way`, `change`, as `paired`."""
    found = paired(table, by, unit, way, control, value, limit=1)
    turned = found.assign(gain=0 - found["gain"], low=-found["high"], high=-found["low"])
    return turned.rename(columns={"less": way, "gain": "change"})


def in_order(table: pd.DataFrame, **orders: Sequence[object]) -> pd.DataFrame:
    """The rows in the order that the values of some columns should have, the last column first."""
    for name, order in orders.items():
        places = {value: place for place, value in enumerate(order)}
        table = table.iloc[np.argsort(table[name].map(places).to_numpy(), kind="stable")]
    return table.reset_index(drop=True)
