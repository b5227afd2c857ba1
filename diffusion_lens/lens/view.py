"""`View`: one way of looking at prompts, resolved on a live pipeline; what `lens(...)` and sweeps share."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from diffusion_lens.errors import SamplerError
from diffusion_lens.images.denoise import Denoiser, Drawing, Row
from diffusion_lens.images.sampler import Sampler, use_scheduler
from diffusion_lens.models.conditioner import Conditioner, Conditioning
from diffusion_lens.models.memory import explain_memory
from diffusion_lens.text.encode import States, condition, encode, to_cpu
from diffusion_lens.text.layers import ALL_ENCODERS, LayerPlan, Rung
from diffusion_lens.text.readouts import check_policies, is_native

__all__ = ["View"]


class View:
    """All that holds for many images: which encoder moves, how it is read, how images are sampled.

    Args:
        conditioner: the pipeline's text side.
        denoiser: its denoising side.
        plan: the layers, of the encoder that moves.
        readout: how states are read; see `diffusion_lens.text.readouts`.
        pooled: what a pipeline with a pooled output gets.
        sampler: settings over the pipeline's own.
        upscale: settings of a second stage.

    Raises:
        InputError, SamplerError: a policy or a setting that can't be.

    Attributes:
        sampler: the resolved settings.
        second: the resolved settings of the second stage, where there is one.
        identical: the native rung is drawn exactly as the untouched pipeline draws it.
        empty: the states of the empty prompt, encoded when `pooled="empty"` first needs them.
    """

    def __init__(
        self,
        conditioner: Conditioner,
        denoiser: Denoiser,
        plan: LayerPlan,
        *,
        readout: str,
        pooled: str,
        sampler: Sampler,
        upscale: Sampler | None = None,
    ) -> None:
        check_policies(readout, pooled)
        self.conditioner, self.denoiser, self.plan = conditioner, denoiser, plan
        moves_one = plan.encoder != ALL_ENCODERS and len(conditioner.slots) > 1
        if moves_one and conditioner.slots[plan.encoder].tap is None:
            pooled = "layer"  # nothing else of this encoder is read
        self.readout, self.pooled = readout, pooled
        self.sampler = sampler.resolve(conditioner.pipe, conditioner.family)
        self.second = _second_stage(denoiser, conditioner, upscale)
        self.options = conditioner.encode_options(self.sampler.options)
        self.identical = self._is_faithful()
        self._negative: Conditioning | None = None
        self.empty: States | None = None

    @property
    def steps(self) -> int:
        """Denoising steps of one image, of both stages."""
        return (self.sampler.steps or 0) + ((self.second.steps or 0) if self.second else 0)

    def encode(self, prompts: Sequence[str], rungs: Sequence[Rung]) -> States:
        """What `rungs` need of each encoder, one pass by prompt; see `diffusion_lens.text.encode`.

        Raises:
            OutOfMemoryError: the encoder does not fit.
        """
        with explain_memory("The prompts can't be encoded", 'loading with offload="model"'):
            return encode(self.conditioner, prompts, rungs, self.options)

    def condition(self, states: States, rung: Rung) -> Conditioning:
        """The positive text arguments of one prompt at one layer.

        Args:
            states: the states of one prompt, by encoder.
            rung: the layer.
        """
        if self.pooled == "empty" and self.empty is None:
            self.empty = self.encode([""], [rung])  # only its pooled output, of the full depth, is used
        return condition(
            self.conditioner,
            states,
            rung,
            self.plan,
            readout=self.readout,
            pooled=self.pooled,
            empty=self.empty,
            options=self.options,
        )

    def negative(self, prompt: str) -> Conditioning:
        """The negative text arguments where any stage is guided, natively encoded once.

        Args:
            prompt: any prompt; pipelines want one beside a negative prompt.
        """
        if self._negative is None:
            family = self.conditioner.family
            guided = self.sampler.guided(self.conditioner.pipe, family)
            if self.second is not None:
                guided = guided or self.second.guided(self.denoiser.upscaler, family)
            text = self.sampler.negative_prompt
            with explain_memory("The negative prompt can't be encoded", 'loading with offload="model"'):
                made = self.conditioner.negative(text, prompt, self.options) if guided else Conditioning()
            self._negative = to_cpu(made)
        return self._negative

    def draw(
        self, rows: Iterable[Row], on_step: Callable[[int], object] = lambda images: None
    ) -> Iterator[Drawing]:
        """The images of `rows`, in order; see `Denoiser.draw`, which also says what it raises."""
        with ExitStack() as stack:
            stack.enter_context(use_scheduler(self.conditioner.pipe, self.sampler.scheduler))
            if self.second is not None:
                stack.enter_context(use_scheduler(self.denoiser.upscaler, self.second.scheduler))
            yield from self.denoiser.draw(rows, self.sampler, self.second, on_step)

    def record(self, rung: Rung) -> dict[str, Any]:
        """The columns of the table that a layer has in common for all prompts and seeds."""
        return {
            "encoder": self.plan.encoder,
            "layer": rung.layer,
            "native": rung.native,
            "identical": rung.native and self.identical,
            "readout": self.readout,
            "pooled": self.pooled,
            "slots": str(self.plan.slots),
        }

    def settings(self) -> dict[str, Any]:
        """The sampler's columns of the table; those of a second stage in one column, as JSON."""
        recorded = {**vars(self.sampler), "options": _as_json(self.sampler.options)}
        return recorded if self.second is None else {**recorded, "upscale": _as_json(vars(self.second))}

    def _is_faithful(self) -> bool:
        slots, encoders = self.conditioner.slots, self.conditioner.encoders
        if self.pooled == "empty" and any(slot.pooled for slot in slots.values()):
            return False
        return all(
            is_native(self.readout, slots[name], encoders[name], self.plan.taps[name])
            # a layer's own pooled output is the native one where nothing else is read
            and (slots[name].pooled is None or self.pooled == "hold" or slots[name].tap is None)
            for name in self.plan.moving
        )


def _second_stage(denoiser: Denoiser, conditioner: Conditioner, upscale: Sampler | None) -> Sampler | None:
    """The resolved settings of the second stage, where there is one."""
    if denoiser.upscaler is None:
        if upscale is not None:
            raise SamplerError("upscale= was given without a second stage; load one (upscaler=).")
        return None
    given = upscale or Sampler()
    if given.negative_prompt is not None:
        raise SamplerError("Both stages share one negative prompt; give it as negative_prompt=.")
    return given.resolve(denoiser.upscaler, conditioner.family)


def _as_json(settings: Mapping[str, Any]) -> str:
    return json.dumps(dict(settings), sort_keys=True, default=repr)
