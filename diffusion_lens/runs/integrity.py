"""Bytes of a run that changed since they were written: found by the checksums of the pages of its parts."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from diffusion_lens.errors import RunError
from diffusion_lens.runs.plan import Plan
from diffusion_lens.runs.store import Part, Store

__all__ = ["check_parts", "read_part"]

_SHOWN = 6


def read_part(
    store: Store, plan: Plan, part: Part, columns: Sequence[str] | None = None, filters: Any = None
) -> pa.Table:
    """Rows of a part, of which each page is what was written.

    Args:
        store: the run.
        plan: its plan, which names the images of a damaged part.
        part: the part.
        columns: the columns to read; all if None.
        filters: rows to read, as `pyarrow.parquet.read_table` takes them.

    Raises:
        RunError: a page that is read was changed; the images to draw again are named.
    """
    try:
        with store.fs.open(store.path(part.name), "rb") as file:
            return pq.read_table(file, columns=columns, filters=filters, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise RunError(_describe(store, plan, [(part, error)])) from error


def check_parts(store: Store, plan: Plan, parts: Iterable[Part]) -> None:
    """Read parts whole, images included, and refuse them if one was changed.

    Parts of runs that were drawn before version 0.2 wrote checksums are read, but hold none to be compared.

    Raises:
        RunError: parts were changed; the images to draw again are named.
    """

    def damage(part: Part) -> Exception | None:
        try:
            with store.fs.open(store.path(part.name), "rb") as file:
                content = pq.ParquetFile(file, page_checksum_verification=True)
                for group in range(content.num_row_groups):
                    content.read_row_group(group)
        except (OSError, pa.ArrowException) as error:
            return error
        return None

    listed = list(parts)
    with ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(damage, listed))
    found = [(part, error) for part, error in zip(listed, errors, strict=True) if error is not None]
    if found:
        raise RunError(_describe(store, plan, found))


def _describe(store: Store, plan: Plan, parts: Sequence[tuple[Part, Exception]]) -> str:
    cells = {cell.id: cell for cell in plan.cells}
    lines = []
    for part, error in parts:
        known = [cells[one] for one in part.cells if one in cells]
        shown = [
            f"{plan.prompts[one.prompt].prompt!r} layer {one.layer}{', native' if one.native else ''} "
            f"seed {one.seed}"
            for one in known[:_SHOWN]
        ]
        if len(known) > _SHOWN:
            shown.append(f"and {len(known) - _SHOWN} more")
        reason = str(error).strip().splitlines()[0]
        lines.append(f"  {part.name} ({reason}): {'; '.join(shown) or 'images of an earlier experiment'}")
    return (
        f"Parts of {store.url} are not what was written: {len(parts)}. These images must be drawn again:\n"
        + "\n".join(lines)
        + "\nMove these parts out of the folder; the same sweep then draws what is missing."
    )
