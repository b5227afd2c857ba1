"""Self-checks: does the lens see this model as the model sees itself?

Run on any model by `diffusion-lens doctor MODEL`, and on every family in the tests.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diffusion_lens.errors import DiffusionLensError
from diffusion_lens.images.denoise import use_quiet
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.lens.tolerance import Tolerance, distance, gap, pairs, relative
from diffusion_lens.models.denoisers import find_denoiser
from diffusion_lens.models.family import images_of

__all__ = ["Check", "examine"]

PROMPT = "a red fox to the left of a pizza"


@dataclass(frozen=True)
class Check:
    """One self-check.

    Attributes:
        name: what was compared.
        found: the difference found; infinite where the comparison itself failed.
        allowed: the largest difference allowed.
        error: why the comparison failed, if it did.
    """

    name: str
    found: float
    allowed: float
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the difference is within the allowed one; a NaN is not."""
        return self.found <= self.allowed


def examine(
    lens: DiffusionLens,
    prompt: str = PROMPT,
    *,
    steps: int = 2,
    height: int | None = None,
    width: int | None = None,
    **options: Any,
) -> list[Check]:
    """Check a lens against its pipeline.

    Args:
        lens: the lens.
        prompt: any prompt.
        steps: denoising steps of the images compared.
        height: in pixels.
        width: in pixels.
        options: arguments of the pipeline's `__call__`, that change its images.

    Returns:
        The checks, passed or not, in order of the data's flow.
    """
    given = Sampler(steps, height=height, width=width, options=options).over(lens.defaults)
    sampler = given.resolve(lens.pipeline, lens.conditioner.family)
    tolerance = Tolerance.of(lens)
    before = _plain(lens, prompt, sampler)
    before_hooks = _count_hooks(lens)  # transformers leaves hooks of its own at a first pass
    steps_of: dict[str, Callable[[], Iterable[Check]]] = {
        "encoders": lambda: _check_encoders(lens, prompt, sampler, tolerance),
        "conditioning": lambda: _check_conditioning(lens, prompt, sampler, tolerance),
        "images": lambda: _check_images(lens, prompt, sampler, tolerance, before),
        "early stop": lambda: _check_early_stop(lens, prompt, sampler),
        "cost": lambda: _check_cost(lens, prompt, sampler),
        "traces": lambda: _check_traces(lens, prompt, sampler, tolerance, before, before_hooks),
    }
    checks: list[Check] = []
    for name, run in steps_of.items():
        try:
            checks.extend(run())
        except Exception as error:  # a wrong description fails anywhere inside the pipeline
            reason = f"{type(error).__name__}: {error}"
            checks.append(Check(name, float("inf"), 0.0, reason))
    return checks


def _check_encoders(
    lens: DiffusionLens, prompt: str, sampler: Sampler, tolerance: Tolerance
) -> Iterator[Check]:
    """The norm of the last block's output is the encoder's own last state, and likewise pooled."""
    conditioner = lens.conditioner
    everything = {name: range(one.depth + 1) for name, one in conditioner.encoders.items()}
    recordings = conditioner.capture(prompt, everything, conditioner.encode_options(sampler.options))
    for name, recording in recordings.items():
        encoder, slot = conditioner.encoders[name], conditioner.slots[name]
        state = recording.states[encoder.depth]
        own = getattr(recording.output, "last_hidden_state", None)
        if own is None:  # a causal language model shows its last state only in the tuple
            own = recording.output.hidden_states[-1]
        yield Check(
            f"{name}: final norm of the last block",
            relative(encoder.final_norm(state), own),
            tolerance.states,
        )
        if slot.pooled in ("text_embeds", "pooler_output"):
            pooled = encoder.pool(encoder.batch_first(state), recording.input_ids)
            own = getattr(recording.output, slot.pooled)
            yield Check(f"{name}: pooled output", relative(pooled, own), tolerance.states)


def _check_conditioning(
    lens: DiffusionLens, prompt: str, sampler: Sampler, tolerance: Tolerance
) -> Iterator[Check]:
    """Conditioning rebuilt from the states is what the pipeline makes by itself."""
    reader = lens.reader(sampler.options)
    (reading,) = lens.readings("native", reader=reader)
    rebuilt = reader.condition(reader.encode([prompt], [reading]), reading)
    own = lens.conditioner.native(prompt, reader.options)
    worst = max(relative(*pair) for name in own for pair in pairs(rebuilt, own, name))
    yield Check("native conditioning", worst, tolerance.states)


