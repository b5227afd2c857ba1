"""What must hold on a GPU as on a CPU: identity, batching, out of memory, offloading, bfloat16.

Run by `pytest -m gpu` and left out otherwise. The model is `emoji-clip`, whose files are all in the
package.
"""

import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.load import load_pipeline

pytestmark = pytest.mark.gpu

# "cpu" tries the tests themselves where there is no GPU
DEVICE = os.environ.get("DIFFUSION_LENS_TEST_DEVICE", "cuda")
PROMPTS = ["a red fox to the left of a pizza", "two cats on grass"]
STEPS = 4


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    """The lens in float32; matrix products of CUDA in full precision, so that images can be compared."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return DiffusionLens.from_pretrained("emoji-clip", device=DEVICE, dtype="float32", batch_size=16)


def draw(lens: DiffusionLens, layers: object = (0, 6, "native")) -> np.ndarray:
    """Images of both prompts at layers and two seeds, `[image, y, x, 3]` as floats."""
    result = lens(PROMPTS, layers, (0, 1), steps=STEPS, guidance=4.0, progress=False)
    return np.stack([np.asarray(image, np.float32) for image in result.table["image"]])


def test_native_images_are_those_of_the_untouched_pipeline(lens: DiffusionLens) -> None:
    pipe = load_pipeline("emoji-clip", device=DEVICE, dtype="float32")
    pipe.set_progress_bar_config(disable=True)
    plain = pipe(
        PROMPTS[0],
        num_inference_steps=STEPS,
        guidance_scale=4.0,
        generator=torch.Generator("cpu").manual_seed(3),
    ).images[0]
    drawn = lens(PROMPTS[0], "native", 3, steps=STEPS, guidance=4.0, progress=False)
    assert drawn.table["identical"].all()
    difference = np.abs(np.asarray(plain, np.float32) - np.asarray(drawn.image("native", 3), np.float32))
    assert difference.max() <= 2


def test_the_batch_does_not_change_the_images(lens: DiffusionLens) -> None:
    alone = DiffusionLens.from_pretrained("emoji-clip", device=DEVICE, dtype="float32", batch_size=1)
    assert np.abs(draw(lens) - draw(alone)).max() <= 3


def test_bfloat16_draws_nearly_the_same(lens: DiffusionLens) -> None:
    half = DiffusionLens.from_pretrained("emoji-clip", device=DEVICE, dtype="bfloat16", batch_size=16)
    # at the embedding the denoiser is off what it was trained on, and small differences grow
    layers = (6, "native")
    assert np.abs(draw(lens, layers) - draw(half, layers)).mean() < 2


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A few hundred MB of the GPU's memory for this process."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 300e6) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_out_of_memory_halves_the_batch() -> None:
    lens = DiffusionLens.from_pretrained("emoji-clip", device=DEVICE, dtype="float32", batch_size=4096)
    result = lens(PROMPTS[0], "native", tuple(range(4096)), steps=1, guidance=4.0, progress=False)
    assert len(result.table) == 4096 and result.table["image"].notna().all()


def test_offloading_draws_the_same(lens: DiffusionLens) -> None:
    offloaded = DiffusionLens.from_pretrained(
        "emoji-clip", device=DEVICE, dtype="float32", batch_size=16, offload="model"
    )
    assert np.abs(draw(lens, "native") - draw(offloaded, "native")).max() <= 2
