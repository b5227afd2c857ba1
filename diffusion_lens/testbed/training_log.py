"""The log of a training: a CSV file with a row every few steps."""

import csv
from pathlib import Path

__all__ = ["COLUMNS", "TrainingLog"]

COLUMNS = ("step", "seconds", "samples", "loss", "lr", "samples_per_second", "validation")


class TrainingLog:
    """The CSV file of a stage, cut back to the checkpoint when a run is resumed."""

    def __init__(self, path: Path, after: int) -> None:
        """Open it; rows of steps beyond `after` belong to work that was lost."""
        rows: list[dict[str, str]] = []
        if after and path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= after]
        self.path = path
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def write(self, row: dict[str, object]) -> None:
        """Add one row."""
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
