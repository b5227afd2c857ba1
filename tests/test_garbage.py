"""Garbage is looked for neither while libraries are imported nor when a command ends."""

import gc
import subprocess
import sys

import pytest

from diffusion_lens.garbage import without_collection

ENDING = """
import atexit, gc
from diffusion_lens.cli import main
main(["--version"])
before = gc.get_freeze_count()
atexit._run_exitfuncs()
assert before == 0 < gc.get_freeze_count()
"""


@pytest.mark.parametrize("on", [True, False])
def test_collection_is_afterwards_as_it_was(on):
    if not on:
        gc.disable()
    try:
        with pytest.raises(KeyError), without_collection():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == on
    finally:
        gc.enable()


def test_a_command_that_ends_is_not_searched():
    subprocess.run([sys.executable, "-c", ENDING], check=True, capture_output=True)
