"""`DiffusionLens`: see what a text encoder knows at each of its layers, as the pipeline draws it."""

import gc
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from diffusion_lens.errors import InputError, SamplerError, UnsupportedPipelineError
from diffusion_lens.lens.draw import Drawing, Painter, Row
from diffusion_lens.lens.encode import check_prompts, condition, encode, to_cpu
from diffusion_lens.lens.layers import ALL_ENCODERS, Ladder, LayerRequest, Spread
from diffusion_lens.lens.readouts import Pooled, Readout, check_policies, is_native
from diffusion_lens.lens.result import Result
from diffusion_lens.lens.sampler import Sampler, check_seeds, use_scheduler
from diffusion_lens.models.conditioner import Conditioner, Conditioning
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.models.encoders import EncoderFamily
from diffusion_lens.models.load import load_pipeline
from diffusion_lens.models.memory import explain_memory
from diffusion_lens.models.pipelines import PipelineFamily, find_family

__all__ = ["DiffusionLens"]

log = logging.getLogger(__name__)


class DiffusionLens:
    """A lens on a live text-to-image pipeline.

    Args:
        pipe: a diffusers pipeline; it is used through its own `encode_prompt` and `__call__`, and is the
            same after as before.
        family: how the pipeline takes its text, for one of no known class.
        encoders: how its encoders are built, by the pipeline's name, for those of no known class.
        upscaler: DeepFloyd IF's second stage, a live `IFSuperResolutionPipeline`.
        defaults: sampler settings for calls that give none.
        batch_size: images denoised together; by default 16 on an accelerator and 8 on the CPU.
        name: what the table calls the model.

    Raises:
        UnsupportedPipelineError: the pipeline is of no known family or has no text encoder.
        EncoderError: an encoder is of no known family.

    Example:
        ```python
        lens = DiffusionLens.from_pretrained("emoji")
        result = lens("a red fox to the left of a pizza", layers="all", seeds=[0, 1])
        result.grid()
        ```
    """

    def __init__(
        self,
        pipe: Any,
        *,
        family: PipelineFamily | None = None,
        encoders: Mapping[str, EncoderFamily] | None = None,
        upscaler: Any = None,
        defaults: Sampler | None = None,
        batch_size: int | None = None,
        name: str | None = None,
    ) -> None:
        self.conditioner = Conditioner(pipe, family, encoders)
        device = self.conditioner.device
        if batch_size is None:
            batch_size = 8 if device.type == "cpu" else 16
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
        if upscaler is not None and "SuperResolution" not in type(upscaler).__name__:
            raise UnsupportedPipelineError(
                f"{type(upscaler).__name__} is no second stage; give DeepFloyd's IFSuperResolutionPipeline."
            )
        self.painter = Painter(pipe, self.conditioner.family, device, batch_size, upscaler)
        self.defaults = defaults or Sampler()
        self.name = name or getattr(pipe, "name_or_path", None) or type(pipe).__name__

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str],
        *,
        family: PipelineFamily | None = None,
        encoders: Mapping[str, EncoderFamily] | None = None,
        upscaler: str | os.PathLike[str] | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> "DiffusionLens":
        """A lens on an embedded model ("emoji"), a folder, or a hub id.

        Args:
            model: which model.
            family: as for a live pipeline.
            encoders: as for a live pipeline.
            upscaler: DeepFloyd IF's second stage, which shares the first one's encoder.
            batch_size: images denoised together.
            options: `device`, `dtype`, `offload`, `revision`, `variant`, `allow_pickle`,
                `trust_remote_code` and the options of `DiffusionPipeline.from_pretrained`; see
                `diffusion_lens.models.load.load_pipeline`, which also says what it raises.
        """
        pipe = load_pipeline(model, family=family, **options)
        second = None
        if upscaler is not None:
            family = family or find_family(type(pipe))
            second = load_pipeline(upscaler, family=family, text_encoder=None, **options)
        embedded = EMBEDDED.get(str(model))
        defaults = Sampler(steps=embedded.steps, guidance=embedded.guidance) if embedded else None
        return cls(
            pipe,
            family=family,
            encoders=encoders,
            upscaler=second,
            defaults=defaults,
            batch_size=batch_size,
            name=str(model),
        )

    @property
    def pipeline(self) -> Any:
        """The live pipeline."""
        return self.conditioner.pipe

    def ladder(self, encoder: str = ALL_ENCODERS, spread: Spread = "all", **options: Any) -> Ladder:
        """The layers that can be drawn: their number, the native one, and what moves with them."""
        self.conditioner.check_present()
        return Ladder(self.conditioner, encoder, spread, self.conditioner.encode_options(options))

    def __call__(
        self,
        prompts: str | Sequence[str],
        layers: LayerRequest | Sequence[LayerRequest] = "all",
        seeds: int | Sequence[int] = 0,
        *,
        encoder: str = ALL_ENCODERS,
        readout: Readout = "native",
        pooled: Pooled = "hold",
        spread: Spread = "all",
        steps: int | None = None,
        guidance: float | None = None,
        height: int | None = None,
        width: int | None = None,
        negative_prompt: str | None = None,
        scheduler: str | None = None,
        upscale: Sampler | None = None,
        release_encoders: bool = False,
        progress: bool = True,
        **options: Any,
    ) -> Result:
        """Draw layers of one or more prompts, from the same noise for every layer of a seed.

        Args:
            prompts: one prompt or several.
            layers: "all", "native", an index, a negative index, a range "0:24:4" with both ends, or a
                list of these.
            seeds: one seed or several.
            encoder: the encoder whose layers are drawn while the others stay native; "all" moves all in
                step by relative depth.
            readout: "native", "final" or "none"; see `diffusion_lens.lens.readouts`.
            pooled: what a pipeline with a pooled output gets: "hold" (that of the full encoder), "layer"
                (made from the layer drawn) or "empty" (that of the empty prompt). An encoder of which only
                the pooled output is read is always drawn with "layer" when it is named by `encoder`.
            spread: what a layer replaces where several taps are read; see `diffusion_lens.lens.layers`.
            steps: denoising steps.
            guidance: guidance scale.
            height: image height in pixels.
            width: image width in pixels.
            negative_prompt: what not to draw; natively encoded at every layer.
            scheduler: a diffusers scheduler by class name, for this call.
            upscale: settings of DeepFloyd IF's second stage.
            release_encoders: free the encoders' memory once all prompts are read.
            progress: show a progress bar.
            options: any other argument of the pipeline's `__call__`.

        Raises:
            PromptError, LayerError, EncoderError, SamplerError, InputError: something asked for can't be.
            OutOfMemoryError: not even one image fits.
        """
        texts, numbers = check_prompts(prompts), check_seeds(seeds)
        check_policies(readout, pooled)
        given = Sampler(steps, guidance, height, width, negative_prompt, scheduler, options)
        sampler = given.over(self.defaults).resolve(self.pipeline, self.conditioner.family)
        ladder = self.ladder(encoder, spread, **sampler.options)
        rungs = ladder.rungs(layers)
        if encoder != ALL_ENCODERS and self.conditioner.slots[encoder].tap is None:
            pooled = "layer"
        encode_options = self.conditioner.encode_options(sampler.options)
        second = self._second_stage(upscale)
        with explain_memory("The prompts can't be encoded", 'loading with offload="model"'):
            states = encode(self.conditioner, texts, rungs, encode_options)
            empty = None
            if pooled == "empty":
                empty = encode(self.conditioner, [""], rungs, encode_options)
            negative = self._negative(sampler, second, texts[0], encode_options)
        cells = [(index, rung) for index in range(len(texts)) for rung in rungs]
        positive = [
            condition(
                self.conditioner,
                {name: one[index] for name, one in states.items()},
                rung,
                ladder,
                readout=readout,
                pooled=pooled,
                empty=empty,
                options=encode_options,
            )
            for index, rung in cells
        ]
        faithful = self._is_faithful(ladder, readout, pooled)
        if release_encoders:
            self.release_encoders()
        rows = [Row(one, negative, seed) for one in positive for seed in numbers]
        drawings = self._draw(rows, sampler, second, progress)
        keys = [(index, rung, seed) for index, rung in cells for seed in numbers]
        table = pd.DataFrame(
            {
                "prompt": texts[index],
                "encoder": ladder.encoder,
                "layer": rung.layer,
                "native": rung.native,
                "faithful": rung.native and faithful,
                "readout": readout,
                "pooled": pooled,
                "spread": str(spread),
                "seed": seed,
                "model": self.name,
                **_recorded(sampler, second),
                **_cells(drawing, two_stages=self.painter.upscaler is not None),
            }
            for (index, rung, seed), drawing in zip(keys, drawings, strict=True)
        )
        for row in table[table["missing"].notna()].itertuples():
            log.warning(
                "Missing: layer %s, seed %s of %r: %s", row.layer, row.seed, row.prompt, row.missing
            )
        return Result(table, states)

    def _second_stage(self, upscale: Sampler | None) -> Sampler | None:
        """The resolved settings of the second stage, where there is one."""
        if self.painter.upscaler is None:
            if upscale is not None:
                raise SamplerError("upscale= was given without a second stage; load one (upscaler=).")
            return None
        given = upscale or Sampler()
        if given.negative_prompt is not None:
            raise SamplerError("Both stages share one negative prompt; give it as negative_prompt=.")
        return given.resolve(self.painter.upscaler, self.conditioner.family)

    def _negative(
        self, sampler: Sampler, second: Sampler | None, prompt: str, options: Mapping[str, Any]
    ) -> Conditioning:
        """The negative text arguments, where any stage is guided."""
        family = self.conditioner.family
        guided = sampler.guided(self.pipeline, family)
        if second is not None:
            guided = guided or second.guided(self.painter.upscaler, family)
        if not guided:
            return {}
        return to_cpu(self.conditioner.negative(sampler.negative_prompt, prompt, options))

    def _draw(
        self, rows: Sequence[Row], sampler: Sampler, second: Sampler | None, progress: bool
    ) -> list[Drawing]:
        """The images of `rows`, under a progress bar."""
        steps = (sampler.steps or 0) + (second.steps or 0 if second else 0)
        with ExitStack() as stack:
            stack.enter_context(use_scheduler(self.pipeline, sampler.scheduler))
            if second is not None:
                stack.enter_context(use_scheduler(self.painter.upscaler, second.scheduler))
            bar = stack.enter_context(
                tqdm(total=len(rows) * steps, unit="step", disable=not progress, desc="Drawing")
            )
            return list(self.painter.draw(rows, sampler, second, bar.update))

    def _is_faithful(self, ladder: Ladder, readout: str, pooled: str) -> bool:
        """Whether the native rung is drawn exactly as the untouched pipeline draws it."""
        slots, encoders = self.conditioner.slots, self.conditioner.encoders
        if pooled == "empty" and any(slot.pooled for slot in slots.values()):
            return False
        return all(
            is_native(readout, slots[name], encoders[name], ladder.taps[name])
            # a layer's own pooled output is the native one where nothing else is read
            and (slots[name].pooled is None or pooled == "hold" or slots[name].tap is None)
            for name in ladder.moving
        )

    def release_encoders(self) -> None:
        """Free the memory of the text encoders; no further prompt can be read after that."""
        self.conditioner.release()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _recorded(sampler: Sampler, second: Sampler | None) -> dict[str, Any]:
    """The settings as columns of the table; those of a second stage in one column, as JSON."""
    recorded = {**vars(sampler), "options": _as_json(sampler.options)}
    return recorded if second is None else {**recorded, "upscale": _as_json(vars(second))}


def _as_json(settings: Mapping[str, Any]) -> str:
    return json.dumps(dict(settings), sort_keys=True, default=repr)


def _cells(drawing: Drawing, *, two_stages: bool) -> dict[str, Any]:
    images = {"missing": drawing.missing, "image": drawing.image}
    return {**images, "upscaled": drawing.upscaled} if two_stages else images
