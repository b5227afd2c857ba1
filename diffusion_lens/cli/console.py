"""What the command line prints: results to standard output, all else to standard error."""

import os
import sys

from rich.console import Console

__all__ = ["Output", "err", "fail", "out", "prepare_streams", "say", "warn"]

_LONGEST = 4000  # letters of a message


class Output(Console):
    """A console whose reader may have read enough."""

    def on_broken_pipe(self) -> None:
        """Go on where nobody reads the output any more: what a verb writes to files is still wanted."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


out = Output()
err = Console(stderr=True)


def say(text: str) -> None:
    """Print text as it is: a prompt or a path is no markup, and is never wrapped."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print what the user should know of the result, to standard error."""
    err.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def fail(text: str) -> None:
    """Print what went wrong, to standard error; of what a user gave by the page, its ends."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} [...] {text[-_LONGEST // 2 :]}"
    err.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


def prepare_streams() -> None:
    """Let streams of any encoding take any text: what they can't hold is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
