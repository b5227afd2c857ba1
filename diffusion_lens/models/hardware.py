"""The hardware's limit: how fast a device multiplies matrices, and how much work an image is."""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["count_flops", "measure_matmul", "synchronise"]


def measure_matmul(device: torch.device, dtype: torch.dtype) -> float:
    """The best rate of a large dense matrix product, in operations (2 a multiply-add) a second.

    Of 24 products, or of those that a second has time for, on a CPU a quarter of one: its first product is
    about as fast as the later ones, and where it has no fast product of a type, one takes seconds.
    """
    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    enough = 0.25 if device.type == "cpu" else 1
    best, began = float("inf"), time.perf_counter()
    for _ in range(24):  # the first ones warm up
        synchronise(device)
        start = time.perf_counter()
        left @ right
        synchronise(device)
        now = time.perf_counter()
        best = min(best, now - start)
        if now - began > enough:
            break
    return 2 * side**3 / best


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count_flops(draw: Callable[[int], object], steps: int) -> float:
    """The operations of one image, counted on two short drawings of it.

    Args:
        draw: draws the image in so many steps, with a denoiser that is not compiled.
        steps: the steps of the image in question.
    """
    one, two = (_count(draw, taken) for taken in (1, 2))
    return one + (steps - 1) * (two - one)


def _count(draw: Callable[[int], object], steps: int) -> float:
    with FlopCounterMode(display=False) as counter:
        draw(steps)
    return float(counter.get_total_flops())
