"""Where the command line speaks: results to standard output, all else to standard error."""

from rich.console import Console

__all__ = ["err", "out", "say"]

out = Console()
err = Console(stderr=True)


def say(text: str) -> None:
    """Print text as it is: a prompt or a path is no markup, and is never wrapped."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)
