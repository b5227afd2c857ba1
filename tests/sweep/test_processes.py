"""Processes of this machine draw what the local engine draws, whichever of them is lost."""

import multiprocessing

import pytest

from diffusion_lens.errors import DiffusionLensError, InputError
from diffusion_lens.sweep.run import run_sweep
from tests.sweep.helpers import assert_a_lost_worker_loses_nothing, make


def test_two_processes_of_which_one_is_killed_draw_the_same_table(emoji, tmp_path):
    assert_a_lost_worker_loses_nothing(
        emoji, tmp_path, lambda: [child.pid for child in multiprocessing.active_children()], "processes"
    )
    assert not multiprocessing.active_children()


def test_what_a_process_can_not_do_is_said_here(emoji, tmp_path):
    experiment = make(model=str(tmp_path / "absent"), sampler={"steps": 1})
    with pytest.raises(DiffusionLensError, match="absent"):
        run_sweep(experiment, tmp_path / "run", lens=emoji, progress=False, engine="processes", workers=1)
    with pytest.raises(InputError, match="0 workers"):
        run_sweep(experiment, tmp_path / "none", lens=emoji, progress=False, engine="processes", workers=0)
    assert not multiprocessing.active_children()
