"""The command line in this process: a user's command without the seconds of a new interpreter."""

import contextlib
import io
import os
import signal
import subprocess
from pathlib import Path

from diffusion_lens.cli import main


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What `diffusion-lens` with these arguments prints in a folder, and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    code, before = 0, Path.cwd()
    os.chdir(cwd or before)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        os.chdir(before)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def heed_interrupts() -> None:
    """For `preexec_fn`: Ctrl-C ends the child, also where a shell started the tests in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
