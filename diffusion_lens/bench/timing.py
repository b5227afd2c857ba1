"""Measuring ways to draw: they take turns for several rounds, and the fastest round of each counts."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from diffusion_lens.images.optimizations import Optimizations
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.hardware import synchronise

__all__ = ["PROMPT", "Timing", "describe", "take_turns", "time_of"]

PROMPT = "a red fox to the left of a pizza"


@dataclass(frozen=True)
class Timing:
    """One way to draw, measured.

    Attributes:
        way: "per image", "per layer", "lens", "sweep", "processes", or "trial" of optimizations.
        model: the name of the model.
        device: the name of the device.
        dtype: the type of the weights.
        images: images drawn in a round.
        batch: images of a batch.
        optimizations: the optimizations in use; empty for none.
        seconds: the time of an image in the fastest round; NaN if none could be drawn.
        speedup: how many times as fast as "per image".
        over_layers: how many times as fast as "per layer".
        tflops: the throughput in 10^12 operations a second.
        share: the throughput as a share of the hardware limit, the device's rate of matrix products.
        note: why there is no time.
    """

    way: str
    model: str
    device: str
    dtype: str
    images: int
    batch: int
    optimizations: str
    seconds: float
    speedup: float = float("nan")
    over_layers: float = float("nan")
    tflops: float = float("nan")
    share: float = float("nan")
    note: str = ""


def take_turns(
    ways: dict[str, tuple[int, Callable[[], int]]], rounds: int, device: torch.device
) -> Iterator[tuple[str, int, float]]:
    """Each way with the images of a round and the time of an image in the fastest round, in seconds."""
    best: dict[str, tuple[int, float]] = {}
    for _ in range(rounds):
        for way, (_, draw) in ways.items():
            images, seconds = time_of(draw, device)
            if way not in best or seconds < best[way][1]:
                best[way] = images, seconds
    for way, (images, seconds) in best.items():
        yield way, images, seconds


def time_of(draw: Callable[[], int], device: torch.device) -> tuple[int, float]:
    """The images drawn, and the time of each in seconds."""
    synchronise(device)
    start = time.perf_counter()
    images = draw()
    synchronise(device)
    return images, (time.perf_counter() - start) / images


def describe(
    lens: DiffusionLens,
    way: str,
    images: int,
    batch: int,
    optimizations: Optimizations,
    seconds: float,
    note: str = "",
) -> Timing:
    """A timing of a lens, with its model, device and type."""
    device = lens.conditioner.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    dtype = str(lens.pipeline.dtype).removeprefix("torch.")
    return Timing(way, lens.name, name, dtype, images, batch, str(optimizations), seconds, note=note)
