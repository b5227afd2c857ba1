"""`Verdicts`: what scorers said of the images of a run, ready to be looked up by cell."""

from functools import cached_property
from typing import Any

from diffusion_lens.pages.run_index import RunIndex, Strip
from diffusion_lens.pages.run_parts import whole_layers

__all__ = ["Verdicts"]

_WHOLE = "prompt"


class Verdicts:
    """Answers by scorer, check and cell.

    Args:
        index: the run.
    """

    def __init__(self, index: RunIndex) -> None:
        self.index = index
        self._labels: dict[tuple[str, str], dict[str, str]] = {}

    @cached_property
    def questions(self) -> list[tuple[str, str]]:
        """All pairs of scorer and check, the whole prompt first."""
        answers = self.index.answers
        pairs = answers[["scorer", "check"]].drop_duplicates().to_numpy().tolist()
        return sorted(
            ((str(scorer), str(check)) for scorer, check in pairs),
            key=lambda pair: (pair[0], pair[1] != _WHOLE, pair[1]),
        )

    def labels(self, scorer: str, check: str) -> dict[str, str]:
        """The answer by cell: "right", "wrong" or "missing"."""
        if (scorer, check) not in self._labels:
            answers = self.index.answers
            part = answers[(answers["scorer"] == scorer) & (answers["check"] == check)]
            words = part["label"].map({True: "right", False: "wrong"}).fillna("missing")
            self._labels[scorer, check] = dict(zip(part["cell"], words, strict=True))
        return self._labels[scorer, check]

    def scores(self, scorer: str, check: str) -> dict[str, float]:
        """The probability or score of each cell, where the scorer gave one."""
        answers = self.index.answers
        part = answers[(answers["scorer"] == scorer) & (answers["check"] == check) & answers["p"].notna()]
        return dict(zip(part["cell"], part["p"].astype(float), strict=True))

    @cached_property
    def main(self) -> tuple[str, str] | None:
        """The question that marks on images answer: the first scorer's whole prompt, or its first check."""
        return self.questions[0] if self.questions else None

    def whole(self, cell: str) -> str | None:
        """The verdict on an image as a whole; None where nobody was asked."""
        return None if self.main is None else self.labels(*self.main).get(cell)

    def lost(self, strip: Strip) -> bool:
        """Whether a strip is wrong at its last layer and was right at an earlier one."""
        found = [self.whole(strip.cells[name]) for name in whole_layers(strip.cells)]
        return bool(found) and found[-1] == "wrong" and "right" in found

    def of(self, cell: str) -> list[dict[str, Any]]:
        """All answers on one image, as plain data."""
        words = {True: "right", False: "wrong", None: "missing"}
        found = self.index.answers[self.index.answers["cell"] == cell].astype(object)
        rows = found.where(found.notna(), None).to_dict("records")
        return [
            {
                "scorer": row["scorer"],
                "check": row["check"],
                "answer": words[row["label"]],
                "p": row["p"],
                "reason": row["reason"] or "",
            }
            for row in rows
        ]
