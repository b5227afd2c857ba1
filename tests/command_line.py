"""The command line in this process: a user's command without the seconds of a new interpreter."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

from diffusion_lens.cli import main


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What `diffusion-lens` with these arguments prints in a folder, and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    code, before, argv = 0, Path.cwd(), sys.argv
    os.chdir(cwd or before)
    sys.argv = ["diffusion-lens", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        os.chdir(before)
        sys.argv = argv
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
