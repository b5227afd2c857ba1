"""Which code made a run."""

import subprocess
from functools import cache
from pathlib import Path

__all__ = ["find_commit"]


@cache
def find_commit() -> str | None:
    """The git commit of the package, marked "+" if files differ from it; None if it is no checkout."""
    folder = Path(__file__).parent.parent
    ask = ["git", "-C", str(folder)]
    try:
        # a package that is installed inside some other repository is no checkout of its own
        tracked = subprocess.run([*ask, "ls-files", "--error-unmatch", "__init__.py"], capture_output=True)
        if tracked.returncode:
            return None
        commit = subprocess.run([*ask, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*ask, "status", "--porcelain", "--", "."], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
