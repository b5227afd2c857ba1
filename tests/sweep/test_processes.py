"""Processes of this machine draw what the local engine draws, whichever of them is lost."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from diffusion_lens.errors import DiffusionLensError, InputError
from diffusion_lens.lens.word_files import write_word
from diffusion_lens.lens.words import initial_word
from diffusion_lens.sweep.run import run_sweep
from tests.sweep.helpers import make, read, same


def test_two_processes_of_which_one_is_killed_draw_the_same_table(emoji, tmp_path):
    write_word(tmp_path / "it.safetensors", initial_word(emoji.pipeline, "<it>"), emoji.pipeline)
    experiment = make(
        model="emoji",
        prompts=["a red fox", "a <it> at night", "two dogs"],
        embeddings=[str(tmp_path / "it.safetensors")],
        layers=["all"],
        seeds=[0, 1],
        sampler={"steps": 4},
        machine={"batch_size": 4},
    )
    killed = []

    def kill_one():
        end = time.monotonic() + 120
        while not killed and time.monotonic() < end:
            if (tmp_path / "run/images").exists():  # something is drawn and written
                for child in multiprocessing.active_children()[:1]:
                    os.kill(child.pid, signal.SIGKILL)
                    killed.append(child.pid)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    summary = run_sweep(
        experiment, tmp_path / "run", lens=emoji, progress=False, engine="processes", workers=2, part_rows=4
    )
    killer.join()
    assert killed
    assert (summary.drawn, summary.failed, summary.left) == (42, {}, 0)
    run_sweep(experiment, tmp_path / "local", lens=emoji, progress=False)
    same(read(tmp_path / "run"), read(tmp_path / "local"))
    assert not multiprocessing.active_children()


def test_what_a_process_can_not_do_is_said_here(emoji, tmp_path):
    experiment = make(model=str(tmp_path / "absent"), sampler={"steps": 1})
    with pytest.raises(DiffusionLensError, match="absent"):
        run_sweep(experiment, tmp_path / "run", lens=emoji, progress=False, engine="processes", workers=1)
    with pytest.raises(InputError, match="0 workers"):
        run_sweep(experiment, tmp_path / "none", lens=emoji, progress=False, engine="processes", workers=0)
    assert not multiprocessing.active_children()
