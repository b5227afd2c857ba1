"""`FailureStreak`: tells a device that can draw nothing any more from prompts that can't be drawn."""

from collections.abc import Sequence

from diffusion_lens.errors import InputError, RunError
from diffusion_lens.runs.plan import Cell

__all__ = ["FailureStreak"]


class FailureStreak:
    """The failures of a worker since its last image.

    After an error of CUDA, or where memory ran out for good, each later cell fails, and would be recorded
    as if it were to blame. A cell that is to blame ends no run: it is refused by an `InputError`, such as
    that its prompt lacks a word, or its prompt breaks an encoder and the next prompt is drawn.

    Args:
        most: failures in a row that end a run.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._drawn: set[int] = set()  # prompts
        self._failed: list[Cell] = []
        self._reason = ""

    def end(self, cells: Sequence[Cell]) -> None:
        """Images of some cells were drawn."""
        self._drawn.update(cell.prompt for cell in cells)
        self._failed = []

    def add(self, cell: Cell, error: Exception, reason: str) -> None:
        """A cell could not be drawn."""
        if not isinstance(error, InputError):
            self._failed.append(cell)
            self._reason = reason

    def check(self) -> None:
        """Raise RunError if there is no sense in going on."""
        prompts = {cell.prompt for cell in self._failed}
        # all of one prompt, of which nothing was drawn, though others were: it may be the prompt
        alone = len(prompts) == 1 and self._drawn and not prompts & self._drawn
        if len(self._failed) >= self.most and not alone:
            raise RunError(
                f"None of the last {len(self._failed)} images could be drawn: {self._reason}. All that was "
                "drawn before is kept. Mend it and give the same command with --retry-failed."
            )
