"""The log of a training: a CSV file with a row every few steps."""

import csv
import io
from pathlib import Path

from diffusion_lens.files import write_whole

__all__ = ["COLUMNS", "TrainingLog"]

COLUMNS = ("step", "seconds", "samples", "loss", "lr", "samples_per_second", "validation")


class TrainingLog:
    """The CSV file of a stage, cut back to the checkpoint when a run is resumed."""

    def __init__(self, path: Path, after: int) -> None:
        """Open it; rows of steps beyond `after` belong to work that was lost.

        Raises:
            OutputError: it can't be written; the rows that were there are kept.
        """
        rows: list[dict[str, str]] = []
        if after and path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= after]
        self.path = path
        kept = io.StringIO(newline="")
        writer = csv.DictWriter(kept, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(path, lambda file: file.write(kept.getvalue().encode()))

    def write(self, row: dict[str, object]) -> None:
        """Add one row."""
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
