"""Scenes rendered by worker processes."""

import os
import signal

import numpy as np
import pytest

from diffusion_lens.errors import DiffusionLensError
from diffusion_lens.testbed.contrastive import draw_twins, write_twins
from diffusion_lens.testbed.prefetch import Prefetcher, Stream

STREAM = Stream(draw_twins, write_twins, 32)


def test_chunks_are_the_same_with_and_without_workers() -> None:
    alone, shared = Prefetcher(STREAM, 10), Prefetcher(STREAM, 10, workers=2)
    try:
        for number in (3, 4, 0):  # the next one was begun; then a place that was not
            one, other = alone.get(7, number), shared.get(7, number)
            assert np.array_equal(one.pictures, other.pictures) and one.texts == other.texts
        assert one.pictures.shape == (10, 32, 32, 3) and len(one.texts) == 10
        assert not np.array_equal(one.pictures, alone.get(7, 1).pictures)
        assert shared._pool is not None and shared._pool._processes is not None
        for process in shared._pool._processes:
            os.kill(process, signal.SIGKILL)
        with pytest.raises(DiffusionLensError, match="ended from outside"):
            for number in range(5, 9):
                shared.get(7, number)
    finally:
        shared.close()
    assert alone.get(7, 2).texts == Prefetcher(STREAM, 10).get(7, 2).texts