def _check_images(
    lens: DiffusionLens, prompt: str, sampler: Sampler, tolerance: Tolerance, plain: np.ndarray
) -> Iterator[Check]:
    """The native image is the plain pipeline's, whatever else is drawn, and noise is shared."""
    native = _draw(lens, prompt, ["native"], [0], sampler)[0]
    yield Check("native image against the plain pipeline", distance(native, plain), tolerance.image)
    batch_size, lens.denoiser.batch_size = lens.denoiser.batch_size, max(4, lens.denoiser.batch_size)
    try:
        with _inputs(lens) as seen:
            # rows: layer 0 of two seeds, then the native tap of the same two
            together = _draw(lens, prompt, [0, "native"], [0, 1], sampler)
        noise = _first_of(seen, 4) if lens.conditioner.family.one_image else seen[0]
        beside = _draw(lens, prompt, [1, "native"], [0, 2], sampler)
    finally:
        lens.denoiser.batch_size = batch_size
    yield Check("noise of two layers of one seed", gap(noise[0], noise[2]), 0.0)
    yield Check("noise of two seeds is the same", float(gap(noise[0], noise[1]) == 0), 0.0)
    yield Check(
        "image beside other layers and seeds, one batch shape",
        distance(together[2], beside[2]),
        tolerance.image,
    )
    yield Check("image in another batch shape", distance(together[2], native), tolerance.other_shape)


def _draw(
    lens: DiffusionLens, prompt: str, layers: list[int | str], seeds: list[int], sampler: Sampler
) -> list[np.ndarray]:
    options = dict(sampler.options)
    result = lens(
        prompt,
        layers,
        seeds,
        steps=sampler.steps,
        guidance=sampler.guidance,
        height=sampler.height,
        width=sampler.width,
        progress=False,
        **options,
    )
    for row in result.table[result.table["missing"].notna()].itertuples():
        raise DiffusionLensError(f"no image of layer {row.layer}, seed {row.seed}: {row.missing}")
    return [np.asarray(image, dtype=np.float32) / 255 for image in result.table["image"]]


def _plain(lens: DiffusionLens, prompt: str, sampler: Sampler) -> np.ndarray:
    """The untouched pipeline's image, by its 8-bit pixels."""
    with use_quiet(lens.pipeline):
        output = lens.pipeline(
            prompt=prompt,  # by name: the first argument of FLUX.2 is an image
            generator=torch.Generator("cpu").manual_seed(0),
            output_type="np",
            **sampler.arguments(lens.conditioner.family),
        )
    pixels: np.ndarray = images_of(output)[0]
    return np.round(pixels * 255) / 255


@contextmanager
def _inputs(lens: DiffusionLens) -> Iterator[list[Any]]:
    """What the denoiser is given at each of its calls, row by row."""
    pipe = lens.pipeline
    denoiser = find_denoiser(pipe)
    seen: list[Any] = []

    def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first: Any = args[0] if args else kwargs.get("hidden_states", kwargs.get("sample"))
        seen.append([row.detach().clone() for row in first])

    handle = denoiser.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def _first_of(seen: list[Any], images: int) -> list[torch.Tensor]:
    """The noise of images that were drawn one after the other in as many calls each."""
    return [rows[0] for rows in seen[:: len(seen) // images]]


def _check_early_stop(lens: DiffusionLens, prompt: str, sampler: Sampler) -> Iterator[Check]:
    """No block runs above layer 1 if that is the deepest wanted, in encoders that may stop early."""
    conditioner = lens.conditioner
    options = conditioner.encode_options(sampler.options)
    for name, encoder in conditioner.encoders.items():
        if conditioner.slots[name].pooled is not None:
            continue  # the pooled output needs the whole pass
        ran: list[int] = []
        handles = [
            block.register_forward_hook(lambda *_, ran=ran: ran.append(1)) for block in encoder.blocks[1:]
        ]
        try:
            conditioner.capture(prompt, {name: [1]}, options, frozenset({name}))
        finally:
            for handle in handles:
                handle.remove()
        yield Check(f"{name}: blocks run above an early stop", float(len(ran)), 0.0)


def _check_cost(lens: DiffusionLens, prompt: str, sampler: Sampler) -> Iterator[Check]:
    """To keep every layer, each block runs as often as in a plain encoding."""
    conditioner = lens.conditioner
    options = conditioner.encode_options(sampler.options)
    layers = {name: range(one.depth + 1) for name, one in conditioner.encoders.items()}
    plain = _count_blocks(lens, lambda: conditioner.native(prompt, options))
    every = _count_blocks(lens, lambda: conditioner.capture(prompt, layers, options))
    yield Check("blocks run to encode all layers / plain", every / max(1, plain), 1.0)


def _count_blocks(lens: DiffusionLens, run: Callable[[], object]) -> int:
    """How often blocks of the encoders run in a call."""
    ran: list[int] = []
    encoders = lens.conditioner.encoders.values()
    handles = [
        block.register_forward_hook(lambda *_: ran.append(1)) for one in encoders for block in one.blocks
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return len(ran)


def _check_traces(
    lens: DiffusionLens,
    prompt: str,
    sampler: Sampler,
    tolerance: Tolerance,
    before: np.ndarray,
    before_hooks: float,
) -> Iterator[Check]:
    """The pipeline is afterwards what it was before."""
    yield Check("hooks left behind", _count_hooks(lens) - before_hooks, 0.0)
    after = _plain(lens, prompt, sampler)
    yield Check("the pipeline's image afterwards", distance(before, after), tolerance.image)


def _count_hooks(lens: DiffusionLens) -> float:
    """The forward hooks on the pipeline's modules."""
    parts = [part for part in lens.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return float(
        sum(
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for part in parts
            for module in part.modules()
        )
    )
