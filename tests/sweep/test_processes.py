"""Processes of this machine draw what the local engine draws, whichever of them is lost."""

import multiprocessing

import pytest

from diffusion_lens.errors import DiffusionLensError, InputError, OutputError, RunError
from diffusion_lens.sweep.engines.pool import WorkerLostError, draw_with
from diffusion_lens.sweep.open import open_run, run_sweep
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


def test_processes_refuse_to_draw_without_the_encoders(emoji, tmp_path):
    for encoders in ("release", "leave"):
        asked = make(
            model="emoji", layers=[0], seeds=[0], sampler={"steps": 1}, machine={"encoders": encoders}
        )
        for engine in ("processes", "ray"):
            with pytest.raises(
                InputError, match=f'"{encoders}" is for the engine local; workers of {engine}'
            ):
                run_sweep(asked, tmp_path / encoders, lens=emoji, progress=False, engine=engine, workers=1)
        assert not (tmp_path / encoders / "images").exists()


def test_no_process_outlives_an_error_of_the_one_that_writes(emoji, tmp_path):
    experiment = make(model="emoji", sampler={"steps": 1}, layers=["all"], machine={"batch_size": 2})
    with open_run(experiment, tmp_path, lens=emoji) as run:
        (tmp_path / "images").write_text("where a folder should be")
        with pytest.raises(OutputError) as held:
            run.draw(engine="processes", workers=1, part_rows=1, progress=False)
        assert held and not multiprocessing.active_children()


class Mortal:
    """A team in this process whose workers are lost from a point on."""

    def __init__(self, lives: int) -> None:
        self.lives, self.started = lives, 0

    def start(self) -> int:
        self.started += 1
        return self.started

    def send(self, worker: int, cells: list) -> None:
        pass

    def wait(self, workers) -> int:
        return workers[0]

    def take(self, worker: int) -> list:
        self.lives -= 1
        if self.lives < 0:
            raise WorkerLostError("gone")
        return []


def test_workers_that_are_lost_once_a_stop_was_asked_for_are_not_replaced():
    team = Mortal(lives=5)
    workers = [team.start() for _ in range(8)]
    drawn = list(draw_with(team, workers, ([] for _ in range(100)), lambda: team.lives <= 0))
    assert len(drawn) == 5 and team.started == 8


def test_workers_that_never_draw_are_given_up():
    team = Mortal(lives=0)
    with pytest.raises(RunError, match="4 workers in a row were lost before they drew anything: gone"):
        list(draw_with(team, [team.start()], ([] for _ in range(100)), lambda: False))
